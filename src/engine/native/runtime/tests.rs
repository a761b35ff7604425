//! Whole containers from a busybox root. They need root and a static `/usr/bin/busybox`; without them they say
//! that they were skipped. Each body runs in a forked process, since births refuse to run beside threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::engine::native::cgroup::{Cgroup, DeviceAccess};
use crate::engine::spec::*;
use crate::image::digest::Digest;
use crate::sys::clone::in_fork;
use crate::sys::fs::Durability;

const BUSYBOX: &str = "/usr/bin/busybox";

/// A container's directories and cgroup; gone when dropped.
struct Place {
    dir: PathBuf,
    cgroup: Cgroup,
    spec: ContainerSpec,
    mounts: Vec<BirthMount>,
    init: bool,
}

impl Place {
    fn new(name: &str, command: &[&str]) -> Self {
        let id = format!("{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("hoist-birth-{id}"));
        for part in ["layer/bin", "layer/etc", "layer/tmp", "upper", "work"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        fs::copy(BUSYBOX, dir.join("layer/bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "id", "ls", "mount", "grep", "stat", "sleep", "echo", "tty", "hostname",
            "mknod", "unshare", "head",
        ] {
            symlink("busybox", dir.join("layer/bin").join(applet)).unwrap();
        }
        fs::write(
            dir.join("layer/etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:\n",
        )
        .unwrap();
        fs::write(dir.join("layer/etc/group"), "root:x:0:\naudio:x:29:ann\n").unwrap();
        let spec = spec(&id, command);
        let resources = Resources {
            memory: Some(96 << 20),
            pids: Some(64),
            ..Resources::default()
        };
        let cgroup =
            Cgroup::create(&id, None, &resources, &DeviceAccess::Listed(Vec::new())).unwrap();
        Self {
            dir,
            cgroup,
            spec,
            mounts: Vec::new(),
            init: false,
        }
    }
    fn birth<'a>(&'a self, stdio: BirthStdio<'a>, netns: BorrowedFd<'a>) -> Birth<'a> {
        Birth {
            spec: &self.spec,
            rootfs: RootfsSpec {
                lower: vec![self.dir.join("layer")],
                upper: self.dir.join("upper"),
                work: self.dir.join("work"),
                durability: Durability::Synced,
            },
            mounts: self.mounts.clone(),
            netns: Some(netns),
            join: JoinedNamespaces::default(),
            cgroup: &self.cgroup,
            stdio,
            init: self.init,
            brought: None,
        }
    }
    /// Output and exit code, or the error's text.
    fn run(&self) -> (String, i32) {
        let net = ns::new_net().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let (mut out, into) = std::io::pipe().unwrap();
        let (stdin, to) = (null.as_fd(), into.as_fd());
        let stdio = BirthStdio::Streams {
            stdin,
            stdout: to,
            stderr: to,
        };
        let born = match give_birth_bound(&self.birth(stdio, net.as_fd())) {
            Ok(born) => born,
            Err(EngineError::CannotRun { code, message }) => return (message, code),
            Err(error) => return (error.to_string(), -1),
        };
        drop(into);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        (text, pidfd::wait(&born.pidfd).unwrap().code())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cgroup.kill().unwrap();
        self.cgroup.remove().unwrap();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn spec(id: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        id: ContainerId::new(id),
        name: id.to_owned(),
        project: ProjectName::new("test").unwrap(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        image: ImageRef {
            name: "busybox".into(),
            id: Digest::of(b"x"),
            layers: Vec::new(),
        },
        process: Process {
            args: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Process::default()
        },
        stdio: Stdio {
            tty: false,
            stdin: false,
            stdin_once: false,
        },
        init: false,
        hostname: "box".into(),
        domainname: None,
        read_only: false,
        mounts: Vec::new(),
        shm_size: None,
        namespaces: Namespaces::default(),
        network: NetworkMode::None,
        dns: DnsConfig::default(),
        extra_hosts: Vec::new(),
        ports: Vec::new(),
        exposed: Vec::new(),
        resources: Resources::default(),
        security: Security::default(),
        devices: Vec::new(),
        named_devices: Default::default(),
        device_cgroup_rules: Vec::new(),
        sysctls: BTreeMap::new(),
        ulimits: BTreeMap::new(),
        oom_score_adj: None,
        restart: RestartPolicy::No,
        restart_pace: Default::default(),
        stop_signal: Signal::TERM,
        stop_grace: Duration::from_secs(1),
        healthcheck: None,
        ready: None,
        on_unhealthy: Default::default(),
        log: LogConfig::default(),
        files: Vec::new(),
    }
}

/// Runs a body where births are allowed; skipped without root.
fn contained(body: impl FnOnce()) {
    if !nix::unistd::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: needs root and {BUSYBOX}");
        return;
    }
    let code = in_fork(|| {
        body();
        0
    });
    assert_eq!(code, 0, "see the output above");
}

fn shell(name: &str, script: &str) -> Place {
    Place::new(name, &["sh", "-c", script])
}

#[test]
fn a_container_has_its_own_namespaces_and_the_rights_of_docker() {
    contained(|| {
        let place = shell(
            "rights",
            "hostname; echo pid $$; id; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ls /proc/self/fd | cat; \
             echo $HOME $PATH $HOSTNAME; ls /proc/1/root/bin/busybox",
        );
        let (text, code) = place.run();
        assert_eq!(
            text,
            "box\npid 1\nuid=0(root) gid=0(root) groups=0(root)\nCapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\n\
             CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
             NoNewPrivs:\t0\nSeccomp:\t2\n0\n1\n2\n3\n\
             /root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin box\n/proc/1/root/bin/busybox\n"
        );
        assert_eq!(code, 0);
    });
}

#[test]
fn system_paths_are_masked_or_read_only() {
    contained(|| {
        let place = shell(
            "masks",
            "cat /proc/keys /proc/timer_list; stat -c '%t:%T %F' /proc/keys; ls /sys/firmware; \
             echo 1 > /proc/sys/kernel/panic; echo x > /sys/kernel/x; \
             mount -t tmpfs none /tmp; cat /dev/null; echo x > /dev/null; echo y > /dev/shm/f; cat /dev/shm/f; \
             stat -c '%t:%T' /dev/zero; ls -l /dev/ptmx | grep -c pts/ptmx",
        );
        let (text, _) = place.run();
        assert_eq!(
            text,
            "1:3 character special file\nsh: can't create /proc/sys/kernel/panic: Read-only file system\n\
             sh: can't create /sys/kernel/x: Read-only file system\n\
             mount: permission denied (are you root?)\ny\n1:5\n1\n"
        );
    });
}

#[test]
fn only_allowed_devices_can_be_opened_and_forbidden_calls_fail() {
    contained(|| {
        let script = "mknod /tmp/mem c 1 1 && cat /tmp/mem; head -c 2 /dev/urandom | wc -c; \
             head -c 1 /shown | wc -c; unshare -m true";
        let mut place = shell(
            "devices",
            &script.replace("wc -c", "cat > /dev/null && echo read"),
        );
        let device = Device {
            source: "/dev/zero".into(),
            target: "/shown".into(),
            permissions: "r".into(),
        };
        place.spec.devices = vec![device];
        place.spec.device_cgroup_rules = vec!["c 200:* rw".into()];
        let DeviceAccess::Listed(rules) = device_rules(&place.spec, None).unwrap() else {
            panic!("not all")
        };
        let shown: Vec<_> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["c 1:5 r", "c 200:* rw"]);
        let (text, _) = place.run();
        assert_eq!(
            text,
            "cat: can't open '/tmp/mem': Operation not permitted\nread\nread\n\
             unshare: unshare(0x20000): Operation not permitted\n"
        );
    });
}

#[test]
fn limits_are_visible_inside() {
    contained(|| {
        let place = shell(
            "limits",
            "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; \
             cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; ulimit -n; \
             echo 1 > /sys/fs/cgroup/x",
        );
        let mut place = place;
        place.spec.ulimits.insert("nofile".into(), (512, 1024));
        let (text, _) = place.run();
        assert_eq!(
            text,
            format!(
                "{}\n64\n512\nsh: can't create /sys/fs/cgroup/x: Read-only file system\n",
                96 << 20
            )
        );
    });
}

#[test]
fn users_groups_and_directories_are_the_containers_own() {
    contained(|| {
        let mut place = shell(
            "users",
            "id; pwd; echo $HOME; grep CapEff /proc/self/status; umask",
        );
        place.spec.process.user = "ann".into();
        place.spec.process.groups = vec!["77".into()];
        place.spec.process.cwd = "/new/dir".into();
        let (text, _) = place.run();
        assert_eq!(
            text,
            "uid=1000(ann) gid=100 groups=29(audio),77,100\n/new/dir\n/home/ann\n\
             CapEff:\t0000000000000000\n0022\n"
        );
        place.spec.process.user = "bob".into();
        let want = "unable to find user bob: no matching entries in passwd file";
        assert_eq!(place.run(), (want.to_owned(), -1));
        place.spec.process.user = String::new();
        place.spec.process.cwd = "/proc/self/fd/4".into();
        let (text, code) = place.run();
        assert!(
            text.contains("working directory /proc/self/fd/4") && code == -1,
            "{text}"
        );
    });
}

#[test]
fn a_command_that_can_not_run_is_told_as_docker_tells_it() {
    contained(|| {
        let mut place = Place::new("errors", &[]);
        fs::write(place.dir.join("layer/bin/plain"), "x").unwrap();
        let script = place.dir.join("layer/bin/script");
        fs::write(&script, "#!/no/such/shell\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        for (command, want, code) in [
            (
                "nope",
                "exec: \"nope\": executable file not found in $PATH",
                127,
            ),
            (
                "/nope",
                "exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            ("/bin/plain", "exec: \"/bin/plain\": permission denied", 126),
            ("/bin", "exec: \"/bin\": is a directory", 126),
            (
                "/bin/script",
                "exec /bin/script: no such file or directory",
                127,
            ),
        ] {
            place.spec.process.args = vec![command.to_owned()];
            assert_eq!(place.run(), (want.to_owned(), code));
        }
    });
}

#[test]
fn links_of_an_image_do_not_lead_out() {
    contained(|| {
        for part in ["proc", "dev", "sys"] {
            let place = shell("links", "true");
            symlink("../../../tmp", place.dir.join("layer").join(part)).unwrap();
            let want = format!("the image has something else than a directory at /{part}: refused");
            assert_eq!(place.run(), (want, -1));
        }
        let mut place = shell("escape", "cat /etc/inner/given; ls /");
        fs::remove_dir_all(place.dir.join("layer/etc")).unwrap();
        symlink("../../..", place.dir.join("layer/etc")).unwrap();
        let bytes = BirthSource::Bytes {
            content: b"inside\n".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o444,
        };
        place.mounts.push(BirthMount {
            target: "/etc/inner/given".into(),
            source: bytes,
            read_only: ReadOnly::Whole,
        });
        let (text, _) = place.run();
        assert!(text.starts_with("inside\n"), "{text}");
        assert!(text.contains("\ninner\n"), "{text}");
        assert!(!Path::new("/inner").exists());
        let tmpfs = BirthSource::Tmpfs {
            size: None,
            mode: None,
            options: Vec::new(),
        };
        place.mounts = vec![BirthMount {
            target: "/proc/sys".into(),
            source: tmpfs,
            read_only: ReadOnly::No,
        }];
        let want = "mount target `/proc/sys` is inside /proc: refused";
        assert_eq!(place.run(), (want.to_owned(), -1));
    });
}

#[test]
fn mounts_show_what_they_should_and_leave_the_host_alone() {
    contained(|| {
        let mut place = shell(
            "mounts",
            "cat /data/x; echo no > /data/x; ls /view; echo gone > /scratch/new; cat /scratch/new; \
             cat /dangling; stat -c %a /mem; echo out > /upper",
        );
        let host = place.dir.join("host");
        fs::create_dir_all(&host).unwrap();
        fs::write(host.join("x"), "host\n").unwrap();
        symlink("/made/later", place.dir.join("layer/dangling")).unwrap();
        let view = place.dir.join("layer/etc");
        let mount = |target: &str, source, read_only| BirthMount {
            target: target.into(),
            source,
            read_only: match read_only {
                true => ReadOnly::Whole,
                false => ReadOnly::No,
            },
        };
        let path = BirthSource::Path {
            path: host.clone(),
            propagation: None,
            recursive: true,
        };
        let lower = vec![place.dir.join("layer")];
        let image = BirthSource::ImageView {
            lower: lower.clone(),
            subpath: "/etc".into(),
            changes: None,
        };
        let bytes = BirthSource::Bytes {
            content: b"linked\n".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o400,
        };
        let tmpfs = BirthSource::Tmpfs {
            size: Some(1 << 20),
            mode: Some(0o700),
            options: Vec::new(),
        };
        place.mounts = vec![
            mount("/data", path, true),
            mount("/view", image.clone(), true),
            mount("/scratch", image, false),
            mount("/dangling", bytes, true),
            mount("/mem", tmpfs, false),
        ];
        let (text, _) = place.run();
        assert_eq!(
            text,
            "host\nsh: can't create /data/x: Read-only file system\ngroup\npasswd\ngone\nlinked\n700\n"
        );
        assert!(!view.join("new").exists());
        assert_eq!(
            fs::read_to_string(place.dir.join("upper/upper")).unwrap(),
            "out\n"
        );
        assert!(
            !fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .contains("hoist-birth-mounts")
        );
        place.spec.read_only = true;
        place.mounts.clear();
        place.spec.process.args[2] = "echo x > /y; echo ok > /dev/shm/z && cat /dev/shm/z".into();
        assert_eq!(
            place.run().0,
            "sh: can't create /y: Read-only file system\nok\n"
        );
    });
}

#[test]
fn init_reaps_and_passes_signals_on() {
    contained(|| {
        let mut place = shell(
            "init",
            "trap 'echo got; exit 5' TERM; echo pid $$; sleep 60 & wait",
        );
        place.init = true;
        let net = ns::new_net().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let (mut out, into) = std::io::pipe().unwrap();
        let streams = BirthStdio::Streams {
            stdin: null.as_fd(),
            stdout: into.as_fd(),
            stderr: into.as_fd(),
        };
        let born = give_birth(&place.birth(streams, net.as_fd())).unwrap();
        drop(into);
        let mut buffer = [0; 64];
        let read = out.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"pid 2\n");
        let fds = fs::read_dir(format!("/proc/{}/fd", born.pid))
            .unwrap()
            .count();
        assert_eq!(fds, 0, "PID 1 holds no descriptor");
        pidfd::send_signal(&born.pidfd, libc::SIGTERM).unwrap();
        let read = out.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"got\n");
        assert_eq!(pidfd::wait(&born.pidfd).unwrap().code(), 5);
        let told = pidfd::exit_of(&born.pidfd);
        assert!(
            told.is_none() || told == Some(pidfd::Ended::Exited(5)),
            "{told:?}"
        );
    });
}

