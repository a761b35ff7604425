//! Hostile contexts from elsewhere: repositories, archives, layouts, servers.
//!
//! GHSA-4vrq-3vrq-g6gg (a directory that leads out of a repository), GHSA-hw3h-2gp9-cxpv and CVE-2018-17456 (words taken for
//! options), CVE-2022-39253 (clones of local directories), CVE-2024-32002 (submodules that run), GHSA-49p4-px3h-rq49 (a remote
//! context whose links show the host's files).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use tar::{Builder, EntryType, Header};

use super::Canary;
use crate::harness::git::{Daemon, commit, git, repository};
use crate::harness::server::{Reply, Server};
use crate::harness::{Need, Sandbox, eventually, leftovers::children};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program("git")];
    a_directory_of_a_repository_leads_out,
    words_of_an_address_are_options_of_git,
    a_repository_runs_hooks_filters_and_submodules_of_the_host,
    links_of_a_remote_context_show_files_of_the_host,
    an_archive_as_context_writes_beside_itself,
    a_server_leads_to_a_file_of_the_host,
    a_server_leads_credentials_to_another_host,
    a_server_lies_about_the_length,
    a_server_never_ends_or_never_answers,
    a_server_names_a_file_elsewhere,
    a_layout_names_blobs_elsewhere,
);

/// A server that speaks as it likes; it ends when dropped.
struct Raw {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Raw {
    fn start(speak: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let (ends, speak) = (Arc::clone(&stop), Arc::new(speak));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let speak = Arc::clone(&speak);
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines();
                    while lines
                        .next()
                        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                    {
                    }
                    speak(stream);
                });
            }
        });
        Self { address, stop }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

