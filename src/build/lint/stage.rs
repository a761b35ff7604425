//! Checks of single instructions, made while their stage is worked out: only then is known what variables hold.
//!
//! In: an [`Instruction`] and what its stage has said before. Out: findings. Imports: the siblings, `build::dockerfile`,
//! `build::context::ignore`.

use indexmap::IndexSet;

use super::{Lints, Rule, nearest};
use crate::base::span::Span;
use crate::build::context::ignore::Ignore;
use crate::build::dockerfile::ast::{
    ArgDecl, CommandLine, Instruction, Kind, Transfer, TransferSource,
};

/// Words that say that a value is a secret.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that say that it is none after all.
const PUBLIC: [&str; 3] = ["public", "file", "version"];

/// Variables that are never set and never missed.
const NEVER_SET: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Instructions of which the last one of a stage counts, and where the stage has said them.
#[derive(Debug, Clone, Default)]
pub struct Once {
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
}

/// What is known where an instruction stands.
pub struct Here<'a> {
    /// Where findings are put: the instruction, or the `FROM` whose image triggers it.
    pub span: Span,
    /// Works out the variables of a word.
    pub word: &'a dyn Fn(&str) -> Option<String>,
    /// Works out the variables of a word, then splits it.
    pub words: &'a dyn Fn(&str) -> Vec<String>,
    /// Whether the stage, or one it stands on, has said `WORKDIR`.
    pub workdir_said: bool,
    /// Whether the image names a shell.
    pub shell_said: bool,
    /// What the context leaves out; `None` where nothing is known of it.
    pub ignore: Option<&'a Ignore>,
}

impl std::fmt::Debug for Here<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Here")
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}

/// Checks an instruction.
pub fn check(instruction: &Instruction, here: &Here<'_>, once: &mut Once, lints: &Lints) {
    let name = &instruction.name;
    let add = |rule, what: String| lints.add(rule, here.span, what);
    match &instruction.kind {
        Kind::Env(pairs) | Kind::Label(pairs) => {
            if instruction.legacy {
                let what = format!(
                    "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                );
                add(Rule::LegacyKeyValueFormat, what);
            }
            if matches!(instruction.kind, Kind::Env(_)) {
                let names = pairs.iter().filter_map(|(key, _)| (here.word)(key));
                names.for_each(|key| secret("ENV", &key, here.span, lints));
            }
        }
        Kind::Arg(decls) => args(decls, here.span, lints),
        Kind::Workdir(path) => {
            let path = (here.word)(path).unwrap_or_default();
            if !here.workdir_said && !path.starts_with('/') {
                let what = format!(
                    "Relative workdir {path:?} can have unexpected results if the base image changes"
                );
                add(Rule::WorkdirRelativePath, what);
            }
        }
        Kind::Cmd(command) => {
            again(&mut once.cmd, name, here.span, lints);
            shell_form(command, name, here, lints);
        }
        Kind::Entrypoint(command) => {
            again(&mut once.entrypoint, name, here.span, lints);
            shell_form(command, name, here, lints);
        }
        Kind::Healthcheck(_) => again(&mut once.healthcheck, name, here.span, lints),
        Kind::Expose(ports) => ports
            .iter()
            .flat_map(|word| (here.words)(word))
            .for_each(|port| {
                expose(&port, here.span, lints);
            }),
        Kind::Copy(transfer) => copied(transfer, "Copy", here, lints),
        Kind::Add(transfer) => copied(transfer, "Add", here, lints),
        _ => {}
    }
}

/// Tells of variables that a word needed and nobody has set. `known` are those that could have been meant.
pub fn undefined<'a>(
    missed: &[String],
    known: impl Iterator<Item = &'a str> + Clone,
    declared: &IndexSet<String>,
    span: Span,
    lints: &Lints,
) {
    let told = |name: &&String| !declared.contains(*name) && !NEVER_SET.contains(&name.as_str());
    for name in missed.iter().filter(told) {
        let near = nearest(name, known.clone());
        let near = near
            .map(|near| format!(" (did you mean ${near}?)"))
            .unwrap_or_default();
        let what = format!("Usage of undefined variable '${name}'{near}");
        lints.add(Rule::UndefinedVar, span, what);
    }
}

fn args(decls: &[ArgDecl], span: Span, lints: &Lints) {
    for decl in decls {
        secret("ARG", &decl.name, span, lints);
    }
}

fn secret(instruction: &str, name: &str, span: Span, lints: &Lints) {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    if has(&SECRET) && !has(&PUBLIC) {
        let what = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
        );
        lints.add(Rule::SecretsUsedInArgOrEnv, span, what);
    }
}

/// The place of the earlier one is told: it is the one without effect.
fn again(said: &mut Option<Span>, name: &str, span: Span, lints: &Lints) {
    if let Some(earlier) = said.replace(span) {
        let what = format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        );
        lints.add(Rule::MultipleInstructionsDisallowed, earlier, what);
    }
}

fn shell_form(command: &CommandLine, name: &str, here: &Here<'_>, lints: &Lints) {
    if matches!(command, CommandLine::Shell(_)) && !here.shell_said {
        let what = format!(
            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        );
        lints.add(Rule::JSONArgsRecommended, here.span, what);
    }
}

fn expose(port: &str, span: Span, lints: &Lints) {
    let (numbers, proto) = port.split_once('/').unwrap_or((port, ""));
    if proto != proto.to_lowercase() {
        let what = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        lints.add(Rule::ExposeProtoCasing, span, what);
    }
    if numbers
        .rsplit_once(':')
        .is_some_and(|(outer, _)| !outer.is_empty())
    {
        let what = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        lints.add(Rule::ExposeInvalidFormat, span, what);
    }
}

/// What is taken back in is not looked at: whether a directory is left out depends on what is in it.
fn copied(transfer: &Transfer, verb: &str, here: &Here<'_>, lints: &Lints) {
    let Some(ignore) = here.ignore.filter(|ignore| !ignore.has_exceptions()) else {
        return;
    };
    if transfer.from.is_some() {
        return;
    }
    for source in &transfer.sources {
        let TransferSource::Path(path) = source else {
            continue;
        };
        let Some(path) = (here.word)(path).filter(|path| !path.contains("://")) else {
            continue;
        };
        let clean = crate::sys::fs::clean(std::path::Path::new(&path));
        let clean = clean.to_string_lossy();
        if ignore.ignores(clean.trim_start_matches('/')) {
            let what =
                format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
            lints.add(Rule::CopyIgnoredFile, here.span, what);
        }
    }
}
