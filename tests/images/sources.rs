//! Where builds get files from beside a directory: addresses, repositories, archives, layouts of images.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::git::{Daemon, commit, git, repository};
use crate::harness::server::{Reply, Request, Server};
use crate::harness::{Need, Sandbox};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program("git")];
    files_of_addresses_are_added_with_their_name_mode_and_time,
    an_address_is_asked_again_with_what_its_server_said,
    what_is_wrong_with_an_address_is_told_at_its_instruction,
    a_checksum_of_any_known_algorithm_must_be_right,
    a_repository_is_a_context_by_branch_tag_commit_and_directory,
    a_repository_is_added_with_or_without_its_git_directory,
    submodules_come_with_a_repository_unless_its_address_says_no,
    an_archive_or_a_dockerfile_at_an_address_is_a_context,
    standard_input_is_an_archive_or_a_dockerfile,
    named_contexts_are_addresses_repositories_and_stages,
    an_image_of_an_oci_layout_is_a_named_context,
    a_named_context_stands_for_an_image_and_for_a_stage,
    compose_files_name_remote_contexts_with_places_in_errors,
    the_image_of_another_service_is_a_named_context,
    credentials_for_addresses_are_secrets_and_are_kept_nowhere,
);

/// Serves one answer a path; counts what it was asked.
fn serve(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Server, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    let server = Server::start(move |request| {
        seen.fetch_add(1, Ordering::SeqCst);
        answer(request)
    });
    (server, count)
}

fn has(request: &Request, line: &str) -> bool {
    let same = |known: &String| known.eq_ignore_ascii_case(line);
    request.headers.iter().any(same)
}

