//! Projects in Rust and Go: built in one stage, run from another that has nothing but the program.
//!
//! Imports: nothing but its neighbours. Sources: The Cargo Book, manifest format; Go modules reference.

use std::collections::BTreeSet;

use super::databases::Database;
use super::{Component, Listing, Probe, Rule, exec_form, first};

/// The image that programs run in; it has the C library of the images that they are built in.
const RUNTIME: &str = "debian:bookworm-slim";

/// Whether a text can stand in a shell line and a path as it is.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    !text.is_empty() && text.chars().all(plain) && !text.starts_with('-')
}

/// How one sees that it listens: the image has no other program for it.
fn connects(port: u16) -> Probe {
    let line = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    Probe::Command(vec!["bash".to_owned(), "-c".to_owned(), line])
}

/// The second stage.
fn runtime(name: &str, port: Option<u16>) -> String {
    let port = port.map_or(String::new(), |port| format!("EXPOSE {port}\n"));
    format!(
        "# What runs: the program, and a user without rights on the image\nFROM {RUNTIME}\nRUN useradd --create-home --uid 1000 app\n\
         COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\nCOPY --from=build /out/{name} /usr/local/bin/{name}\n\
         USER app\nWORKDIR /home/app\n{port}CMD {}\n",
        exec_form(&[name])
    )
}