/// Files of the store that hold the canary's song.
fn stolen(hoist: &Sandbox) -> String {
    let found = std::process::Command::new("grep")
        .args(["-rla", "the canary sings"])
        .arg(hoist.data())
        .output()
        .expect("grep runs");
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// What a failed fetch may leave below the store: nothing that is half made.
fn nothing_half_made(hoist: &Sandbox) {
    let sources = hoist.data().join("cache/sources");
    for dir in ["", "git", "files", "archives"] {
        for path in children(&sources.join(dir)) {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            assert!(!name.starts_with('.'), "{} was left", path.display());
        }
    }
}

fn link(target: impl AsRef<Path>, path: &Path) {
    std::os::unix::fs::symlink(target, path).expect("links can be made");
}

fn a_directory_of_a_repository_leads_out() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let repo = repository(
        &hoist,
        &[("Dockerfile", "FROM tiny\nCOPY . /x\n"), ("a/b", "")],
    );
    link(&canary.dir, &repo.join("out"));
    link("../../../../../..", &repo.join("up"));
    link("a", &repo.join("in"));
    commit(&repo);
    let daemon = Daemon::start(&repo);
    for (end, why) in [
        ("#main:../../../canary", "leads out of the repository"),
        ("#main:a/../../..", "leads out of the repository"),
        ("#main:/etc", "leads out of the repository"),
        ("?subdir=..%2F..%2Fcanary", "leads out of the repository"),
        ("#main:out", "is a symbolic link, which is not followed"),
        ("#main:up", "is a symbolic link, which is not followed"),
        ("#main:in", "is a symbolic link, which is not followed"),
        ("#main:in/b", "is a symbolic link, which is not followed"),
    ] {
        let url = format!("{}{end}", daemon.url);
        hoist.run(&format!("image build '{url}'")).code(1).says(why);
        hoist.file("Dockerfile", format!("FROM tiny\nADD {url} /x\n"));
        hoist
            .run("image build .")
            .code(1)
            .says(why)
            .says("Dockerfile:2");
        hoist.file("Dockerfile", "FROM tiny\nCOPY --from=evil . /x\n");
        hoist
            .run(&format!("image build --build-context 'evil={url}' ."))
            .code(1)
            .says(why);
    }
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

fn words_of_an_address_are_options_of_git() {
    let hoist = Sandbox::new();
    let ran = hoist.data().with_file_name("ran");
    let touch = format!("touch {}", ran.display());
    let repo = repository(&hoist, &[("Dockerfile", "FROM scratch\nCOPY . /x\n")]);
    let local = repo.display();
    for address in [
        format!("git://127.0.0.1:1/x.git#--upload-pack={touch}"),
        format!("ssh://-oProxyCommand={touch}/x.git"),
        format!("git@-oProxyCommand={touch}:x.git"),
        format!("-u{touch}@host:x.git"),
        format!("ext::sh -c {touch}% x.git"),
        format!("file://{local}/.git"),
        format!("http://-x/a.git?ref=--exec={touch}"),
        format!("git://127.0.0.1:1/--upload-pack={touch}"),
        format!("git://127.0.0.1:1/x.git#$({touch})"),
        "git://127.0.0.1:1/x.git#main\n--upload-pack=x".to_owned(),
    ] {
        let done = hoist.global(&["image", "build", &address]);
        assert_ne!(done.code, 0, "{}", done.story());
        let context = format!("evil={address}");
        hoist.file("Dockerfile", "FROM scratch\nCOPY --from=evil / /x\n");
        let done = hoist.global(&[
            "image",
            "build",
            "--build-context",
            &context,
            &hoist.dir().to_string_lossy(),
        ]);
        assert_ne!(done.code, 0, "{}", done.story());
    }
    assert!(!ran.exists(), "a word of an address ran");
}

fn a_repository_runs_hooks_filters_and_submodules_of_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let ran = hoist.data().with_file_name("ran");
    let touch = format!("touch {}", ran.display());
    // A repository of this machine that a submodule could take: its objects are the canary's.
    let secret = hoist.data().with_file_name("secret");
    std::fs::create_dir_all(&secret).expect("the sandbox is writable");
    git(&secret, &["init", "--quiet", "."]);
    std::fs::copy(canary.song(), secret.join("song")).expect("writable");
    let taken = commit(&secret);
    let repo = repository(
        &hoist,
        &[
            ("Dockerfile", "FROM tiny\nCOPY . /x\n"),
            (".gitattributes", "* filter=evil\n"),
        ],
    );
    let home = hoist.data().with_file_name("h");
    let config = format!(
        "[filter \"lfs\"]\nsmudge = {touch}\nrequired = true\n[core]\nhooksPath = {}\n",
        home.display()
    );
    std::fs::write(home.join(".gitconfig"), config).expect("writable");
    for hook in ["post-checkout", "reference-transaction"] {
        let path = home.join(hook);
        std::fs::write(&path, format!("#!/bin/sh\n{touch}\n")).expect("writable");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the owner may change the mode");
    }
    for url in [
        format!("file://{}", secret.display()),
        secret.display().to_string(),
        format!("ext::sh -c {touch}"),
        format!("-u{touch}"),
        "../../../secret".to_owned(),
    ] {
        let modules =
            format!("[submodule \"m\"]\n\tpath = m\n\turl = {url}\n\tupdate = !{touch}\n");
        std::fs::write(repo.join(".gitmodules"), modules).expect("writable");
        git(&repo, &["add", "--all"]);
        let entry = format!("160000,{taken},m");
        git(&repo, &["update-index", "--add", "--cacheinfo", &entry]);
        git(&repo, &["commit", "--quiet", "--allow-empty", "-m", "c"]);
        let daemon = Daemon::start(&repo);
        let done = hoist.global(&["image", "build", &daemon.url]);
        assert_ne!(done.code, 0, "{url}: {}", done.story());
        hoist
            .global(&["image", "build", &format!("{}?submodules=0", daemon.url)])
            .ok();
    }
    assert!(!ran.exists(), "something of the repository ran");
    assert_eq!(stolen(&hoist), "", "a repository of this machine was taken");
    nothing_half_made(&hoist);
    canary.sings();
}

