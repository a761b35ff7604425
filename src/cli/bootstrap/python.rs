//! Python projects: Django, Flask, FastAPI, Streamlit, Gradio, scripts; packages by pip, Poetry or uv.
//!
//! Imports: nothing but its neighbours. Sources: PEP 508, PEP 621; documentation of pip, Poetry, uv and of the servers.

use std::collections::BTreeSet;

use regex::Regex;

use super::databases::Database;
use super::{Component, Listing, Probe, Rule, exec_form, first};

/// Variables that each Python image here has.
pub(super) const SETTINGS: &str = "\
# Output appears at once, and nothing is written beside the sources
ENV PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1 \\
    PIP_DISABLE_PIP_VERSION_CHECK=1 \\
    PIP_ROOT_USER_ACTION=ignore

";
/// The user that programs run as.
pub(super) const USER: &str = "\
# What runs here has no rights on the image
RUN useradd --create-home --uid 1000 app
";
/// What Python and its tools leave behind.
pub(super) const IGNORED: [&str; 9] = [
    "**/__pycache__",
    "**/*.pyc",
    ".venv",
    "venv",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    "*.egg-info",
];
/// What is not carried into a container that runs.
const UNWATCHED: [&str; 7] = [
    ".git/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "**/__pycache__/",
    ".pytest_cache/",
    "*.ipynb",
];
/// The version that is taken where nothing is said.
const VERSION: u32 = 12;

/// A version of Python, and why it is that one.
pub(super) struct Version {
    /// `3.12`
    pub(super) number: String,
    /// A line for the user.
    pub(super) why: String,
}

/// The version that the project asks for.
pub(super) fn version(here: &Listing) -> Version {
    let named = here
        .text(".python-version")
        .and_then(|text| first(r"^\s*(3\.\d+)", text));
    if let Some(number) = named {
        let why = format!("Python {number}: .python-version says so");
        return Version { number, why };
    }
    let pyproject = here.text("pyproject.toml").unwrap_or_default();
    let asked = first(
        r#"(?m)^\s*(?:requires-python|python)\s*=\s*"([^"]+)""#,
        pyproject,
    );
    match asked {
        Some(asked) => {
            let number = format!("3.{}", within(&asked));
            let why = format!("Python {number}: pyproject.toml asks for {asked}");
            Version { number, why }
        }
        None => Version {
            number: format!("3.{VERSION}"),
            why: format!("Python 3.{VERSION}: nothing here asks for another one"),
        },
    }
}

/// The usual minor version, moved as far as bounds like `>=3.9,<3.12` ask for.
fn within(bounds: &str) -> u32 {
    let Ok(pattern) = Regex::new(r"(<=|>=|==|~=|<|>|\^|~)?\s*3\.(\d+)(\.\d+)?") else {
        return VERSION;
    };
    let mut minor = VERSION;
    for bound in pattern.captures_iter(bounds) {
        let Some(number) = bound
            .get(2)
            .and_then(|text| text.as_str().parse::<u32>().ok())
        else {
            continue;
        };
        let patch = bound.get(3).is_some();
        match bound.get(1).map_or("", |sign| sign.as_str()) {
            "<" => minor = minor.min(number.saturating_sub(u32::from(!patch))),
            "<=" => minor = minor.min(number),
            ">" | ">=" | "^" => minor = minor.max(number),
            "~=" if !patch => minor = minor.max(number),
            _ => minor = number,
        }
    }
    minor
}

/// How packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installer {
    Requirements,
    /// requirements.txt names the project itself.
    RequirementsHere,
    Poetry,
    Uv {
        locked: bool,
    },
    Project,
    None,
}

/// The service of a Python project that has a manifest.
pub(super) fn look(here: &Listing) -> Option<Component> {
    let installer = installer(here);
    let django = here.has("manage.py");
    if installer == Installer::None && !django {
        return None;
    }
    component(here, installer)
}

/// The service of a directory of Python files without any manifest.
pub(super) fn script(here: &Listing) -> Option<Component> {
    let any = here.top().any(|path| path.ends_with(".py"));
    any.then(|| component(here, Installer::None)).flatten()
}