/// Where a program listens, as its sources say, and what to know about that.
fn listens(here: &Listing, end: &str) -> (Option<u16>, Option<String>) {
    let patterns = [
        r#"["'](?:0\.0\.0\.0|127\.0\.0\.1|localhost|\[::\])?:(\d{2,5})["']"#,
        r#"\(\s*["'](?:0\.0\.0\.0|127\.0\.0\.1|localhost)["']\s*,\s*(\d{2,5})\s*\)"#,
        r"\(\s*\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]\s*,\s*(\d{2,5})\s*\)",
        r#"(?i)port[^\n]{0,40}?["'\s=(](\d{4,5})\b"#,
    ];
    for path in here.ending(end) {
        let text = here.text(path).unwrap_or_default();
        let Some(port) = patterns.iter().find_map(|pattern| first(pattern, text)) else {
            continue;
        };
        let inside = format!(r#"(127\.0\.0\.1|localhost)(?::|["']\s*,\s*){port}"#);
        let note = first(&inside, text).map(|_| {
            format!(
                "{path} listens on 127.0.0.1, which in a container nobody else reaches: let it listen on 0.0.0.0"
            )
        });
        return (port.parse().ok(), note);
    }
    (None, None)
}

fn no_port() -> String {
    "no port is named in the sources, so none is published: add `ports` if it listens".to_owned()
}

/// The service of a Cargo package with a program.
pub(super) fn rust(here: &Listing) -> Option<Component> {
    let root: toml::Table = here.text("Cargo.toml")?.parse().ok()?;
    let (dir, manifest) = member(here, &root)?;
    let package = manifest.get("package")?.get("name")?.as_str()?.to_owned();
    let own = manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .and_then(|all| all.first())
        .and_then(|bin| bin.get("name")?.as_str());
    let name = own.map_or_else(|| package.clone(), str::to_owned);
    if !is_plain(&name) || !is_plain(&package) {
        return None;
    }
    let (version, why) = toolchain(here, &manifest);
    let mut seen = vec![
        match dir.is_empty() {
            true => format!("Cargo.toml: the program `{name}`"),
            false => format!("{dir}/Cargo.toml: the program `{name}` of the workspace"),
        },
        why,
    ];
    let (databases, openssl) = crates(&manifest, &mut seen);
    let below = here.below(&dir);
    let (port, note) = listens(&below, ".rs");
    let locked = match here.has("Cargo.lock") {
        true => " --locked",
        false => "",
    };
    let tools = match openssl {
        true => " pkg-config libssl-dev",
        false => "",
    };
    let build = format!(
        "# Drafted by `hoist init`; yours from now on.\nFROM rust:{version}-slim-bookworm AS build\n\
         RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates{tools} \\\n    && rm -rf /var/lib/apt/lists/*\n\
         WORKDIR /src\nCOPY . .\n\
         # Crates and what was compiled are kept in caches: only what changed is compiled again\n\
         RUN --mount=type=cache,target=/usr/local/cargo/registry \\\n    --mount=type=cache,target=/src/target \\\n    \
         cargo build --release{locked} --package {package} --bin {name} \\\n    && install -D target/release/{name} /out/{name}\n\n"
    );
    let ssl = match openssl {
        true => {
            "RUN apt-get update && apt-get install -y --no-install-recommends libssl3 && rm -rf /var/lib/apt/lists/*\n"
        }
        false => "",
    };
    let run = runtime(&name, port).replacen("COPY --from", &format!("{ssl}COPY --from"), 1);
    Some(Component {
        what: "a Rust program".to_owned(),
        notes: note
            .or_else(|| port.is_none().then(no_port))
            .into_iter()
            .collect(),
        seen,
        dockerfile: Some(build + &run),
        ignore: vec!["target", "**/target"],
        probe: port.map_or(Probe::None, connects),
        port,
        databases,
        watch: vec![Rule {
            ignore: vec!["target/", ".git/"],
            ..Rule::rebuild("", "compiled anew, from what the caches have")
        }],
        ..Component::default()
    })
}

/// The package with a program: the manifest's own, or the first member of the workspace that has one.
fn member(here: &Listing, root: &toml::Table) -> Option<(String, toml::Table)> {
    let runs = |dir: &str, manifest: &toml::Table| {
        let path = match dir {
            "" => "src/main.rs".to_owned(),
            dir => format!("{dir}/src/main.rs"),
        };
        manifest.contains_key("package") && (here.has(&path) || manifest.contains_key("bin"))
    };
    if runs("", root) {
        return Some((String::new(), root.clone()));
    }
    root.get("workspace")?;
    here.ending("/Cargo.toml").into_iter().find_map(|path| {
        let dir = path.strip_suffix("/Cargo.toml")?;
        let manifest: toml::Table = here.text(path)?.parse().ok()?;
        runs(dir, &manifest).then(|| (dir.to_owned(), manifest))
    })
}

fn toolchain(here: &Listing, manifest: &toml::Table) -> (String, String) {
    for file in ["rust-toolchain.toml", "rust-toolchain"] {
        let named = here.text(file).and_then(|text| {
            first(r#"channel\s*=\s*"(1\.\d+(?:\.\d+)?)""#, text)
                .or_else(|| first(r"^\s*(1\.\d+(?:\.\d+)?)\s*$", text))
        });
        if let Some(version) = named {
            let why = format!("Rust {version}: {file} says so");
            return (version, why);
        }
    }
    let least = manifest
        .get("package")
        .and_then(|p| p.get("rust-version")?.as_str());
    let why = match least {
        Some(least) => format!("the newest Rust: Cargo.toml asks for {least} or later"),
        None => "the newest Rust: nothing here asks for another one".to_owned(),
    };
    ("1".to_owned(), why)
}

/// Databases among the dependencies, and whether OpenSSL is.
fn crates(manifest: &toml::Table, seen: &mut Vec<String>) -> (BTreeSet<Database>, bool) {
    let mut databases = BTreeSet::new();
    let mut openssl = false;
    let all = manifest.get("dependencies").and_then(toml::Value::as_table);
    for (name, value) in all.into_iter().flatten() {
        let features = value.get("features").and_then(toml::Value::as_array);
        let features: Vec<&str> = features
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .collect();
        let many = ["sqlx", "diesel", "diesel-async", "sea-orm"].contains(&name.as_str());
        let word = |text: &&str| Database::of_word(text.trim_start_matches("sqlx-"));
        let by_feature = many.then(|| features.iter().find_map(word)).flatten();
        if let Some(database) = by_feature.or_else(|| Database::of_driver(name)) {
            seen.push(format!("{}: {name} is among the crates", database.title()));
            databases.insert(database);
        }
        let plain = value.get("default-features").and_then(toml::Value::as_bool) == Some(false);
        openssl |= ["openssl", "native-tls", "openssl-sys"].contains(&name.as_str())
            || features
                .iter()
                .any(|feature| feature.contains("native-tls"))
            || (name == "reqwest" && !plain);
    }
    (databases, openssl)
}

/// The service of a Go module with a program.
pub(super) fn go(here: &Listing) -> Option<Component> {
    let module = here.text("go.mod")?;
    let path = first(r"(?m)^module\s+(\S+)", module)?;
    let main = |dir: &str| {
        let files = here.ending(".go");
        let inside = |path: &&&str| match path.rsplit_once('/') {
            Some((parent, _)) => parent == dir,
            None => dir.is_empty(),
        };
        files.iter().filter(inside).any(|path| {
            let text = here.text(path).unwrap_or_default();
            first(r"(?m)^package\s+(main)\b", text).is_some() && text.contains("func main()")
        })
    };
    let below = here.ending(".go");
    let mut dirs: Vec<&str> = below
        .iter()
        .filter_map(|path| Some(path.rsplit_once('/')?.0))
        .filter(|dir| is_plain(dir))
        .collect();
    dirs.dedup();
    let dir = match main("") {
        true => "",
        false => dirs.into_iter().find(|dir| main(dir))?,
    };
    let name = match dir.rsplit('/').next() {
        Some(name) if !dir.is_empty() => name.to_owned(),
        _ => path.rsplit('/').find(|part| !is_version(part))?.to_owned(),
    };
    if !is_plain(&name) || name.contains('/') {
        return None;
    }
    let target = match dir {
        "" => ".".to_owned(),
        dir => format!("./{dir}"),
    };
    let version = first(r"(?m)^go\s+(1\.\d+)", module);
    let mut seen = vec![
        format!("go.mod: the module {path}, whose program is in {target}"),
        match &version {
            Some(version) => format!("Go {version}: go.mod says so"),
            None => "the newest Go: go.mod names none".to_owned(),
        },
    ];
    let mut databases = BTreeSet::new();
    for line in module.lines() {
        let Some(package) = first(r"^\s*(?:require\s+)?([\w.-]+\.[\w.-]+/\S+)\s+v\d", line) else {
            continue;
        };
        let direct = !line.contains("// indirect");
        if let (Some(database), true) = (Database::of_driver(&package), direct) {
            seen.push(format!(
                "{}: {package} is among the modules",
                database.title()
            ));
            databases.insert(database);
        }
    }
    let (port, note) = listens(here, ".go");
    let sums = match here.has("go.sum") {
        true => "go.mod go.sum",
        false => "go.mod",
    };
    let build = format!(
        "# Drafted by `hoist init`; yours from now on.\nFROM golang:{}-bookworm AS build\nWORKDIR /src\n\
         # Modules before sources: this step runs again only when they change; downloads are kept in a cache\nCOPY {sums} ./\n\
         RUN --mount=type=cache,target=/go/pkg/mod go mod download\n\nCOPY . .\n\
         RUN --mount=type=cache,target=/go/pkg/mod \\\n    --mount=type=cache,target=/var/cache/go-build \\\n    \
         GOCACHE=/var/cache/go-build CGO_ENABLED=0 go build -o /out/{name} {target}\n\n",
        version.as_deref().unwrap_or("1")
    );
    Some(Component {
        what: "a Go program".to_owned(),
        notes: note
            .or_else(|| port.is_none().then(no_port))
            .into_iter()
            .collect(),
        seen,
        dockerfile: Some(build + &runtime(&name, port)),
        ignore: vec!["bin"],
        probe: port.map_or(Probe::None, connects),
        port,
        databases,
        watch: vec![Rule {
            ignore: vec![".git/", "bin/"],
            ..Rule::rebuild("", "compiled anew, from what the caches have")
        }],
        ..Component::default()
    })
}

/// `v2`, as the last part of a module's path.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
}
