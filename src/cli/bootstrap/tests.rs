//! What is seen in a directory, and the files that follow.

use super::*;

fn of(files: &[(&str, &str)]) -> Draft {
    draft(&Listing::of(files), "shop", (1000, 1000)).expect("something is known")
}

fn file<'a>(draft: &'a Draft, path: &str) -> &'a str {
    let found = draft.files.iter().find(|(name, _)| name == path);
    &found.unwrap_or_else(|| panic!("no {path} in {draft:#?}")).1
}

#[test]
fn an_empty_directory_gives_nothing() {
    assert_eq!(draft(&Listing::of(&[("notes.md", "")]), "x", (0, 0)), None);
}

#[test]
fn a_python_project_gets_the_server_the_driver_and_the_version_that_it_asks_for() {
    let draft = of(&[
        (
            "requirements.txt",
            "fastapi[standard]>=0.100\npsycopg[binary]==3.2 # db\nredis\n",
        ),
        (
            "app/main.py",
            "from fastapi import FastAPI\napi = FastAPI()\n",
        ),
        (".python-version", "3.11.4\n"),
    ]);
    let docker = file(&draft, "Dockerfile");
    assert!(docker.contains("FROM python:3.11-slim\n"), "{docker}");
    assert!(
        docker.contains("CMD [\"uvicorn\", \"app.main:api\", "),
        "{docker}"
    );
    assert!(!docker.contains("apt-get"), "{docker}");
    let compose = file(&draft, "compose.yaml");
    for part in [
        "\n  db:\n",
        "\n  redis:\n",
        "db-data:",
        "${APP_PORT:-8000}:8000",
    ] {
        assert!(compose.contains(part), "{part} in {compose}");
    }
}

#[test]
fn bounds_move_the_version() {
    for (bounds, want) in [
        (">=3.9", 12),
        (">=3.13", 13),
        (">=3.8,<3.12", 11),
        ("^3.11", 12),
        ("==3.10.*", 10),
        ("~=3.10.2", 10),
        ("<=3.10", 10),
        ("3.9", 9),
    ] {
        assert_eq!(python_version(bounds), format!("3.{want}"), "{bounds}");
    }
}

fn python_version(bounds: &str) -> String {
    let text = format!("[project]\nrequires-python = \"{bounds}\"\n");
    python::version(&Listing::of(&[("pyproject.toml", &text)])).number
}

#[test]
fn flask_is_found_as_a_variable_and_as_a_factory_and_below_src() {
    let plain = of(&[
        ("requirements.txt", "Flask\n"),
        ("app.py", "app = Flask(__name__)\n"),
    ]);
    let text = "CMD [\"flask\", \"--app\", \"app:app\", \"run\"";
    assert!(file(&plain, "Dockerfile").contains(text));
    let factory = of(&[
        ("requirements.txt", "flask\ngunicorn\n"),
        (
            "src/shop/__init__.py",
            "def create_app():\n    return Flask('x')\n",
        ),
    ]);
    assert!(file(&factory, "Dockerfile").contains("\"0.0.0.0:5000\", \"shop:create_app()\"]"));
    assert!(file(&factory, "compose.yaml").contains("PYTHONPATH: \"/app/src\""));
}

