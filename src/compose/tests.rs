//! The pipeline as a whole: files in a directory of its own, the project or the findings out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::model::*;
use super::select::{Selection, select};
use super::*;
use crate::base::diag::Severity;
use crate::base::name::ServiceName;

/// A directory with files, removed when dropped.
pub(super) struct Dir {
    pub(super) path: PathBuf,
    vars: Vec<(String, String)>,
}

impl Dir {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let at = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hoist-compose-{}-{at}", std::process::id()));
        for (name, text) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Self {
            path,
            vars: Vec::new(),
        }
    }
    fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }
    fn env(&self) -> Env {
        Env {
            vars: self.vars.iter().cloned().collect(),
            cwd: self.path.clone(),
            ..Env::default()
        }
    }
    pub(super) fn load(&self) -> Result<Project, LoadError> {
        self.load_with(LoadRequest::default())
    }
    fn load_with(&self, request: LoadRequest) -> Result<Project, LoadError> {
        load(
            &LoadRequest {
                project_name: Some("p".into()),
                ..request
            },
            &self.env(),
        )
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn errors(result: Result<Project, LoadError>) -> Vec<String> {
    result.err().map_or_else(Vec::new, |e| {
        e.to_string().lines().map(str::to_owned).collect()
    })
}

fn warnings(project: &Project) -> Vec<String> {
    project
        .warnings
        .clone()
        .sorted()
        .iter()
        .map(|d| d.headline(&project.sources))
        .collect()
}

fn one(text: &str) -> Result<Project, LoadError> {
    Dir::new(&[("compose.yaml", text)]).load()
}

fn env_of<'p>(project: &'p Project, service: &str, name: &str) -> Option<&'p str> {
    project.services[service]
        .environment
        .get(name)?
        .as_ref()
        .map(|value| value.value.as_str())
}

#[test]
fn every_fault_of_a_file_is_reported_in_one_run_with_its_place() {
    let found = errors(one("services:
  api:
    imge: nginx
    ports: [\"80:99999\"]
    networks: [frontt]
    depends_on: [dbb]
    mem_limit: 5zz
    environment: {D: 2020-01-01}
    command: echo ${X:?set it}
  db:
    image: [x]
networks: {front: }
"));
    assert_eq!(
        found,
        [
            "compose.yaml:3:5: services.api.imge: unknown key `imge`",
            "compose.yaml:4:17: services.api.ports[0]: `99999` is not a port",
            "compose.yaml:5:16: services.api.networks: the network `frontt` is not defined",
            "compose.yaml:6:18: services.api.depends_on: service `api` depends on `dbb`, which is not defined",
            "compose.yaml:7:17: services.api.mem_limit: unknown unit `zz` in the size `5zz`",
            "compose.yaml:8:22: services.api.environment.D: expected a string, number, boolean or nothing, but this is a timestamp",
            "compose.yaml:9:21: services.api.command: required variable X is missing a value: set it",
            "compose.yaml:11:5: services.db.image: expected a string, but this is a list",
        ]
    );
}

#[test]
fn a_dependency_cycle_is_shown_as_the_way_round() {
    let found = errors(one(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, links: [c]}\n  c: {image: x, network_mode: 'service:a'}\n",
    ));
    assert_eq!(
        found,
        [
            "compose.yaml:2:30: services.a.depends_on: services depend on each other: a -> b -> c -> a"
        ]
    );
}

#[test]
fn a_value_that_is_refused_does_not_count_as_missing() {
    let found = errors(one(
        "services: {a: {image: x, depends_on: {b: {condition: healthy}}}, b: {image: x}}",
    ));
    assert_eq!(
        found,
        [
            "compose.yaml:1:54: services.a.depends_on.b.condition: `healthy` is not one of service_started, service_healthy, service_completed_successfully"
        ]
    );
}

#[test]
fn keys_without_effect_are_warned_about_by_name() {
    let project = one("services:\n  a: {image: x, isolation: y, userns_mode: host, build: {context: ., cache_from: [y]}}\nversion: '3'\n").unwrap();
    assert_eq!(
        warnings(&project),
        [
            "compose.yaml:2:17: services.a.isolation: `isolation` is not supported by hoist yet and is ignored: it is for Windows only",
            "compose.yaml:3:1: the attribute `version` is obsolete and ignored",
        ]
    );
}

#[test]
fn the_environment_goes_over_dot_env_and_unset_names_warn_once() {
    let dir = Dir::new(&[
        (".env", "A=file\nB=file\nCOMPOSE_PROFILES=q\n"),
        ("compose.yaml", "services:\n  a: {image: '$A', hostname: '$B$C', working_dir: '$C', environment: [A, NOT], env_file: e.env}\n"),
        ("e.env", "A=e\nE=${B}-$A\n"),
    ])
    .var("A", "shell");
    let project = dir.load().unwrap();
    assert_eq!(
        project.services["a"].image.as_deref().map(String::as_str),
        Some("shell")
    );
    assert_eq!(project.services["a"].hostname.as_deref(), Some("file"));
    assert_eq!(env_of(&project, "a", "A"), Some("shell"));
    assert_eq!(env_of(&project, "a", "E"), Some("file-shell"));
    assert_eq!(project.services["a"].environment.get("NOT"), Some(&None));
    assert_eq!(project.profiles, ["q"]);
    let unset = "The \"C\" variable is not set. Defaulting to a blank string.";
    assert_eq!(
        warnings(&project),
        [format!("compose.yaml:2:33: services.a.hostname: {unset}")]
    );
}

#[test]
fn env_files_see_the_project_then_the_service_then_themselves_then_earlier_ones() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "include: [sub/i.yaml]\nservices: {a: {image: x, env_file: [e1, e2], label_file: [l1, l2], environment: {OWN: own}}}\n",
        ),
        (".env", "P=project\n"),
        ("e1", "A=1\nB=$A\nP=file\n"),
        ("e2", "A=2\nC=$A$B-$OWN-$P\n"),
        ("l1", "K=1\n"),
        ("l2", "K=2\nL=$K$P\n"),
        ("sub/i.yaml", "services: {b: {image: x, env_file: e}}\n"),
        ("sub/.env", "P=included\n"),
        ("sub/e", "Q=$P\n"),
    ]);
    let project = dir.load().unwrap();
    assert_eq!(env_of(&project, "a", "C"), Some("21-own-project"));
    assert_eq!(env_of(&project, "a", "P"), Some("file"));
    assert_eq!(env_of(&project, "b", "Q"), Some("project"));
    let labels = &project.document["services"]["a"]["labels"];
    assert_eq!(labels, &serde_json::json!({"K": "2", "L": "1"}));
}

