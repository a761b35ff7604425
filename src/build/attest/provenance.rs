//! How an image was built, as SLSA provenance 0.2 or 1, with the fields that BuildKit fills in.
//!
//! Credentials never come in: addresses are written as users may see them, secrets and agents by their ids, and of the
//! environment of steps only what counts for their results. Imports: `base`, `image`, `lower`, `step`.
//! Rules: SLSA provenance 0.2 and 1.1; BuildKit, `docs/attestations/slsa-definitions.md`, `solver/llbsolver/provenance`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::lower::{Base, Graph, Stage, Step};
use super::super::sources::Remote;
use super::super::step::Operation;
use super::super::step::copy::CopySource;
use super::super::{BuildRequest, Builder, ContextSource, DockerfileSource};
use super::{Mode, Provenance, Version};
use crate::base::clock::Timestamp;
use crate::base::span::{SourceMap, Span};
use crate::engine::sandbox::SandboxNetwork;
use crate::image::attest::{Statement, package_of};
use crate::image::digest::Digest;
use crate::image::git;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::store::Store;

/// What tells readers how to read it: BuildKit's own, whose structure it has.
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";
const BUILD_TYPE_V1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// Something outside of the request that went into a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Its address.
    uri: String,
    /// `sha256` or `sha1`, and the hex digits.
    digest: Option<(&'static str, String)>,
}

/// An image that a build stands on or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// As the Dockerfile names it.
    pub name: String,
    /// What it was wanted for.
    pub platform: Platform,
    /// Its id.
    pub id: Digest,
}

impl Material {
    /// An image.
    fn image(used: &Used, store: &Store) -> Self {
        let Ok(name) = Reference::parse(&used.name) else {
            return Self {
                uri: used.name.clone(),
                digest: Some(("sha256", used.id.hex())),
            };
        };
        // The registry's digest, if one has it: that of the image here tells it apart from others all the same.
        let head = format!("{}@", name.familiar_name());
        let known = store.repo_digests(&used.id).unwrap_or_default();
        let known = known
            .iter()
            .find_map(|text| Digest::parse(text.strip_prefix(&head)?).ok());
        let digest: Digest = name.digest.or(known).unwrap_or(used.id);
        Self {
            uri: package_of(&name, Some(&used.platform)),
            digest: Some(("sha256", digest.hex())),
        }
    }
    /// Something that was fetched; `id` is what stands for its files.
    pub(in crate::build) fn remote(remote: &Remote, id: &str) -> Self {
        let mut words = id.split(' ');
        let digest = match (words.next(), words.next()) {
            (Some("git"), Some(commit)) => Some(("sha1", commit.to_owned())),
            (_, Some(digest)) => {
                let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
                let whole = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
                whole.then(|| ("sha256", hex.to_owned()))
            }
            _ => None,
        };
        Self {
            uri: remote.to_string(),
            digest,
        }
    }
    fn value(&self) -> Value {
        let mut value = json!({"uri": self.uri});
        if let Some((kind, hex)) = &self.digest {
            value["digest"] = json!({*kind: hex});
        }
        value
    }
}

/// What a statement is made of.
pub(in crate::build) struct Facts<'a> {
    /// As the caller gave it: its context may be elsewhere.
    pub(in crate::build) given: &'a BuildRequest,
    /// As it was built.
    pub(in crate::build) request: &'a BuildRequest,
    pub(in crate::build) graph: &'a Graph,
    pub(in crate::build) sources: &'a SourceMap,
    /// What was fetched.
    pub(in crate::build) fetched: Vec<Material>,
    /// Stages that are to be looked at besides the image: name and layers.
    pub(in crate::build) extras: Vec<(String, Vec<Digest>)>,
    /// The context is to be looked at, too.
    pub(in crate::build) scan_context: bool,
    /// The image's layers.
    pub(in crate::build) layers: Vec<Digest>,
    pub(in crate::build) begun: Timestamp,
    pub(in crate::build) platform: Platform,
}

/// Makes the statement.
pub(super) fn statement(how: &Provenance, facts: &Facts<'_>, builder: &Builder<'_>) -> Statement {
    let ended = Timestamp::now();
    let (kind, predicate) = match how.version {
        Version::V02 => (
            "https://slsa.dev/provenance/v0.2",
            v02(how, facts, builder, ended),
        ),
        Version::V1 => (
            "https://slsa.dev/provenance/v1",
            v1(how, facts, builder, ended),
        ),
    };
    let file = how.file.clone();
    Statement {
        file: file.unwrap_or_else(|| "provenance.json".to_owned()),
        kind: kind.to_owned(),
        predicate,
        inline_only: how.inline_only,
    }
}