fn links_of_a_remote_context_show_files_of_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let text = "FROM tiny\nCOPY link /copied\n";
    let repo = repository(
        &hoist,
        &[
            (
                "Whole",
                "FROM tiny\nCOPY . /x\nRUN test -L /x/link && test ! -e /x/link && echo only a link\n",
            ),
            ("Through", text),
            ("Below", "FROM tiny\nCOPY dir/song /copied\n"),
            ("Mounted", "FROM tiny\nRUN --mount=target=/c cat /c/link\n"),
            (
                "From",
                "FROM tiny\nRUN --mount=source=dir,target=/c cat /c/song\n",
            ),
        ],
    );
    link(canary.song(), &repo.join("link"));
    link(&canary.dir, &repo.join("dir"));
    link(canary.song(), &repo.join("Dockerfile"));
    link(canary.song(), &repo.join(".dockerignore"));
    link("/etc/passwd", &repo.join("Passwd"));
    link("../../../../../../../../../etc/passwd", &repo.join("Up"));
    commit(&repo);
    let archive = std::process::Command::new("tar")
        .args(["-cf", "-", "--exclude=.git", "-C"])
        .arg(&repo)
        .arg(".")
        .output()
        .expect("tar runs")
        .stdout;
    let daemon = Daemon::start(&repo);
    let builds = |file: &str| {
        let line = format!("image build --progress plain --no-cache -f {file}");
        [
            hoist.run(&format!("{line} {}", daemon.url)),
            hoist.pipe(&format!("{line} -"), &archive),
        ]
    };
    for done in builds("Whole") {
        done.ok().says("only a link");
    }
    for file in ["Through", "Below", "From", "Mounted"] {
        for done in builds(file) {
            done.code(1).says_nothing_of("the canary sings");
        }
    }
    for file in [
        "Dockerfile",
        "Passwd",
        "Up",
        "/etc/passwd",
        "../../../etc/passwd",
    ] {
        for done in builds(file) {
            done.code(1)
                .says("failed to read")
                .says_nothing_of("root:")
                .says_nothing_of("canary sings");
        }
    }
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

/// One entry of an archive, written by hand: libraries refuse names like these.
fn entry(archive: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, target: &str, body: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o6777);
    header.set_size(body.len() as u64);
    header.set_cksum();
    archive.append(&header, body).expect("memory is writable");
}

/// Something in an archive: its name, its kind, where a link points, its content.
type Member<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

fn an_archive_as_context_writes_beside_itself() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let (song, dir) = (canary.song(), canary.dir.display().to_string());
    let dockerfile = b"FROM tiny\nCOPY . /x\n".as_slice();
    let hostile: [&[Member<'_>]; 7] = [
        &[("../../../../../canary/new", EntryType::Regular, "", b"x")],
        &[(
            "a/../../../../../../../canary/new",
            EntryType::Regular,
            "",
            b"x",
        )],
        &[(&song, EntryType::Regular, "", b"x")],
        &[
            ("l", EntryType::Symlink, &dir, b""),
            ("l/song", EntryType::Regular, "", b"x"),
        ],
        &[
            ("l", EntryType::Symlink, &song, b""),
            ("l", EntryType::Regular, "", b"x"),
        ],
        &[
            ("h", EntryType::Link, &song, b""),
            ("h", EntryType::Regular, "", b"x"),
        ],
        &[
            ("l", EntryType::Symlink, &dir, b""),
            ("h", EntryType::Link, "l/song", b""),
        ],
    ];
    for entries in hostile {
        let mut archive = Builder::new(Vec::new());
        entry(
            &mut archive,
            "Dockerfile",
            EntryType::Regular,
            "",
            dockerfile,
        );
        for (name, kind, target, body) in entries {
            entry(&mut archive, name, *kind, target, body);
        }
        let bytes = archive.into_inner().expect("memory is writable");
        let at_address = bytes.clone();
        let server = Server::start(move |_| Reply::ok("application/x-tar", at_address.clone()));
        // Some are refused; none reaches out.
        drop(hoist.pipe("image build -", &bytes));
        drop(hoist.run(&format!("image build http://{}/x.tar", server.address)));
        hoist.file(
            "Dockerfile",
            format!(
                "FROM tiny\nADD --unpack http://{}/x.tar /y\n",
                server.address
            ),
        );
        drop(hoist.run("image build ."));
        canary.sings();
        assert_eq!(stolen(&hoist), "");
        nothing_half_made(&hoist);
    }
}

