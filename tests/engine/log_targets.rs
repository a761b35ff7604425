//! Log lines that go elsewhere: to a syslog server, to the journal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use super::logging::{apart, in_order, numbers};
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    syslog_gets_each_line_in_each_form_and_logs_still_work,
    a_syslog_server_that_comes_back_gets_what_was_written_meanwhile,
    a_syslog_server_that_is_away_is_an_error_at_the_start,
    the_journal_gets_each_line_with_its_fields,
    without_a_journal_its_driver_does_not_start,
);

pub(super) fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("it is bound").port()
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0u8; 65536];
    let length = socket.recv(&mut buffer).expect("a message in time");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// A message without what differs from run to run: the time, the host's name, the sender's number.
fn plain(message: &str, host: &str) -> String {
    let mut words: Vec<String> = message.trim_end().split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if word == host {
            *word = "HOST".into();
        }
        if let Some((tag, rest)) = word.clone().split_once('[')
            && let Some((pid, end)) = rest.split_once(']')
            && pid.parse::<u32>().is_ok()
        {
            *word = format!("{tag}[PID]{end}");
        } else if word.parse::<u32>().is_ok_and(|number| number > 31) {
            *word = "PID".into();
        } else if word.ends_with('Z') && word.contains('T') {
            *word = format!("TIME{}", word.len());
        }
    }
    words.join(" ")
}

fn syslog_gets_each_line_in_each_form_and_logs_still_work() {
    let hoist = Sandbox::new();
    let host = nix::unistd::gethostname()
        .expect("a host name")
        .to_string_lossy()
        .into_owned();
    let timeout = Some(Duration::from_secs(20));
    let sockets: Vec<UdpSocket> = (0..4)
        .map(|_| UdpSocket::bind("127.0.0.1:0").expect("loopback is up"))
        .collect();
    for socket in &sockets {
        socket
            .set_read_timeout(timeout)
            .expect("a timeout can be set");
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let (stream_path, packet_path) = (hoist.dir().join("s"), hoist.dir().join("d"));
    let stream = UnixListener::bind(&stream_path).expect("a socket");
    let packets = UnixDatagram::bind(&packet_path).expect("a socket");
    packets
        .set_read_timeout(timeout)
        .expect("a timeout can be set");
    let service = |name: &str, address: &str, options: &str| {
        format!(
            "  {name}: {{image: tiny, command: [sh, -c, 'echo {name}; echo; echo bad >&2'], logging: {{driver: syslog, options: {{syslog-address: '{address}'{options}}}}}}}\n"
        )
    };
    let udp = |at: usize| format!("udp://127.0.0.1:{}", port_of(&sockets[at]));
    let forms = [
        "",
        ", syslog-format: rfc3164",
        ", syslog-format: rfc5424, syslog-facility: local3",
        ", syslog-format: rfc5424micro, syslog-facility: '4'",
    ];
    let mut text = String::from("services:\n");
    for (at, form) in forms.iter().enumerate() {
        text += &service(
            &format!("u{at}"),
            &udp(at),
            &format!("{form}, tag: 'x{{{{.Name}}}}'"),
        );
    }
    let port = tcp.local_addr().expect("it is bound").port();
    text += &service("t", &format!("tcp://127.0.0.1:{port}"), ", tag: t");
    text += &service(
        "s",
        &format!("unix://{}", stream_path.display()),
        ", tag: t",
    );
    text += &service(
        "d",
        &format!("unixgram://{}", packet_path.display()),
        ", tag: t",
    );
    hoist.compose(&text);
    hoist.ok("up -d");
    let name = &hoist.name;
    let want = [
        "<30>DATE xNAME-u0-1[PID]: u0\n<27>DATE xNAME-u0-1[PID]: bad",
        "<30>DATE HOST xNAME-u1-1[PID]: u1\n<27>DATE HOST xNAME-u1-1[PID]: bad",
        "<158>1 TIME20 HOST xNAME-u2-1 PID xNAME-u2-1 - u2\n<155>1 TIME20 HOST xNAME-u2-1 PID xNAME-u2-1 - bad",
        "<38>1 TIME27 HOST xNAME-u3-1 PID xNAME-u3-1 - u3\n<35>1 TIME27 HOST xNAME-u3-1 PID xNAME-u3-1 - bad",
    ];
    for (socket, want) in sockets.iter().zip(want) {
        let mut found = [receive(socket), receive(socket)].map(|message| plain(&message, &host));
        // Two streams have no order between them.
        found.sort_by_key(|message| message.ends_with("bad"));
        let found = found.join("\n");
        // A local time has three words; where the host's zone is not UTC the other forms have an offset.
        let found = found
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                match words.as_slice() {
                    [first, day, time, rest @ ..]
                        if time.contains(':') && !first.ends_with(">1") =>
                    {
                        let (priority, _) = first.split_once('>').expect("a priority");
                        assert!(day.parse::<u8>().is_ok(), "{line}");
                        format!("{priority}>DATE {}", rest.join(" "))
                    }
                    _ => line.to_owned(),
                }
            })
            .collect::<Vec<_>>()
            .join("\n");
        let found = found.replace(&format!("{name}-"), "NAME-");
        // A day of one digit has two spaces before it.
        assert_eq!(found.replace("DATE  ", "DATE "), want);
    }
    let read = |mut stream: Box<dyn std::io::Read>| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text
    };
    for (name, text) in [
        ("t", read(Box::new(tcp.accept().expect("a connection").0))),
        (
            "s",
            read(Box::new(stream.accept().expect("a connection").0)),
        ),
    ] {
        assert_eq!(text.lines().count(), 2, "{text}");
        let line = format!("]: {name}");
        assert!(
            text.lines()
                .any(|found| found.starts_with("<30>") && found.ends_with(&line)),
            "{text}"
        );
        assert!(
            text.lines()
                .any(|found| found.starts_with("<27>") && found.ends_with("]: bad")),
            "{text}"
        );
    }
    let mut buffer = [0u8; 4096];
    for _ in 0..2 {
        assert!(packets.recv(&mut buffer).expect("a message in time") > 0);
    }
    // What is sent is kept here, too.
    for service in ["u0", "t", "s", "d"] {
        hoist.logged(service, "bad");
        hoist
            .ok(&format!("logs --no-log-prefix {service}"))
            .says(service);
    }
}