#[test]
fn the_default_env_file_is_switched_off_by_a_boolean_only() {
    let dir = || {
        Dir::new(&[
            (
                "compose.yaml",
                "services: {a: {image: 'x${V:-}', profiles: ['']}}\n",
            ),
            (".env", "V=1\n"),
        ])
    };
    let image = |dir: Dir| {
        let project = dir.load().unwrap();
        project.document["services"]["a"]["image"].to_string()
    };
    assert_eq!(image(dir()), "\"x1\"");
    assert_eq!(image(dir().var("COMPOSE_DISABLE_ENV_FILE", "T")), "\"x\"");
    let refused = errors(dir().var("COMPOSE_DISABLE_ENV_FILE", "on").load());
    let fault = "COMPOSE_DISABLE_ENV_FILE is `on`, which is no boolean";
    assert_eq!(refused, [fault]);
    let own = Dir::new(&[
        ("compose.yaml", "services: {a: {image: 'x${V:-}'}}\n"),
        (".env", "V=1\nCOMPOSE_DISABLE_ENV_FILE=1\n"),
    ]);
    assert_eq!(image(own), "\"x\"");
}

#[test]
fn a_broken_reference_in_joined_lines_is_shown_inside_of_the_text() {
    // Joining the lines drops two bytes, as many as quotes would have.
    let result = one("services: {a: {image: x}}\nx-a: k:${T - é:${T é\n  \n   b");
    let error = result.unwrap_err();
    for finding in error.diagnostics.iter() {
        let span = finding.span.unwrap();
        let text = &error.sources.get(span.source).unwrap().text;
        assert!(text.get(span.start as usize..span.end as usize).is_some());
    }
}

