//! Notebooks: a JupyterLab that works on the files here.
//!
//! Imports: nothing but its neighbours. Source: Jupyter Server documentation, `JUPYTER_TOKEN`, `ServerApp`.

use super::python::{self, USER};
use super::{Component, Listing, Rule};

/// The service for notebooks, where there are some. `owner` is who the directory belongs to.
pub(super) fn look(here: &Listing, owner: (u32, u32)) -> Option<Component> {
    let notebooks = here.ending(".ipynb");
    let (first, count) = (*notebooks.first()?, notebooks.len());
    let version = python::version(here);
    let mut seen = vec![match count {
        1 => format!("{first} is a notebook"),
        _ => format!("{first} and {} more are notebooks", count - 1),
    }];
    seen.push(version.why.clone());
    let needs = here.has("requirements.txt");
    let packages = match needs {
        true => {
            seen.push("requirements.txt has the packages that they need".to_owned());
            "COPY requirements.txt ./\nRUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip jupyterlab ipykernel -r requirements.txt\n"
        }
        false => {
            "RUN --mount=type=cache,target=/var/cache/pip \\\n    pip install --cache-dir /var/cache/pip jupyterlab ipykernel\n"
        }
    };
    let root = match owner.0 {
        0 => ", \"--allow-root\"",
        _ => "",
    };
    let dockerfile = format!(
        "# Drafted by `hoist init`; yours from now on.\nFROM python:{}-slim\n\n{}{USER}\nWORKDIR /work\n\n\
         # This step runs again only when what it needs changes; downloads are kept in a cache\n{packages}\nUSER app\nEXPOSE 8888\n\
         CMD [\"jupyter\", \"lab\", \"--ip=0.0.0.0\", \"--port=8888\", \"--no-browser\"{root}]\n",
        version.number,
        python::SETTINGS,
    );
    let mut watch = Vec::new();
    if needs {
        watch.push(Rule::rebuild(
            "requirements.txt",
            "other packages: another image",
        ));
    }
    let why = match owner.0 {
        0 => "this directory belongs to root: so must who saves notebooks in it",
        _ => "the owner of this directory, so that saved notebooks belong to you",
    };
    Some(Component {
        service: "notebook".to_owned(),
        what: format!("notebooks (JupyterLab, Python {})", version.number),
        seen,
        notes: vec![
            "JUPYTER_TOKEN in .env is the password of the notebooks; without it `hoist logs notebook` shows a new one at each start"
                .to_owned(),
        ],
        dockerfile: Some(dockerfile),
        ignore: python::IGNORED.to_vec(),
        port: Some(8888),
        probe: python::connects(8888),
        environment: vec![
            ("JUPYTER_TOKEN".to_owned(), "${JUPYTER_TOKEN:-}".to_owned()),
            // Who is not in the image's list of users has no home directory.
            ("HOME".to_owned(), "/tmp".to_owned()),
        ],
        watch,
        bind: Some((
            ".:/work".to_owned(),
            "the notebooks themselves: what you save is saved here".to_owned(),
        )),
        user: Some((format!("{}:{}", owner.0, owner.1), why.to_owned())),
        ..Component::default()
    })
}