/// An archive of a directory, made by the system's own tar.
fn tar(dir: &Path, flags: &str) -> Vec<u8> {
    let done = Command::new("tar")
        .args([flags, "-", "-C"])
        .arg(dir)
        .arg(".")
        .output()
        .expect("tar runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// Builds what a Dockerfile says and gives what the image's files print.
fn built(hoist: &Sandbox, text: &str) -> crate::harness::process::Done {
    hoist.file("Dockerfile", text);
    hoist.run("image build --progress plain -t made .")
}

fn files_of_addresses_are_added_with_their_name_mode_and_time() {
    let hoist = Sandbox::new();
    hoist.file("t/in.txt", "in\n");
    let archive = tar(&hoist.dir().join("t"), "-czf");
    let (server, _) = serve(move |request| {
        let mut reply = Reply::ok("text/plain", "text\n");
        match request.path.as_str() {
            "/dated" => {
                let time = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
                reply.headers.push(time.to_owned());
            }
            "/" => {
                let name = "Content-Disposition: attachment; filename=\"../said.txt\"";
                reply.headers.push(name.to_owned());
            }
            "/a.tgz" => reply.body.clone_from(&archive),
            "/elsewhere" => {
                reply = Reply::status(302);
                reply.headers.push("Location: /dated".to_owned());
            }
            _ => {}
        }
        reply
    });
    let at = format!("http://{}", server.address);
    let text = format!(
        "FROM tiny\nADD {at}/dir/plain.txt?x=/y.txt /a/\nADD {at}/dated /b\nADD {at}/ /c/\n\
         ADD --chown=5:6 --chmod=0750 {at}/a.tgz /d/\nADD --unpack {at}/a.tgz /e/\n\
         ADD {at}/one {at}/two%20words t/in.txt /f/\nADD {at}/elsewhere /g/\nADD --link {at}/one /h/\n\
         RUN cd / && stat -c 'is %n %a %u:%g %Y' a/* b c/* d/* e/* f/* g/* h/*\n"
    );
    let done = built(&hoist, &text).ok();
    for line in [
        "is a/plain.txt 600 0:0 0",
        "is b 600 0:0 784111777",
        "is c/said.txt 600 0:0 0",
        "is d/a.tgz 750 5:6 0",
        "is f/one 600 0:0 0",
        "is f/two words 600 0:0 0",
        "is f/in.txt 644 0:0 ",
        "is g/elsewhere 600 0:0 784111777",
        "is h/one 600 0:0 0",
        "is e/in.txt 644 0:0 ",
    ] {
        assert!(done.all().contains(line), "{line}: {}", done.story());
    }
}

fn an_address_is_asked_again_with_what_its_server_said() {
    let hoist = Sandbox::new();
    let content = Arc::new(Mutex::new("one\n"));
    let now = Arc::clone(&content);
    let unchanged = Arc::new(AtomicU32::new(0));
    let told = Arc::clone(&unchanged);
    let (server, count) = serve(move |request| {
        let body = *now.lock().expect("nobody panicked");
        let tag = format!("\"{}\"", body.trim());
        if request.path == "/tagged" && has(request, &format!("If-None-Match: {tag}")) {
            told.fetch_add(1, Ordering::SeqCst);
            return Reply::status(304);
        }
        let mut reply = Reply::ok("text/plain", body);
        if request.path == "/tagged" {
            reply.headers.push(format!("ETag: {tag}"));
        }
        reply
    });
    let at = format!("http://{}", server.address);
    let text =
        format!("FROM tiny\nADD {at}/tagged {at}/plain /f/\nRUN cat /f/tagged /f/plain > /all\n");
    built(&hoist, &text).ok().says_nothing_of("CACHED");
    let again = built(&hoist, &text).ok();
    assert_eq!(
        again.all().matches("CACHED").count(),
        2,
        "{}",
        again.story()
    );
    assert_eq!(
        unchanged.load(Ordering::SeqCst),
        1,
        "the server had to send it again"
    );
    *content.lock().expect("nobody panicked") = "two\n";
    built(&hoist, &text).ok().says_nothing_of("CACHED");
    // With a checksum that is right the server is not even asked.
    let sum = "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a";
    let text = format!("FROM tiny\nADD --checksum=sha256:{sum} {at}/tagged /f\n");
    built(&hoist, &text).ok();
    let asked = count.load(Ordering::SeqCst);
    built(&hoist, &text).ok();
    drop(server);
    hoist.run("image build --no-cache -t made .").ok();
    assert_eq!(count.load(Ordering::SeqCst), asked);
}

fn what_is_wrong_with_an_address_is_told_at_its_instruction() {
    let hoist = Sandbox::new();
    let (server, _) = serve(|_| Reply::status(404));
    let at = format!("http://{}", server.address);
    let say = |line: &str| built(&hoist, &format!("FROM tiny\n{line}\n")).code(1);
    say(&format!("ADD {at}/none /"))
        .says("/none: the server answers with status 404")
        .says("2 | >>> ADD http");
    say("ADD http://127.0.0.1:1/x /")
        .says("refused")
        .says("Dockerfile:2:1");
    say("ADD http:///x /").says("Dockerfile:2:1");
    say(&format!("ADD --checksum=sha256:00 {at}/x /")).says("sha256 has 64 hex digits, not 2");
    say(&format!("ADD --checksum=md5:00 {at}/x /")).says("unsupported algorithm `md5`");
    say("ADD --checksum=sha256:00 Dockerfile /").says("checksum requires HTTP(S) or Git sources");
    say(&format!("ADD --checksum=sha256:00 {at}/x {at}/y /"))
        .says("checksum can't be specified for multiple sources");
    say(&format!("COPY {at}/x /"))
        .says("source can't be a URL for COPY")
        .says("use ADD");
    hoist
        .run(&format!("image build {at}/context"))
        .code(1)
        .says("failed to read the context")
        .says("status 404");
    hoist
        .run("image build s3://bucket/x")
        .code(1)
        .says("`s3://` is unknown");
}

fn a_checksum_of_any_known_algorithm_must_be_right() {
    let hoist = Sandbox::new();
    let (server, _) = serve(|_| Reply::ok("text/plain", "one\n"));
    let at = format!("http://{}/f", server.address);
    let sha256 = "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";
    let sha512 = "9f2e3a4b";
    built(
        &hoist,
        &format!("FROM tiny\nADD --checksum=sha256:{sha256} {at} /f\n"),
    )
    .ok();
    let wrong = built(
        &hoist,
        &format!(
            "FROM tiny\nADD --checksum=sha256:{} {at} /f\n",
            "0".repeat(64)
        ),
    );
    wrong
        .code(1)
        .says(&format!("its checksum is sha256:{sha256}"))
        .says(&format!("write --checksum=sha256:{sha256}"));
    built(
        &hoist,
        &format!("FROM tiny\nADD --checksum=sha512:{sha512} {at} /f\n"),
    )
    .code(1)
    .says("sha512 has 128 hex digits");
    for (program, name) in [("sha384sum", "sha384"), ("sha512sum", "sha512")] {
        hoist.file("one", "one\n");
        let done = Command::new(program).arg(hoist.dir().join("one")).output();
        let text = String::from_utf8(done.expect("coreutils are there").stdout);
        let text = text.expect("digits");
        let sum = text
            .split_whitespace()
            .next()
            .expect("it prints a sum")
            .to_owned();
        built(
            &hoist,
            &format!("FROM tiny\nADD --checksum={name}:{sum} {at} /f\n"),
        )
        .ok();
        let other = format!("{name}:{}", "0".repeat(sum.len()));
        built(
            &hoist,
            &format!("FROM tiny\nADD --checksum={other} {at} /f\n"),
        )
        .code(1)
        .says(&format!("not {other}"));
    }
}

fn a_repository_is_a_context_by_branch_tag_commit_and_directory() {
    let hoist = Sandbox::new();
    let file = "FROM tiny\nCOPY . /x\nRUN echo \"has $(cd /x && echo * .[a-z]*) $(cat /x/name)\"\n";
    let repo = repository(
        &hoist,
        &[
            ("Dockerfile", file),
            ("name", "first\n"),
            (".dockerignore", "name\n"),
            ("sub/Dockerfile", file),
            ("sub/name", "below\n"),
            ("sub/other.file", "FROM tiny\nRUN echo other file\n"),
        ],
    );
    let first = git(&repo, &["rev-parse", "HEAD"]);
    git(&repo, &["tag", "-a", "-m", "t", "v1"]);
    std::fs::write(repo.join("name"), "second\n").expect("writable");
    commit(&repo);
    git(&repo, &["branch", "feature/x"]);
    let daemon = Daemon::start(&repo);
    let build = |end: &str, more: &str| {
        hoist.run(&format!(
            "image build --progress plain --no-cache {more} '{}{end}'",
            daemon.url
        ))
    };
    // The ignore file of a remote context is a file like others.
    build("", "")
        .ok()
        .says("has Dockerfile name sub .dockerignore second");
    build("#v1", "").ok().says("first");
    build("#feature/x", "").ok().says("second");
    build(&format!("#{first}"), "").ok().says("first");
    build("#main:sub", "")
        .ok()
        .says("has Dockerfile name other.file .[a-z]* below");
    build("?branch=main&subdir=sub", "").ok().says("below");
    build("?tag=v1", "").ok().says("first");
    build("#:sub", "-f other.file").ok().says("other file");
    build(&format!("?ref=v1&checksum={}", &first[..10]), "").ok();
    build(&format!("?ref=main&commit={}", "e".repeat(40)), "")
        .code(1)
        .says("does not begin with the checksum");
    build("#none", "").code(1).says("no branch or tag `none`");
    build("#main:none", "")
        .code(1)
        .says("the repository has no directory `none`");
    build("", "-f none")
        .code(1)
        .says("failed to read dockerfile none");
    // A commit that is here needs nobody.
    let pinned = format!("image build '{}#{first}'", daemon.url);
    drop(daemon);
    hoist.ok(&pinned);
}

fn a_repository_is_added_with_or_without_its_git_directory() {
    let hoist = Sandbox::new();
    let repo = repository(
        &hoist,
        &[
            ("name", "content\n"),
            ("sub/below", ""),
            ("Dockerfile", "FROM tiny\nCOPY . /r\nRUN cat /r/.git/HEAD\n"),
        ],
    );
    let daemon = Daemon::start(&repo);
    let head = git(&repo, &["rev-parse", "HEAD"]);
    let url = &daemon.url;
    let text = format!(
        "FROM tiny\nADD {url}#main /a\nADD --keep-git-dir {url} /b/\nADD --chown=3:4 {url}#:sub /c\n\
         ADD --keep-git-dir=false {url}?keep-git-dir=1 /d\nADD --checksum={head} --link {url} /e\n\
         RUN echo \"a: $(cd /a && echo * .g*) b: $(cat /b/.git/HEAD) d: $(cd /d && echo .g*) $(stat -c '%a %u:%g' /c/below) \
         $(cat /e/name)\" && cat /b/.git/config\n"
    );
    built(&hoist, &text)
        .ok()
        .says(&format!(
            "a: Dockerfile name sub .g* b: {head} d: .g* 644 3:4 content"
        ))
        .says(&format!("url = {url}"))
        .says_nothing_of("refs/hoist");
    let wrong = "f".repeat(40);
    built(
        &hoist,
        &format!("FROM tiny\nADD --checksum={wrong} {url} /e\n"),
    )
    .code(1)
    .says("does not begin with the checksum")
    .says("2 | >>> ADD");
    built(&hoist, &format!("FROM tiny\nADD --checksum=xyz {url} /e\n"))
        .code(1)
        .says("invalid checksum `xyz`");
    hoist
        .run(&format!("image build --progress plain '{url}'"))
        .code(1)
        .says("can't open '/r/.git/HEAD'");
    let kept = "--build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1";
    hoist
        .run(&format!("image build --progress plain {kept} '{url}'"))
        .ok()
        .says(&head);
    hoist
        .run(&format!(
            "image build --progress plain '{url}?keep-git-dir=true'"
        ))
        .ok();
}

fn submodules_come_with_a_repository_unless_its_address_says_no() {
    let hoist = Sandbox::new();
    let inner = hoist.data().with_file_name("inner");
    std::fs::create_dir_all(&inner).expect("the sandbox is writable");
    git(&inner, &["init", "--quiet", "."]);
    std::fs::write(inner.join("deep"), "deep content\n").expect("writable");
    commit(&inner);
    let served = Daemon::start(&inner);
    let repo = repository(
        &hoist,
        &[(
            "Dockerfile",
            "FROM tiny\nCOPY . /x\nRUN echo \"has $(cd /x/mod && echo * .g*)\"\n",
        )],
    );
    git(
        &repo,
        &["submodule", "--quiet", "add", "--", &served.url, "mod"],
    );
    commit(&repo);
    let daemon = Daemon::start(&repo);
    let build = |end: &str| {
        hoist.run(&format!(
            "image build --progress plain --no-cache '{}{end}'",
            daemon.url
        ))
    };
    build("").ok().says("has deep .g*");
    build("?submodules=false").ok().says("has * .g*");
}

fn an_archive_or_a_dockerfile_at_an_address_is_a_context() {
    let hoist = Sandbox::new();
    hoist.file(
        "c/Dockerfile",
        "FROM tiny\nCOPY in.txt /\nRUN cat /in.txt\n",
    );
    hoist.file("c/Other", "FROM tiny\nRUN echo the other\n");
    hoist.file("c/in.txt", "inside\n");
    hoist.file("c/.dockerignore", "in.txt\n");
    let plain = tar(&hoist.dir().join("c"), "-cf");
    let packed = tar(&hoist.dir().join("c"), "-czf");
    let (server, _) = serve(move |request| match request.path.as_str() {
        "/c.tar" => Reply::ok("application/x-tar", plain.clone()),
        "/download?id=7" => Reply::ok("application/octet-stream", packed.clone()),
        "/some.Dockerfile" => Reply::ok(
            "text/plain",
            "FROM tiny\nCOPY . /x\nRUN echo \"holds $(ls /x)\"\n",
        ),
        _ => Reply::ok("text/plain", "no instruction\n"),
    });
    let build = |path: &str| {
        let url = format!("http://{}{path}", server.address);
        hoist.run(&format!("image build --progress plain --no-cache '{url}'"))
    };
    build("/c.tar").ok().says("inside");
    build("/download?id=7").ok().says("inside");
    build("/some.Dockerfile").ok().says("holds context");
    build("/text")
        .code(1)
        .says("context:1:1: unknown instruction: no");
    let other = format!(
        "image build --progress plain -f Other 'http://{}/c.tar'",
        server.address
    );
    hoist.run(&other).ok().says("the other");
}

fn standard_input_is_an_archive_or_a_dockerfile() {
    let hoist = Sandbox::new();
    hoist.file(
        "c/Dockerfile",
        "FROM tiny\nCOPY in.txt /\nRUN cat /in.txt\n",
    );
    hoist.file("c/Other", "FROM tiny\nRUN echo the other\n");
    hoist.file("c/in.txt", "inside\n");
    let dir = hoist.dir().join("c");
    let build = |input: &[u8], more: &str| {
        hoist.pipe(
            &format!("image build --progress plain --no-cache {more} -"),
            input,
        )
    };
    for flags in ["-cf", "-czf", "-cjf"] {
        build(&tar(&dir, flags), "").ok().says("inside");
    }
    build(&tar(&dir, "-cf"), "-f Other").ok().says("the other");
    build(b"FROM tiny\nRUN echo alone\n", "").ok().says("alone");
    build(b"FROM tiny\nCOPY x /\n", "")
        .code(1)
        .says("\"/x\": not found");
    build(b"FROM tiny\n", "-f Other")
        .code(1)
        .says("another one is named");
    build(b"", "").code(1).says("standard input is empty");
    build(b"FROM tiny\n", "-f -").code(1).says("can't be both");
    let cut = &tar(&dir, "-cf")[..700];
    build(cut, "").code(1).says("the archive can't be unpacked");
}

fn named_contexts_are_addresses_repositories_and_stages() {
    let hoist = Sandbox::new();
    let repo = repository(
        &hoist,
        &[("name", "of the repository\n"), ("sub/x", "below\n")],
    );
    let daemon = Daemon::start(&repo);
    hoist.file("t/in.txt", "of the archive\n");
    let archive = tar(&hoist.dir().join("t"), "-czf");
    let (server, count) = serve(move |_| Reply::ok("application/gzip", archive.clone()));
    let text = "FROM tiny AS base\nRUN echo of the stage > /own\nFROM tiny\nCOPY --from=repo name /\n\
                COPY --from=sub . /sub\nCOPY --from=web in.txt /\nCOPY --from=again /own /\n\
                RUN --mount=from=repo,target=/r --mount=from=web,source=in.txt,target=/w cat /r/name /w /name /sub/x /in.txt /own\n\
                FROM repo\nCOPY --from=1 /own /\n";
    hoist.file("Dockerfile", text);
    let build = |target: &str| {
        hoist.run(&format!(
            "image build --progress plain --no-cache --build-context 'repo={0}' --build-context 'sub={0}#main:sub' \
             --build-context web=http://{1}/a.tgz --build-context again=target:base {target} .",
            daemon.url, server.address
        ))
    };
    let done = build("--target base -t base").ok();
    assert_eq!(
        count.load(Ordering::SeqCst),
        0,
        "fetched for nothing: {}",
        done.story()
    );
    build("-t made")
        .ok()
        .says("of the repository\n")
        .says("of the archive")
        .says("below")
        .says("of the stage");
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "an address is asked once a build"
    );
    // What stands on a repository has its files and nothing else.
    let saved = hoist.data().with_file_name("made.tar");
    hoist
        .global(&["image", "save", "-o", &saved.to_string_lossy(), "made"])
        .ok();
    hoist.file("Dockerfile", "FROM tiny\nCOPY --from=again /x /\n");
    hoist
        .run("image build --build-context again=target:none .")
        .code(1)
        .says("could not be found");
    hoist
        .run("image build --build-context x=y=z .")
        .code(1)
        .says("there is no directory");
    hoist
        .run("image build --build-context x=git://-x/y .")
        .code(1)
        .says("take for an option");
}

fn an_image_of_an_oci_layout_is_a_named_context() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN echo laid out > /note\nENV LAID=out\n",
    );
    hoist.ok("image build -t laid:v1 .");
    let archive = hoist.dir().join("laid.tar");
    hoist
        .global(&["image", "save", "-o", &archive.to_string_lossy(), "laid:v1"])
        .ok();
    let layout = hoist.dir().join("layout");
    std::fs::create_dir(&layout).expect("the sandbox is writable");
    let done = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&layout)
        .status();
    assert!(done.expect("tar runs").success());
    let mut fresh = Sandbox::empty();
    fresh.import_tiny();
    fresh.file(
        "Dockerfile",
        "FROM base AS a\nRUN echo \"$LAID $(cat /note)\"\nFROM tiny\nCOPY --from=base /note /n\nCOPY --from=a /note /m\n\
         RUN --mount=from=base,target=/b cat /n /b/note\n",
    );
    let build = |place: &str| {
        fresh.run(&format!(
            "image build --progress plain --no-cache --build-context base=oci-layout://{place} ."
        ))
    };
    let dir = layout.display();
    for end in ["", ":v1"] {
        build(&format!("{dir}{end}"))
            .ok()
            .says("out laid out")
            .says("laid out\n");
    }
    let index = std::fs::read_to_string(layout.join("index.json")).expect("a layout has one");
    let at = index.find("sha256:").expect("it names a manifest");
    let digest = &index[at..at + 71];
    build(&format!("{dir}@{digest}")).ok();
    build(&format!("{dir}:v2"))
        .code(1)
        .says("no image `v2`")
        .says("its tags are v1")
        .says("1:");
    build(&format!("{dir}@sha256:{}", "0".repeat(64)))
        .code(1)
        .says("has no blob");
    build("/nowhere").code(1).says("/nowhere");
    build(&format!("{}", fresh.dir().display()))
        .code(1)
        .says("it is no OCI layout");
}

