//! Node projects: Next, Vite, servers; packages by npm, Yarn or pnpm.
//!
//! Imports: nothing but its neighbours. Sources: documentation of package.json, npm, Yarn, pnpm, Corepack, Next, Vite.

use std::collections::BTreeSet;

use serde_json::Value;

use super::databases::Database;
use super::{Component, Listing, Probe, Rule, exec_form, first};

/// The major version that is taken where nothing is said.
const VERSION: u32 = 22;
/// What is not carried into a container that runs.
const UNWATCHED: [&str; 5] = [".git/", "node_modules/", ".next/", "dist/", "coverage/"];

/// Who installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Npm { locked: bool },
    Yarn { classic: bool },
    Pnpm,
}

/// What is started, and where it listens.
struct Program {
    what: String,
    why: String,
    command: Vec<String>,
    port: Option<u16>,
    /// Whether it loads changed files itself.
    reloads: bool,
    note: Option<String>,
}

/// The service of a Node project.
pub(super) fn look(here: &Listing) -> Option<Component> {
    let package: Value = serde_json::from_str(here.text("package.json")?).ok()?;
    let manager = manager(here, &package);
    let packages = packages(&package);
    let program = program(here, &package, &packages, manager)?;
    let (version, why) = version(here, &package);
    let mut seen = vec![program.why.clone(), why, manager.story().to_owned()];
    let mut databases = BTreeSet::new();
    let drivers = packages
        .iter()
        .filter_map(|name| Some((name.as_str(), Database::of_driver(name)?)));
    for (name, database) in drivers {
        seen.push(format!(
            "{}: {name} is among the packages",
            database.title()
        ));
        databases.insert(database);
    }
    let schema = here.text("prisma/schema.prisma").unwrap_or_default();
    let provider = first(
        r#"(?s)datasource\s+\w+\s*\{[^}]*provider\s*=\s*"(\w+)""#,
        schema,
    );
    if let Some(database) = provider.and_then(|word| Database::of_word(&word)) {
        seen.push(format!(
            "{}: prisma/schema.prisma names it",
            database.title()
        ));
        databases.insert(database);
    }
    let synced = match program.reloads {
        true => Rule::sync(
            "sync",
            "edits are copied in; the program sees them itself",
            &UNWATCHED,
        ),
        false => Rule::sync(
            "sync+restart",
            "edits are copied in, and the program starts anew",
            &UNWATCHED,
        ),
    };
    let mut watch = vec![synced];
    for path in manager.manifests() {
        if here.has(path) {
            watch.push(Rule::rebuild(path, "other packages: another image"));
        }
    }
    Some(Component {
        what: program.what.clone(),
        seen,
        notes: program.note.clone().into_iter().collect(),
        dockerfile: Some(dockerfile(
            here,
            &program,
            manager,
            &version,
            !schema.is_empty(),
        )),
        ignore: vec![
            "node_modules",
            "**/node_modules",
            ".next",
            "dist",
            "coverage",
            "npm-debug.log*",
        ],
        probe: program.port.map_or(Probe::None, connects),
        port: program.port,
        databases,
        watch,
        ..Component::default()
    })
}

fn manager(here: &Listing, package: &Value) -> Manager {
    let named = package["packageManager"].as_str().unwrap_or_default();
    let later =
        here.has(".yarnrc.yml") || (named.starts_with("yarn@") && !named.starts_with("yarn@1"));
    match () {
        () if here.has("pnpm-lock.yaml") || named.starts_with("pnpm@") => Manager::Pnpm,
        () if here.has("yarn.lock") || named.starts_with("yarn@") => {
            Manager::Yarn { classic: !later }
        }
        () => Manager::Npm {
            locked: here.has("package-lock.json") || here.has("npm-shrinkwrap.json"),
        },
    }
}

fn packages(package: &Value) -> BTreeSet<String> {
    let of = |part: &str| package[part].as_object().into_iter().flatten();
    let all = of("dependencies").chain(of("devDependencies"));
    all.map(|(name, _)| name.clone()).collect()
}

