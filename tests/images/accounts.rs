//! What users have set up for registries: logins on a real terminal, proxies of `config.json`, what `doctor` says of both.

use std::process::Command;

use serde_json::Value;

use crate::harness::process::Running;
use crate::harness::server::{Reply, Server};
use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_login_on_a_terminal_shows_no_password_and_is_forgotten_again,
    a_login_that_is_ended_at_the_password_leaves_the_terminal_as_it_was,
    proxies_of_the_users_settings_reach_containers_and_builds,
    what_is_set_up_for_registries_is_told_without_secrets,
    a_registry_without_tls_is_spoken_to_when_the_command_says_so,
    a_fault_in_the_settings_of_registries_is_told_once_for_all_images,
);

/// `ann:hunter2`, as registries are told and files keep it.
const PAIR: &str = "YW5uOmh1bnRlcjI=";

/// A registry that lets in one user.
fn guarded() -> Server {
    Server::start(|request| {
        let said = |line: &String| {
            line.to_lowercase().starts_with("authorization:") && line.ends_with(PAIR)
        };
        if request.headers.iter().any(said) {
            return Reply::ok("application/json", "{}");
        }
        Reply {
            headers: vec!["WWW-Authenticate: Basic realm=\"tests\"".to_owned()],
            ..Reply::status(401)
        }
    })
}

