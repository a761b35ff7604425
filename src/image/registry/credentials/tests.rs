//! Which credentials are found for what, and what becomes of helpers and files that misbehave.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// A home directory with files, and helpers in PATH; removed when dropped.
struct Home {
    dir: PathBuf,
    env: Env,
}

impl Home {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-creds-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("bin")).unwrap();
        let mut env = Env {
            cwd: dir.clone(),
            home: Some(dir.clone()),
            ..Env::default()
        };
        let path = format!("{}:/usr/bin:/bin", dir.join("bin").display());
        env.vars.insert("PATH".to_owned(), path);
        Self { dir, env }
    }
    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
    fn helper(&self, name: &str, script: &str) {
        let path = self.file(&format!("bin/docker-credential-{name}"), script);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    fn set(&mut self, name: &str, value: &str) {
        self.env.vars.insert(name.to_owned(), value.to_owned());
    }
    fn find(&self, registry: &str, repository: &str) -> Found {
        find(registry, repository, &[], &self.env, &Cancel::default())
    }
    fn user(&self, registry: &str, repository: &str) -> String {
        match self.find(registry, repository).login {
            Some(Login::Password(user, password)) => format!("{user}:{}", password.expose()),
            Some(Login::Identity(token)) => format!("identity {}", token.expose()),
            Some(Login::Bearer(token)) => format!("bearer {}", token.expose()),
            None => "none".to_owned(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn keys_are_matched_as_docker_and_podman_do() {
    let home = Home::new("keys");
    // a:1, b:2, c:3, d:4, e:5, f:6
    home.file(
        ".docker/config.json",
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YToxCg=="},
            "r.example": {"auth": "Yjoy"},
            "r.example/ns": {"auth": "Yzoz"},
            "r.example/ns/repo": {"username": "d", "password": "4"},
            "https://old.example/v1/": {"auth": "ZTo1"},
            "ported.example:5000": {"auth": "Zjo2"},
            "i.example": {"auth": "eDo=", "identitytoken": "it"},
            "t.example": {"registrytoken": "rt"},
            "empty.example": {},
            "bad.example": {"auth": "!!"},
            "user.example/x": {"auth": "Yjoy"}
        }}"#,
    );
    for (registry, repository, found) in [
        ("docker.io", "library/busybox", "a:1\n"),
        ("r.example", "x", "b:2"),
        ("r.example", "nsx/y", "b:2"),
        ("r.example", "ns/other/y", "c:3"),
        ("r.example", "ns/repo", "d:4"),
        ("r.example:5000", "x", "none"),
        ("old.example", "x", "e:5"),
        ("ported.example:5000", "x", "f:6"),
        ("ported.example", "x", "none"),
        ("i.example", "x", "identity it"),
        ("t.example", "x", "bearer rt"),
        ("empty.example", "x", "none"),
        ("bad.example", "x", "none"),
        ("user.example", "y", "none"),
        ("index.docker.io", "x", "a:1\n"),
    ] {
        assert_eq!(
            home.user(registry, repository),
            found,
            "{registry}/{repository}"
        );
    }
    let file = home.dir.join(".docker/config.json");
    assert_eq!(
        home.find("r.example", "ns/repo").remark,
        format!(
            "those of `d` from {} were used; log in with `hoist login r.example`",
            file.display()
        )
    );
    assert_eq!(
        home.find("none.example", "x").remark,
        format!(
            "{} has none for it; log in with `hoist login none.example`",
            file.display()
        )
    );
}

#[test]
fn the_first_file_with_credentials_counts_and_a_named_one_stands_alone() {
    let mut home = Home::new("order");
    let one = |user: &str| {
        let auths = ["a.example", "b.example", "c.example"]
            .iter()
            .skip(user.len() - 1)
            .map(|host| format!("\"{host}\": {{\"username\": \"{user}\", \"password\": \"p\"}}"));
        format!("{{\"auths\": {{{}}}}}", auths.collect::<Vec<_>>().join(","))
    };
    home.set(
        "XDG_RUNTIME_DIR",
        &home.dir.join("run").display().to_string(),
    );
    home.file(".config/containers/auth.json", &one("u"));
    assert_eq!(home.user("b.example", ""), "u:p");
    home.file("run/containers/auth.json", &one("vv"));
    assert_eq!(home.user("b.example", ""), "vv:p");
    home.file(".docker/config.json", &one("www"));
    assert_eq!(home.user("a.example", ""), "u:p");
    assert_eq!(home.user("c.example", ""), "www:p");
    home.file("docker/config.json", "{}");
    home.set("DOCKER_CONFIG", "docker");
    assert_eq!(home.user("a.example", ""), "none");
    home.file("mine.json", &one("y"));
    home.set("REGISTRY_AUTH_FILE", "mine.json");
    assert_eq!(home.user("a.example", ""), "y:p");
    home.set(
        "DOCKER_AUTH_CONFIG",
        "{\"auths\": {\"a.example\": {\"auth\": \"YTox\"}}}",
    );
    assert_eq!(home.user("a.example", ""), "a:1");
    assert_eq!(home.user("b.example", ""), "y:p");
}

#[test]
fn a_malformed_file_is_told_by_line_and_without_its_text() {
    let home = Home::new("malformed");
    home.file(
        ".docker/config.json",
        "{\n  \"auths\": {\"hush\" \"hush\"}\n}",
    );
    let remark = home.find("a.example", "").remark;
    assert!(
        remark.contains("/.docker/config.json:2:20: expected `:`; ") && !remark.contains("hush"),
        "{remark}"
    );
    let login = Login::Password("u".to_owned(), Secret::new("p"));
    let error = keep("a.example", "u", &login, &home.env, &Cancel::default()).unwrap_err();
    assert!(error.to_string().contains("config.json:2:20"), "{error}");
}

const HELPER: &str = "#!/bin/sh\nread -r line || :\nprintf '%s %s\\n' \"$1\" \"$line\" >>\"$HOME_OF_TEST/calls\"\n\
case \"$1 $line\" in\n'get k.example') echo '{\"ServerURL\":\"k\",\"Username\":\"h\",\"Secret\":\"s\"}';;\n\
'get t.example') echo '{\"Username\":\"<token>\",\"Secret\":\"idt\"}';;\n\
'get https://index.docker.io/v1/') echo '{\"Username\":\"hub\",\"Secret\":\"s\"}';;\n\
'get broken.example') echo 'hush'; exit 0;;\n\
'get angry.example') echo 'the keyring is locked'; exit 3;;\n\
get*) echo 'credentials not found in native keychain'; exit 1;;\nesac\n";

#[test]
fn helpers_are_asked_and_what_they_do_wrong_is_told() {
    let mut home = Home::new("helpers");
    home.set("HOME_OF_TEST", &home.dir.display().to_string());
    home.helper("one", HELPER);
    home.helper(
        "two",
        "#!/bin/sh\necho '{\"Username\":\"two\",\"Secret\":\"s\"}'\n",
    );
    home.file(
        ".docker/config.json",
        r#"{"credsStore": "one", "credHelpers": {"two.example": "two", "gone.example": "gone",
            "path.example": "../x"}, "auths": {"plain.example": {"auth": "YTox"}, "k.example": {}}}"#,
    );
    for (registry, found) in [
        ("k.example", "h:s"),
        ("t.example", "identity idt"),
        ("docker.io", "hub:s"),
        ("two.example", "two:s"),
        ("plain.example", "a:1"),
        ("unknown.example", "none"),
    ] {
        assert_eq!(home.user(registry, "x/y"), found, "{registry}");
    }
    for (registry, remark) in [
        (
            "broken.example",
            "docker-credential-one answers with something else than the JSON of its protocol",
        ),
        (
            "angry.example",
            "docker-credential-one fails with exit code 3: the keyring is locked",
        ),
        (
            "gone.example",
            "docker-credential-gone is not installed, or not in PATH",
        ),
        (
            "path.example",
            "docker-credential-../x has no name that a program can have",
        ),
    ] {
        let found = home.find(registry, "x");
        assert_eq!(found.login, None);
        assert!(
            found.remark.contains(remark) && !found.remark.contains("hush"),
            "{}",
            found.remark
        );
    }
}