fn a_named_context_stands_for_an_image_and_for_a_stage() {
    let hoist = Sandbox::new();
    hoist.file("dir/note", "of the directory\n");
    hoist.file(
        "Dockerfile",
        "FROM example.com/none:1 AS away\nFROM tiny AS stage\nRUN echo of the stage > /note\n\
         FROM tiny\nCOPY --from=stage /note /by-name\nCOPY --from=1 /note /by-number\n\
         COPY --from=docker.io/library/other /note /by-image\nRUN cat /by-name /by-number /by-image\n",
    );
    let flags = "--build-context stage=dir --build-context other=dir --build-context example.com/none:1=docker-image://tiny";
    let done = hoist
        .run(&format!("image build --progress plain {flags} ."))
        .ok();
    assert_eq!(
        done.all().matches(" of the directory\n").count(),
        3,
        "{}",
        done.story()
    );
    hoist.file("Dockerfile", "FROM example.com/none:1\nRUN echo stands\n");
    hoist
        .run(&format!("image build --progress plain {flags} ."))
        .ok()
        .says("stands");
    // A directory that a stage begins with is all of its files.
    hoist.file(
        "Dockerfile",
        "FROM stage AS x\nFROM tiny\nCOPY --from=x / /all\nRUN ls /all\n",
    );
    hoist
        .run(&format!("image build --progress plain {flags} ."))
        .ok()
        .says("note");
}

