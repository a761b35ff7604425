//! Dockerfile → image.
//!
//! In: a [`BuildRequest`]: a context, a Dockerfile, arguments, secrets. Out: an [`Image`] in the store.
//! Text → [`dockerfile`] → stages with images found ([`lower`]) → steps run or found in the cache
//! ([`solve`]) → image ([`export`]). Nothing is packed: files are copied from where they lie, and a step's
//! changes become a layer by rename.
//! It runs commands only through a [`Sandbox`] and reads a context only below its directory.
//! Imports: `base`, `sys`, `image`, `engine::{spec, sandbox}`. Rules: Dockerfile reference; BuildKit where
//! it is silent.

pub mod attest;
pub mod cache;
pub mod call;
pub mod change;
pub mod context;
mod definition;
pub mod dockerfile;
mod epoch;
mod error;
mod export;
pub mod grants;
mod images;
pub mod lint;
pub mod lower;
pub mod output;
pub mod pattern;
mod platform;
#[cfg(test)]
mod reference;
mod settings;
pub mod slots;
mod solve;
pub mod sources;
pub mod step;
#[cfg(test)]
mod tests;
mod text;
mod told;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cache::key;
use context::file::Unread;
pub use error::{BuildError, StepFailure};
pub use grants::{Entitlements, SshSource};
pub use output::Output;
pub use step::debug::{Debugger, Failed, Next};
use told::Teller;

use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::diag::Diagnostic;
use crate::base::env::Env;
use crate::base::event::{EventSink, internal};
use crate::base::span::{SourceMap, Span};
use crate::engine::sandbox::{Sandbox, SandboxNetwork};
use crate::engine::spec::{HostAddr, Resources};
use crate::image::attest::{Annotation, Statement};
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::PullError;
use crate::image::store::{Image, Store};
use crate::sys::fs::Root;
use sources::layout::Layout;
use sources::{Place, Remote};

/// Largest Dockerfile and ignore file in bytes.
const LARGEST: u64 = 16 << 20;

/// What is built.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// The name of what is made (a tag or a service), for events.
    pub target_name: String,
    /// Where `COPY` takes files from.
    pub context: ContextSource,
    /// The instructions.
    pub dockerfile: DockerfileSource,
    /// The stage that becomes the image; the last one when `None`.
    pub target: Option<String>,
    /// `--build-arg`; `None` is taken from `env`, and unset if it is not there.
    pub args: Vec<(String, Option<String>)>,
    /// Proxies of the user's settings, as variables in upper case: predefined arguments that nobody else gives.
    pub proxies: Vec<(String, String)>,
    /// Labels beside the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// Names the image gets.
    pub tags: Vec<Reference>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Known results are not used.
    pub no_cache: bool,
    /// Base images are pulled though they are there.
    pub pull: bool,
    /// What `RUN` can reach.
    pub network: SandboxNetwork,
    /// Extra lines of `/etc/hosts` in `RUN`.
    pub extra_hosts: Vec<(String, HostAddr)>,
    /// Size of `/dev/shm` in `RUN`, in bytes.
    pub shm_size: Option<u64>,
    /// `linux/amd64`; the host's own when `None`.
    pub platform: Option<String>,
    /// Names that stand for a directory or an image in `FROM` and `--from`.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// The host's CA bundle, shown to `RUN` steps.
    pub trust_host_ca: Option<PathBuf>,
    /// The caller's environment: proxies, values of arguments.
    pub env: Env,
    /// Where the address of the context stands, if a file holds it.
    pub context_place: Option<(Span, SourceMap)>,
    /// Further platforms that images are built for; the names are those of the first one's.
    pub more_platforms: Vec<String>,
    /// Stages whose steps are done again, whatever is known of them.
    pub no_cache_filter: Vec<String>,
    /// Agents and keys that steps may sign with, by id (`--ssh`).
    pub ssh: BTreeMap<String, SshSource>,
    /// Limits of each `RUN`: memory, CPU, processes, the cgroup it lives under.
    pub limits: Resources,
    /// Limits of each process of a `RUN`: name → (soft, hard); `u64::MAX` is unlimited.
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// What steps may do beyond the ordinary (`--allow`, `entitlements:`, `privileged:`).
    pub entitlements: Entitlements,
    /// Where devices are described, for `RUN --device`.
    pub device_dirs: Vec<PathBuf>,
    /// Where results that are not known here may be.
    pub cache_from: Vec<cache::spec::CacheFrom>,
    /// Where results are written to.
    pub cache_to: Vec<cache::spec::CacheTo>,
    /// Digests that full names of images stand for, if only these may be taken.
    pub pins: Option<BTreeMap<String, Digest>>,
    /// What is made of the result; the image in the store when nothing is named.
    pub outputs: Vec<Output>,
    /// What titles of steps begin with, when several things are built at a time: `web`.
    pub label: Option<String>,
    /// What is attested of the images.
    pub attest: attest::Attest,
    /// Remarks on manifests and indexes, where they leave the store.
    pub annotations: Vec<Annotation>,
    /// What was fetched to have the context; the builder's own note.
    pub materials: Vec<attest::Material>,
}