#[test]
fn a_file_that_says_nothing_is_empty() {
    for text in ["{}", "version: '3'", "# c\n", "---\n"] {
        let refused = errors(one(text));
        assert!(
            refused.iter().any(|fault| fault.contains("empty")),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn extends_reaches_other_files_and_their_paths_start_there() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "services:\n  a: {extends: {service: base, file: sub/b.yaml}, command: own}\n",
        ),
        (
            "sub/b.yaml",
            "services:\n  base: {extends: root, volumes: ['./d:/d'], command: theirs}\n  root: {image: x, env_file: r.env}\n",
        ),
        ("sub/r.env", "R=1\n"),
    ]);
    let project = dir.load().unwrap();
    let service = &project.services["a"];
    assert_eq!(service.command, Some(vec!["own".into()]));
    assert_eq!(env_of(&project, "a", "R"), Some("1"));
    let VolumeSource::Bind { path, .. } = &service.volumes[0].source else {
        panic!("no bind")
    };
    assert_eq!(*path, dir.path.join("sub/d"));
}

#[test]
fn tags_of_an_extended_service_do_not_reach_the_one_that_extends_it() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "services:\n  a: {image: x, environment: {C: '3'}}\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  base: {image: y, environment: !override {A: '1'}}\n  a: {extends: base}\n",
        ),
    ]);
    let project = dir.load().unwrap();
    assert_eq!(env_of(&project, "a", "A"), Some("1"));
    assert_eq!(env_of(&project, "a", "C"), Some("3"));
}

#[test]
fn extends_refuses_cycles_and_unknown_services() {
    let found = errors(one("services:\n  a: {extends: b}\n  b: {extends: a}\n"));
    assert_eq!(
        found,
        ["compose.yaml:2:16: services.a.extends: services extend each other: a -> b -> a"]
    );
    let found = errors(one(
        "services:\n  a: {image: x, extends: bse}\n  base: {image: x}\n",
    ));
    assert_eq!(
        found,
        [
            "compose.yaml:2:26: services.a.extends: service `a` extends `bse`, which is not defined in compose.yaml"
        ]
    );
}

#[test]
fn include_brings_in_a_project_with_its_own_directory_and_variables() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "include: [sub/compose.yaml]\nservices:\n  a: {image: '${X-unset}', depends_on: [b]}\n",
        ),
        (
            "sub/compose.yaml",
            "services:\n  b: {image: '$X', build: ., environment: [X]}\nvolumes: {v: }\n",
        ),
        ("sub/.env", "X=inner\n"),
    ]);
    let project = dir.load().unwrap();
    assert_eq!(
        project.services["a"].image.as_deref().map(String::as_str),
        Some("unset")
    );
    assert_eq!(
        project.services["b"].image.as_deref().map(String::as_str),
        Some("inner")
    );
    assert_eq!(env_of(&project, "b", "X"), Some("inner"));
    let context = project.services["b"]
        .build
        .as_ref()
        .and_then(|build| build.context.clone());
    assert_eq!(
        context.map(|c| c.value),
        Some(ContextRef::Dir(dir.path.join("sub")))
    );
}

#[test]
fn include_refuses_cycles_conflicts_and_addresses() {
    let files = [
        (
            "compose.yaml",
            "include: [b.yaml, 'https://x/y.git']\nservices: {a: {image: x}}\n",
        ),
        (
            "b.yaml",
            "include: [compose.yaml]\nservices: {a: {image: y}}\n",
        ),
    ];
    let found = errors(Dir::new(&files).load());
    assert_eq!(
        found,
        [
            "compose.yaml:1:19: `include` names https://x/y.git: this command reads no files from elsewhere",
            "compose.yaml:2:12: `services.a` conflicts with an included definition",
            "b.yaml:1:11: include: files include each other: compose.yaml -> b.yaml -> compose.yaml",
        ]
    );
}

#[test]
fn files_are_found_upwards_and_their_overrides_beside_them() {
    let dir = Dir::new(&[
        ("compose.yaml", "services: {a: {image: x, build: .}}\n"),
        ("compose.override.yaml", "services: {a: {image: y}}\n"),
        ("deep/er/x", ""),
    ]);
    let mut env = dir.env();
    env.cwd = dir.path.join("deep/er");
    let project = load(
        &LoadRequest {
            project_name: Some("p".into()),
            ..LoadRequest::default()
        },
        &env,
    )
    .unwrap();
    assert_eq!(project.dir, dir.path);
    assert_eq!(project.files.len(), 2);
    assert_eq!(
        project.services["a"].image.as_deref().map(String::as_str),
        Some("y")
    );
    env.cwd = PathBuf::from("/nonexistent");
    let error = load(&LoadRequest::default(), &env).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no configuration file provided: not found"
    );
}

