//! What files say of where images come from.

use std::path::Path;

use super::*;

fn settings(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    registries::one(Path::new("r.conf"), text, &mut settings)
        .map(|()| settings)
        .map_err(|error| error.to_string())
}

fn places(text: &str, image: &str) -> Vec<String> {
    let image = Reference::parse(image).unwrap();
    let found = settings(text).unwrap().places(&image, &[]);
    let shown = |place: Place| format!("{} {:?}", place.reference.canonical(), place.security);
    match found {
        Ok(places) => places.into_iter().map(shown).collect(),
        Err(error) => vec![error],
    }
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn the_longest_prefix_decides_and_the_rest_of_the_name_is_kept() {
    let text = "
        [[registry]]
        prefix = 'example.com/foo'
        location = 'internal.example:5000/bar'
        insecure = true
        [[registry]]
        location = 'example.com'
        [[registry]]
        prefix = '*.wild.example'
        blocked = true
        [[registry]]
        prefix = '*.free.example'
        [[registry.mirror]]
        location = 'm.example/free'
    ";
    assert_eq!(
        places(text, "example.com/foo/a/b:1"),
        ["internal.example:5000/bar/a/b:1 Insecure"]
    );
    assert_eq!(
        places(text, "example.com/foobar:1"),
        ["example.com/foobar:1 Tls"]
    );
    assert_eq!(
        places(text, "busybox"),
        ["docker.io/library/busybox:latest Tls"]
    );
    assert_eq!(
        places(text, "wild.example/x"),
        ["wild.example/x:latest Tls"]
    );
    assert_eq!(
        places(text, "a.b.wild.example:5000/x"),
        ["r.conf:8 blocks `*.wild.example`"]
    );
    assert_eq!(
        places(text, "a.free.example/x:2"),
        ["m.example/free/x:2 Tls", "a.free.example/x:2 Tls"]
    );
}

#[test]
fn mirrors_come_first_and_some_serve_only_digests_or_tags() {
    let text = "
        [[registry]]
        location = 'docker.io'
        [[registry.mirror]]
        location = 'all.example'
        [[registry.mirror]]
        location = 'digests.example/hub'
        pull-from-mirror = 'digest-only'
        insecure = true
        [[registry.mirror]]
        location = 'tags.example'
        pull-from-mirror = 'tag-only'
    ";
    assert_eq!(
        places(text, "busybox:1"),
        [
            "all.example/library/busybox:1 Tls",
            "tags.example/library/busybox:1 Tls",
            "docker.io/library/busybox:1 Tls",
        ]
    );
    assert_eq!(
        places(text, &format!("busybox@{DIGEST}")),
        [
            format!("all.example/library/busybox@{DIGEST} Tls"),
            format!("digests.example/hub/library/busybox@{DIGEST} Insecure"),
            format!("docker.io/library/busybox@{DIGEST} Tls"),
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, error) in [
        (
            "[[registry]]\nlocation = 'https://x.example'\n",
            "r.conf:1:1: `https://x.example`: write HOST[:PORT][/PATH] without a scheme; \
             `insecure = true` allows plain HTTP",
        ),
        (
            "\n[[registry]]\nblocked = true\n",
            "r.conf:2:1: a registry needs a `prefix` or a `location`",
        ),
        (
            "[[registry]]\nprefix = 'a.example'\n",
            "r.conf:1:1: the registry `a.example` needs a `location`; only a prefix as *.example.com \
             has none",
        ),
        (
            "[[registry]]\nprefix = '*.a.example/b'\n",
            "r.conf:1:1: `*.a.example/b`: `*` stands only at the beginning of a host name, as in \
             *.example.com",
        ),
        (
            "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\nlocation = 'b'\npull-from-mirror = 'x'\n",
            "r.conf:3:1: `pull-from-mirror` is all, digest-only or tag-only, not `x`",
        ),
        (
            "[registries.search]\nregistries = ['a']\n",
            "r.conf:1:2: the format's version 1 is not read any more; write [[registry]] tables",
        ),
        (
            "[[registry]]\nlocation = 'a'\ninsecure = 'yes'\n",
            "r.conf:3:12: invalid type: string \"yes\", expected a boolean",
        ),
    ] {
        assert_eq!(settings(text).unwrap_err(), error, "{text}");
    }
    let error = settings("[[registry]]\nlocation = 'a'\ninsecur = true\n").unwrap_err();
    assert!(
        error.starts_with("r.conf:3:1: unknown field `insecur`"),
        "{error}"
    );
    assert!(settings("x = [").unwrap_err().starts_with("r.conf:1:"));
}

/// A directory of files, removed when dropped.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-conf-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for (path, text) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }
    fn env(&self) -> Env {
        Env {
            cwd: self.0.clone(),
            home: Some(self.0.join("home")),
            etc: Some(self.0.join("etc")),
            ..Env::default()
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_read_in_order_and_the_last_one_wins() {
    let rule = |to: &str| format!("[[registry]]\nprefix = 'a.example'\nlocation = '{to}'\n");
    let files = Files::new(
        "order",
        &[
            ("etc/containers/registries.conf", &rule("main.example")),
            (
                "etc/containers/registries.conf.d/2.conf",
                &rule("two.example"),
            ),
            (
                "etc/containers/registries.conf.d/1.conf",
                &rule("one.example"),
            ),
            ("etc/containers/registries.conf.d/9.txt", "not = [read"),
        ],
    );
    let image = Reference::parse("a.example/x").unwrap();
    let asked = |env: &Env| {
        let places = Settings::read(env).unwrap().places(&image, &[]).unwrap();
        places[0].reference.registry.clone()
    };
    let mut env = files.env();
    assert_eq!(asked(&env), "two.example");
    let user = files.0.join("home/.config/containers");
    std::fs::create_dir_all(user.join("registries.conf.d")).unwrap();
    std::fs::write(
        user.join("registries.conf.d/a.conf"),
        rule("dropped.example"),
    )
    .unwrap();
    assert_eq!(asked(&env), "dropped.example");
    std::fs::remove_file(user.join("registries.conf.d/a.conf")).unwrap();
    std::fs::write(user.join("registries.conf"), rule("user.example")).unwrap();
    assert_eq!(asked(&env), "user.example");
    std::fs::write(files.0.join("mine"), rule("mine.example")).unwrap();
    env.vars
        .insert("CONTAINERS_REGISTRIES_CONF".to_owned(), "mine".to_owned());
    assert_eq!(asked(&env), "mine.example");
    std::fs::remove_file(files.0.join("mine")).unwrap();
    let error = Settings::read(&env).unwrap_err().to_string();
    assert!(error.contains("CONTAINERS_REGISTRIES_CONF"), "{error}");
}

#[test]
fn what_docker_was_told_of_mirrors_and_insecure_registries_counts() {
    let daemon = r#"{"registry-mirrors": ["https://mirror.example", "http://10.0.0.7:5000/"],
        "insecure-registries": ["old.example:5000", "10.1.0.0/16"], "log-driver": "x"}"#;
    let files = Files::new("daemon", &[("etc/docker/daemon.json", daemon)]);
    let settings = Settings::read(&files.env()).unwrap();
    let shown = |image: &str| -> Vec<String> {
        let places = settings.places(
            &Reference::parse(image).unwrap(),
            &["said.example".to_owned()],
        );
        let one = |place: Place| format!("{} {:?}", place.reference.registry, place.security);
        places.unwrap().into_iter().map(one).collect()
    };
    assert_eq!(
        shown("busybox"),
        ["mirror.example Tls", "10.0.0.7:5000 Plain", "docker.io Tls"]
    );
    for (image, place) in [
        ("old.example:5000/x", "old.example:5000 Insecure"),
        ("old.example/x", "old.example Tls"),
        ("10.1.2.3:5000/x", "10.1.2.3:5000 Insecure"),
        ("10.2.2.3:5000/x", "10.2.2.3:5000 Tls"),
        ("said.example:1/x", "said.example:1 Insecure"),
        ("localhost:5000/x", "localhost:5000 Loopback"),
        ("127.3.2.1/x", "127.3.2.1 Loopback"),
        ("[::1]:5000/x", "[::1]:5000 Loopback"),
        ("localhost.example/x", "localhost.example Tls"),
        ("127.example.com/x", "127.example.com Tls"),
    ] {
        assert_eq!(shown(image), [place], "{image}");
    }
    for (text, error) in [
        (
            "{\n \"registry-mirrors\": \"x\"}",
            "daemon.json:2:24: invalid type: string \"x\", expected a sequence",
        ),
        (
            "{\"registry-mirrors\": [\"m.example/path\"]}",
            "daemon.json:1:24: `m.example/path` is no mirror: write https://HOST[:PORT]",
        ),
    ] {
        std::fs::write(files.0.join("etc/docker/daemon.json"), text).unwrap();
        let told = Settings::read(&files.env()).unwrap_err().to_string();
        assert!(told.ends_with(error), "{told}");
    }
}
