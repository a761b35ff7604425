//! The commands below `image`.
//!
//! Imports: clap. As Docker: `docker image`, `docker buildx build`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ProgressArg, StepArgs};

/// Commands on images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<ImageBuildArgs>),
    /// Show how an image was made
    History(ImageHistoryArgs),
    /// Make an image of an archive with a root file system
    Import(ImportArgs),
    /// Show everything about images
    Inspect(InspectArgs),
    /// Load images from an archive
    Load(LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImageLsArgs),
    /// Remove images that nothing uses
    Prune(ImagePruneArgs),
    /// Pull images from registries
    Pull(ImagePullArgs),
    /// Push images to registries
    Push(ImagePushArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(ImageRmArgs),
    /// Write images into an archive
    Save(SaveArgs),
    /// Give an image one more name
    Tag(TagArgs),
}

/// `image build`
#[derive(Debug, Default, Args)]
pub struct ImageBuildArgs {
    /// Name of the image
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// The Dockerfile; `-` is standard input [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a build argument
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// A secret for RUN: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// Don't use results of earlier builds
    #[arg(long)]
    pub no_cache: bool,
    /// Don't use results of earlier builds in these stages
    #[arg(long, value_name = "STAGE")]
    pub no_cache_filter: Vec<String>,
    /// Look for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Where results that are not known here may be: an image, or `type=registry|local,…`
    #[arg(long, value_name = "SOURCE")]
    pub cache_from: Vec<String>,
    /// Where to write results: `type=registry|local|inline,…`
    #[arg(long, value_name = "PLACE")]
    pub cache_to: Vec<String>,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// Add a line to `/etc/hosts` of RUN
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// A further context: `NAME=` and a directory, a git repository, an address, `docker-image://IMAGE`, `oci-layout://DIR` or
    /// `target:STAGE`
    #[arg(long, value_name = "NAME=SOURCE")]
    pub build_context: Vec<String>,
    /// Size of `/dev/shm` of RUN
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Platforms, as `linux/amd64,linux/arm64`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// What to make of the result: a directory for its files, `-` for an archive of them on standard output, or
    /// `type=local|tar|oci|docker|image|registry|cacheonly,dest=PLACE,…` [default: the image in the store]
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Keep the image in the store, beside other outputs
    #[arg(long)]
    pub load: bool,
    /// Push the image under its names
    #[arg(long)]
    pub push: bool,
    /// Write what is known of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Attach how the image was built to what leaves the store: true, or `mode=min|max,version=v0.2|v1,…`
    #[arg(long, value_name = "VALUE")]
    pub provenance: Option<String>,
    /// Attach what is in the image to what leaves the store: true, or `generator=IMAGE`
    #[arg(long, value_name = "VALUE")]
    pub sbom: Option<String>,
    /// Attach a statement to what leaves the store: `type=sbom` or `type=provenance`, with settings
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Annotate what leaves the store: `NAME=VALUE`, or `index:NAME=VALUE` and other levels
    #[arg(long, value_name = "[LEVEL:]NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Accepted for docker's sake: hoist builds by itself
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// Accepted for docker's sake: nothing is sent anywhere
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub compress: Option<String>,
    /// Accepted for docker's sake: no container is left
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub force_rm: Option<String>,
    /// Accepted for docker's sake: no container is left
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub rm: Option<String>,
    /// How to show progress
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressArg>,
    /// Answer a question in place of building: check, outline, targets or subrequests.describe, also with `,format=json`
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,
    /// Check the Dockerfile in place of building, as `--call check`
    #[arg(long)]
    pub check: bool,
    /// Print the image's id only
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write a timeline for a Chrome-trace viewer
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// What steps get beyond the ordinary
    #[command(flatten)]
    pub steps: StepArgs,
    /// The context: a directory, a git repository, the address of an archive or of a Dockerfile, or `-` for either on standard
    /// input
    #[arg(value_name = "CONTEXT")]
    pub context: PathBuf,
}

