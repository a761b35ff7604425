//! `init`: what is drafted for each kind of project is a project that loads, and Dockerfiles without a finding.

use std::collections::BTreeMap;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    what_is_drafted_for_each_kind_loads_and_passes_the_checks,
    a_compose_file_that_is_there_is_replaced_only_with_force,
    a_dry_run_shows_and_writes_nothing,
    what_is_not_known_is_said_with_what_is_looked_for,
    the_same_directory_gives_the_same_files,
    a_question_is_asked_on_a_terminal_only,
    files_belong_to_who_the_directory_belongs_to,
);

/// Kinds: a name, files, and what the drafts must hold.
type Kind = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const KINDS: &[Kind] = &[
    (
        "fastapi",
        &[
            ("requirements.txt", "fastapi\nuvicorn\npsycopg[binary]\n"),
            ("main.py", "from fastapi import FastAPI\napp = FastAPI()\n"),
        ],
        &["uvicorn", "main:app", "postgres:17", "pg_isready"],
    ),
    (
        "flask-poetry",
        &[
            (
                "pyproject.toml",
                "[tool.poetry]\nname = \"x\"\n[tool.poetry.dependencies]\npython = \"^3.11\"\nflask = \"*\"\nredis = \"*\"\n",
            ),
            ("poetry.lock", ""),
            ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
        ],
        &["poetry install", "redis:8"],
    ),
    (
        "django-uv",
        &[
            (
                "pyproject.toml",
                "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.11\"\ndependencies = [\"django\", \"gunicorn\", \"psycopg2\"]\n",
            ),
            ("uv.lock", ""),
            (
                "manage.py",
                "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n",
            ),
        ],
        &["uv sync --locked", "shop.wsgi", "libpq-dev"],
    ),
    (
        "streamlit",
        &[
            ("requirements.txt", "streamlit\n"),
            ("app.py", "import streamlit as st\n"),
        ],
        &["8501"],
    ),
    (
        "setup",
        &[
            (
                "setup.py",
                "setup(name='x', install_requires=['flask', 'pymongo'])\n",
            ),
            (
                "x/__init__.py",
                "def create_app():\n    return Flask('x')\n",
            ),
        ],
        &[
            "pip install --cache-dir /var/cache/pip .",
            "mongo:8",
            "x:create_app()",
        ],
    ),
    (
        "script",
        &[("main.py", "print(1)\n")],
        &["python:3.12-slim"],
    ),
    (
        "express-npm",
        &[
            (
                "package.json",
                "{\"scripts\":{\"start\":\"node server.js\"},\"dependencies\":{\"express\":\"4\",\"pg\":\"8\",\"ioredis\":\"5\"}}",
            ),
            ("package-lock.json", "{}"),
            ("server.js", "app.listen(process.env.PORT || 4000)\n"),
        ],
        &["npm ci", "redis:8", "postgres:17", "4000"],
    ),
    (
        "next-yarn",
        &[
            (
                "package.json",
                "{\"scripts\":{\"dev\":\"next dev\"},\"dependencies\":{\"next\":\"15\"}}",
            ),
            ("yarn.lock", ""),
        ],
        &["yarn install --frozen-lockfile", "3000"],
    ),
    (
        "vite-pnpm",
        &[
            (
                "package.json",
                "{\"scripts\":{\"dev\":\"vite\"},\"devDependencies\":{\"vite\":\"6\"}}",
            ),
            ("pnpm-lock.yaml", ""),
        ],
        &["pnpm install --frozen-lockfile", "5173"],
    ),
    (
        "rust",
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"shop\"\nversion = \"0.1.0\"\n[dependencies]\nsqlx = {version = \"0.8\", features = [\"mysql\"]}\nreqwest = \"0.12\"\n",
            ),
            ("src/main.rs", "fn main() { bind(\"0.0.0.0:3000\") }\n"),
        ],
        &[
            "cargo build --release",
            "mysql:8.4",
            "libssl-dev",
            "/dev/tcp/127.0.0.1/3000",
        ],
    ),
    (
        "go",
        &[
            ("go.mod", "module example.com/shop\n\ngo 1.24\n"),
            ("go.sum", ""),
            (
                "main.go",
                "package main\n\nfunc main() { http.ListenAndServe(\":8080\", nil) }\n",
            ),
        ],
        &["golang:1.24-bookworm", "go build"],
    ),
    (
        "notebooks",
        &[("a b.ipynb", "{}"), ("requirements.txt", "numpy\n")],
        &["jupyterlab", "8888"],
    ),
    (
        "present",
        &[
            (
                "Dockerfile",
                "FROM tiny\nEXPOSE 80\nCMD [\"httpd\", \"-f\"]\n",
            ),
            (".env", "A=1\n"),
        ],
        &["build: .", "env_file"],
    ),
    (
        "several",
        &[
            ("api/requirements.txt", "flask\n"),
            ("api/app.py", "app = Flask(__name__)\n"),
            (
                "web ui/package.json",
                "{\"scripts\":{\"dev\":\"vite\"},\"devDependencies\":{\"vite\":\"6\"}}",
            ),
        ],
        &["./api", "\"./web ui\""],
    ),
];

/// Writes the files of a kind into a directory of its own.
fn lay(hoist: &Sandbox, (name, files, _): &Kind) {
    for (path, text) in *files {
        hoist.file(&format!("{name}/{path}"), text);
    }
}

fn init(hoist: &Sandbox, name: &str) -> String {
    hoist.global(&["init", "--yes", name]).ok().out
}