fn compose_files_name_remote_contexts_with_places_in_errors() {
    let hoist = Sandbox::new();
    let repo = repository(
        &hoist,
        &[
            (
                "app/Dockerfile",
                "FROM tiny\nCOPY --from=more x /\nCMD cat /x\n",
            ),
            ("more/x", "from more\n"),
        ],
    );
    let daemon = Daemon::start(&repo);
    let file = |directory: &str| {
        format!(
            "services:\n  a:\n    build:\n      context: {0}#main:{directory}\n      additional_contexts:\n        \
             more: {0}#main:more\n",
            daemon.url
        )
    };
    hoist.compose(&file("app"));
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("from more");
    hoist.compose(&file("none"));
    hoist
        .run("build")
        .code(1)
        .says("compose.yaml:4:16")
        .says("the repository has no directory `none`");
    hoist.compose("services:\n  a:\n    build: {context: 'git://127.0.0.1:1/x.git#../y'}\n");
    hoist.run("build").code(1).says("compose.yaml:3:22");
}

fn the_image_of_another_service_is_a_named_context() {
    let hoist = Sandbox::new();
    hoist.file(
        "base/Dockerfile",
        "FROM tiny\nRUN echo of the other > /note\n",
    );
    hoist.file(
        "app/Dockerfile",
        "FROM tiny\nCOPY --from=parent /note /n\nCMD cat /n\n",
    );
    hoist.compose(
        "services:\n  app:\n    build:\n      context: app\n      additional_contexts:\n        parent: service:base\n  base:\n    \
         build: base\n",
    );
    hoist.ok("build app");
    hoist.ok("run --rm -T app").prints("of the other");
}