fn installer(here: &Listing) -> Installer {
    let pyproject = here.text("pyproject.toml");
    if here.has("uv.lock") {
        return Installer::Uv { locked: true };
    }
    if here.has("poetry.lock") || pyproject.is_some_and(|text| text.contains("[tool.poetry]")) {
        return Installer::Poetry;
    }
    if let Some(text) = here.text("requirements.txt") {
        let itself = text
            .lines()
            .map(str::trim)
            .any(|line| line.starts_with("-e") || line == "." || line.starts_with("./"));
        return match itself {
            true => Installer::RequirementsHere,
            false => Installer::Requirements,
        };
    }
    match pyproject {
        Some(text) if text.contains("[tool.uv]") => Installer::Uv { locked: false },
        Some(text) if text.contains("[project]") => Installer::Project,
        _ if here.has("setup.py") => Installer::Project,
        _ => Installer::None,
    }
}

/// Names of the packages that the manifests ask for, as PEP 503 writes them; extras as `name[extra]` besides.
fn packages(here: &Listing) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut add = |line: &str| {
        let name = first(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line);
        let Some(name) = name.map(|name| name.to_ascii_lowercase().replace(['_', '.'], "-")) else {
            return;
        };
        if let Some(extras) = first(r"^\s*[A-Za-z0-9._-]+\s*\[([^\]]*)\]", line) {
            for extra in extras.split(',').map(str::trim) {
                all.insert(format!("{name}[{extra}]"));
            }
        }
        all.insert(name);
    };
    for file in here.top().filter(|path| path.starts_with("requirements")) {
        for line in here.text(file).unwrap_or_default().lines() {
            add(line);
        }
    }
    if let Some(Ok(table)) = here.text("pyproject.toml").map(str::parse::<toml::Table>) {
        let listed = table
            .get("project")
            .and_then(|part| part.get("dependencies"));
        for line in listed.and_then(toml::Value::as_array).into_iter().flatten() {
            add(line.as_str().unwrap_or_default());
        }
        let poetry = table.get("tool").and_then(|part| part.get("poetry"));
        let poetry = poetry.and_then(|part| part.get("dependencies"));
        for (name, value) in poetry.and_then(toml::Value::as_table).into_iter().flatten() {
            add(name);
            let extras = value.get("extras").and_then(toml::Value::as_array);
            for extra in extras.into_iter().flatten() {
                add(&format!("{name}[{}]", extra.as_str().unwrap_or_default()));
            }
        }
    }
    let setup = here.text("setup.py").unwrap_or_default();
    if let Some(list) = first(r"(?s)install_requires\s*=\s*\[(.*?)\]", setup) {
        for quoted in list.split(['"', '\'']).skip(1).step_by(2) {
            add(quoted);
        }
    }
    all
}

/// What is started, and where it listens.
struct Program {
    what: String,
    why: String,
    command: Vec<String>,
    port: Option<u16>,
    /// Packages that it needs and that nobody has asked for.
    besides: Vec<&'static str>,
    environment: Vec<(String, String)>,
    /// Whether it loads changed files itself.
    reloads: bool,
    note: Option<String>,
}

impl Program {
    fn new(what: &str, why: String, command: &[&str], port: Option<u16>) -> Self {
        Self {
            what: what.to_owned(),
            why,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            port,
            besides: Vec::new(),
            environment: Vec::new(),
            reloads: false,
            note: None,
        }
    }
}

/// A file as a module, and the directory that must be looked in for it.
fn module(path: &str) -> (String, bool) {
    let stem = path.strip_suffix(".py").unwrap_or(path);
    let (stem, source) = match stem.strip_prefix("src/") {
        Some(rest) => (rest, true),
        None => (stem, false),
    };
    let stem = stem.strip_suffix("/__init__").unwrap_or(stem);
    (stem.replace('/', "."), source)
}

/// Python files, those first in which a program usually begins.
fn sources(here: &Listing) -> Vec<&str> {
    let usual = [
        "main.py",
        "app.py",
        "server.py",
        "api.py",
        "wsgi.py",
        "asgi.py",
        "streamlit_app.py",
        "__init__.py",
    ];
    let mut all = here.ending(".py");
    all.retain(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        !name.starts_with("test_") && !name.ends_with("_test.py") && name != "conftest.py"
    });
    all.sort_by_key(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let rank = usual.iter().position(|usual| *usual == name);
        (
            path.matches('/').count(),
            rank.unwrap_or(usual.len()),
            path.to_owned(),
        )
    });
    all
}