fn a_syslog_server_that_comes_back_gets_what_was_written_meanwhile() {
    let hoist = Sandbox::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let address = server.local_addr().expect("it is bound");
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'i=0; until [ -e /stop ]; do i=$$((i+1)); echo $$i; sleep 0.02; done; sleep 3600'], \
         logging: {{driver: syslog, options: {{syslog-address: 'tcp://{address}', tag: t}}}}}}\n"
    ));
    hoist.ok("up -d");
    let connection = server.accept().expect("a connection").0;
    let mut lines = BufReader::new(connection).lines();
    let number = |line: Option<std::io::Result<String>>| -> u64 {
        let line = line.expect("a line").expect("text");
        numbers(line.rsplit_once(": ").expect("a message").1)[0]
    };
    assert_eq!(number(lines.next()), 1);
    drop(lines);
    drop(server);
    let count = || numbers(&hoist.ok("logs --no-log-prefix a").out).len();
    let then = count();
    eventually("the container goes on", || {
        (count() > then + 20).then_some(())
    });
    // The address is still ours: it was in use a moment ago.
    let again = eventually("the port again", || TcpListener::bind(address).ok());
    again.set_nonblocking(true).expect("it can be");
    let (connection, _) = eventually("another connection", || again.accept().ok());
    connection.set_nonblocking(false).expect("it can be");
    let mut lines = BufReader::new(connection).lines();
    let first = number(lines.next());
    // Of what was on its way when the connection broke nobody can tell; everything behind it comes.
    assert!(
        first <= then as u64 + 1,
        "lines from {then} to {first} are missing"
    );
    let found: Vec<u64> = std::iter::once(first)
        .chain((0..30).map(|_| number(lines.next())))
        .collect();
    in_order(&found, first, first + 30);
    hoist.let_end("a");
}