#[test]
fn the_name_comes_from_the_flag_the_environment_the_file_or_the_directory() {
    let dir = Dir::new(&[(
        "My App/compose.yaml",
        "name: ${N:-}\nservices: {a: {image: x}}\n",
    )]);
    let name = |text: &str, vars: &[(&str, &str)], flag: Option<&str>| {
        std::fs::write(dir.path.join("My App/compose.yaml"), text).unwrap();
        let vars = vars
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let env = Env {
            vars,
            cwd: dir.path.join("My App"),
            ..Env::default()
        };
        let request = LoadRequest {
            project_name: flag.map(str::to_owned),
            ..LoadRequest::default()
        };
        load(&request, &env)
            .map(|p| p.name.to_string())
            .map_err(|e| e.to_string())
    };
    let plain = "services: {a: {image: x}}\n";
    let named = "name: ${N}\nservices: {a: {image: x}}\n";
    assert_eq!(name(plain, &[], None).as_deref(), Ok("myapp"));
    assert_eq!(
        name(named, &[("N", "of-file")], None).as_deref(),
        Ok("of-file")
    );
    let both = [("N", "of-file"), ("COMPOSE_PROJECT_NAME", "of-env")];
    assert_eq!(name(named, &both, None).as_deref(), Ok("of-env"));
    assert_eq!(
        name(named, &both, Some("of-flag")).as_deref(),
        Ok("of-flag")
    );
    assert!(
        name(plain, &[], Some("Bad Name"))
            .unwrap_err()
            .contains("invalid project name")
    );
}

#[test]
fn short_forms_become_typed_values() {
    let project = one("services:
  a:
    image: x
    command: sh -c 'echo $$A'
    ports: ['127.0.0.1:8000-8001:80-81/udp', '3000-3005:90']
    volumes: ['.:/x:ro', 'v:/v:nocopy']
    healthcheck: {test: curl x}
    restart: on-failure:3
    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 64m}}}
    secrets: [{source: s, target: t, mode: 0400}]
    x-hoist: {trust_host_ca: true}
volumes: {v: }
secrets: {s: {environment: S}}
");
    // A one-letter volume name in the short form is a Windows drive to Compose.
    assert!(errors(project)[0].contains("reads as a Windows path"));
    let project = one("services:
  a:
    image: x
    command: sh -c 'echo $$A'
    ports: ['127.0.0.1:8000-8001:80-81/udp', '3000-3005:90']
    volumes: ['.:/x:ro', 'vol:/v:nocopy']
    healthcheck: {test: curl x}
    restart: on-failure:3
    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 64m}}}
    secrets: [{source: s, target: t, mode: 0400}]
    x-hoist: {trust_host_ca: true}
volumes: {vol: }
secrets: {s: {environment: S}}
")
    .unwrap();
    let service = &project.services["a"];
    assert_eq!(
        service.command,
        Some(vec!["sh".into(), "-c".into(), "echo $A".into()])
    );
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.published, port.target))
        .collect();
    assert_eq!(
        ports,
        [
            (Some((8000, 8000)), 80),
            (Some((8001, 8001)), 81),
            (Some((3000, 3005)), 90)
        ]
    );
    assert!(service.volumes[0].read_only);
    assert!(
        matches!(&service.volumes[1].source, VolumeSource::Volume { key: Some(key), nocopy: true, .. } if key == "vol")
    );
    assert_eq!(
        service
            .healthcheck
            .as_ref()
            .and_then(|h| h.test.clone())
            .unwrap(),
        ["CMD-SHELL", "curl x"]
    );
    assert_eq!(
        service.restart,
        crate::base::term::RestartPolicy::OnFailure(Some(3))
    );
    assert_eq!(
        (
            service.scale,
            service.resources.cpus.as_ref().map(|c| c.value)
        ),
        (2, Some(0.5))
    );
    assert_eq!(
        service.resources.memory.as_ref().map(|m| m.value),
        Some(64 << 20)
    );
    assert_eq!(
        (service.secrets[0].target.as_str(), service.secrets[0].mode),
        ("/run/secrets/t", Some(0o400))
    );
    assert!(service.trust_host_ca);
    assert_eq!(project.networks["default"].name, "p_default");
    assert_eq!(project.volumes["vol"].name, "p_vol");
}

const PROFILES: &str = "services:
  web: {image: x, depends_on: [db]}
  db: {image: x, volumes: ['data:/d']}
  debug: {image: x, profiles: [dev], depends_on: [tool]}
  tool: {image: x, profiles: [dev]}
  odd: {image: x, profiles: [odd], depends_on: [tool], env_file: missing.env}
