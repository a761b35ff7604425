//! Compose files in git repositories and registries, served on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::git::{Daemon, commit, git, repository};
use crate::harness::server::{Reply, Server};
use crate::harness::{Need, Sandbox, leftovers::children, program};

crate::cases!(&[Need::Program("git")];
    a_project_in_a_repository_is_loaded_and_pinned_without_the_network,
    include_and_extends_name_files_of_repositories,
    what_a_repository_does_not_have_is_said_where_it_is_asked_for,
    a_repository_runs_nothing_and_leads_nowhere,
    credentials_are_used_and_neither_shown_nor_kept,
    a_project_in_a_registry_is_loaded_by_tag_and_by_digest,
    a_damaged_or_hostile_artifact_leaves_nothing,
    variables_switch_remote_files_off,
    what_comes_from_elsewhere_is_shown_before_it_acts,
);

fn config(hoist: &Sandbox, arguments: &[&str]) -> Value {
    let all = [arguments, &["config", "--format", "json"]].concat();
    serde_json::from_str(&hoist.global(&all).ok().out).expect("JSON")
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut open = vec![dir.to_path_buf()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for path in children(&dir) {
            match path.symlink_metadata() {
                Ok(kind) if kind.is_dir() => open.push(path),
                _ => found.push(path),
            }
        }
    }
    found
}

