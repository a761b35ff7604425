//! What a Dockerfile says, as types. Variables are not worked out here.
//!
//! Imports: `base`, `lex`, `directives`.

use super::directives::Directives;
use super::lex::{Heredoc, Written};
use crate::base::span::Span;
use crate::image::config::HealthConfig;

/// A whole file.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// `\` or `` ` ``.
    pub escape: char,
    /// `ARG` before the first `FROM`.
    pub globals: Vec<(Vec<ArgDecl>, Span)>,
    /// The stages, in order; at least one, unless faults were found.
    pub stages: Vec<StageDecl>,
    /// What the first lines direct.
    pub directives: Directives,
    /// The last rows of instructions that have empty rows in between.
    pub gaps: Vec<Span>,
    /// What comments above `ARG` and `FROM` say of it, in file order.
    pub definitions: Vec<Definition>,
}

/// A comment right above an instruction that defines names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `ARG` or `FROM`.
    pub keyword: &'static str,
    /// The names it defines, as written.
    pub names: Vec<String>,
    /// The comment's last row.
    pub comment: String,
    /// The instruction's place.
    pub span: Span,
}

/// `FROM` and what follows it.
#[derive(Debug, Clone)]
pub struct StageDecl {
    /// An image, a stage or `scratch`, with variables.
    pub base: String,
    /// `AS name`, lower case.
    pub name: Option<String>,
    /// `--platform`.
    pub platform: Option<String>,
    /// The `FROM` line.
    pub span: Span,
    /// Its text as written.
    pub written: Written,
    /// `FROM`, `AS` and the name, as they are written.
    pub words: FromWords,
    /// What the comment above says of the stage.
    pub description: Option<String>,
    /// The instructions after it.
    pub body: Vec<Instruction>,
}

/// The words of `FROM` that may be in either case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromWords {
    /// `FROM`
    pub from: String,
    /// `AS`, and the stage's name.
    pub name: Option<(String, String)>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// Its name as it is written.
    pub name: String,
    /// Its text as written, and where its parts stand.
    pub written: Written,
    /// Whether names and values are given in the old form, `ENV name value`.
    pub legacy: bool,
    /// Its place.
    pub span: Span,
    /// Its text on one line, the name in capitals: `RUN make`.
    pub text: String,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `ADD`
    Add(Transfer),
    /// `COPY`
    Copy(Transfer),
    /// `ARG`
    Arg(Vec<ArgDecl>),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(HealthConfig),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the instruction's text, heredocs too.
    Onbuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

/// `NAME` or `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDecl {
    /// The name, with variables.
    pub name: String,
    /// The default, with variables.
    pub default: Option<String>,
    /// What the comment above says of it.
    pub description: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// `["a", "b"]`
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// `--from`
    pub from: Option<String>,
    /// What is copied.
    pub sources: Vec<TransferSource>,
    /// Where to.
    pub dest: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--unpack`
    pub unpack: Option<bool>,
    /// `--link`: the layer does not depend on those below.
    pub link: bool,
    /// `--parents`: the sources' own directories are made below the destination.
    pub parents: bool,
    /// `--checksum`, with variables: of what is downloaded.
    pub checksum: Option<String>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
}

/// One source of a [`Transfer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferSource {
    /// A path, maybe with wildcards and variables.
    Path(String),
    /// A heredoc: its name is the file's.
    Inline(Heredoc),
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What runs.
    pub command: CommandLine,
    /// Heredocs of the shell form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, as written.
    pub mounts: Vec<String>,
    /// `--network`
    pub network: Option<RunNetwork>,
    /// `--security=insecure`
    pub insecure: bool,
    /// `--device`, as written.
    pub devices: Vec<String>,
}

/// `--network` of `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// What the build has.
    Default,
    /// Only loopback.
    None,
    /// The host's.
    Host,
}