fn a_syslog_server_that_is_away_is_an_error_at_the_start() {
    let hoist = Sandbox::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .and_then(|server| server.local_addr())
        .expect("loopback is up");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, logging: {{driver: syslog, options: {{syslog-address: 'tcp://{free}'}}}}}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("tcp://{free}"))
        .says("refused");
    assert_eq!(hoist.state("a"), "created");
}

/// A journal of the test's own at the place of the real one, in a mount namespace of its own.
const OWN_JOURNAL: &str = "
mount -t tmpfs own /run
mkdir -p /run/systemd/journal
trap '$HOIST down -t 0 >/dev/null 2>&1' EXIT
";

fn the_journal_gets_each_line_with_its_fields() {
    let hoist = Sandbox::new();
    let path = hoist.dir().join("journal");
    let journal = UnixDatagram::bind(&path).expect("a socket");
    journal
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout can be set");
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'echo out; sleep 0.2; printf \"b\\033d\\n\" >&2; sleep 0.2; head -c 20000 /dev/zero | tr \"\\\\0\" x; echo; sleep 0.5'], \
         labels: {app.tier: web}, logging: {driver: journald, options: {labels: app.tier, tag: 'T/{{.Name}}'}}}\n",
    );
    let script = format!(
        "{OWN_JOURNAL}
touch /run/systemd/journal/socket
mount --bind {} /run/systemd/journal/socket
$HOIST up 2>&1
$HOIST logs --no-log-prefix a 2>&1 | wc -l
",
        path.display()
    );
    let done = apart(&hoist, &script).ok().says("a-1  | out");
    // What is sent is kept here, too.
    assert_eq!(done.out.lines().last().map(str::trim), Some("3"));
    let mut buffer = vec![0u8; 1 << 18];
    let mut messages = Vec::new();
    for _ in 0..4 {
        let length = journal.recv(&mut buffer).expect("a message in time");
        messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let (name, tag) = (
        format!("{}-a-1", hoist.name),
        format!("T/{}-a-1", hoist.name),
    );
    for message in &messages {
        let field = |key: &str| {
            message
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        };
        assert_eq!(field("CONTAINER_NAME"), Some(name.as_str()));
        assert_eq!(field("CONTAINER_TAG"), Some(tag.as_str()));
        assert_eq!(field("SYSLOG_IDENTIFIER"), Some(tag.as_str()));
        assert_eq!(field("IMAGE_NAME"), Some("tiny"));
        assert_eq!(field("APP_TIER"), Some("web"));
        let (short, full) = (field("CONTAINER_ID"), field("CONTAINER_ID_FULL"));
        assert_eq!(short.map(str::len), Some(12));
        assert!(full.is_some_and(|full| full.starts_with(short.unwrap_or("-"))));
        assert!(field("SYSLOG_TIMESTAMP").is_some_and(|time| time.ends_with('Z')));
    }
    let has = |at: usize, text: &str| messages[at].contains(text);
    assert!(
        has(0, "MESSAGE=out\n") && has(0, "PRIORITY=6\n"),
        "{}",
        messages[0]
    );
    // A control character makes a field binary: its length stands before it.
    assert!(
        has(1, "MESSAGE\n\u{3}\0\0\0\0\0\0\0b\u{1b}d\n") && has(1, "PRIORITY=3\n"),
        "{}",
        messages[1]
    );
    assert!(has(2, "CONTAINER_PARTIAL_MESSAGE=true\n") && has(2, "CONTAINER_PARTIAL_ORDINAL=1\n"));
    assert!(!has(3, "CONTAINER_PARTIAL_MESSAGE") && has(3, "CONTAINER_PARTIAL_LAST=true\n"));
    assert!(!has(0, "PARTIAL"));
}

fn without_a_journal_its_driver_does_not_start() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, logging: {driver: journald}}\n");
    let script = format!("{OWN_JOURNAL}\n$HOIST up -d 2>&1 && exit 9 || exit 3");
    apart(&hoist, &script)
        .code(3)
        .says("/run/systemd/journal/socket");
}
