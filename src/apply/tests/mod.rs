//! Plans carried out on an engine in memory.

mod engine;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::base::event::{Kind, Status};
use crate::engine::sandbox::SandboxSpec;
use crate::image::config::ImageConfig;
use crate::image::reference::Reference;
use crate::plan::tests::project;
use engine::Fake;

struct NoSandbox;

impl Sandbox for NoSandbox {
    fn run(
        &self,
        _: &SandboxSpec,
        _: BorrowedFd<'_>,
        _: &Cancel,
    ) -> crate::engine::Result<crate::engine::sandbox::Ended> {
        Ok(Default::default())
    }
}

/// Keeps events as `demo-a-1 Created`.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl EventSink for Seen {
    fn send(&self, event: Event) {
        let line = match event {
            Event::Resource {
                kind,
                name,
                status,
                detail,
            } => {
                let word = match status {
                    Status::Working(word) | Status::Done(word) => word.to_owned(),
                    Status::Failed(text) => format!("Error {text}"),
                    Status::Warning(text) => format!("Warning {text}"),
                };
                let kind = if kind == Kind::Container {
                    ""
                } else {
                    "resource "
                };
                let detail = detail.map(|text| format!(" ({text})")).unwrap_or_default();
                format!("{kind}{name} {word}{detail}")
            }
            Event::Warn(text) => format!("warning {text}"),
            _ => return,
        };
        self.0.lock().expect("no panic inside").push(line);
    }
}

struct Bench {
    context: Context,
    fake: Arc<Fake>,
    seen: Arc<Seen>,
    dir: PathBuf,
}

impl Bench {
    /// An engine and a store with the images `app` and `pg`.
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-apply-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let store = Store::open(&dir).expect("a store opens in an empty directory");
        for name in ["app", "pg"] {
            let config = ImageConfig {
                architecture: "amd64".into(),
                os: "linux".into(),
                author: Some(name.into()),
                ..ImageConfig::default()
            };
            let reference = Reference::parse(name).expect("a plain name");
            store
                .put(&config, &[reference])
                .expect("an image without layers can be kept");
        }
        let (fake, seen) = (Arc::new(Fake::default()), Arc::new(Seen::default()));
        let context = Context {
            engine: fake.clone(),
            store: Arc::new(store),
            sandbox: Arc::new(NoSandbox),
            events: seen.clone(),
            cancel: Cancel::default(),
            env: Env::default(),
            proxies: Vec::new(),
            roots: Roots {
                data: dir.clone(),
                run: dir.clone(),
            },
            device_dirs: Vec::new(),
            parallel: 1,
            slots: Arc::new(crate::build::slots::Slots::new(1)),
            host_ca: None,
            trust_host_ca: false,
            told: Arc::default(),
            pins: None,
            debugger: None,
        };
        Self {
            context,
            fake,
            seen,
            dir,
        }
    }
    fn up(&self, text: &str, options: &UpOptions) -> Result<Outcome, ApplyError> {
        run(
            &self.context,
            &plan_up(&self.context, &project(text), options)?,
        )
    }
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.model().calls)
    }
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.0.lock().expect("no panic inside"))
    }
    fn id(&self, name: &str) -> String {
        let model = self.fake.model();
        let found = model.state.containers.iter().find(|c| c.name == name);
        found.expect("it is there").id.to_string()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn up_makes_everything_and_a_second_up_touches_nothing() {
    for (at, text) in [
        "a: app",
        "db: pg, probe, volume data, data | web: app, after db healthy restart, scale 3",
        "a: app | side: app, net a | other: pg, after side, env PASSWORD=x",
    ]
    .into_iter()
    .enumerate()
    {
        let bench = Bench::new(&format!("twice{at}"));
        bench.up(text, &UpOptions::default()).expect("it works");
        let (calls, events) = (bench.calls(), bench.events());
        assert!(
            calls
                .iter()
                .any(|call| call == "create network demo_default"),
            "{calls:?}"
        );
        assert!(
            events
                .iter()
                .any(|event| event == "resource demo_default Created"),
            "{events:?}"
        );
        let plan =
            plan_up(&bench.context, &project(text), &UpOptions::default()).expect("it plans");
        assert!(plan.is_empty(), "{text}:\n{}", plan.text());
        run(&bench.context, &plan).expect("nothing to do");
        assert!(bench.calls().is_empty());
        assert!(
            bench
                .events()
                .iter()
                .all(|event| event.ends_with(" Running"))
        );
    }
}

#[test]
fn a_changed_service_is_recreated_and_keeps_its_name_and_anonymous_volume() {
    let bench = Bench::new("recreate");
    bench
        .up("a: app, data, env V=1 | b: app", &UpOptions::default())
        .expect("it works");
    let (a, b) = (bench.id("demo-a-1"), bench.id("demo-b-1"));
    let volume = bench.fake.model().state.containers[0].anonymous.clone();
    bench.calls();
    bench.events();
    bench
        .up("a: app, data, env V=2 | b: app", &UpOptions::default())
        .expect("it works");
    assert_ne!(bench.id("demo-a-1"), a);
    assert_eq!(bench.id("demo-b-1"), b);
    let short = &a[..12];
    assert_eq!(
        bench.calls(),
        [
            format!("create {short}_demo-a-1"),
            "stop demo-a-1".into(),
            "remove demo-a-1".into(),
            "rename demo-a-1".into(),
            "start demo-a-1".into(),
        ]
    );
    assert_eq!(
        bench.events(),
        [
            "demo-b-1 Running",
            "demo-a-1 Recreate (environment.V changed: 1 → 2)",
            "demo-a-1 Recreated (environment.V changed: 1 → 2)",
            "demo-a-1 Starting",
            "demo-a-1 Started",
        ]
    );
    let model = bench.fake.model();
    let new = model
        .state
        .containers
        .iter()
        .find(|c| c.name == "demo-a-1")
        .expect("it is there");
    assert_eq!(new.anonymous, volume);
}

#[test]
fn an_unhealthy_dependency_fails_up_with_its_probe_and_its_last_words() {
    let bench = Bench::new("unhealthy");
    bench.fake.model().unhealthy.insert("db".into());
    let error = bench.up(
        "db: pg, probe | web: app, after db healthy",
        &UpOptions::default(),
    );
    let error = error.expect_err("db is unhealthy");
    assert_eq!(
        error.message(),
        "dependency failed to start: container demo-db-1 is unhealthy"
    );
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.notes()[0].lines, ["exit 1: connection refused"]);
    assert_eq!(error.notes()[1].lines, ["last words"]);
    assert_eq!(error.notes()[2].lines, ["memory 1MiB of 2MiB at most"]);
    assert_eq!(error.hints(), ["all about it is in /dossiers/demo-db-1"]);
    assert!(!bench.calls().contains(&"start demo-web-1".to_owned()));
}