#[test]
fn an_exec_is_inside_with_its_own_terminal_and_the_callers_child() {
    contained(|| {
        let place = Place::new("join", &["sleep", "60"]);
        let net = ns::new_net().unwrap();
        let null = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let quiet = BirthStdio::Streams {
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: null.as_fd(),
        };
        let began = Instant::now();
        let born = give_birth(&place.birth(quiet, net.as_fd())).unwrap();
        eprintln!("birth: {:?}", began.elapsed());
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let script = "tty; id -u; cat /proc/1/comm; grep -E 'CapB|CapI|Seccomp:' /proc/self/status; echo $A; ls /proc/self/fd | cat";
        let mut process = Process {
            args: words(&["sh", "-c", script]),
            env: words(&["A=b"]),
            ..Process::default()
        };
        let ask = |process: &Process, stdio| {
            join(&JoinRequest {
                init_pid: born.pid,
                spec: &place.spec,
                process,
                cgroup: &place.cgroup,
                stdio,
            })
        };
        let began = Instant::now();
        let inner = ask(&process, BirthStdio::Terminal).unwrap();
        eprintln!("exec: {:?}", began.elapsed());
        assert!(
            place.cgroup.pids().contains(&inner.pid)
                || pidfd::has_ended(&inner.pidfd, None).unwrap()
        );
        let mut master = fs::File::from(inner.master.unwrap());
        assert_eq!(pidfd::wait(&inner.pidfd).unwrap().code(), 0);
        let mut text = Vec::new();
        // The end of a terminal is an error, EIO.
        let _ = master.read_to_end(&mut text);
        assert_eq!(
            String::from_utf8_lossy(&text),
            "/dev/pts/0\r\n0\r\nsleep\r\nCapInh:\t0000000000000000\r\nCapBnd:\t00000000a80425fb\r\n\
             Seccomp:\t2\r\nb\r\n0\r\n1\r\n2\r\n3\r\n"
        );
        process.args = words(&["nope"]);
        match ask(&process, quiet) {
            Err(EngineError::CannotRun { code: 127, message }) => assert_eq!(
                message,
                "OCI runtime exec failed: exec failed: unable to start container process: \
                 exec: \"nope\": executable file not found in $PATH"
            ),
            other => panic!("{other:?}"),
        }
        process.args = words(&["sh", "-c", "echo together > /dev/shm/note"]);
        let writer = ask(&process, quiet).unwrap();
        assert_eq!(pidfd::wait(&writer.pidfd).unwrap().code(), 0);
        let shared = BirthSource::Tree(Arc::new(shared_memory(born.pidfd.as_fd()).unwrap()));
        let mut other = shell("shm", "cat /dev/shm/note");
        other.mounts = vec![BirthMount {
            target: "/dev/shm".into(),
            source: shared,
            read_only: ReadOnly::No,
        }];
        assert_eq!(other.run().0, "together\n");
        pidfd::send_signal(&born.pidfd, libc::SIGKILL).unwrap();
        assert_eq!(pidfd::wait(&born.pidfd).unwrap().code(), 137);
    });
}