/// An image that was built.
#[derive(Debug, Clone)]
struct Built {
    image: Image,
    statements: Vec<Statement>,
}

/// Where `COPY` takes files from.
#[derive(Debug, Clone, Default)]
pub enum ContextSource {
    /// A directory of the host.
    Dir(PathBuf),
    /// Nothing.
    #[default]
    Empty,
    /// Something that is fetched first.
    Remote(Remote),
    /// An archive of the files, compressed or not, or else the Dockerfile itself: standard input.
    Input(Arc<File>),
    /// A directory of what came from elsewhere: nothing in it leads out of it.
    Fetched(PathBuf),
}

/// Where the instructions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file of the host.
    Path(PathBuf),
    /// The text itself.
    Inline(String),
    /// A file of the context, wherever that comes from.
    InContext(String),
}

impl Default for DockerfileSource {
    fn default() -> Self {
        Self::Inline(String::new())
    }
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the host.
    File(PathBuf),
    /// The secret itself.
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for SecretSource {
    /// Never shows the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// What a name in `FROM` or `--from` stands for.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful of values a build, never kept in bulk"
)]
pub enum NamedContext {
    /// A directory of the host.
    Dir(PathBuf),
    /// An image by name.
    Image(Reference),
    /// An image of an OCI layout.
    Layout(Layout),
    /// Something that is fetched when it is needed.
    Remote(Remote),
    /// A stage of the Dockerfile.
    Stage(String),
    /// An image that was just built.
    Built(Image),
}

/// Pulls an image that is not in the store; one of another platform than the machine's gets no name.
pub type Pull<'a> = &'a (dyn Fn(&Reference, &Platform) -> Result<Image, PullError> + Sync);

/// What builds.
#[derive(Clone)]
pub struct Builder<'a> {
    /// Images and layers.
    pub store: &'a Store,
    /// Runs `RUN` steps.
    pub sandbox: &'a dyn Sandbox,
    /// Told what happens.
    pub events: &'a dyn EventSink,
    /// Ends the build.
    pub cancel: &'a Cancel,
    /// Pulls images.
    pub pull: Pull<'a>,
    /// Results, digests and cache mounts.
    pub cache_dir: PathBuf,
    /// Places for steps that run at a time: the builds of one command share them.
    pub slots: &'a slots::Slots,
    /// Asked what to do when a `RUN` step fails.
    pub debugger: Option<&'a dyn Debugger>,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}

