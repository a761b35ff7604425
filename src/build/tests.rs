//! Whole builds with a sandbox that writes files instead of running commands. They need root, for mounts.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::slots::Slots;
use super::*;
use crate::base::event::{BuildStep, Event};
use crate::engine::sandbox::{Ended, SandboxNetwork, SandboxSource, SandboxSpec};
use crate::image::config::{ImageConfig, RootFs};
use crate::image::digest::Digest;

/// Understands `write PATH TEXT`, `env PATH`, `say TEXT`, `exit N`, `stop`, one a line.
#[derive(Default)]
struct Fake {
    ran: Mutex<Vec<SandboxSpec>>,
}

impl Sandbox for Fake {
    fn run(
        &self,
        spec: &SandboxSpec,
        output: BorrowedFd<'_>,
        cancel: &Cancel,
    ) -> crate::engine::Result<Ended> {
        self.ran.lock().unwrap().push(spec.clone());
        let mut output = std::fs::File::from(output.try_clone_to_owned().unwrap());
        for line in spec.process.args.last().unwrap().lines() {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            match words.as_slice() {
                ["write", path, text] => {
                    let value = spec
                        .process
                        .env
                        .iter()
                        .find_map(|pair| pair.strip_prefix("V="));
                    let text = text.replace("$V", value.unwrap_or_default());
                    std::fs::write(spec.upper.join(path), text).unwrap();
                }
                ["env", path] => {
                    std::fs::write(spec.upper.join(path), spec.process.env.join("\n")).unwrap();
                }
                ["say", rest @ ..] => writeln!(output, "{}", rest.join(" ")).unwrap(),
                ["exit", code] => {
                    return Ok(Ended {
                        code: code.parse().unwrap(),
                        ..Ended::default()
                    });
                }
                ["stop"] => cancel.cancel(),
                ["panic"] => panic!("as the case wants"),
                _ => {}
            }
        }
        Ok(Ended::default())
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl EventSink for Told {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

pub(super) struct World {
    pub(super) dir: PathBuf,
    store: Store,
    fake: Fake,
    told: Told,
    cancel: Cancel,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl World {
    /// A store with the image `base`, and a context with `a.txt` and `dir/b.txt`. `None` without root.
    pub(super) fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("hoist-build-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("ctx/dir")).unwrap();
        std::fs::write(dir.join("ctx/a.txt"), "A").unwrap();
        std::fs::write(dir.join("ctx/dir/b.txt"), "B").unwrap();
        let store = Store::open(&dir.join("data")).unwrap();
        let staging = store.layers().staging().unwrap();
        std::fs::create_dir_all(staging.upper().join("etc")).unwrap();
        std::fs::write(
            staging.upper().join("etc/passwd"),
            "root:x:0:0::/:\napp:x:7:8::/:\n",
        )
        .unwrap();
        let layer = store.layers().commit(staging).unwrap();
        let rootfs = RootFs {
            diff_ids: vec![layer],
            ..RootFs::default()
        };
        let mut config = ImageConfig {
            architecture: Platform::host().architecture,
            os: "linux".into(),
            rootfs,
            ..Default::default()
        };
        config.config.cmd = Some(vec!["base".into()]);
        store
            .put(&config, &[Reference::parse("base").unwrap()])
            .unwrap();
        Some(Self {
            dir,
            store,
            fake: Fake::default(),
            told: Told::default(),
            cancel: Cancel::default(),
        })
    }
    pub(super) fn request(&self, text: &str) -> BuildRequest {
        BuildRequest {
            target_name: "t".into(),
            context: ContextSource::Dir(self.dir.join("ctx")),
            dockerfile: DockerfileSource::Inline(text.into()),
            target: None,
            args: Vec::new(),
            labels: BTreeMap::new(),
            tags: vec![Reference::parse("out").unwrap()],
            secrets: BTreeMap::new(),
            no_cache: false,
            pull: false,
            network: SandboxNetwork::Default,
            extra_hosts: Vec::new(),
            shm_size: None,
            platform: None,
            named_contexts: BTreeMap::new(),
            trust_host_ca: None,
            env: Env::default(),
            ..BuildRequest::default()
        }
    }
    pub(super) fn run(&self, request: &BuildRequest) -> Result<Image, BuildError> {
        self.with_builder(|builder| build(request, builder))
    }
    /// Answers a question about a Dockerfile.
    pub(super) fn ask(
        &self,
        call: call::Call,
        request: &BuildRequest,
    ) -> Result<call::Answer, BuildError> {
        self.with_builder(|builder| call::call(call, request, builder))
    }
    fn with_builder<T>(&self, work: impl FnOnce(&Builder<'_>) -> T) -> T {
        let pull = |name: &Reference, _: &Platform| Err(PullError::NotFound(name.to_string()));
        let builder = Builder {
            store: &self.store,
            sandbox: &self.fake,
            events: &self.told,
            cancel: &self.cancel,
            pull: &pull,
            cache_dir: self.dir.join("cache"),
            slots: &Slots::new(2),
            debugger: None,
        };
        work(&builder)
    }
    pub(super) fn build(&self, text: &str) -> Result<Image, BuildError> {
        self.run(&self.request(text))
    }
    /// What the checks told of a build, since the last time anything was asked.
    pub(super) fn warned(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.told.0.lock().unwrap());
        let warned = events.into_iter().filter_map(|event| match event {
            Event::Build {
                what: BuildStep::Warned(found),
                ..
            } => Some(format!("{}:{} {}", found.file, found.lines.0, found.rule)),
            _ => None,
        });
        warned.collect()
    }
    /// How many steps were cached, since the last time this was asked.
    fn cached(&self) -> usize {
        let events = std::mem::take(&mut *self.told.0.lock().unwrap());
        let cached = |event: &&Event| {
            matches!(
                event,
                Event::Build {
                    what: BuildStep::Cached,
                    ..
                }
            )
        };
        events.iter().filter(cached).count()
    }
    fn read(&self, image: &Image, path: &str) -> Option<String> {
        let view = crate::sys::fs::Root::from_fd(self.store.layers().view(image.layers()).unwrap());
        view.read(Path::new(path), 1 << 20)
            .ok()
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }
    fn runs(&self) -> Vec<SandboxSpec> {
        std::mem::take(&mut *self.fake.ran.lock().unwrap())
    }
}

const FILE: &str = "FROM base AS one\nARG V=1\nRUN write made $V\nFROM base\nCOPY --from=one /made /got\n\
                    COPY --chown=app a.txt dir /in/\nWORKDIR /w\nENV K=v\nLABEL l=$K\n";

#[test]
fn a_second_build_runs_nothing_and_gives_the_same_image() {
    let Some(world) = World::new("twice") else {
        return;
    };
    let first = world.build(FILE).unwrap();
    assert_eq!(world.read(&first, "got").as_deref(), Some("1"));
    assert_eq!(world.read(&first, "in/b.txt").as_deref(), Some("B"));
    assert_eq!(first.config.config.working_dir, "/w");
    assert_eq!(first.config.config.labels["l"], "v");
    assert_eq!(
        first.config.config.cmd.as_deref(),
        Some(["base".to_owned()].as_slice())
    );
    let layers = first
        .config
        .history
        .iter()
        .filter(|line| !line.empty_layer)
        .count();
    assert_eq!(layers, first.layers().len() - 1);
    world.cached();
    let second = world.build(FILE).unwrap();
    assert_eq!(
        (second.id, world.cached(), world.runs().len()),
        (first.id, 4, 1)
    );
}

#[test]
fn only_what_changed_is_done_again() {
    let Some(world) = World::new("change") else {
        return;
    };
    world.build(FILE).unwrap();
    world.cached();
    std::fs::write(world.dir.join("ctx/a.txt"), "changed").unwrap();
    let image = world.build(FILE).unwrap();
    assert_eq!(world.read(&image, "in/a.txt").as_deref(), Some("changed"));
    assert_eq!(world.cached(), 2);
    let mut request = world.request(FILE);
    request.args = vec![("V".into(), Some("2".into()))];
    assert_eq!(
        world.read(&world.run(&request).unwrap(), "got").as_deref(),
        Some("2")
    );
    request.no_cache = true;
    world.cached();
    world.run(&request).unwrap();
    assert_eq!(world.cached(), 0);
}

#[test]
fn a_record_without_its_layer_is_none() {
    let Some(world) = World::new("gone") else {
        return;
    };
    let image = world.build("FROM scratch\nCOPY a.txt /\n").unwrap();
    std::fs::remove_dir_all(world.store.layers().path(&image.layers()[0])).unwrap();
    world.cached();
    world.build("FROM scratch\nCOPY a.txt /\n").unwrap();
    assert_eq!(world.cached(), 0);
}

#[test]
fn secrets_and_proxies_reach_the_step_and_nothing_else() {
    let Some(world) = World::new("secret") else {
        return;
    };
    let text =
        "FROM base\nRUN --mount=type=secret,id=tok --mount=type=secret,id=tok,env=TOK say hi\n";
    let mut request = world.request(text);
    request
        .secrets
        .insert("tok".into(), SecretSource::Bytes(b"s3cret".to_vec()));
    request
        .env
        .vars
        .insert("https_proxy".into(), "http://p:1".into());
    request.trust_host_ca = Some(world.dir.join("ctx/a.txt"));
    let image = world.run(&request).unwrap();
    let spec = &world.runs()[0];
    for pair in [
        "TOK=s3cret",
        "HTTPS_PROXY=http://p:1",
        "https_proxy=http://p:1",
        "PIP_CERT=/run/hoist/host-ca.crt",
    ] {
        assert!(spec.process.env.iter().any(|known| known == pair), "{pair}");
    }
    let targets: Vec<&str> = spec
        .mounts
        .iter()
        .map(|mount| mount.target.as_str())
        .collect();
    assert_eq!(targets, ["/run/secrets/tok", "/run/hoist/host-ca.crt"]);
    let document = serde_json::to_string(&image.config).unwrap();
    for trace in ["s3cret", "p:1", "host-ca"] {
        assert!(!document.contains(trace), "{trace} in {document}");
    }
    request
        .secrets
        .insert("tok".into(), SecretSource::Bytes(b"other".to_vec()));
    request.env.vars.clear();
    request.trust_host_ca = None;
    world.cached();
    world.run(&request).unwrap();
    assert_eq!(world.cached(), 1);
}

#[test]
fn a_failing_step_shows_its_output_and_line_and_stops_the_others() {
    let Some(world) = World::new("fail") else {
        return;
    };
    let text =
        "FROM base AS a\nRUN <<E\nsay no such thing\nexit 7\nE\nFROM base\nCOPY --from=a /x /x\n";
    let Err(BuildError::Step(failure)) = world.build(text) else {
        panic!("a failed step")
    };
    assert_eq!(
        (failure.code, failure.output.as_slice()),
        (Some(7), ["no such thing".to_owned()].as_slice())
    );
    let shown = failure.to_string();
    assert!(
        shown.contains("did not complete successfully: exit code: 7"),
        "{shown}"
    );
    assert!(shown.contains("   2 | >>> RUN <<E"), "{shown}");
}

#[test]
fn a_missing_source_names_what_was_meant_or_what_ignores_it() {
    let Some(world) = World::new("missing") else {
        return;
    };
    let shown = world
        .build("FROM scratch\nCOPY a.tx /\n")
        .unwrap_err()
        .to_string();
    assert!(
        shown.starts_with("\"/a.tx\": not found") && shown.contains("did you mean a.txt?"),
        "{shown}"
    );
    std::fs::write(world.dir.join("ctx/.dockerignore"), "a.txt\n").unwrap();
    let shown = world
        .build("FROM scratch\nCOPY a.txt /\n")
        .unwrap_err()
        .to_string();
    assert!(shown.contains(".dockerignore leaves it out"), "{shown}");
}

#[test]
fn stages_that_nobody_needs_are_not_run_and_cycles_are_shown() {
    let Some(world) = World::new("stages") else {
        return;
    };
    let text = "FROM base AS bad\nRUN exit 1\nFROM nowhere AS worse\nFROM base AS Good\nRUN write x 1\nFROM bad\n";
    let mut request = world.request(text);
    request.target = Some("GOOD".into());
    assert_eq!(
        world.read(&world.run(&request).unwrap(), "x").as_deref(),
        Some("1")
    );
    request.target = Some("0".into());
    assert!(
        world
            .run(&request)
            .unwrap_err()
            .to_string()
            .contains("target stage \"0\" could not be found")
    );
    let shown = world
        .build("FROM scratch AS a\nCOPY --from=b /x /x\nFROM a AS b\n")
        .unwrap_err()
        .to_string();
    assert!(shown.contains("cannot copy from stage \"b\""), "{shown}");
    let shown = world
        .build("FROM scratch AS a\nCOPY --from=a /x /x\n")
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("circular dependency detected on stage: a"),
        "{shown}"
    );
}

#[test]
fn named_contexts_stand_for_images_and_directories() {
    let Some(world) = World::new("named") else {
        return;
    };
    std::fs::create_dir_all(world.dir.join("more")).unwrap();
    std::fs::write(world.dir.join("more/m"), "more").unwrap();
    let built = world.build("FROM scratch\nCOPY a.txt /built\n").unwrap();
    let mut request = world.request("FROM service\nCOPY --from=more m /m\n");
    request
        .named_contexts
        .insert("service".into(), NamedContext::Built(built));
    request
        .named_contexts
        .insert("more".into(), NamedContext::Dir(world.dir.join("more")));
    let image = world.run(&request).unwrap();
    assert_eq!(world.read(&image, "m").as_deref(), Some("more"));
    assert_eq!(world.read(&image, "built").as_deref(), Some("A"));
}

#[test]
fn triggers_of_a_base_run_first_and_are_gone_after() {
    let Some(world) = World::new("onbuild") else {
        return;
    };
    let text = "FROM base AS b\nONBUILD RUN write ob 1\nFROM b\nCOPY a.txt /\n";
    let image = world.build(text).unwrap();
    assert_eq!(world.read(&image, "ob").as_deref(), Some("1"));
    assert!(image.config.config.on_build.is_empty());
    let kept = world.build("FROM base\nONBUILD RUN write ob 1\n").unwrap();
    assert_eq!(kept.config.config.on_build, ["RUN write ob 1"]);
}

#[test]
fn mounts_show_a_filtered_context_and_caches_outlive_the_build() {
    let Some(world) = World::new("mounts") else {
        return;
    };
    std::fs::write(world.dir.join("ctx/.dockerignore"), "a.txt\n").unwrap();
    let text = "FROM base\nRUN --mount=target=/m --mount=target=/d,source=dir --mount=target=/w,source=dir,rw \
                --mount=type=cache,target=/c,mode=0700,uid=7 say\n";
    world.build(text).unwrap();
    let spec = &world.runs()[0];
    let host = |at: usize| match &spec.mounts[at].source {
        SandboxSource::Host { root, path } => root.join(path),
        other => panic!("{other:?}"),
    };
    assert_ne!(host(0), world.dir.join("ctx"));
    assert_eq!(host(1), world.dir.join("ctx/dir"));
    assert_ne!(host(2), world.dir.join("ctx/dir"));
    let cache = std::fs::metadata(host(3)).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((cache.mode() & 0o7777, cache.uid()), (0o700, 7));
    assert!(!host(0).exists() && !host(2).exists());
}

#[test]
fn a_cancelled_build_says_so() {
    let Some(world) = World::new("cancel") else {
        return;
    };
    world.cancel.cancel();
    assert!(matches!(
        world.build("FROM base\nRUN say\n"),
        Err(BuildError::Cancelled)
    ));
}

#[test]
fn the_same_layer_may_come_twice() {
    let Some(world) = World::new("twin") else {
        return;
    };
    let text = "FROM base\nCOPY --chmod=644 a.txt /x\nRUN write x other\nCOPY --chmod=644 a.txt /x\nRUN say\nRUN write y 1\n";
    let image = world.build(text).unwrap();
    assert_eq!(world.read(&image, "x").as_deref(), Some("A"));
    let distinct: std::collections::BTreeSet<&Digest> = image.layers().iter().collect();
    assert!(distinct.len() <= image.layers().len());
}

#[test]
fn a_step_that_ends_hoists_own_work_fails_the_build_and_nobody_waits_for_it() {
    let Some(world) = World::new("panics") else {
        return;
    };
    let text = "FROM base AS a\nRUN panic\nFROM base\nCOPY --from=a /x /x\n";
    let error = world.build(text).unwrap_err().to_string();
    assert_eq!(
        error,
        "a step of a ended hoist's own work: this is a fault of hoist"
    );
    // What it held is free again.
    world.build("FROM base\nRUN write x y\n").unwrap();
}

#[test]
fn titles_hide_secrets_and_show_what_names_stand_for() {
    let Some(world) = World::new("titles") else {
        return;
    };
    let text = "ARG NAME=files\nFROM ${NAME} AS a\nARG V=v\n\
                RUN --mount=type=secret,id=tok,env=TOK say $TOK ${TOK:+given} $V $UNSET\n";
    let mut request = world.request(text);
    let dir = world.dir.join("ctx");
    request
        .named_contexts
        .insert("files".into(), NamedContext::Dir(dir));
    request
        .secrets
        .insert("tok".into(), SecretSource::Bytes(b"s3cret".to_vec()));
    world.run(&request).unwrap();
    let events = std::mem::take(&mut *world.told.0.lock().unwrap());
    let titles = events.iter().filter_map(|event| match event {
        Event::Build {
            what: BuildStep::Started(title),
            ..
        } => title.strip_prefix("[a "),
        _ => None,
    });
    assert_eq!(
        titles.collect::<Vec<_>>(),
        [
            "1/2] FROM files",
            "2/2] RUN --mount=type=secret,id=tok,env=TOK say **** given v $UNSET"
        ]
    );
}

#[test]
fn all_images_that_cannot_be_had_are_told_at_once() {
    let Some(world) = World::new("missing") else {
        return;
    };
    let text = "FROM none/a AS a\nFROM none/unused\nFROM base\nCOPY --from=a / /\nCOPY --from=none/b / /\n";
    let Err(BuildError::Invalid {
        diagnostics,
        sources,
    }) = world.build(text)
    else {
        panic!("two images are missing")
    };
    let told: Vec<String> = diagnostics
        .iter()
        .map(|item| item.headline(&sources))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, (place, name)) in told
        .iter()
        .zip([("Dockerfile:1:6", "none/a"), ("Dockerfile:5:1", "none/b")])
    {
        assert!(told.starts_with(place) && told.contains(name), "{told}");
    }
}