/// `image history`
#[derive(Debug, Default, Args)]
pub struct ImageHistoryArgs {
    /// `table`, `json`, or a Go template, which `table` may stand before
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Sizes and times for people [default: true]
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub human: Option<bool>,
    /// Don't cut ids and commands
    #[arg(long)]
    pub no_trunc: bool,
    /// Of several platforms this one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Name or id
    pub image: String,
}

impl ImageHistoryArgs {
    /// Whether sizes and times are for people.
    pub fn human(&self) -> bool {
        self.human.unwrap_or(true)
    }
}

/// `image prune`
#[derive(Debug, Default, Args)]
pub struct ImagePruneArgs {
    /// All that no container uses, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Only some: `until=24h`, `label=…`, `label!=…`
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Don't ask
    #[arg(short, long)]
    pub force: bool,
}

/// `image import`
#[derive(Debug, Default, Args)]
pub struct ImportArgs {
    /// Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or
    /// WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// A remark [default: where it was imported from]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub message: String,
    /// The platform of the image, as `linux/arm64` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The archive (tar, also compressed): a file, an HTTP address, or `-` for standard input
    pub file: String,
    /// Name of the image
    pub name: Option<String>,
}

/// `image inspect`
#[derive(Debug, Default, Args)]
pub struct InspectArgs {
    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<String>,
    /// Of several platforms this one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// `image load`
#[derive(Debug, Default, Args)]
pub struct LoadArgs {
    /// The archive, or a directory with images [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Load only the image for this platform, as `linux/amd64`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `image ls`
#[derive(Debug, Default, Args)]
pub struct ImageLsArgs {
    /// Images of other platforms that share a name, too
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Only some: `dangling=true`, `label=…`, `before=IMAGE`, `since=IMAGE`, `reference=PATTERN`, `until=24h`
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// `table`, `json`, or a Go template, which `table` may stand before
    #[arg(long, default_value = "table")]
    pub format: String,
    /// As a tree, platforms below their name
    #[arg(long)]
    pub tree: bool,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't cut ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Only images of this name
    pub name: Option<String>,
}

/// `image pull`
#[derive(Debug, Default, Args)]
pub struct ImagePullArgs {
    /// Speak to the registries without TLS, or with any certificate
    #[arg(id = "insecure", long = "insecure-registry")]
    pub insecure: bool,
    /// Platform, as `linux/amd64`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Names
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// `image push`
#[derive(Debug, Default, Args)]
pub struct ImagePushArgs {
    /// All tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Speak to the registries without TLS, or with any certificate
    #[arg(id = "insecure", long = "insecure-registry")]
    pub insecure: bool,
    /// Only if the image is for this platform, as `linux/amd64`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Names
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// `image rm`
#[derive(Debug, Default, Args)]
pub struct ImageRmArgs {
    /// Also when stopped containers use them, or they have several names
    #[arg(short, long)]
    pub force: bool,
    /// Accepted for docker's sake: there are no parents without a name
    #[arg(long, hide = true)]
    pub no_prune: bool,
    /// Of several platforms this one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// `image save`
#[derive(Debug, Default, Args)]
pub struct SaveArgs {
    /// The archive or directory [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Save only the image for this platform, as `linux/amd64`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive")]
    pub format: SaveFormat,
    /// Compress layers with gzip or zstd, or write them uncompressed, in place of writing them as they came
    #[arg(long, value_name = "HOW", value_parser = ["gzip", "zstd", "none"])]
    pub compression_format: Option<String>,
    /// Names or ids; a name without a tag is all its tags
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// What `image save` writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SaveFormat {
    /// An archive that Docker, podman and skopeo read: an OCI layout with Docker's manifest beside it
    #[default]
    DockerArchive,
    /// An OCI layout as an archive
    OciArchive,
    /// An OCI layout as a directory
    OciDir,
    /// A directory as skopeo's `dir:`, of one image
    DockerDir,
}

/// `image tag`
#[derive(Debug, Default, Args)]
pub struct TagArgs {
    /// Name or id
    pub source: String,
    /// The new name
    pub target: String,
}