fn a_project_in_a_repository_is_loaded_and_pinned_without_the_network() {
    let hoist = Sandbox::empty();
    let repo = repository(
        &hoist,
        &[
            ("compose.yaml", "services: {root: {image: r}}\n"),
            (
                "sub/compose.yml",
                "services: {a: {image: 'x:${TAG:-none}', build: ./ctx, env_file: e.env}}\n",
            ),
            ("sub/e.env", "E=1\n"),
        ],
    );
    let first = git(&repo, &["rev-parse", "HEAD"]);
    git(&repo, &["tag", "-a", "-m", "t", "v1"]);
    git(&repo, &["branch", "feature/main"]);
    std::fs::write(repo.join("sub/e.env"), "E=2\n").expect("writable");
    let second = commit(&repo);
    hoist.file(".env", "TAG=local\n");
    let daemon = Daemon::start(&repo);
    let url = daemon.url.clone();
    assert!(config(&hoist, &["-f", &url])["services"]["root"].is_object());
    for (reference, commit, value) in [
        ("#main:sub", &second, "2"),
        ("#v1:sub", &first, "1"),
        ("?branch=main&subdir=sub/compose.yml", &second, "2"),
        (&format!("#{first}:sub"), &first, "1"),
    ] {
        let document = config(&hoist, &["-f", &format!("{url}{reference}")]);
        let service = &document["services"]["a"];
        assert_eq!(service["image"], "x:local", "{reference}");
        assert_eq!(service["environment"]["E"], value, "{reference}");
        let context = service["build"]["context"].as_str().expect("a path");
        let expected = hoist.data().join("git").join(commit).join("sub/ctx");
        assert_eq!(Path::new(context), expected, "{reference}");
        assert_eq!(
            document["name"], "p",
            "the working directory gives the name"
        );
    }
    // Files only: no repository that could be taken for one, nothing half done.
    let kept = hoist.data().join("git");
    let names: Vec<String> = children(&kept)
        .iter()
        .map(|path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(names.len(), 3, "two commits and the lock: {names:?}");
    assert!(!kept.join(&first).join(".git").exists());
    drop(daemon);
    config(&hoist, &["-f", &format!("{url}#{first}:sub")]);
    config(&hoist, &["-f", &format!("{url}?checksum={second}")]);
    hoist
        .global(&["-f", &format!("{url}#main"), "config"])
        .code(1)
        .says("the host is not in reach")
        .says("with a commit of 40 digits");
}

fn include_and_extends_name_files_of_repositories() {
    let hoist = Sandbox::empty();
    let repo = repository(
        &hoist,
        &[
            (
                "sub/compose.yaml",
                "include: [deep/more.yaml]\nservices: {a: {image: 'a:$V', volumes: ['./d:/d'], extends: {file: ../base.yaml, service: b}}}\n",
            ),
            ("sub/.env", "V=theirs\n"),
            (
                "sub/deep/more.yaml",
                "services: {m: {image: m, build: .}}\n",
            ),
            (
                "base.yaml",
                "services: {b: {hostname: h, volumes: ['./e:/e']}}\n",
            ),
        ],
    );
    let daemon = Daemon::start(&repo);
    let url = &daemon.url;
    hoist.compose(&format!(
        "include: ['{url}#main:sub']\nservices: {{x: {{image: x, extends: {{file: '{url}#:base.yaml', service: b}}}}}}\n"
    ));
    let commit = git(&repo, &["rev-parse", "HEAD"]);
    let document = config(&hoist, &[]);
    let at = |path: &str| {
        let path = hoist.data().join("git").join(&commit).join(path);
        Value::String(path.display().to_string())
    };
    let services = &document["services"];
    assert_eq!(services["a"]["image"], "a:theirs");
    assert_eq!(services["a"]["hostname"], "h");
    assert_eq!(services["a"]["volumes"][0]["source"], at("e"));
    assert_eq!(services["a"]["volumes"][1]["source"], at("sub/d"));
    assert_eq!(services["m"]["build"]["context"], at("sub/deep"));
    assert_eq!(services["x"]["volumes"][0]["source"], at("e"));
}

fn what_a_repository_does_not_have_is_said_where_it_is_asked_for() {
    let hoist = Sandbox::empty();
    let repo = repository(
        &hoist,
        &[("deploy/compose.yaml", "services: {a: {image: a}}\n")],
    );
    git(&repo, &["branch", "release-2"]);
    let daemon = Daemon::start(&repo);
    let url = &daemon.url;
    let say = |reference: &str| {
        hoist.compose(&format!("include:\n  - {reference}\n"));
        hoist
            .global(&["config"])
            .code(1)
            .says("compose.yaml:2:5: `include` names ")
    };
    say(&format!("{url}#release-3"))
        .says("no branch or tag `release-3`")
        .says("did you mean `release-2`?");
    say(&format!("{url}#0123abc")).says("write a commit in full");
    say(&format!("{url}#{}", "0".repeat(40))).says("no commit 0000");
    say(&format!("{url}?checksum=0123abcd")).says("does not begin with the checksum 0123abcd");
    say(&format!("{url}#main:deplo"))
        .says("there is no `deplo`")
        .says("did you mean `deploy`?");
    say(&format!("{url}#main")).says("no compose file in its root directory");
    say(&url.replace("/.git", "/none.git")).says("no such repository");
    say(&format!("{url}#--upload-pack=id")).says("begins with `-`");
    say(&format!("{url}#main:../../etc")).says("leads out of the repository");
    hoist.set("PATH", "/nonexistent");
    say(url)
        .says("git is not installed")
        .says("apt-get install git");
}

fn a_repository_runs_nothing_and_leads_nowhere() {
    let hoist = Sandbox::empty();
    let ran = hoist.data().with_file_name("ran");
    let repo = repository(
        &hoist,
        &[
            (".gitattributes", "* filter=lfs\n"),
            (
                "ok/compose.yaml",
                "services: {a: {image: a, env_file: link.env}}\n",
            ),
            (
                "up/compose.yaml",
                "services: {a: {image: a, env_file: ../../../secret.env}}\n",
            ),
        ],
    );
    std::fs::write(hoist.data().with_file_name("secret.env"), "S=s3cret\n").expect("writable");
    for (name, target) in [
        ("ok/link.env", "../../../../secret.env"),
        ("out.yaml", "/etc/passwd"),
        ("etc", "/etc"),
    ] {
        std::os::unix::fs::symlink(target, repo.join(name)).expect("links can be made");
    }
    commit(&repo);
    // What the user has set up for other repositories must not run for this one.
    let home = hoist.data().with_file_name("h");
    let touch = format!("touch {}", ran.display());
    let config = format!(
        "[filter \"lfs\"]\nsmudge = {touch}\nprocess = {touch}\nrequired = true\n[core]\nhooksPath = {}\n",
        home.display()
    );
    std::fs::write(home.join(".gitconfig"), config).expect("writable");
    let hook = home.join("post-checkout");
    std::fs::write(&hook, format!("#!/bin/sh\n{touch}\n")).expect("writable");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the owner may change the mode");
    let daemon = Daemon::start(&repo);
    for place in ["ok", "up", "out.yaml", "etc/passwd"] {
        let reference = format!("{}#main:{place}", daemon.url);
        hoist
            .global(&["-f", &reference, "config"])
            .code(1)
            .says("outside of the remote project")
            .says_nothing_of("s3cret")
            .says_nothing_of("root:");
    }
    assert!(!ran.exists(), "something of the repository ran");
    // A repository on this machine is not a reference: what it holds is the user's own to clone.
    hoist
        .global(&["-f", &format!("file://{}", repo.display()), "config"])
        .code(1)
        .says("name the path alone");
}

fn credentials_are_used_and_neither_shown_nor_kept() {
    let hoist = Sandbox::empty();
    let repo = repository(&hoist, &[("compose.yaml", "services: {a: {image: a}}\n")]);
    git(&repo, &["update-server-info"]);
    let root = repo.join(".git");
    let server = Server::start(move |request| {
        // `me:s3cret`
        let known = request
            .headers
            .iter()
            .any(|line| line.eq_ignore_ascii_case("authorization: Basic bWU6czNjcmV0"));
        if !known {
            let mut reply = Reply::status(401);
            reply
                .headers
                .push("WWW-Authenticate: Basic realm=\"r\"".to_owned());
            return reply;
        }
        let path = request.path.split('?').next().unwrap_or_default();
        match path
            .strip_prefix("/repo.git/")
            .map(|path| std::fs::read(root.join(path)))
        {
            Some(Ok(bytes)) => Reply::ok("application/octet-stream", bytes),
            _ => Reply::status(404),
        }
    });
    let reference = |user: &str| format!("http://{user}{}/repo.git", server.address);
    hoist.compose(&format!("include: ['{}']\n", reference("me:s3cret@")));
    hoist
        .global(&["config"])
        .ok()
        .says("image: a")
        .says_nothing_of("s3cret");
    hoist.compose(&format!("include: ['{}']\n", reference("me:wr0ng@")));
    hoist
        .global(&["config"])
        .code(1)
        .says("compose.yaml:1:11: `include` names http://127.0.0.1")
        .says("refuses access")
        .says_nothing_of("wr0ng");
    for path in files(&hoist.data()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains("s3cret"),
            "{} holds the password",
            path.display()
        );
    }
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A registry with one artifact under the tag `1`: layers of remarks and text. Gives the manifest's digest too.
fn registry(layers: &[(&str, Value, &str)], damage: bool) -> (Server, String) {
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut entries = Vec::new();
    for (kind, remarks, text) in layers {
        let digest = digest(text.as_bytes());
        entries.push(json!({
            "mediaType": kind, "digest": digest, "size": text.len(), "annotations": remarks,
        }));
        let sent = if damage {
            text.to_ascii_uppercase()
        } else {
            (*text).to_owned()
        };
        blobs.insert(digest, sent.into_bytes());
    }
    let empty = digest(b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.docker.compose.project",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": entries,
    });
    let manifest = manifest.to_string().into_bytes();
    let name = digest(&manifest);
    let by_digest = format!("/v2/a/b/manifests/{name}");
    let server = Server::start(move |request| {
        let path = request.path.as_str();
        if path == "/v2/" {
            return Reply::ok("application/json", "{}");
        }
        if path == "/v2/a/b/manifests/1" || path == by_digest {
            return Reply::ok(
                "application/vnd.oci.image.manifest.v1+json",
                manifest.clone(),
            );
        }
        let blob = path
            .strip_prefix("/v2/a/b/blobs/")
            .and_then(|name| blobs.get(name));
        blob.map_or_else(
            || Reply::status(404),
            |bytes| Reply::ok("application/octet-stream", bytes.clone()),
        )
    });
    (server, name)
}