#[test]
fn a_birth_with_a_terminal_gives_the_master() {
    contained(|| {
        let place = shell(
            "tty",
            "read x; echo got $x; ls -l /dev/console | cut -c1; tty",
        );
        let net = ns::new_net().unwrap();
        let born = give_birth(&place.birth(BirthStdio::Terminal, net.as_fd())).unwrap();
        let mut master = fs::File::from(born.master.unwrap());
        crate::sys::tty::resize(&master, 24, 80).unwrap();
        master.write_all(b"hello\n").unwrap();
        assert_eq!(pidfd::wait(&born.pidfd).unwrap().code(), 0);
        let mut text = Vec::new();
        let _ = master.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(
            text.contains("got hello\r\n") && text.ends_with("/dev/pts/0\r\n"),
            "{text}"
        );
    });
}

#[test]
fn what_needs_a_namespace_of_its_own_is_refused_without() {
    contained(|| {
        let mut place = shell(
            "sysctl",
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni",
        );
        place
            .spec
            .sysctls
            .insert("net.ipv4.ip_forward".into(), "1".into());
        place
            .spec
            .sysctls
            .insert("kernel.shmmni".into(), "77".into());
        assert_eq!(place.run().0, "1\n77\n");
        place.spec.sysctls.insert("kernel.panic".into(), "1".into());
        let want = "sysctl `kernel.panic` is not in a separate kernel namespace";
        assert_eq!(place.run(), (want.to_owned(), -1));
        place.spec.sysctls.clear();
        place.spec.security.cap_drop = vec!["ALL".into()];
        place.spec.security.no_new_privileges = true;
        place.spec.process.args[2] = "grep -E 'CapB|NoNew|Seccomp:' /proc/self/status".into();
        assert_eq!(
            place.run().0,
            "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
        );
        place.spec.security = Security {
            privileged: true,
            ..Security::default()
        };
        place.spec.process.args[2] =
            "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp && echo mounted".into();
        assert_eq!(place.run().0, "Seccomp:\t0\nmounted\n");
    });
}