/// Builds an image and gives it its names. Of several platforms each gets its image; the first one's
/// gets the names, and the store knows the others beside it.
///
/// # Errors
/// [`BuildError`].
pub fn build(request: &BuildRequest, builder: &Builder<'_>) -> Result<Image, BuildError> {
    // Nothing that is in the cache now goes before the build has ended.
    let _in_use = cache::prune::in_use(&builder.cache_dir)
        .map_err(|error| BuildError::io("lock the build cache", error))?;
    let first = request.platform.clone();
    let mut platforms = Vec::new();
    for text in std::iter::once(first.as_deref()).chain(
        request
            .more_platforms
            .iter()
            .map(|text| Some(text.as_str())),
    ) {
        let platform = platform::wanted(text).map_err(|why| BuildError::Invalid {
            diagnostics: vec![Diagnostic::error(why)],
            sources: SourceMap::default(),
        })?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.len() < 2 {
        let attest = attest::wanted(request, builder);
        let built = build_one(request, attest, builder)?;
        let image = built.image.clone();
        output::write(request, vec![built], builder)?;
        return Ok(image);
    }
    // What comes from elsewhere comes once: standard input could not be read again.
    let request = &*sources::prepare(request, builder)?;
    let attest = attest::wanted(request, builder);
    let mut built = Vec::new();
    for (at, platform) in platforms.iter().enumerate() {
        let mut one = request.clone();
        one.platform = Some(platform.to_string());
        // Steps of each platform are steps of their own.
        one.target_name = format!("{} {platform}", request.target_name);
        let label = request.label.iter().cloned();
        let label: Vec<String> = label.chain([platform.to_string()]).collect();
        one.label = Some(label.join(" "));
        one.more_platforms.clear();
        if at > 0 {
            one.tags.clear();
        }
        built.push(build_one(&one, attest, builder)?);
    }
    let images: Vec<Image> = built.iter().map(|one| one.image.clone()).collect();
    let Some(image) = images.first().cloned() else {
        return build_one(request, attest, builder).map(|one| one.image);
    };
    for tag in request.kept_names() {
        builder.store.keep_variants(tag, &image, &images)?;
    }
    output::write(request, built, builder)?;
    Ok(image)
}

/// Builds an image for one platform, with statements about it if they are wanted.
fn build_one(
    request: &BuildRequest,
    attest: bool,
    builder: &Builder<'_>,
) -> Result<Built, BuildError> {
    let begun = Timestamp::now();
    let given = request;
    // While there is a staging place, no other process removes layers that are not an image's yet.
    let _kept = builder.store.layers().staging()?;
    let _shared = builder.sandbox.between_runs();
    let request = &*sources::prepare(request, builder)?;
    let teller = Teller::new(request, builder);
    epoch::Epoch::of(request)?;
    let mut sources = SourceMap::default();
    let title = format!(
        "[internal] load build definition from {}",
        file_name(request)
    );
    let definition = teller.during(internal::DEFINITION, &title, || {
        definition::Definition::read(request, &mut sources)
    })?;
    let graph = definition.lower(request, builder, &mut sources)?;
    teller.plan(&graph);
    let results = solve::solve(&graph, request, builder, &sources)?;
    let export = || export::export(&graph, &results, request, builder);
    let image = match request.keeps() {
        true => teller.during(internal::EXPORT, "exporting to image", || {
            let image = export()?;
            teller.part(internal::EXPORT, format!("writing image {}", image.id));
            for tag in &request.tags {
                teller.part(internal::EXPORT, format!("naming to {tag}"));
            }
            Ok::<_, BuildError>(image)
        })?,
        false => export()?,
    };
    solve::share::export(&graph, &results, request, builder)?;
    let mut statements = Vec::new();
    if attest {
        let fetched = request.materials.iter().chain(&results.materials);
        let facts = attest::Facts {
            fetched: fetched.cloned().collect(),
            extras: attest::extras(&graph, &results, &definition.file),
            scan_context: attest::scans_context(&graph),
            layers: image.layers().to_vec(),
            platform: image.platform(),
            graph: &graph,
            sources: &sources,
            given,
            request,
            begun,
        };
        statements = attest::statements(&facts, &image, builder)?;
    }
    Ok(Built { image, statements })
}

/// The last part of the file's name, as titles show it.
fn file_name(request: &BuildRequest) -> String {
    let name = match &request.dockerfile {
        DockerfileSource::Path(path) => path.file_name(),
        DockerfileSource::InContext(name) => Path::new(name).file_name(),
        DockerfileSource::Inline(_) => None,
    };
    name.map_or("Dockerfile".into(), |name| name.to_string_lossy())
        .into_owned()
}

/// The images that a build's target names and that its contexts do not stand for, with their first places in `sources`.
/// It reads the Dockerfile, and looks at no image. `named_at` is where another text names the Dockerfile, or holds it.
///
/// # Errors
/// [`BuildError::Invalid`] with everything that is wrong with the Dockerfile's text; places are those of `sources`, which
/// the text is added to.
pub fn images_named(
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
    named_at: Option<Span>,
) -> Result<BTreeMap<String, Span>, BuildError> {
    let (name, text) = read_dockerfile(request)?;
    let source = sources.add(name, text.as_str());
    sources.set_named_at(source, named_at);
    let file = dockerfile::parse::parse(&text, source).map_err(|found| BuildError::Invalid {
        diagnostics: found.sorted(),
        sources: sources.clone(),
    })?;
    lower::images_named(&file, request, builder, sources)
}

fn read_dockerfile(request: &BuildRequest) -> Result<(String, String), BuildError> {
    let path = match &request.dockerfile {
        DockerfileSource::Inline(text) => return Ok(("Dockerfile".to_owned(), text.clone())),
        DockerfileSource::InContext(name) => return read_in_context(request, name),
        DockerfileSource::Path(path) => path,
    };
    let shown = match path.strip_prefix(&request.env.cwd) {
        Ok(inside) if !inside.as_os_str().is_empty() => inside.display().to_string(),
        _ => path.display().to_string(),
    };
    let invalid = |diagnostic: Diagnostic| BuildError::Invalid {
        diagnostics: vec![diagnostic],
        sources: SourceMap::default(),
    };
    let dir = match &request.context {
        ContextSource::Dir(dir) => Some(dir.as_path()),
        _ => None,
    };
    let bytes = context::file::read(dir, path, LARGEST).map_err(|why| {
        let why = match why {
            Unread::Missing => "no such file or directory".to_owned(),
            Unread::Directory => "it is a directory".to_owned(),
            Unread::Refused(why) => why,
        };
        let what = format!("failed to read dockerfile {shown}: {why}");
        invalid(
            Diagnostic::error(what).hint("name it with -f, or `dockerfile:` in the compose file"),
        )
    })?;
    let text = text::decode(&shown, bytes).map_err(|item| invalid(*item))?;
    Ok((shown, text))
}

/// The Dockerfile of a context from elsewhere: no link of it leads out.
fn read_in_context(request: &BuildRequest, name: &str) -> Result<(String, String), BuildError> {
    let invalid = |why: String| BuildError::Invalid {
        diagnostics: vec![
            Diagnostic::error(format!("failed to read dockerfile {name}: {why}")).hint(
                "name it with -f, or `dockerfile:` in the compose file, by its path in the context",
            ),
        ],
        sources: SourceMap::default(),
    };
    let (ContextSource::Fetched(dir) | ContextSource::Dir(dir)) = &request.context else {
        return Err(invalid("there is no context".to_owned()));
    };
    let path = Path::new(name);
    let path = path.strip_prefix("/").unwrap_or(path);
    let bytes = Root::open(dir)
        .and_then(|root| root.read_beneath(path, LARGEST))
        .map_err(|errno| {
            invalid(match errno {
                nix::errno::Errno::EXDEV => "it leads out of the context".to_owned(),
                nix::errno::Errno::EFBIG => "it is too large for a Dockerfile".to_owned(),
                errno => errno.desc().to_owned(),
            })
        })?;
    let text = text::decode(name, bytes).map_err(|item| BuildError::Invalid {
        diagnostics: vec![*item],
        sources: SourceMap::default(),
    })?;
    Ok((name.to_owned(), text))
}

impl ContextSource {
    /// The main context that a text names: a directory, an address, a repository.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        match Place::parse(text, base).map_err(|error| error.to_string())? {
            Place::Dir(dir) => Ok(Self::Dir(dir)),
            Place::Remote(remote) => Ok(Self::Remote(remote)),
            Place::Image(_) | Place::Layout(_) | Place::Stage(_) => {
                Err("an image can't be the context; name it as an additional one".to_owned())
            }
        }
    }
}

impl NamedContext {
    /// The named context that a text says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        Ok(
            match Place::parse(text, base).map_err(|error| error.to_string())? {
                Place::Dir(dir) => Self::Dir(dir),
                Place::Remote(remote) => Self::Remote(remote),
                Place::Image(name) => Self::Image(name),
                Place::Layout(layout) => Self::Layout(layout),
                Place::Stage(name) => Self::Stage(name),
            },
        )
    }
}