/// Files of a directory by path.
fn tree(hoist: &Sandbox, name: &str) -> BTreeMap<String, String> {
    let mut waiting = vec![hoist.dir().join(name)];
    let mut all = BTreeMap::new();
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(&path).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                let short = path
                    .strip_prefix(hoist.dir())
                    .expect("below")
                    .to_string_lossy()
                    .into_owned();
                all.insert(short, text);
            }
        }
    }
    all
}

fn what_is_drafted_for_each_kind_loads_and_passes_the_checks() {
    let hoist = Sandbox::new();
    for kind in KINDS {
        let (name, _, wants) = kind;
        lay(&hoist, kind);
        init(&hoist, name);
        let all: String = tree(&hoist, name).into_values().collect();
        for want in *wants {
            assert!(all.contains(want), "{name} lacks {want}:\n{all}");
        }
        let config = hoist.global(&["--project-directory", name, "config"]).ok();
        assert_eq!(config.err, "", "{name}: {}", config.story());
        if *name != "present" {
            for want in ["develop:", "healthcheck:", "init: true"] {
                assert!(
                    config.out.contains(want) || *name == "script",
                    "{name}: {}",
                    config.out
                );
            }
        }
        stand_in(&hoist, name);
        let check = hoist
            .global(&["--project-directory", name, "build", "--check"])
            .ok();
        assert!(
            !check
                .all()
                .replace("no warnings found", "")
                .contains("warning"),
            "{name}: {}",
            check.story()
        );
        let docker = tree(&hoist, name);
        for (path, text) in docker
            .iter()
            .filter(|(path, _)| path.ends_with("Dockerfile"))
        {
            let own = *name == "present";
            let caches = text.contains("--mount=type=cache") || *name == "script";
            assert!(own || (caches && text.contains("USER ")), "{path}:\n{text}");
        }
    }
}

/// Checks look at base images: the tiny one stands for each.
fn stand_in(hoist: &Sandbox, name: &str) {
    for text in tree(hoist, name).values() {
        let bases = text.lines().filter_map(|line| line.strip_prefix("FROM "));
        for base in bases.filter_map(|line| line.split(' ').next()) {
            if base != "tiny" {
                hoist.global(&["image", "tag", "tiny", base]).ok();
            }
        }
    }
}

fn a_compose_file_that_is_there_is_replaced_only_with_force() {
    let hoist = Sandbox::empty();
    hoist.file("x/main.py", "print(1)\n");
    hoist.file("x/docker-compose.yml", "services: {}\n");
    hoist
        .global(&["init", "--yes", "x"])
        .code(1)
        .says("docker-compose.yml is there already")
        .says("--force");
    assert_eq!(tree(&hoist, "x").len(), 2);
    hoist.global(&["init", "--yes", "--force", "x"]).ok();
    let files = tree(&hoist, "x");
    assert!(
        files["x/docker-compose.yml"].contains("build: ."),
        "{files:?}"
    );
    assert!(!files.contains_key("x/compose.yaml"));
    // A link may lead anywhere: it counts as there.
    hoist.file("y/main.py", "print(1)\n");
    std::os::unix::fs::symlink("/nowhere", hoist.dir().join("y/Dockerfile")).expect("a link");
    hoist
        .global(&["init", "--yes", "y"])
        .code(1)
        .says("Dockerfile is there already");
}

fn a_dry_run_shows_and_writes_nothing() {
    let hoist = Sandbox::empty();
    hoist.file("x/main.py", "print(1)\n");
    hoist
        .global(&["init", "--dry-run", "x"])
        .ok()
        .says("--- Dockerfile")
        .says("--- compose.yaml")
        .says("FROM python:");
    assert_eq!(tree(&hoist, "x").len(), 1);
}

fn what_is_not_known_is_said_with_what_is_looked_for() {
    let hoist = Sandbox::empty();
    hoist.file("x/notes.md", "");
    hoist
        .global(&["init", "x"])
        .code(1)
        .says("nothing here that init knows")
        .says("pyproject.toml");
    hoist.global(&["init", "nosuch"]).code(1).says("nosuch");
    hoist
        .global(&["init", "x/notes.md"])
        .code(1)
        .says("is no directory");
}

fn the_same_directory_gives_the_same_files() {
    let hoist = Sandbox::empty();
    let kind = &KINDS[0];
    lay(&hoist, kind);
    init(&hoist, kind.0);
    let first = tree(&hoist, kind.0);
    std::fs::remove_dir_all(hoist.dir().join(kind.0)).expect("it is there");
    lay(&hoist, kind);
    init(&hoist, kind.0);
    assert_eq!(tree(&hoist, kind.0), first);
}

fn a_question_is_asked_on_a_terminal_only() {
    let hoist = Sandbox::empty();
    hoist.file("main.py", "print(1)\n");
    let mut asked = hoist.on_terminal("init");
    asked.says("Write Dockerfile, .dockerignore, compose.yaml? [y/N]");
    asked.types("n\n");
    assert_eq!(asked.wait(), 1);
    assert!(!hoist.dir().join("compose.yaml").exists());
    hoist.ok("init").says("next: hoist up --watch");
}

fn files_belong_to_who_the_directory_belongs_to() {
    use std::os::unix::fs::MetadataExt as _;
    let hoist = Sandbox::empty();
    hoist.file("x/main.py", "print(1)\n");
    let dir = hoist.dir().join("x");
    std::os::unix::fs::chown(&dir, Some(1234), Some(1234)).expect("root may");
    init(&hoist, "x");
    for name in ["compose.yaml", "Dockerfile", ".dockerignore"] {
        let about = dir.join(name).metadata().expect("it was written");
        assert_eq!((about.uid(), about.mode() & 0o777), (1234, 0o644), "{name}");
    }
}