fn v02(how: &Provenance, facts: &Facts<'_>, builder: &Builder<'_>, ended: Timestamp) -> Value {
    let (parameters, complete) = parameters(how.mode, facts);
    let mut metadata = json!({
        "buildInvocationID": invocation(facts),
        "buildStartedOn": facts.begun.rfc3339(),
        "buildFinishedOn": ended.rfc3339(),
        "completeness": {"parameters": complete, "environment": true, "materials": !is_local(facts)},
        "reproducible": how.reproducible,
    });
    if is_hermetic(facts) {
        metadata[format!("{BUILD_TYPE_V02}#hermetic")] = true.into();
    }
    let more = more(how.mode, facts, builder);
    if !more.is_empty() {
        metadata[format!("{BUILD_TYPE_V02}#metadata")] = more.into();
    }
    let mut predicate = json!({
        "builder": {"id": how.builder},
        "buildType": BUILD_TYPE_V02,
        "materials": materials(facts, builder),
        "invocation": {
            "configSource": config_source(facts, "entryPoint"),
            "parameters": parameters,
            "environment": {"platform": Platform::host().to_string()},
        },
        "metadata": metadata,
    });
    if how.mode == Mode::Max {
        predicate["buildConfig"] = json!({"llbDefinition": definition(facts, builder)});
    }
    predicate
}

fn v1(how: &Provenance, facts: &Facts<'_>, builder: &Builder<'_>, ended: Timestamp) -> Value {
    let (parameters, complete) = parameters(how.mode, facts);
    let mut internal = json!({"builderPlatform": Platform::host().to_string()});
    if how.mode == Mode::Max {
        internal["buildConfig"] = json!({"llbDefinition": definition(facts, builder)});
    }
    let mut metadata = json!({
        "invocationId": invocation(facts),
        "startedOn": facts.begun.rfc3339(),
        "finishedOn": ended.rfc3339(),
        "buildkit_hermetic": is_hermetic(facts),
        "buildkit_completeness": {"request": complete, "resolvedDependencies": !is_local(facts)},
        "buildkit_reproducible": how.reproducible,
    });
    let more = more(how.mode, facts, builder);
    if !more.is_empty() {
        metadata["buildkit_metadata"] = more.into();
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE_V1,
            "externalParameters": {
                "configSource": config_source(facts, "path"),
                "request": parameters,
            },
            "internalParameters": internal,
            "resolvedDependencies": materials(facts, builder),
        },
        "runDetails": {"builder": {"id": how.builder}, "metadata": metadata},
    })
}

/// One build, told apart from others.
fn invocation(facts: &Facts<'_>) -> String {
    let pid = std::process::id();
    let text = format!("{} {} {pid}", facts.begun.0, facts.request.target_name);
    Digest::of(text.as_bytes()).hex().chars().take(24).collect()
}

/// Whether files of this machine went in, which nobody else can get.
fn is_local(facts: &Facts<'_>) -> bool {
    let local = |context: &ContextSource| {
        matches!(context, ContextSource::Dir(_) | ContextSource::Input(_))
    };
    local(&facts.given.context) || matches!(facts.given.dockerfile, DockerfileSource::Path(_))
}

/// Whether nothing from elsewhere could come in but what is named.
fn is_hermetic(facts: &Facts<'_>) -> bool {
    let steps = facts.graph.stages.values().flat_map(|stage| &stage.steps);
    let alone = |step: &Step| match &step.operation {
        Operation::Run(run) => run.network == SandboxNetwork::None,
        Operation::Copy(_) | Operation::Folder { .. } => true,
    };
    !is_local(facts) && steps.into_iter().all(alone)
}