fn version(here: &Listing, package: &Value) -> (String, String) {
    for file in [".nvmrc", ".node-version"] {
        let named = here.text(file).and_then(|text| first(r"^\s*v?(\d+)", text));
        if let Some(major) = named {
            let why = format!("Node {major}: {file} says so");
            return (major, why);
        }
    }
    let asked = package["engines"]["node"].as_str().unwrap_or_default();
    let least: Option<u32> = first(r"(\d+)", asked).and_then(|major| major.parse().ok());
    match least {
        // `>=18` is content with a later one; `18.x` and `^18` are not.
        Some(least) if asked.trim_start().starts_with(">=") => {
            let major = least.max(VERSION);
            (
                major.to_string(),
                format!("Node {major}: package.json asks for {asked}"),
            )
        }
        Some(major) => (
            major.to_string(),
            format!("Node {major}: package.json asks for {asked}"),
        ),
        None => (
            VERSION.to_string(),
            format!("Node {VERSION}: nothing here asks for another one"),
        ),
    }
}

/// A command that says whether something takes connections.
fn connects(port: u16) -> Probe {
    let code = format!(
        "require(\"net\").connect({port}, \"127.0.0.1\").on(\"connect\", () => process.exit(0)).on(\"error\", () => process.exit(1))"
    );
    Probe::Command(vec!["node".to_owned(), "-e".to_owned(), code])
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn program(
    here: &Listing,
    package: &Value,
    packages: &BTreeSet<String>,
    manager: Manager,
) -> Option<Program> {
    let script = |name: &str| package["scripts"][name].as_str();
    let dev = |what: &str, flags: &str, port: u16| {
        script("dev").map(|_| Program {
            what: what.to_owned(),
            why: "package.json has the script `dev`".to_owned(),
            command: words(&manager.run("dev", flags)),
            port: Some(port),
            reloads: true,
            note: None,
        })
    };
    if packages.contains("next") {
        return dev("a Next application", "--hostname 0.0.0.0 --port 3000", 3000);
    }
    if packages.contains("vite") {
        return dev("a Vite application", "--host 0.0.0.0 --port 5173", 5173);
    }
    server(here, package, packages, manager)
}

/// A program that is started by `start`, by its file, or by `dev`.
fn server(
    here: &Listing,
    package: &Value,
    packages: &BTreeSet<String>,
    manager: Manager,
) -> Option<Program> {
    let script = |name: &str| package["scripts"][name].as_str();
    let main = package["main"]
        .as_str()
        .map(|path| path.trim_start_matches("./"));
    let usual = [
        "server.js",
        "index.js",
        "app.js",
        "main.js",
        "src/index.js",
        "src/server.js",
    ];
    let file = main
        .into_iter()
        .chain(usual)
        .find(|path| here.has(path))
        .map(str::to_owned);
    let (command, why, started) = match (script("start"), &file, script("dev")) {
        (Some(line), ..) => {
            let own = first(r"^node\s+(\S+\.[cm]?js)$", line.trim());
            match own.filter(|path| here.has(path.trim_start_matches("./"))) {
                // Without npm between: signals and exit codes are the program's own.
                Some(path) => (
                    vec!["node".to_owned(), path.clone()],
                    format!("the script `start` of package.json is `{line}`"),
                    Some(path),
                ),
                None => (
                    words(&manager.run("start", "")),
                    "package.json has the script `start`".to_owned(),
                    file.clone(),
                ),
            }
        }
        (None, Some(path), _) => (
            vec!["node".to_owned(), path.clone()],
            format!("{path} is there, and package.json has no script `start`"),
            file.clone(),
        ),
        (None, None, Some(_)) => (
            words(&manager.run("dev", "")),
            "package.json has the script `dev`".to_owned(),
            None,
        ),
        (None, None, None) => return None,
    };
    let known = [
        "express",
        "fastify",
        "koa",
        "@nestjs/core",
        "@hapi/hapi",
        "hono",
    ];
    let framework = known.into_iter().find(|name| packages.contains(*name));
    let text = started
        .as_deref()
        .and_then(|path| here.text(path.trim_start_matches("./")));
    let port = text
        .and_then(|text| {
            first(r"PORT\s*(?:\|\||\?\?)\s*['\x22]?(\d{2,5})", text)
                .or_else(|| first(r"\.listen\(\s*\{?\s*(?:port:\s*)?(\d{2,5})", text))
                .or_else(|| first(r"(?i)\bport\s*[:=]\s*(\d{2,5})\b", text))
        })
        .and_then(|port| port.parse().ok())
        .or(framework.map(|_| 3000));
    let note = port.is_none().then(|| {
        "no port is named where it starts, so none is published: add `ports` if it listens"
            .to_owned()
    });
    let what = framework.map_or("a Node program".to_owned(), |name| {
        format!("a server with {name}")
    });
    Some(Program {
        what,
        why,
        command,
        port,
        reloads: false,
        note,
    })
}

impl Manager {
    fn story(self) -> &'static str {
        match self {
            Self::Npm { locked: true } => "packages by npm: package-lock.json",
            Self::Npm { locked: false } => "packages by npm: package.json, without a lock file",
            Self::Yarn { .. } => "packages by Yarn: yarn.lock",
            Self::Pnpm => "packages by pnpm: pnpm-lock.yaml",
        }
    }
    fn run(self, script: &str, flags: &str) -> String {
        match (self, flags) {
            (Self::Npm { .. }, "") => format!("npm run {script}"),
            (Self::Npm { .. }, flags) => format!("npm run {script} -- {flags}"),
            (Self::Yarn { .. }, flags) => format!("yarn run {script} {flags}"),
            (Self::Pnpm, flags) => format!("pnpm run {script} {flags}"),
        }
    }
    fn manifests(self) -> &'static [&'static str] {
        match self {
            Self::Npm { .. } => &["package.json", "package-lock.json"],
            Self::Yarn { .. } => &["package.json", "yarn.lock"],
            Self::Pnpm => &["package.json", "pnpm-lock.yaml"],
        }
    }
    /// The steps that install packages, run as `node` in a directory of its own.
    fn steps(self, here: &Listing) -> String {
        let cache = |target: &str, line: &str| {
            format!("RUN --mount=type=cache,target={target},uid=1000,gid=1000 \\\n    {line}\n")
        };
        let copy = |more: &[&str]| {
            let there = [".npmrc"].into_iter().chain(more.iter().copied());
            let there = there.filter(|name| here.has(name));
            let more: String = there.map(|name| format!(" {name}")).collect();
            format!("COPY --chown=node:node package.json{more} ./\n")
        };
        match self {
            Self::Npm { locked: true } => {
                copy(&["package-lock.json", "npm-shrinkwrap.json"])
                    + &cache("/home/node/.npm", "npm ci")
            }
            Self::Npm { locked: false } => copy(&[]) + &cache("/home/node/.npm", "npm install"),
            Self::Yarn { classic: true } => {
                copy(&["yarn.lock"])
                    + &cache(
                        "/home/node/.cache/yarn",
                        "yarn install --frozen-lockfile --cache-folder /home/node/.cache/yarn",
                    )
            }
            Self::Yarn { classic: false } => {
                copy(&["yarn.lock", ".yarnrc.yml"])
                    + &cache("/home/node/.yarn/berry/cache", "yarn install --immutable")
            }
            Self::Pnpm => {
                copy(&["pnpm-lock.yaml", "pnpm-workspace.yaml"])
                    + &cache(
                        "/home/node/.pnpm-store",
                        "pnpm install --frozen-lockfile --store-dir /home/node/.pnpm-store",
                    )
            }
        }
    }
}