#[test]
fn an_optional_dependency_that_fails_only_warns() {
    let bench = Bench::new("optional");
    bench.fake.model().unhealthy.insert("db".into());
    bench
        .up(
            "db: pg, probe | web: app, after db healthy optional",
            &UpOptions::default(),
        )
        .expect("it is optional");
    assert!(bench.calls().contains(&"start demo-web-1".to_owned()));
    assert!(
        bench
            .events()
            .iter()
            .any(|event| event.starts_with("warning optional dependency \"db\""))
    );
}

#[test]
fn an_init_that_fails_is_worded_as_compose_words_it() {
    let bench = Bench::new("init");
    let text = "init: app | app: app, after init completed";
    bench.fake.model().ends.insert("init".into(), 3);
    let error = bench
        .up(text, &UpOptions::default())
        .expect_err("init fails");
    assert_eq!(
        error.message(),
        "service \"init\" didn't complete successfully: exit 3"
    );
    bench.fake.model().ends.insert("init".into(), 0);
    bench
        .up(text, &UpOptions::default())
        .expect("init succeeds");
    assert!(bench.calls().contains(&"start demo-app-1".to_owned()));
}

#[test]
fn wait_takes_an_end_as_done_only_where_others_wait_for_it() {
    let bench = Bench::new("wait");
    let wait = UpOptions {
        policy: UpPolicy {
            wait: true,
            ..UpPolicy::default()
        },
        ..UpOptions::default()
    };
    bench.fake.model().ends.insert("job".into(), 0);
    bench
        .up("job: app | a: app, after job completed", &wait)
        .expect("job is done");
    for code in [0, 4] {
        bench.fake.model().ends.insert("job".into(), code);
        let error = bench.up("job: app | a: app", &wait);
        let error = error.expect_err("nobody waits for its end");
        assert_eq!(
            error.message(),
            format!("container demo-job-1 exited ({code})")
        );
    }
}

#[test]
fn waiting_ends_when_the_time_is_up() {
    let bench = Bench::new("timeout");
    let wait_timeout = Some(Duration::from_millis(30));
    let options = UpOptions {
        policy: UpPolicy {
            wait: true,
            wait_timeout,
            ..UpPolicy::default()
        },
        ..UpOptions::default()
    };
    let error = bench
        .up("forever: app", &options)
        .expect_err("it never gets ready");
    assert_eq!(error.message(), "application not healthy after 30ms");
}