/// The first file in which a pattern is found, with what its group holds.
fn found<'a>(here: &'a Listing, pattern: &str) -> Option<(&'a str, String)> {
    let found = |path: &&'a str| Some((*path, first(pattern, here.text(path)?)?));
    sources(here).iter().find_map(found)
}

fn program(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    django(here, packages)
        .or_else(|| fastapi(here, packages))
        .or_else(|| flask(here, packages))
        .or_else(|| streamlit(here, packages))
        .or_else(|| gradio(here, packages))
        .or_else(|| plain(here))
}

fn django(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    let manage = here.text("manage.py")?;
    let package = first(
        r#"DJANGO_SETTINGS_MODULE['"]\s*,\s*['"]([\w.]+?)(?:\.settings)"#,
        manage,
    );
    if let (Some(package), true) = (package, packages.contains("gunicorn")) {
        let target = format!("{package}.wsgi");
        let command = ["gunicorn", "--bind", "0.0.0.0:8000", &target];
        let why = "manage.py and gunicorn".to_owned();
        return Some(Program::new("a Django project", why, &command, Some(8000)));
    }
    let command = ["python", "manage.py", "runserver", "0.0.0.0:8000"];
    let why = "manage.py; runserver, since gunicorn is not among the packages".to_owned();
    let mut program = Program::new("a Django project", why, &command, Some(8000));
    program.reloads = true;
    if !packages.contains("django") {
        program.besides.push("django");
    }
    program.note =
        Some("tables are made by you: hoist exec app python manage.py migrate".to_owned());
    Some(program)
}

fn fastapi(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    if !packages.contains("fastapi") && !packages.contains("starlette") {
        return None;
    }
    let pattern =
        r"(?m)^(\w+)\s*(?::\s*\w+)?\s*=\s*(?:fastapi\.|applications\.)?(?:FastAPI|Starlette)\(";
    let (path, variable) = found(here, pattern)?;
    let (name, source) = module(path);
    let target = format!("{name}:{variable}");
    let command = ["uvicorn", &target, "--host", "0.0.0.0", "--port", "8000"];
    let why = format!("{path} makes `{variable}`");
    let mut program = Program::new("a FastAPI application", why, &command, Some(8000));
    let served = ["uvicorn", "fastapi[standard]", "fastapi[all]"];
    if !served.iter().any(|name| packages.contains(*name)) {
        program.besides.push("uvicorn");
    }
    program.source(source);
    Some(program)
}

fn flask(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    if !packages.contains("flask") {
        return None;
    }
    let made = found(here, r"(?m)^(\w+)\s*(?::\s*\w+)?\s*=\s*(?:flask\.)?Flask\(");
    let factory = || found(here, r"(?m)^def (create_app|make_app)\(");
    let ((path, variable), call) = match made {
        Some(made) => (made, ""),
        None => (factory()?, "()"),
    };
    let (name, source) = module(path);
    let target = format!("{name}:{variable}{call}");
    let why = format!("{path} makes `{variable}{call}`");
    let mut program = match packages.contains("gunicorn") {
        true => {
            let command = ["gunicorn", "--bind", "0.0.0.0:5000", &target];
            Program::new("a Flask application", why, &command, Some(5000))
        }
        false => {
            let command = [
                "flask", "--app", &target, "run", "--host", "0.0.0.0", "--port", "5000",
            ];
            Program::new("a Flask application", why, &command, Some(5000))
        }
    };
    program.source(source);
    Some(program)
}

fn streamlit(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    if !packages.contains("streamlit") {
        return None;
    }
    let (path, _) = found(here, r"(?m)^\s*(import streamlit|from streamlit)")?;
    let command = [
        "streamlit",
        "run",
        path,
        "--server.address=0.0.0.0",
        "--server.port=8501",
        "--server.headless=true",
    ];
    let why = format!("{path} imports streamlit");
    let mut program = Program::new("a Streamlit application", why, &command, Some(8501));
    program.reloads = true;
    Some(program)
}

fn gradio(here: &Listing, packages: &BTreeSet<String>) -> Option<Program> {
    if !packages.contains("gradio") {
        return None;
    }
    let (path, _) = found(here, r"(?m)^\s*(import gradio|from gradio)")?;
    let why = format!("{path} imports gradio");
    let command = ["python", path];
    let mut program = Program::new("a Gradio application", why, &command, Some(7860));
    program.environment = vec![("GRADIO_SERVER_NAME".to_owned(), "0.0.0.0".to_owned())];
    Some(program)
}

