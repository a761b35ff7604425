//! Remote projects as the pipeline sees them: a fetcher that has directories instead of a network.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::base::env::Env;
use crate::compose::model::Project;
use crate::compose::{LoadError, LoadRequest, load};

/// What lies where: references and the directories that stand for their content.
#[derive(Debug, Default)]
struct Shelf {
    dirs: BTreeMap<String, PathBuf>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Shelf {
    fn fetch(&self, reference: &RemoteRef) -> Result<Fetched, FetchError> {
        let (url, entry) = match reference {
            RemoteRef::Git(git) => (git.url.clone(), git.subdir.clone()),
            RemoteRef::Oci(name) => (name.clone(), "compose.yaml".to_owned()),
        };
        self.asked.lock().unwrap().push(reference.to_string());
        let root = self.dirs.get(&url).cloned();
        let root = root.ok_or_else(|| FetchError::new("not reachable").hint("look for it"))?;
        Ok(Fetched {
            root,
            entry,
            pin: "1b2c".to_owned(),
            name: format!("{url}#1b2c"),
        })
    }
}

/// A local project in `here` and what lies elsewhere in `there`.
struct World {
    dir: PathBuf,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let at = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hoist-remote-{}-{at}", std::process::id()));
        std::fs::create_dir_all(dir.join("here")).unwrap();
        for (name, text) in files {
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Self { dir }
    }
    fn link(self, name: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.dir.join(name)).unwrap();
        self
    }
    fn request(&self, files: &[&str]) -> LoadRequest {
        let shelf = Shelf {
            dirs: [
                ("git://h/r".to_owned(), self.dir.join("there")),
                ("git://h/other".to_owned(), self.dir.join("other")),
                ("h/a:1".to_owned(), self.dir.join("there")),
            ]
            .into(),
            ..Shelf::default()
        };
        LoadRequest {
            files: files.iter().map(PathBuf::from).collect(),
            remote: Some(Arc::new(shelf)),
            ..LoadRequest::default()
        }
    }
    fn load(&self, files: &[&str]) -> Result<Project, LoadError> {
        self.load_with(self.request(files))
    }
    fn load_with(&self, request: LoadRequest) -> Result<Project, LoadError> {
        let env = Env {
            vars: [("SET".to_owned(), "env".to_owned())].into(),
            cwd: self.dir.join("here"),
            home: Some(self.dir.join("home")),
            ..Env::default()
        };
        load(&request, &env)
    }
    /// The errors of loading, without the directory of the case.
    fn errors(&self, files: &[&str]) -> Vec<String> {
        let error = self.load(files).expect_err("it must be refused");
        let dir = self.dir.display().to_string();
        let text = error.to_string().replace(&dir, "");
        text.lines().map(str::to_owned).collect()
    }
    fn at(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn context(project: &Project, service: &str) -> PathBuf {
    let build = project.services[service].build.as_ref().unwrap();
    match &build.context.as_ref().unwrap().value {
        crate::compose::model::ContextRef::Dir(path) => path.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_remote_file_named_first_gives_directory_but_not_name_and_variables() {
    let world = World::new(&[
        ("here/.env", "A=local\n"),
        ("there/.env", "A=remote\n"),
        (
            "there/sub/compose.yml",
            "services: {a: {image: 'x:$A', build: ./ctx, env_file: e.env}}\n",
        ),
        ("there/sub/e.env", "E=1\n"),
        ("here/y.yaml", "services: {a: {build: {context: ./own}}}\n"),
    ]);
    let project = world.load(&["git://h/r#main:sub"]).unwrap();
    assert_eq!(project.name.to_string(), "here");
    assert_eq!(project.dir, world.at("there/sub"));
    assert_eq!(project.files, [world.at("there/sub/compose.yml")]);
    let service = &project.services["a"];
    assert_eq!(service.image.as_ref().unwrap().value, "x:local");
    assert_eq!(context(&project, "a"), world.at("there/sub/ctx"));
    assert!(service.environment.contains_key("E"));
    assert_eq!(project.remote.sources.len(), 1);
    assert_eq!(project.remote.sources[0].reference, "git://h/r#main:sub");
    let used = &project.remote.variables[0];
    assert_eq!(
        (used.variable.name.as_str(), used.value.as_deref()),
        ("A", Some("local"))
    );
    // A local file beside it, in either order, does not change where paths start.
    for files in [
        ["git://h/r#:sub", "y.yaml"],
        ["y.yaml", "git://h/r?subdir=sub"],
    ] {
        let project = world.load(&files).unwrap();
        assert_eq!(project.dir, world.at("there/sub"), "{files:?}");
        let own = files[1] == "y.yaml";
        let expected = if own {
            "there/sub/own"
        } else {
            "there/sub/ctx"
        };
        assert_eq!(context(&project, "a"), world.at(expected));
    }
}

#[test]
fn a_remote_include_is_a_project_of_its_own_with_files_beside_it() {
    let world = World::new(&[
        (
            "here/compose.yaml",
            "include: ['git://h/r#v1:sub/c.yaml']\n",
        ),
        ("there/sub/.env", "A=theirs\n"),
        (
            "there/sub/c.yaml",
            "include: [deep/d.yaml]\nservices: {a: {image: 'x:$A$SET', build: ctx, extends: {file: ../base.yaml, service: b}}}\n",
        ),
        ("there/base.yaml", "services: {b: {working_dir: /w}}\n"),
        (
            "there/sub/deep/d.yaml",
            "include: ['oci://h/a:1', 'git://h/other']\nservices: {d: {image: d, build: .}}\n",
        ),
        ("there/compose.yaml", "services: {artifact: {image: y}}\n"),
        (
            "other/compose.yaml",
            "services: {o: {image: o, build: .}}\n",
        ),
    ]);
    let project = world.load(&[]).unwrap();
    assert_eq!(project.dir, world.at("here"));
    let image = &project.services["a"].image.as_ref().unwrap().value;
    assert_eq!(image, "x:theirsenv");
    let dir = project.services["a"].working_dir.as_deref();
    assert_eq!(dir, Some("/w"));
    assert_eq!(context(&project, "a"), world.at("there/sub/ctx"));
    assert_eq!(context(&project, "d"), world.at("there/sub/deep"));
    assert_eq!(context(&project, "o"), world.at("other"));
    let sources: Vec<&str> = project
        .remote
        .sources
        .iter()
        .map(|source| source.reference.as_str())
        .collect();
    assert_eq!(
        sources,
        ["git://h/r#v1:sub/c.yaml", "oci://h/a:1", "git://h/other"]
    );
}

#[test]
fn a_service_can_extend_one_of_a_remote_file() {
    let world = World::new(&[
        (
            "here/compose.yaml",
            "services: {a: {image: x, extends: {file: 'git://h/r#:sub/e.yaml', service: e}}}\n",
        ),
        (
            "there/sub/e.yaml",
            "services: {e: {build: ctx, env_file: [r.env]}}\n",
        ),
        ("there/r.env", "FROM_ROOT=1\n"),
    ]);
    let project = world.load(&[]).unwrap();
    assert_eq!(context(&project, "a"), world.at("there/ctx"));
    let environment = &project.services["a"].environment;
    assert!(environment.contains_key("FROM_ROOT"));
}

#[test]
fn a_local_project_directory_may_be_read_by_the_remote_file_it_is_given_to() {
    let world = World::new(&[
        (
            "here/compose.yaml",
            "include: [{path: 'git://h/r', project_directory: pd}]\n",
        ),
        ("here/pd/.env", "A=pd\n"),
        ("here/pd/e.env", "E=1\n"),
        (
            "there/compose.yaml",
            "services: {a: {image: 'x:$A', build: ctx, env_file: e.env}}\n",
        ),
    ]);
    let project = world.load(&[]).unwrap();
    assert_eq!(context(&project, "a"), world.at("here/pd/ctx"));
    assert!(project.services["a"].environment.contains_key("E"));
}

#[test]
fn a_remote_file_reads_nothing_that_did_not_come_with_it() {
    let cases: [(&str, &str); 10] = [
        // Whether it is there must not be told either.
        (
            "services: {a: {image: x, env_file: ../none.env}}",
            "none.env",
        ),
        (
            "services: {a: {image: x, env_file: [{path: ../none.env, required: false}]}}",
            "none.env",
        ),
        (
            "services: {a: {image: x, env_file: ../secret.env}}",
            "secret.env",
        ),
        (
            "services: {a: {image: x, env_file: ~/secret.env}}",
            "secret.env",
        ),
        ("services: {a: {image: x, env_file: link.env}}", "link.env"),
        (
            "services: {a: {image: x, label_file: [dirlink/secret.env]}}",
            "dirlink/secret.env",
        ),
        ("include: [../here/y.yaml]", "y.yaml"),
        ("include: [link.yaml]", "link.yaml"),
        (
            "services: {a: {extends: {file: ../here/y.yaml, service: y}}}",
            "y.yaml",
        ),
        (
            "include: [{path: in.yaml, env_file: ../secret.env}]",
            "secret.env",
        ),
    ];
    for (text, shown) in cases {
        let world = World::new(&[
            ("secret.env", "S=1\n"),
            ("home/secret.env", "S=1\n"),
            ("here/y.yaml", "services: {y: {image: y}}\n"),
            ("there/compose.yaml", text),
            ("there/in.yaml", "services: {y: {image: y}}\n"),
        ])
        .link("there/link.env", "../secret.env")
        .link("there/link.yaml", "../here/y.yaml")
        .link("there/dirlink", "..");
        for files in [vec!["git://h/r"], vec!["oci://h/a:1"], vec![]] {
            let local = world.at("here/compose.yaml");
            std::fs::write(local, "include: ['git://h/r']\n").unwrap();
            let found = world.errors(&files);
            let first = found.first().unwrap();
            assert!(
                first.contains(shown) && first.contains("outside of the remote project"),
                "{text}: {found:?}"
            );
            assert!(first.contains("#1b2c:compose.yaml:1:"), "{first}");
        }
    }
}

#[test]
fn a_directory_that_a_remote_file_names_for_an_include_is_no_way_out() {
    let world = World::new(&[
        ("here/.env", "S=1\n"),
        (
            "there/compose.yaml",
            "include: [{path: in.yaml, project_directory: ../here}]\n",
        ),
        ("there/in.yaml", "services: {y: {image: 'y:$S'}}\n"),
    ]);
    let found = world.errors(&["git://h/r"]);
    assert!(
        found[0].contains("outside of the remote project"),
        "{found:?}"
    );
}

#[test]
fn a_link_of_a_remote_project_is_not_followed_for_a_local_file_either() {
    let world = World::new(&[
        ("secret.env", "S=1\n"),
        ("there/compose.yaml", "services: {a: {image: x}}\n"),
        ("here/y.yaml", "services: {a: {env_file: link.env}}\n"),
    ])
    .link("there/link.env", "../secret.env");
    let found = world.errors(&["git://h/r", "y.yaml"]);
    assert!(found[0].starts_with("y.yaml:1:"), "{found:?}");
    assert!(found[0].contains("outside of the remote project"));
}

#[test]
fn what_is_not_there_is_said_with_the_commit_and_what_may_be_meant() {
    let world = World::new(&[
        ("here/compose.yaml", "include:\n  - git://h/r#main:deplo\n"),
        ("there/deploy/x.txt", ""),
    ])
    .link("there/out", "..");
    let message = "`include` names git://h/r#main:deplo: there is no `deplo` in it (commit 1b2c)";
    assert_eq!(world.errors(&[]), [format!("compose.yaml:2:5: {message}")]);
    let error = world.load(&[]).unwrap_err();
    let hints = &error.diagnostics.iter().next().unwrap().hints;
    assert_eq!(hints, &["did you mean `deploy`?"]);
    let found = world.errors(&["git://h/r#main:deploy"]);
    assert!(found[0].contains("no compose file in its directory `deploy`"));
    let found = world.errors(&["git://h/r#main:out/here"]);
    assert!(
        found[0].contains("outside of the remote project"),
        "{found:?}"
    );
}

#[test]
fn a_reference_that_fails_is_named_where_it_stands_without_its_credentials() {
    let text =
        "include:\n  - git://h/none\n  - https://me:s3cret@h/none.git#main\n  - git://h/r#-x\n";
    let world = World::new(&[("here/compose.yaml", text)]);
    let error = world.load(&[]).unwrap_err();
    let found = world.errors(&[]);
    assert_eq!(
        found,
        [
            "compose.yaml:2:5: `include` names git://h/none: not reachable",
            "compose.yaml:4:5: `include` names a git repository in a way that is refused: the reference `-x` begins \
             with `-`, which git could take for an option",
            "compose.yaml:3:5: `include` names https://h/none.git#main: not reachable",
        ]
    );
    // Neither in the words nor in a line that is shown beside them.
    let mut secret = error
        .diagnostics
        .iter()
        .filter(|item| item.message.contains("https://h/none.git"));
    assert!(secret.all(|item| item.span.is_none()));
    assert!(!format!("{:?}", error.diagnostics).contains("s3cret"));
}

#[test]
fn an_address_that_is_no_reference_says_what_one_looks_like() {
    for (text, hint) in [
        ("https://h/compose.yaml", "ends in `.git`"),
        ("https://me:s3cret@h/b", "ends in `.git`"),
        ("file:///srv/b.git", "name the path alone"),
        ("ftp://h/b.git", "oci://registry/repository:tag"),
    ] {
        let include = format!("include:\n  - {text}\n");
        let world = World::new(&[("here/compose.yaml", &include)]);
        let error = world.load(&[]).unwrap_err();
        let found = error.diagnostics.iter().next().unwrap();
        assert!(found.message.contains("can't be fetched"), "{text}");
        assert!(found.hints[0].contains(hint), "{text}: {:?}", found.hints);
        assert_eq!(found.span.is_none(), text.contains("s3cret"));
    }
}

#[test]
fn a_reference_is_fetched_once_and_cycles_are_seen() {
    let world = World::new(&[
        (
            "here/compose.yaml",
            "include: ['git://h/r', 'git://h/r', 'git://h/other']\n",
        ),
        ("there/compose.yaml", "services: {a: {image: x}}\n"),
        ("other/compose.yaml", "include: ['git://h/other']\n"),
    ]);
    let found = world.errors(&[]);
    assert!(found[0].contains("files include each other"), "{found:?}");
    assert!(found[0].contains("git://h/other#1b2c:compose.yaml"));
    let shelf = Arc::new(Shelf {
        dirs: [("git://h/r".to_owned(), world.at("there"))].into(),
        ..Shelf::default()
    });
    let text = "include: ['git://h/r', 'git://h/r']\n";
    std::fs::write(world.at("here/compose.yaml"), text).unwrap();
    let request = LoadRequest {
        remote: Some(shelf.clone()),
        ..LoadRequest::default()
    };
    world.load_with(request).unwrap();
    assert_eq!(*shelf.asked.lock().unwrap(), ["git://h/r"]);
}

#[test]
fn the_one_reference_of_compose_file_is_not_split_at_its_colons() {
    let world = World::new(&[
        ("here/.env", "COMPOSE_FILE=git://h/r#main:c.yaml\n"),
        ("there/c.yaml", "services: {a: {image: x}}\n"),
    ]);
    let project = world.load(&[]).unwrap();
    assert_eq!(project.files, [world.at("there/c.yaml")]);
}