#[test]
fn a_failure_is_reported_once_and_the_next_up_goes_on() {
    let bench = Bench::new("failure");
    bench.fake.model().fails.insert("start demo-a-1".into());
    let error = bench
        .up("a: app | b: app, after a", &UpOptions::default())
        .expect_err("a fails");
    assert_eq!(
        error.message(),
        "container demo-a-1: cannot start demo-a-1: it was told to fail"
    );
    assert!(error.others().is_empty());
    assert!(!bench.calls().contains(&"start demo-b-1".to_owned()));
    bench.fake.model().fails.clear();
    bench
        .up("a: app | b: app, after a", &UpOptions::default())
        .expect("nothing fails now");
    assert_eq!(bench.calls(), ["start demo-a-1", "start demo-b-1"]);
}

#[test]
fn a_replacement_cut_short_is_finished_by_the_next_up() {
    let bench = Bench::new("cut");
    bench
        .up("a: app, env V=1", &UpOptions::default())
        .expect("it works");
    bench.fake.model().fails.insert("stop demo-a-1".into());
    bench
        .up("a: app, env V=2", &UpOptions::default())
        .expect_err("the old one can't be stopped");
    bench.fake.model().fails.clear();
    bench
        .up("a: app, env V=2", &UpOptions::default())
        .expect("nothing fails now");
    let model = bench.fake.model();
    assert_eq!(model.state.containers.len(), 1);
    assert_eq!(model.state.containers[0].name, "demo-a-1");
    assert!(model.state.containers[0].state.is_up());
}

#[test]
fn ctrl_c_begins_nothing_new_and_is_no_failure_of_a_container() {
    let bench = Bench::new("cancel");
    let plan =
        plan_up(&bench.context, &project("a: app"), &UpOptions::default()).expect("it plans");
    bench.context.cancel.cancel();
    let error = run(&bench.context, &plan).expect_err("it was ended");
    assert!(error.is_cancelled());
    assert_eq!(error.exit_code(), 130);
    assert!(bench.calls().is_empty());
}

#[test]
fn down_takes_everything_away_and_a_used_network_stays_with_a_warning() {
    let bench = Bench::new("down");
    bench
        .up(
            "db: pg, volume data | web: app, after db",
            &UpOptions::default(),
        )
        .expect("it works");
    bench.calls();
    bench.events();
    let name = ProjectName::new("demo").expect("a valid name");
    let options = DownOptions {
        services: vec!["web".into()],
        ..DownOptions::default()
    };
    let plan = plan_down(&bench.context, &name, None, &options).expect("it plans");
    run(&bench.context, &plan).expect("it works");
    assert_eq!(bench.calls(), ["stop demo-web-1", "remove demo-web-1"]);
    let mut other = bench.fake.model().state.containers[0].clone();
    other
        .labels
        .insert(crate::plan::labels::ONEOFF.into(), "True".into());
    other.id = crate::base::name::ContainerId::new("oneoff");
    other.name = "demo-db-run-1".into();
    bench.fake.model().state.containers.push(other);
    bench.events();
    let options = DownOptions {
        volumes: true,
        ..DownOptions::default()
    };
    run(
        &bench.context,
        &plan_down(&bench.context, &name, None, &options).expect("it plans"),
    )
    .expect("it works");
    let events = bench.events();
    assert!(
        events.contains(
            &"resource demo_default Warning Resource is still in use by demo-db-run-1".to_owned()
        ),
        "{events:?}"
    );
    assert!(
        events.contains(&"resource demo_data Removed".to_owned()),
        "{events:?}"
    );
}

#[test]
fn a_one_off_has_its_own_name_command_and_no_ports() {
    let bench = Bench::new("oneoff");
    let options = RunOptions {
        command: vec!["sh".into()],
        env: vec![("V".into(), Some("9".into()))],
        ..RunOptions::default()
    };
    let text = "db: pg, probe | web: app, after db healthy";
    let one = oneoff::prepare(&bench.context, &project(text), "web", &options).expect("it works");
    assert!(one.name.starts_with("demo-web-run-") && one.name.len() == "demo-web-run-".len() + 12);
    let calls = bench.calls();
    assert!(calls.contains(&"start demo-db-1".to_owned()), "{calls:?}");
    assert!(
        !calls.iter().any(|call| call.contains("demo-web-1")),
        "{calls:?}"
    );
    let made = bench
        .context
        .engine
        .container(&one.id)
        .expect("it was created");
    assert_eq!(made.command, ["sh"]);
    assert_eq!(
        made.labels
            .get(crate::plan::labels::ONEOFF)
            .map(String::as_str),
        Some("True")
    );
}

#[test]
fn a_missing_image_with_pull_policy_never_is_a_fault_before_anything_is_done() {
    let bench = Bench::new("never");
    let options = UpOptions {
        images: ImagePolicy {
            pull: Some(PullPolicy::Never),
            ..ImagePolicy::default()
        },
        ..UpOptions::default()
    };
    let error = bench.up("a: gone", &options).expect_err("it is not here");
    assert_eq!(error.message(), "image `gone` of service `a` is not here");
    assert!(bench.calls().is_empty());
}