/// A file that is started by its name.
fn plain(here: &Listing) -> Option<Program> {
    let begins = |path: &&&str| {
        let text = here.text(path).unwrap_or_default();
        text.contains("__name__")
    };
    let all = sources(here);
    let usual = all
        .iter()
        .find(|path| ["main.py", "app.py", "server.py"].contains(*path));
    let path = *usual.or_else(|| all.iter().find(begins)).or_else(|| {
        all.iter()
            .find(|path| !["setup.py", "manage.py"].contains(*path))
    })?;
    let text = here.text(path).unwrap_or_default();
    let port = first(r"\b[Pp][Oo][Rr][Tt]\b\D{0,24}?\b(\d{4,5})\b", text)
        .or_else(|| first(r#"\(\s*\(?\s*["'][\w.]*["']\s*,\s*(\d{2,5})\s*\)"#, text))
        .and_then(|port| port.parse().ok());
    let why = format!("it is started as `python {path}`");
    let mut program = Program::new("a Python program", why, &["python", path], port);
    let inside = Regex::new(r#"["'](127\.0\.0\.1|localhost)["']\s*,\s*(?:port\s*=\s*)?\d"#);
    if inside.is_ok_and(|inside| inside.is_match(text)) {
        program.note = Some(format!(
            "{path} listens on 127.0.0.1, which in a container nobody else reaches: let it listen on 0.0.0.0"
        ));
    } else if port.is_none() {
        program.note = Some(format!(
            "{path} names no port, so none is published: add `ports` if it listens"
        ));
    }
    Some(program)
}

impl Program {
    fn source(&mut self, source: bool) {
        if source {
            self.environment
                .push(("PYTHONPATH".to_owned(), "/app/src".to_owned()));
        }
    }
}

/// A command that says whether something takes connections.
pub(super) fn connects(port: u16) -> Probe {
    let code =
        format!("import socket; socket.create_connection((\"127.0.0.1\", {port}), 2).close()");
    Probe::Command(vec!["python".to_owned(), "-c".to_owned(), code])
}

fn component(here: &Listing, installer: Installer) -> Option<Component> {
    let packages = packages(here);
    let program = program(here, &packages)?;
    let version = version(here);
    let mut seen = vec![program.why.clone(), version.why.clone()];
    seen.push(installer.story().to_owned());
    let mut databases = BTreeSet::new();
    for package in &packages {
        if let Some(database) = Database::of_driver(package) {
            seen.push(format!(
                "{}: {package} is among the packages",
                database.title()
            ));
            databases.insert(database);
        }
    }
    let mut notes: Vec<String> = program.note.clone().into_iter().collect();
    for package in &program.besides {
        notes.push(format!(
            "{package} is among no packages here: the Dockerfile installs it besides; better ask for it where the others are"
        ));
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
    let manifests = installer.manifests(here);
    let mut watch: Vec<Rule> = manifests
        .iter()
        .map(|path| Rule::rebuild(path, "other packages: another image"))
        .collect();
    watch.insert(0, synced);
    Some(Component {
        what: program.what.clone(),
        dockerfile: Some(dockerfile(here, &program, installer, &version, &packages)),
        probe: program.port.map_or(Probe::None, connects),
        port: program.port,
        environment: program.environment,
        ignore: IGNORED.to_vec(),
        seen,
        notes,
        databases,
        watch,
        ..Component::default()
    })
}

impl Installer {
    fn story(self) -> &'static str {
        match self {
            Self::Requirements | Self::RequirementsHere => "packages by pip: requirements.txt",
            Self::Poetry => "packages by Poetry: pyproject.toml",
            Self::Uv { locked: true } => "packages by uv: uv.lock",
            Self::Uv { locked: false } => "packages by uv: pyproject.toml",
            Self::Project => "packages by pip: the project itself",
            Self::None => "no packages: there is no requirements.txt and no pyproject.toml",
        }
    }
    /// Files that say which packages there are.
    fn manifests(self, here: &Listing) -> Vec<&'static str> {
        let all: &[&'static str] = match self {
            Self::Requirements | Self::RequirementsHere => &["requirements.txt"],
            Self::Poetry => &["pyproject.toml", "poetry.lock"],
            Self::Uv { .. } => &["pyproject.toml", "uv.lock"],
            Self::Project => &["pyproject.toml", "setup.py"],
            Self::None => &[],
        };
        all.iter().copied().filter(|path| here.has(path)).collect()
    }
    /// The steps that install them, and whether the sources come before.
    fn steps(self, here: &Listing, besides: &[&str]) -> (String, bool) {
        let more: String = besides.iter().map(|name| format!(" {name}")).collect();
        let manifests = self.manifests(here).join(" ");
        let pip = |what: &str| {
            format!(
                "RUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip {what}{more}\n"
            )
        };
        let own = match more.trim() {
            "" => String::new(),
            more => {
                format!(
                    "RUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip {more}\n"
                )
            }
        };
        let first = "# Packages before sources: this step runs again only when they change; downloads are kept in a cache\n";
        match self {
            Self::Requirements => (
                format!(
                    "{first}COPY requirements*.txt ./\n{}",
                    pip("-r requirements.txt")
                ),
                false,
            ),
            Self::RequirementsHere => (pip("-r requirements.txt"), true),
            Self::Project => (pip("."), true),
            Self::Poetry => (
                format!(
                    "{first}RUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip poetry && python -m venv /opt/venv\n\
                     ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH\nCOPY {manifests} ./\n\
                     RUN --mount=type=cache,target=/var/cache/pypoetry \\\n    POETRY_CACHE_DIR=/var/cache/pypoetry poetry install --only main --no-root --no-interaction\n{own}"
                ),
                false,
            ),
            Self::Uv { locked } => (
                format!(
                    "{first}RUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip uv\n\
                     ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never\nCOPY {manifests} ./\n\
                     RUN --mount=type=cache,target=/var/cache/uv \\\n    UV_CACHE_DIR=/var/cache/uv uv sync {}--no-dev --no-install-project\n\
                     ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH\n{}",
                    if locked { "--locked " } else { "" },
                    match more.trim() {
                        "" => String::new(),
                        more => format!(
                            "RUN --mount=type=cache,target=/var/cache/uv \\\n    UV_CACHE_DIR=/var/cache/uv uv pip install {more}\n"
                        ),
                    }
                ),
                false,
            ),
            Self::None => (own, false),
        }
    }
}

/// What Debian packages building a Python package takes that comes as source only.
fn compilers(packages: &BTreeSet<String>) -> Option<&'static str> {
    let has = |name: &str| packages.contains(name);
    match (has("psycopg2"), has("mysqlclient")) {
        (false, false) => has("psycopg")
            .then_some("libpq5")
            .filter(|_| !has("psycopg[binary]")),
        (true, false) => Some("gcc libc6-dev libpq-dev"),
        (false, true) => Some("gcc libc6-dev pkg-config default-libmysqlclient-dev"),
        (true, true) => Some("gcc libc6-dev libpq-dev pkg-config default-libmysqlclient-dev"),
    }
}

fn dockerfile(
    here: &Listing,
    program: &Program,
    installer: Installer,
    version: &Version,
    packages: &BTreeSet<String>,
) -> String {
    let system = match compilers(packages) {
        None => String::new(),
        Some(names) => format!(
            "# Libraries that a driver needs\nRUN apt-get update && apt-get install -y --no-install-recommends {names} \\\n    \
             && rm -rf /var/lib/apt/lists/*\n\n"
        ),
    };
    let (steps, sources_first) = installer.steps(here, &program.besides);
    let steps = match (steps.as_str(), sources_first) {
        ("", _) => "COPY . .\n".to_owned(),
        (steps, true) => {
            format!(
                "# Packages are kept in a cache; with other sources the step runs again\nCOPY . .\n{steps}"
            )
        }
        (steps, false) => format!("{steps}\nCOPY . .\n"),
    };
    let port = program
        .port
        .map_or(String::new(), |port| format!("EXPOSE {port}\n"));
    format!(
        "# Drafted by `hoist init`; yours from now on.\nFROM python:{}-slim\n\n{SETTINGS}{USER}\n{system}WORKDIR /app\n\n{steps}\nUSER app\n{port}CMD {}\n",
        version.number,
        exec_form(&program.command),
    )
}