const FILE: &str = "application/vnd.docker.compose.file+yaml";
const ENV: &str = "application/vnd.docker.compose.envfile";

fn a_project_in_a_registry_is_loaded_by_tag_and_by_digest() {
    let hoist = Sandbox::empty();
    let remark = |name: &str| json!({"com.docker.compose.file": name});
    let base = json!({"com.docker.compose.file": "base", "com.docker.compose.extends": "true"});
    let (server, name) = registry(
        &[
            (
                FILE,
                remark("x.yaml"),
                "services: {a: {image: x, env_file: e.env, extends: {file: base, service: b}}}\n",
            ),
            (FILE, remark("y.yaml"), "services: {a: {image: y}}\n"),
            (FILE, base, "services: {b: {hostname: h}}\n"),
            (ENV, json!({"com.docker.compose.envfile": "e.env"}), "E=1\n"),
        ],
        false,
    );
    let tag = format!("oci://{}/a/b:1", server.address);
    let document = config(&hoist, &["-f", &tag]);
    let service = &document["services"]["a"];
    assert_eq!(service["image"], "y");
    assert_eq!(service["hostname"], "h");
    assert_eq!(service["environment"]["E"], "1");
    hoist.compose(&format!("include: ['{tag}']\n"));
    assert_eq!(config(&hoist, &[])["services"]["a"]["image"], "y");
    let pinned = format!("oci://{}/a/b:1@{name}", server.address);
    drop(server);
    assert_eq!(
        config(&hoist, &["-f", &pinned])["services"]["a"]["image"],
        "y"
    );
    hoist
        .global(&["-f", &tag, "config"])
        .code(1)
        .says("not in reach")
        .says("with a digest as reference");
    hoist
        .global(&["-f", "oci://", "config"])
        .code(1)
        .says("oci://registry/repository:tag");
}