#[test]
fn a_helper_that_hangs_ends_with_the_command_and_one_that_floods_is_cut() {
    let home = Home::new("hangs");
    home.helper("slow", "#!/bin/sh\nsleep 300 & echo $! >pid\nwait\n");
    home.helper("flood", "#!/bin/sh\nexec yes\n");
    home.helper("big", "#!/bin/sh\nhead -c 2000000 /dev/zero\n");
    home.file(".docker/config.json", r#"{"credHelpers": {"slow.example": "slow", "big.example": "big", "flood.example": "flood"}}"#);
    let cancel = Cancel::default();
    let begun = Instant::now();
    let found = std::thread::scope(|scope| {
        let asked = scope.spawn(|| find("slow.example", "", &[], &home.env, &cancel));
        let pid = loop {
            let text = std::fs::read_to_string(home.dir.join("pid")).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break pid;
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        };
        cancel.cancel();
        let found = asked.join().unwrap();
        // Its own child has ended with it, or is about to.
        while nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
            && !std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap_or_default()
                .contains(") Z")
        {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        found
    });
    assert!(
        found.remark.contains("ended with this command"),
        "{}",
        found.remark
    );
    for much in ["big.example", "flood.example"] {
        let remark = home.find(much, "").remark;
        assert!(remark.contains("more than 1048576 bytes"), "{remark}");
    }
}

#[test]
fn credentials_are_kept_beside_all_else_and_forgotten_again() {
    let home = Home::new("keep");
    let real = home.file(
        "dotfiles/docker.json",
        "{\"zebra\": [1], \"auths\": {\"https://r.example/v2/\": {\"auth\": \"YTox\"}}, \"apple\": {\"x\": null}}",
    );
    std::fs::create_dir_all(home.dir.join(".docker")).unwrap();
    let link = home.dir.join(".docker/config.json");
    symlink(&real, &link).unwrap();
    let login = Login::Password("me".to_owned(), Secret::new("pass:word"));
    let cancel = Cancel::default();
    let kept = keep("r.example", "me", &login, &home.env, &cancel).unwrap();
    assert_eq!(kept, Kept::File(link.clone()));
    assert!(link.is_symlink());
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_to_string(&real).unwrap(),
        "{\n\t\"zebra\": [\n\t\t1\n\t],\n\t\"auths\": {\n\t\t\"https://r.example/v2/\": {\n\t\t\t\"auth\": \"YTox\"\n\t\t},\n\t\t\
         \"r.example\": {\n\t\t\t\"auth\": \"bWU6cGFzczp3b3Jk\"\n\t\t}\n\t},\n\t\"apple\": {\n\t\t\"x\": null\n\t}\n}"
    );
    assert_eq!(home.user("r.example", "x"), "me:pass:word");
    keep(
        "docker.io",
        "me",
        &Login::Identity(Secret::new("it")),
        &home.env,
        &cancel,
    )
    .unwrap();
    assert_eq!(home.user("docker.io", "x/y"), "identity it");
    assert!(forget("r.example", &home.env, &cancel).unwrap());
    assert!(!forget("r.example", &home.env, &cancel).unwrap());
    assert_eq!(home.user("r.example", "x"), "none");
    assert!(std::fs::read_to_string(&real).unwrap().contains("zebra"));
    assert!(entries(&real).is_empty(), "{:?}", entries(&real));
}

/// What lies beside a file.
fn entries(path: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let all = all.map(|entry| entry.unwrap().path());
    all.filter(|entry| entry != path).collect()
}

#[test]
fn a_helper_keeps_credentials_instead_of_the_file() {
    let mut home = Home::new("store");
    home.set("HOME_OF_TEST", &home.dir.display().to_string());
    home.helper("one", HELPER);
    let file = home.file(".docker/config.json", "{\"credsStore\": \"one\"}");
    let login = Login::Password("me".to_owned(), Secret::new("hush"));
    let cancel = Cancel::default();
    let kept = keep("k.example", "me", &login, &home.env, &cancel).unwrap();
    assert_eq!(kept, Kept::Helper);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("hush"));
    assert!(forget("k.example", &home.env, &cancel).unwrap());
    assert!(!forget("docker.example", &home.env, &cancel).unwrap());
    assert_eq!(
        std::fs::read_to_string(home.dir.join("calls")).unwrap(),
        "store {\"ServerURL\":\"k.example\",\"Username\":\"me\",\"Secret\":\"hush\"}\n\
         get k.example\nerase k.example\nget docker.example\n"
    );
}