fn a_server_leads_to_a_file_of_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let targets = [
        format!("file://{}", canary.song()),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "gopher://127.0.0.1/x".to_owned(),
        "//".to_owned(),
        "/again".to_owned(),
    ];
    for target in targets {
        let server = Server::start(move |_| {
            let mut reply = Reply::status(302);
            reply.headers.push(format!("Location: {target}"));
            reply
        });
        let url = format!("http://{}/x", server.address);
        hoist.file("Dockerfile", format!("FROM tiny\nADD {url} /x\n"));
        hoist.run("image build .").code(1).says("Dockerfile:2:1");
        hoist
            .run(&format!("image build {url}"))
            .code(1)
            .says("failed to read the context");
    }
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

fn a_server_leads_credentials_to_another_host() {
    let hoist = Sandbox::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let thief = Server::start(move |request| {
        notes
            .lock()
            .expect("nobody panicked")
            .extend(request.headers.clone());
        Reply::ok("text/plain", "x\n")
    });
    // Another name of this machine is another host.
    let target = format!("http://localhost:{}/x", thief.address.port());
    let server = Server::start(move |_| {
        let mut reply = Reply::status(302);
        reply.headers.push(format!("Location: {target}"));
        reply
    });
    hoist.file("token", "t0ken\n");
    let at = server.address;
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nADD http://me:s3cret@{at}/x /x\nADD http://{at}/y /y\n"),
    );
    let flags = format!("--secret id=HTTP_AUTH_TOKEN_{},src=token", at.ip());
    hoist.ok(&format!("image build --progress plain {flags} -t x ."));
    let headers = seen
        .lock()
        .expect("nobody panicked")
        .join("\n")
        .to_ascii_lowercase();
    assert!(headers.contains("host: localhost"), "{headers}");
    for word in [
        "authorization",
        "bwu6czncmv0",
        "s3cret",
        "t0ken",
        "referer",
        "cookie",
    ] {
        assert!(
            !headers.contains(word),
            "the other host was told: {headers}"
        );
    }
    let history = hoist.global(&["image", "history", "--no-trunc", "x"]);
    assert!(!history.all().contains("s3cret"), "{}", history.story());
    let found = std::process::Command::new("grep")
        .args(["-rlaE", "s3cret|t0ken"])
        .arg(hoist.data())
        .output();
    assert_eq!(
        String::from_utf8_lossy(&found.expect("grep runs").stdout),
        ""
    );
}

fn a_server_lies_about_the_length() {
    let hoist = Sandbox::new();
    let server = Raw::start(|mut stream| {
        // A client that goes away is its own business.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
    });
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nADD http://{}/x /x\n", server.address),
    );
    hoist
        .run("image build .")
        .code(1)
        .says("the connection broke")
        .says("Dockerfile:2:1");
    let long = Raw::start(|mut stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabcdef");
    });
    hoist.file(
        "Dockerfile",
        format!(
            "FROM tiny\nADD http://{}/x /x\nRUN echo \"got $(cat /x)\"\n",
            long.address
        ),
    );
    hoist
        .run("image build --progress plain .")
        .ok()
        .says("got abc\n");
    let huge = Raw::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n");
        let _ = stream.write_all(&[0; 1000]);
    });
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nADD http://{}/x /x\n", huge.address),
    );
    hoist
        .run("image build .")
        .code(1)
        .says("no more can be kept here");
    let none = Raw::start(|mut stream| {
        let _ = stream.write_all(b"no protocol at all\r\n\r\n");
    });
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nADD http://{}/x /x\n", none.address),
    );
    hoist.run("image build .").code(1).says("Dockerfile:2:1");
    nothing_half_made(&hoist);
}