fn a_damaged_or_hostile_artifact_leaves_nothing() {
    let hoist = Sandbox::empty();
    let remark = json!({"com.docker.compose.file": "compose.yaml"});
    let text = "services: {a: {image: x}}\n";
    let (server, _) = registry(&[(FILE, remark.clone(), text)], true);
    let reference = format!("oci://{}/a/b:1", server.address);
    hoist
        .global(&["-f", &reference, "config"])
        .code(1)
        .says("digest");
    for name in ["../../../escaped", "/tmp/escaped", "sub/x.env"] {
        let evil = json!({"com.docker.compose.envfile": name});
        let (server, _) = registry(&[(FILE, remark.clone(), text), (ENV, evil, "E=1\n")], false);
        let reference = format!("oci://{}/a/b:1", server.address);
        hoist
            .global(&["-f", &reference, "config"])
            .code(1)
            .says("which is refused")
            .says("it may be an attack");
    }
    let kept: Vec<PathBuf> = files(&hoist.data());
    assert!(
        kept.iter().all(|path| path.ends_with("lock")),
        "something is left: {kept:?}"
    );
    hoist
        .global(&[
            "-f",
            &format!("oci://{}/a/none:1", server.address),
            "config",
        ])
        .code(1)
        .says("no such artifact");
}

fn variables_switch_remote_files_off() {
    let hoist = Sandbox::empty();
    hoist.set("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "0");
    hoist.set("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "false");
    hoist
        .global(&["-f", "git://127.0.0.1:1/r", "config"])
        .code(1)
        .says("COMPOSE_EXPERIMENTAL_GIT_REMOTE switches git repositories off");
    hoist
        .global(&["-f", "oci://127.0.0.1:1/a/b", "config"])
        .code(1)
        .says("COMPOSE_EXPERIMENTAL_OCI_REMOTE switches OCI artifacts off");
    hoist.set("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "perhaps");
    hoist
        .global(&["-f", "git://127.0.0.1:1/r", "config"])
        .code(1)
        .says("neither true nor false");
}

fn what_comes_from_elsewhere_is_shown_before_it_acts() {
    let hoist = Sandbox::empty();
    let text = "services: {a: {image: 'none:${TAG:-1}', pull_policy: never, privileged: true, volumes: ['/etc:/e']}}\n";
    let repo = repository(&hoist, &[("compose.yaml", text)]);
    let daemon = Daemon::start(&repo);
    hoist.set("TAG", "2");
    hoist.compose(&format!("include: ['{}']\n", daemon.url));
    for command in ["up", "up -d", "create", "start", "restart", "run a"] {
        let said = hoist.run(command).code(1);
        said.says("This project comes from elsewhere:")
            .says(&daemon.url)
            .says(&git(&repo, &["rev-parse", "HEAD"]))
            .says("a: privileged: all rights over this machine")
            .says("a: bind mount of /etc (writable)")
            .says("TAG        2       environment   no         1")
            .says("run the same command with --trust");
    }
    // Commands that only read ask nothing, and neither does a user who has answered.
    hoist.ok("config -q").says_nothing_of("elsewhere");
    for command in ["up -d --yes", "create -y", "--trust up -d", "run --trust a"] {
        hoist.run(command).says_nothing_of("elsewhere");
    }
    if program("setsid").is_none() {
        return;
    }
    let mut asked = hoist.on_terminal("up");
    asked.says("Do you want to proceed? [y/N] ");
    asked.types("\n");
    asked.says("the answer was no");
    assert_eq!(asked.end(), 1);
}