/// `login` on a terminal, then its exit code and how it left the terminal.
fn login(hoist: &Sandbox, registry: &str) -> Running {
    let inner = hoist.command(&["login", registry]);
    let mut shell = Command::new("sh");
    let line = "trap : INT; \"$@\"; echo code=$?; stty -a; echo end";
    shell
        .args(["-c", line, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    shell.envs(
        inner
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    shell.current_dir(hoist.dir());
    Running::on_terminal(&shell, 24, 200)
}

fn is_sane(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.contains(&"echo") && !words.contains(&"-echo") && words.contains(&"icanon")
}

fn a_login_on_a_terminal_shows_no_password_and_is_forgotten_again() {
    let hoist = Sandbox::empty();
    let config = hoist.dir().join("settings");
    hoist.set("DOCKER_CONFIG", &config.display().to_string());
    let server = guarded();
    let registry = format!("localhost:{}", server.address.port());

    let mut wrong = login(&hoist, &registry);
    wrong.says("Username: ");
    wrong.types("ann\n");
    wrong.says("Password: ");
    wrong.types("hunter1\n");
    wrong
        .says("incorrect username or password")
        .says("code=1")
        .says("end");
    assert!(!config.join("config.json").exists());

    let mut right = login(&hoist, &registry);
    right.says("Username: ");
    right.types("ann\n");
    right.says("Password: ");
    right.types("hunter2\n");
    right.says("Login Succeeded").says("code=0").says("end");
    let text = right.text();
    assert!(!text.contains("hunter"), "{text}");
    assert!(is_sane(&text), "{text}");
    let kept = std::fs::read_to_string(config.join("config.json")).expect("it was written");
    assert!(kept.contains(PAIR) && kept.contains(&registry), "{kept}");

    hoist
        .global(&["logout", &registry])
        .ok()
        .says("Removing login credentials for");
    let kept = std::fs::read_to_string(config.join("config.json")).expect("it is still there");
    assert!(!kept.contains(PAIR), "{kept}");
}

fn a_login_that_is_ended_at_the_password_leaves_the_terminal_as_it_was() {
    let hoist = Sandbox::empty();
    let server = guarded();
    let mut running = login(&hoist, &format!("localhost:{}", server.address.port()));
    running.says("Username: ");
    running.types("ann\n");
    running.says("Password: ");
    running.types("hunt\u{3}");
    running.says("code=130").says("end");
    let text = running.text();
    assert!(is_sane(&text) && !text.contains("hunt"), "{text}");
}

fn proxies_of_the_users_settings_reach_containers_and_builds() {
    let hoist = Sandbox::new();
    let settings = |https: &str| {
        let text = format!(
            r#"{{"proxies": {{"default": {{"httpProxy": "http://one:1", "httpsProxy": "{https}", "noProxy": "a,b"}}}}}}"#
        );
        hoist.file("settings/config.json", text);
    };
    settings("http://two:2");
    hoist.set("DOCKER_CONFIG", "settings");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN test \"$https_proxy $HTTPS_PROXY $no_proxy $HTTP_PROXY\" = 'http://two:2 http://two:2 a,b own'\n",
    );
    hoist.compose(
        "services:\n  a: {SLEEP, environment: {HTTP_PROXY: mine, no_proxy: ''}}\n  b: {image: made, build: {context: ., args: \
         {HTTP_PROXY: own}}}\n",
    );
    hoist.ok("build b");
    let image = hoist.global(&["image", "inspect", "made"]).ok().out;
    assert!(!image.contains("http://"), "{image}");
    hoist.ok("up -d a");
    let id = hoist.id("a");
    let of = |name: &str| hoist.sh("a", &format!("echo \"${name}\""));
    for (name, value) in [
        ("HTTP_PROXY", "mine"),
        ("http_proxy", "http://one:1"),
        ("HTTPS_PROXY", "http://two:2"),
        ("https_proxy", "http://two:2"),
        ("NO_PROXY", "a,b"),
        ("no_proxy", ""),
        ("FTP_PROXY", ""),
    ] {
        assert_eq!(of(name), value, "{name}");
    }
    hoist
        .ok("run --rm -T -e HTTPS_PROXY=said a sh -c 'echo $HTTPS_PROXY $https_proxy'")
        .prints("said http://two:2");

    // Another proxy makes nothing anew.
    settings("http://three:3");
    hoist.ok("up -d a");
    assert_eq!(hoist.id("a"), id);
    hoist.ok("--progress plain build b").says("CACHED");
    hoist
        .ok("run --rm -T a sh -c 'echo $https_proxy'")
        .prints("http://three:3");

    // What is malformed is told, and stops nothing.
    hoist.file(
        "settings/config.json",
        r#"{"proxies": {"default": {"httpProxy": 1}}}"#,
    );
    hoist
        .ok("run --rm -T a sh -c 'echo x$https_proxy'")
        .says("proxies.default.httpProxy: expected a string")
        .prints("x");
}

fn what_is_set_up_for_registries_is_told_without_secrets() {
    let hoist = Sandbox::empty();
    let row = || {
        let done = hoist.global(&["doctor", "--format", "json"]);
        assert!(
            !done.all().contains("hunter2") && !done.all().contains(PAIR),
            "{}",
            done.story()
        );
        let all: Value = serde_json::from_str(&done.out).expect("JSON");
        let rows = all["checks"].as_array().expect("a list").clone();
        let found = rows
            .into_iter()
            .find(|row| row["name"] == "registry logins");
        let row = found.expect("there is a row of logins");
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("found"))
    };
    hoist.set("DOCKER_CONFIG", "settings");
    assert_eq!(row(), ("ok".to_owned(), "none".to_owned()));

    let auths = format!(r#""auths": {{"r.example": {{"auth": "{PAIR}"}}, "empty.example": {{}}}}"#);
    let file = hoist.file("settings/config.json", format!("{{{auths}}}"));
    let place = file.display();
    assert_eq!(
        row(),
        ("ok".to_owned(), format!("r.example as `ann` ({place})"))
    );

    hoist.file(
        "settings/config.json",
        format!(r#"{{{auths}, "credHelpers": {{"x.example": "no-such"}}}}"#),
    );
    let (status, found) = row();
    assert_eq!(status, "degraded");
    let missing = format!("docker-credential-no-such, which {place} names, is not in PATH");
    assert!(
        found.starts_with(&missing) && found.contains("r.example as `ann`"),
        "{found}"
    );

    hoist.file("settings/config.json", format!("{{{auths},"));
    let (status, found) = row();
    assert_eq!(status, "degraded");
    assert!(found.starts_with(&format!("{place}:1:")), "{found}");
}

fn a_registry_without_tls_is_spoken_to_when_the_command_says_so() {
    let hoist = Sandbox::new();
    // Stands for a registry elsewhere that knows no TLS: a proxy that lets plain requests through, and has no image.
    let proxy = Server::start(|request| match request.path.as_str() {
        "http://registry.test/v2/" => Reply::ok("application/json", "{}"),
        path if path.starts_with("http://") => Reply::status(404),
        _ => Reply::status(403),
    });
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        hoist.set(name, &format!("http://{}", proxy.address));
    }
    let name = "registry.test/app:1";
    hoist.global(&["image", "tag", "tiny", name]).ok();
    let out_of_reach = |arguments: &[&str]| {
        hoist.global(arguments).code(1).says("is not in reach");
    };
    out_of_reach(&["image", "pull", name]);
    out_of_reach(&["image", "push", name]);
    hoist
        .global(&["image", "pull", "--insecure-registry", name])
        .code(1)
        .says(&format!("no image `{name}` in its registry"));
    hoist
        .global(&["image", "push", "--insecure-registry", name])
        .code(1)
        .says("it has no such repository and makes none");
    // What the command line names counts as well, and nothing else.
    let named = |registry| ["--insecure-registry", registry, "image", "pull", name];
    hoist
        .global(&named("registry.test"))
        .code(1)
        .says("in its registry");
    out_of_reach(&named("other.test"));
}

fn a_fault_in_the_settings_of_registries_is_told_once_for_all_images() {
    let hoist = Sandbox::empty();
    let file = hoist.file("registries.conf", "[[registry]]\nprefix = 1\n");
    let path = file.display().to_string();
    hoist.set("CONTAINERS_REGISTRIES_CONF", &path);
    let services =
        ["a", "b", "c"].map(|name| format!("  {name}: {{image: 'localhost:1/{name}'}}\n"));
    hoist.compose(&format!("services:\n{}", services.concat()));
    for command in ["pull", "up -d", "create"] {
        let told = hoist.run(command).code(1).all();
        assert_eq!(told.matches(&path).count(), 1, "{command}: {told}");
    }
}