fn dockerfile(
    here: &Listing,
    program: &Program,
    manager: Manager,
    version: &str,
    prisma: bool,
) -> String {
    let corepack = match manager {
        Manager::Pnpm | Manager::Yarn { classic: false } => {
            "# The version of the package manager that package.json names\nENV COREPACK_ENABLE_DOWNLOAD_PROMPT=0\nRUN corepack enable\n\n"
        }
        _ => "",
    };
    let generate = match prisma {
        true => "RUN npx prisma generate\n",
        false => "",
    };
    let port = program
        .port
        .map_or(String::new(), |port| format!("EXPOSE {port}\n"));
    let variables = program
        .port
        .filter(|_| !program.reloads)
        .map_or(String::new(), |port| format!("ENV PORT={port}\n"));
    let development = match program.reloads {
        true => {
            "# This is the image for development; for production add a stage that runs `build` and serves what that makes\n"
        }
        false => "",
    };
    format!(
        "# Drafted by `hoist init`; yours from now on.\n{development}FROM node:{version}-slim\n\n{corepack}\
         # What runs here has no rights on the image but in its own directory\nRUN install --directory --owner=node --group=node /app\n\
         WORKDIR /app\nUSER node\n\n\
         # Packages before sources: this step runs again only when they change; downloads are kept in a cache\n{}\n\
         COPY --chown=node:node . .\n{generate}\n{variables}{port}CMD {}\n",
        manager.steps(here),
        exec_form(&program.command),
    )
}