volumes: {data: , unused: }
";

fn kept(selection: &Selection) -> Result<Vec<String>, Vec<String>> {
    let project = one(PROFILES).unwrap();
    let sources = project.sources.clone();
    match select(project, selection) {
        Ok(project) => Ok(project
            .services
            .keys()
            .map(ServiceName::to_string)
            .collect()),
        Err(diags) => Err(diags.iter().map(|d| d.headline(&sources)).collect()),
    }
}

#[test]
fn selection_follows_profiles_names_and_dependencies() {
    let of =
        |names: &[&str]| Selection::of(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    assert_eq!(kept(&Selection::all()).unwrap(), ["db", "web"]);
    assert_eq!(kept(&of(&["web"])).unwrap(), ["db", "web"]);
    assert_eq!(kept(&of(&["debug"])).unwrap(), ["debug", "tool"]);
    let alone = Selection {
        with_dependencies: false,
        ..of(&["web"])
    };
    assert_eq!(kept(&alone).unwrap(), ["web"]);
    assert_eq!(kept(&of(&["wbe"])).unwrap_err(), ["no such service: wbe"]);
    assert_eq!(
        kept(&of(&["odd"])).unwrap_err(),
        [
            "compose.yaml:6:49: services.odd.depends_on: service `tool` is required by `odd` but is off: it belongs to the profiles dev"
        ]
    );
}

#[test]
fn what_a_service_that_is_on_requires_must_be_on_whoever_is_named() {
    let text = "services:
  a: {image: x, depends_on: [off]}
  b: {image: x, depends_on: [c]}
  c: {image: x}
  off: {image: x, profiles: [p]}
";
    let named = |name: &str| Selection::of(&[name.to_owned()]);
    let chosen = |selection: &Selection| select(one(text).unwrap(), selection);
    let faults = chosen(&named("b")).unwrap_err();
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(
        messages,
        ["service `off` is required by `a` but is off: it belongs to the profiles p"]
    );
    let lenient = Selection {
        lenient: true,
        ..named("b")
    };
    assert_eq!(chosen(&lenient).unwrap().services.len(), 2);
    let alone = Selection {
        with_dependencies: false,
        ..lenient
    };
    let project = chosen(&alone).unwrap();
    assert!(
        project.document["services"]["b"]
            .get("depends_on")
            .is_none()
    );
}

#[test]
fn what_nothing_uses_drops_out_and_scale_is_taken_over() {
    let project = one(PROFILES).unwrap();
    let scale = [("web".to_owned(), 3)].into_iter().collect();
    let project = select(
        project,
        &Selection {
            scale,
            ..Selection::all()
        },
    )
    .unwrap();
    assert_eq!(project.services["web"].scale, 3);
    assert_eq!(project.volumes.keys().collect::<Vec<_>>(), ["data"]);
    assert_eq!(
        project.document["volumes"]
            .as_object()
            .map(serde_json::Map::len),
        Some(1)
    );
    assert_eq!(project.document["services"]["web"]["scale"], 3);
    // The env file that is missing belongs to a service that is off.
    assert!(
        project
            .warnings
            .iter()
            .all(|d| d.severity == Severity::Warning)
    );
    assert!(!project.warnings.is_empty());
}

#[test]
fn config_prints_dollars_twice_and_reads_back_the_same() {
    let text = "services: {a: {image: x, command: [echo, '$$A'], labels: {x-l: '1'}, x-own: 1}}\n";
    let first = select(one(text).unwrap(), &Selection::all()).unwrap();
    let json = print::json(&first);
    assert!(
        json.contains("$$A") && json.contains("x-l") && !json.contains("x-own"),
        "{json}"
    );
    let again = select(one(&print::yaml(&first)).unwrap(), &Selection::all()).unwrap();
    assert_eq!(print::json(&again), json);
}

#[test]
fn without_files_the_name_alone_is_enough() {
    let dir = Dir::new(&[(".env", "COMPOSE_PROJECT_NAME=of-dotenv\n")]);
    let name = project_name_only(&LoadRequest::default(), &dir.env()).unwrap();
    assert_eq!(
        name.map(|name| name.to_string()).as_deref(),
        Some("of-dotenv")
    );
    let none = Dir::new(&[("x", "")]);
    assert_eq!(
        project_name_only(&LoadRequest::default(), &none.env()).unwrap(),
        None
    );
}