fn materials(facts: &Facts<'_>, builder: &Builder<'_>) -> Value {
    let images = facts.graph.images.iter();
    let images = images.map(|used| Material::image(used, builder.store));
    let mut all: Vec<Material> = images.chain(facts.fetched.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all.iter().map(Material::value).collect()
}

/// What the Dockerfile is, and where it came from if that was not this machine.
fn config_source(facts: &Facts<'_>, key: &str) -> Value {
    let mut value = json!({key: dockerfile_name(facts.request)});
    if let ContextSource::Remote(remote) = &facts.given.context {
        let uri = remote.to_string();
        let found = facts.fetched.iter().find(|material| material.uri == uri);
        value["uri"] = uri.into();
        if let Some((kind, hex)) = found.and_then(|material| material.digest.as_ref()) {
            value["digest"] = json!({*kind: hex});
        }
    }
    value
}

fn dockerfile_name(request: &BuildRequest) -> String {
    let path = match &request.dockerfile {
        DockerfileSource::Path(path) => path.as_path(),
        DockerfileSource::InContext(name) => Path::new(name),
        DockerfileSource::Inline(_) => Path::new("Dockerfile"),
    };
    let inside = match &request.context {
        ContextSource::Dir(dir) => path.strip_prefix(dir).unwrap_or(path),
        _ => path,
    };
    // Where on this machine it lies is nobody's business.
    let name = match inside.is_absolute() {
        true => Path::new(inside.file_name().unwrap_or_default()),
        false => inside,
    };
    name.to_string_lossy().into_owned()
}

/// What was asked for, and whether that is all of it.
fn parameters(mode: Mode, facts: &Facts<'_>) -> (Value, bool) {
    let request = facts.request;
    let mut args: BTreeMap<String, String> = BTreeMap::new();
    let mut complete = true;
    if let Some(target) = &request.target {
        args.insert("target".to_owned(), target.clone());
    }
    let name = dockerfile_name(request);
    if name != "Dockerfile" {
        args.insert("filename".to_owned(), name);
    }
    if request.no_cache || !request.no_cache_filter.is_empty() {
        args.insert("no-cache".to_owned(), request.no_cache_filter.join(","));
    }
    match request.network {
        SandboxNetwork::Default => None,
        SandboxNetwork::None => args.insert("force-network-mode".to_owned(), "none".to_owned()),
        SandboxNetwork::Host => args.insert("force-network-mode".to_owned(), "host".to_owned()),
    };
    let mut locals = Vec::new();
    match &facts.given.context {
        ContextSource::Dir(_) | ContextSource::Input(_) => {
            locals.extend(["context", "dockerfile"]);
        }
        _ if matches!(facts.given.dockerfile, DockerfileSource::Path(_)) => {
            locals.push("dockerfile");
        }
        _ => {}
    }
    let locals: Vec<Value> = locals.iter().map(|name| json!({"name": name})).collect();
    let mut value = json!({"frontend": "dockerfile.v0"});
    let has_secrets = !request.secrets.is_empty() || !request.ssh.is_empty();
    match mode {
        Mode::Min => {
            complete = request.args.is_empty() && request.labels.is_empty() && !has_secrets;
        }
        Mode::Max => {
            for (name, given) in &request.args {
                let given = given.as_deref().or_else(|| request.env.get(name));
                if let Some(given) = given {
                    args.insert(format!("build-arg:{name}"), given.to_owned());
                }
            }
            for (name, label) in &request.labels {
                args.insert(format!("label:{name}"), label.clone());
            }
            let ids = |all: Vec<&String>| -> Vec<Value> {
                all.into_iter()
                    .map(|id| json!({"id": id, "optional": true}))
                    .collect()
            };
            if !request.secrets.is_empty() {
                value["secrets"] = ids(request.secrets.keys().collect()).into();
            }
            if !request.ssh.is_empty() {
                value["ssh"] = ids(request.ssh.keys().collect()).into();
            }
        }
    }
    if !args.is_empty() {
        value["args"] = json!(args);
    }
    if !locals.is_empty() {
        value["locals"] = locals.into();
    }
    (value, complete)
}

/// BuildKit's own part: the repository, and with everything the Dockerfile and the layers.
fn more(mode: Mode, facts: &Facts<'_>, builder: &Builder<'_>) -> Map<String, Value> {
    let mut more = Map::new();
    let given = facts.given;
    let told = given.env.non_empty("BUILDX_GIT_INFO");
    let told = told.is_none_or(|text| !matches!(text, "false" | "0"));
    if let (ContextSource::Dir(dir), true) = (&given.context, told)
        && let Some(found) = git::describe(dir, &given.env, builder.cancel)
    {
        let mut vcs = json!({"revision": found.revision});
        if let Some(source) = found.source {
            vcs["source"] = source.into();
        }
        more.insert("vcs".to_owned(), vcs);
    }
    if mode == Mode::Min {
        return more;
    }
    let target = facts.graph.stages.get(&facts.graph.target);
    let spans = facts.graph.stages.values().flat_map(|stage| &stage.steps);
    let spans: Vec<(u32, Span)> = spans
        .filter_map(|step| Some((step.number, step.span?)))
        .collect();
    if let Some((_, first)) = spans.first() {
        let text = facts.sources.get(first.source);
        let text = text.map_or("", |source| &*source.text);
        let line = |start: u32| facts.sources.line_col(Span { start, ..*first }).0;
        let mut locations = Map::new();
        for (number, span) in &spans {
            if span.source == first.source {
                let range =
                    json!({"start": {"line": line(span.start)}, "end": {"line": line(span.end)}});
                let value = json!({"locations": [{"ranges": [range]}]});
                locations.insert(format!("step{number}"), value);
            }
        }
        let info = json!({
            "filename": dockerfile_name(facts.request),
            "language": "Dockerfile",
            "data": STANDARD.encode(text),
        });
        more.insert(
            "source".to_owned(),
            json!({"locations": locations, "infos": [info]}),
        );
    }
    let layers = facts.layers.iter();
    let layers: Vec<Value> = layers
        .filter_map(|id| {
            let layer = builder.store.layers().descriptor(id).ok()?;
            serde_json::to_value(layer).ok()
        })
        .collect();
    if let Some(last) = target.and_then(|stage| stage.steps.last()) {
        let name = format!("step{}:0", last.number);
        more.insert("layers".to_owned(), json!({name: [layers]}));
    }
    more
}

/// Steps, each with what it stands on.
fn definition(facts: &Facts<'_>, builder: &Builder<'_>) -> Vec<Value> {
    let graph = facts.graph;
    let mut all = Vec::new();
    for stage in graph.stages.values() {
        let mut below = base_step(stage, graph);
        if let (Some((number, _)), Base::Image { name, .. }) = (&stage.first, &stage.base) {
            let used = graph.images.iter().find(|used| used.name == *name);
            let material = used.map(|used| Material::image(used, builder.store));
            let digest = material.and_then(|material| material.digest);
            let name =
                Reference::parse(name).map_or_else(|_| name.clone(), |name| name.canonical());
            let digest = digest.map(|(kind, hex)| format!("@{kind}:{hex}"));
            let identifier = format!("docker-image://{name}{}", digest.unwrap_or_default());
            all.push(one(
                *number,
                &json!({"source": {"identifier": identifier}}),
                &[],
                facts,
            ));
            below = Some(*number);
        }
        for step in &stage.steps {
            let needs = Stage::needs(step).into_iter();
            let needs = needs.filter_map(|stage| last_step(graph.stages.get(&stage)?, graph));
            let inputs: Vec<u32> = below.into_iter().chain(needs).collect();
            all.push(one(step.number, &operation(step), &inputs, facts));
            below = Some(step.number);
        }
    }
    all
}

fn one(number: u32, operation: &Value, inputs: &[u32], facts: &Facts<'_>) -> Value {
    let platform = serde_json::to_value(&facts.platform).unwrap_or_default();
    let inputs: Vec<String> = inputs
        .iter()
        .map(|input| format!("step{input}:0"))
        .collect();
    json!({
        "id": format!("step{number}"),
        "op": {"Op": operation, "platform": platform, "constraints": {}},
        "inputs": inputs,
    })
}

/// The step that a stage begins with, if that is another stage's.
fn base_step(stage: &Stage, graph: &Graph) -> Option<u32> {
    match stage.base {
        Base::Stage(base) => last_step(graph.stages.get(&base)?, graph),
        Base::Scratch | Base::Image { .. } => None,
    }
}

fn last_step(stage: &Stage, graph: &Graph) -> Option<u32> {
    let own = stage.steps.last().map(|step| step.number);
    let first = stage.first.as_ref().map(|(number, _)| *number);
    own.or(first).or_else(|| base_step(stage, graph))
}

fn operation(step: &Step) -> Value {
    match &step.operation {
        Operation::Run(run) => {
            let mut meta = json!({"args": run.args, "env": run.env, "cwd": run.cwd});
            if !run.user.is_empty() {
                meta["user"] = run.user.clone().into();
            }
            let mut exec = json!({"meta": meta});
            match run.network {
                SandboxNetwork::Default => {}
                SandboxNetwork::Host => exec["network"] = 1.into(),
                SandboxNetwork::None => exec["network"] = 2.into(),
            }
            if run.insecure {
                exec["security"] = 1.into();
            }
            json!({"exec": exec})
        }
        Operation::Copy(copy) => {
            let source = |source: &CopySource| match source {
                CopySource::Path(path) | CopySource::Exact(path) => path.clone(),
                CopySource::Inline { name, .. } => name.clone(),
                CopySource::Remote { remote, .. } => remote.to_string(),
            };
            let action = |src: String| json!({"Action": {"copy": {"src": src, "dest": copy.dest}}});
            let actions: Vec<Value> = copy.sources.iter().map(source).map(action).collect();
            json!({"file": {"actions": actions}})
        }
        Operation::Folder { path, .. } => {
            json!({"file": {"actions": [{"Action": {"mkdir": {"path": path, "makeParents": true}}}]}})
        }
    }
}