fn a_server_never_ends_or_never_answers() {
    let hoist = Sandbox::new();
    let busy = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&busy);
    let endless = Raw::start(move |mut stream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while sent.is_ok() {
            seen.store(true, Ordering::SeqCst);
            sent = stream.write_all(&[b'x'; 4096]);
            std::thread::yield_now();
        }
    });
    let asked = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&asked);
    let silent = Raw::start(move |mut stream| {
        heard.store(true, Ordering::SeqCst);
        // Until the other side goes away.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for (address, begun) in [(endless.address, &busy), (silent.address, &asked)] {
        hoist.file(
            "Dockerfile",
            format!("FROM tiny\nADD http://{address}/x /x\n"),
        );
        for line in [
            "image build .".to_owned(),
            format!("image build http://{address}/context"),
        ] {
            begun.store(false, Ordering::SeqCst);
            let mut running = hoist.start(&line);
            eventually("the server is asked", || {
                begun.load(Ordering::SeqCst).then_some(())
            });
            running.signal(Signal::SIGINT);
            assert_eq!(running.wait(), 130, "{}", running.text());
        }
    }
    nothing_half_made(&hoist);
    assert_eq!(
        children(&hoist.data().join("cache/sources/files")),
        Vec::<PathBuf>::new()
    );
}

fn a_server_names_a_file_elsewhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    for name in [
        "../../../../../canary/song",
        "..",
        "/etc/passwd",
        "a\\..\\b",
        "",
        ".",
    ] {
        let name = name.to_owned();
        let server = Server::start(move |_| {
            let mut reply = Reply::ok("text/plain", "evil\n");
            reply.headers.push(format!(
                "Content-Disposition: attachment; filename=\"{name}\""
            ));
            reply
        });
        let at = server.address;
        let text = format!(
            "FROM tiny\nADD http://{at}/ /x/\nADD http://{at}/..%2f..%2fcanary%2fnew /x/\nADD http://{at}/%2e%2e /x/\n\
             RUN ls -a /x /; cat /x/*\n"
        );
        hoist.file("Dockerfile", text);
        hoist
            .run("image build --progress plain --no-cache .")
            .ok()
            .says("evil");
        canary.sings();
    }
}

fn a_layout_names_blobs_elsewhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let layout = hoist.dir().join("layout");
    let put = |name: &str, text: &str| {
        let path = layout.join(name);
        std::fs::create_dir_all(path.parent().expect("below the layout")).expect("writable");
        std::fs::write(path, text).expect("writable");
    };
    put("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("writable");
    hoist.file("Dockerfile", "FROM evil\nRUN true\n");
    let build = |end: &str| {
        let place = format!("evil=oci-layout://{}{end}", layout.display());
        hoist
            .global(&[
                "image",
                "build",
                "--build-context",
                &place,
                &hoist.dir().to_string_lossy(),
            ])
            .code(1)
    };
    let index = |digest: &str| {
        format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":1}}]}}"
        )
    };
    let up = format!("sha256:../../../{}", canary.song());
    for digest in [up.as_str(), "../../canary/song", "sha256:", "md5:00"] {
        put("index.json", &index(digest));
        drop(build(""));
    }
    let named = "a".repeat(64);
    put("index.json", &index(&format!("sha256:{named}")));
    link(canary.song(), &layout.join("blobs/sha256").join(&named));
    build("").says("is a link").says_nothing_of("sings");
    drop(build("@sha256:../../x"));
    drop(build(":../../x"));
    // The index itself is a link out.
    std::fs::remove_file(layout.join("index.json")).expect("it is there");
    link(canary.song(), &layout.join("index.json"));
    build("").says("leads out").says_nothing_of("sings");
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}