fn credentials_for_addresses_are_secrets_and_are_kept_nowhere() {
    let hoist = Sandbox::new();
    let repo = repository(
        &hoist,
        &[
            ("Dockerfile", "FROM tiny\nCOPY . /x\n"),
            ("name", "private\n"),
        ],
    );
    git(&repo, &["update-server-info"]);
    let root = repo.join(".git");
    let server = Server::start(move |request| {
        // `x-access-token:s3cret`
        let known = ["Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0", "Bearer s3cret"];
        if !known
            .iter()
            .any(|value| has(request, &format!("authorization: {value}")))
        {
            let mut reply = Reply::status(401);
            reply
                .headers
                .push("WWW-Authenticate: Basic realm=\"r\"".to_owned());
            return reply;
        }
        match request.path.as_str() {
            "/file" => Reply::ok("text/plain", "private\n"),
            _ => crate::harness::git::files_of(&root, request),
        }
    });
    hoist.file("token", "s3cret\n");
    hoist.file("header", "Bearer s3cret\n");
    let at = server.address;
    let host = at.ip();
    let git_url = format!("http://{at}/repo.git");
    hoist
        .run(&format!("image build {git_url}"))
        .code(1)
        .says("refuses access");
    let token = "--secret id=GIT_AUTH_TOKEN,src=token";
    hoist.ok(&format!("image build {token} -t a {git_url}"));
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nADD http://{at}/file {git_url} /x/\n"),
    );
    hoist
        .run("image build .")
        .code(1)
        .says("status 401")
        .says("HTTP_AUTH_TOKEN_<host>");
    let more = format!(
        "--secret id=HTTP_AUTH_TOKEN_{host},src=token --secret id=GIT_AUTH_HEADER.{at},src=header"
    );
    hoist.ok(&format!("image build {more} --no-cache -t b ."));
    let found = Command::new("grep")
        .args(["-rlaE", "s3cret|czNjcmV0"])
        .arg(hoist.data())
        .output();
    let found = found.expect("grep runs");
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        "",
        "the token was kept"
    );
}