#[test]
fn lock_files_say_who_installs_packages() {
    let main = ("server.js", "app.listen(process.env.PORT || 4000)");
    let manifest = (
        "package.json",
        r#"{"scripts":{"start":"node server.js"},"dependencies":{"express":"4","pg":"8"}}"#,
    );
    for (lock, want) in [
        ("package-lock.json", "npm ci"),
        ("yarn.lock", "yarn install --frozen-lockfile"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ] {
        let draft = of(&[manifest, main, (lock, "")]);
        let docker = file(&draft, "Dockerfile");
        assert!(docker.contains(want), "{lock}: {docker}");
        assert!(docker.contains("CMD [\"node\", \"server.js\"]"), "{docker}");
        assert!(file(&draft, "compose.yaml").contains(":-4000}:4000"));
        assert!(file(&draft, "compose.yaml").contains("postgres:17"));
    }
    for (manifest, lock, want) in [
        ("[tool.poetry]\n", ("poetry.lock", ""), "poetry install"),
        ("[project]\n", ("uv.lock", ""), "uv sync --locked"),
        (
            "[project]\n",
            ("x", ""),
            "pip install --cache-dir /var/cache/pip .\n",
        ),
    ] {
        let draft = of(&[("pyproject.toml", manifest), lock, ("main.py", "print(1)")]);
        assert!(file(&draft, "Dockerfile").contains(want), "{want}");
    }
}

#[test]
fn frameworks_with_a_server_of_their_own_listen_on_all_addresses() {
    for (package, want) in [("next", "--hostname"), ("vite", "--host")] {
        let manifest = format!(r#"{{"scripts":{{"dev":"x"}},"dependencies":{{"{package}":"1"}}}}"#);
        let draft = of(&[("package.json", &manifest)]);
        let want = format!("\"npm\", \"run\", \"dev\", \"--\", \"{want}\", \"0.0.0.0\"");
        assert!(file(&draft, "Dockerfile").contains(&want));
        assert!(file(&draft, "compose.yaml").contains("action: sync\n"));
    }
}

#[test]
fn compiled_programs_have_a_stage_to_run_in() {
    let rust = of(&[
        (
            "Cargo.toml",
            "[package]\nname = \"shop\"\n[dependencies]\nsqlx = { version = \"0.8\", features = [\"postgres\"] }\n",
        ),
        ("src/main.rs", "fn main() { serve(\"127.0.0.1:3000\") }"),
        ("Cargo.lock", ""),
    ]);
    let docker = file(&rust, "Dockerfile");
    assert!(
        docker.contains("cargo build --release --locked --package shop --bin shop"),
        "{docker}"
    );
    assert!(docker.contains("EXPOSE 3000"), "{docker}");
    assert!(
        rust.notes
            .iter()
            .any(|note| note.contains("listen on 0.0.0.0")),
        "{rust:?}"
    );
    assert!(file(&rust, "compose.yaml").contains("postgres:17"));
    let go = of(&[
        (
            "go.mod",
            "module example.com/shop/v2\n\ngo 1.23.1\n\nrequire (\n\tgithub.com/jackc/pgx/v5 v5.1.0\n\tgithub.com/redis/go-redis/v9 v9.0.0 // indirect\n)\n",
        ),
        (
            "cmd/serve/main.go",
            "package main\nfunc main() { http.ListenAndServe(\":8080\", nil) }",
        ),
    ]);
    let docker = file(&go, "Dockerfile");
    assert!(docker.contains("FROM golang:1.23-bookworm"), "{docker}");
    assert!(
        docker.contains("go build -o /out/serve ./cmd/serve"),
        "{docker}"
    );
    let compose = file(&go, "compose.yaml");
    assert!(
        compose.contains("postgres:17") && !compose.contains("redis:"),
        "{compose}"
    );
}

#[test]
fn what_is_built_already_is_used_as_it_is() {
    let draft = of(&[
        ("Dockerfile", "FROM x\nEXPOSE 9000/tcp\n"),
        ("requirements.txt", "flask"),
    ]);
    assert_eq!(draft.files.len(), 1);
    let compose = file(&draft, "compose.yaml");
    assert!(
        compose.contains("build: .\n") && compose.contains("tcp: {port: 9000}"),
        "{compose}"
    );
    let several = of(&[
        ("Dockerfile.api", "FROM x"),
        ("worker.Dockerfile", "FROM x"),
    ]);
    let compose = file(&several, "compose.yaml");
    assert!(
        compose.contains("dockerfile: Dockerfile.api") && compose.contains("\n  worker:\n"),
        "{compose}"
    );
}

#[test]
fn directories_with_manifests_of_their_own_are_services() {
    let draft = of(&[
        ("backend/requirements.txt", "flask"),
        ("backend/app.py", "app = Flask(__name__)"),
        (
            "front end/package.json",
            r#"{"scripts":{"dev":"vite"},"devDependencies":{"vite":"6"}}"#,
        ),
        ("notes.md", ""),
    ]);
    let compose = file(&draft, "compose.yaml");
    assert!(
        compose.contains("\n  backend:\n    build: ./backend\n"),
        "{compose}"
    );
    assert!(
        compose.contains("\n  front-end:\n    build: \"./front end\"\n"),
        "{compose}"
    );
    file(&draft, "front end/Dockerfile");
}

#[test]
fn notebooks_belong_to_who_the_directory_belongs_to() {
    let files = [("lab.ipynb", "{}"), ("requirements.txt", "numpy")];
    let mine = draft(&Listing::of(&files), "x", (1000, 100)).expect("notebooks");
    assert!(file(&mine, "compose.yaml").contains("user: \"1000:100\""));
    assert!(!file(&mine, "Dockerfile").contains("--allow-root"));
    let roots = draft(&Listing::of(&files[..1]), "x", (0, 0)).expect("notebooks");
    assert!(file(&roots, "Dockerfile").contains("\"--allow-root\"]"));
}

#[test]
fn a_compose_file_that_is_there_keeps_its_name() {
    let draft = of(&[("docker-compose.yml", ""), ("main.py", "")]);
    file(&draft, "docker-compose.yml");
}
