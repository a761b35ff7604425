//! What a service's `develop.watch` says, checked and ready to be asked about paths.
//!
//! In: a project. Out: [`Rule`]s, and what is wrong with them, with places.
//! Imports: `base`, `compose::model`, `build::context::ignore`.
//! Rules: Docker Compose 2.40, `pkg/compose/watch.go` and `pkg/watch/{ephemeral,dockerignore}.go`; patterns are those
//! of `.dockerignore`, relative to the rule's path.

use std::path::{Path, PathBuf};

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::KeyPath;
use crate::base::name::ServiceName;
use crate::base::span::{Span, Spanned};
use crate::build::context::ignore::{Ignore, candidates};
use crate::compose::model::{
    BuildSpec, ContextRef, Hook, Project, Service, VolumeSource, WatchAction, WatchRule,
};

/// One entry of `develop.watch`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The service it belongs to.
    pub service: ServiceName,
    /// What a change does.
    pub action: WatchAction,
    /// What is watched, absolute.
    pub root: PathBuf,
    /// Where files go in the containers.
    pub target: Option<String>,
    /// What runs after the files were copied.
    pub exec: Option<Hook>,
    /// Whether files that are newer than the image are copied at the start.
    pub initial: bool,
    include: Option<Ignore>,
    ignore: Ignore,
    /// The build context and its ignore file.
    context: Option<(PathBuf, Ignore)>,
}

impl Rule {
    /// Whether its files are copied.
    pub fn copies(&self) -> bool {
        matches!(
            self.action,
            WatchAction::Sync | WatchAction::SyncRestart | WatchAction::SyncExec
        )
    }
    /// Whether a file is meant, by its path below the root; the root itself is the empty path.
    pub fn takes(&self, below: &Path) -> bool {
        self.enters(below) && self.included(below)
    }
    /// Whether something at a path or below it may be meant.
    pub fn enters(&self, below: &Path) -> bool {
        if below.iter().any(|name| is_passing(&name.to_string_lossy())) {
            return false;
        }
        let text = below.to_string_lossy();
        if !text.is_empty() && left_out(&self.ignore, &text) {
            return false;
        }
        let Some((context, ignore)) = &self.context else {
            return true;
        };
        match self.root.join(below).strip_prefix(context) {
            Ok(path) if !path.as_os_str().is_empty() => !left_out(ignore, &path.to_string_lossy()),
            _ => true,
        }
    }
    fn included(&self, below: &Path) -> bool {
        let Some(include) = &self.include else {
            return true;
        };
        if below.as_os_str().is_empty() {
            // A file that is watched by itself goes by its own name.
            let name = self.root.file_name().unwrap_or_default();
            return self.root.is_dir() || include.ignores(&name.to_string_lossy());
        }
        include.ignores(&below.to_string_lossy())
    }
    /// The path in a container of what lies below the root.
    pub fn inside(&self, below: &Path) -> Option<PathBuf> {
        let target = PathBuf::from(self.target.as_deref()?);
        Some(match below.as_os_str().is_empty() {
            true => target,
            false => target.join(below),
        })
    }
}

/// Whether an ignore file leaves a path out, and everything that may lie below it.
fn left_out(ignore: &Ignore, path: &str) -> bool {
    ignore.ignores(path) && !ignore.may_hold_exceptions(path)
}

/// Names of files that editors, tools and version control make for themselves.
/// As Compose: `pkg/watch/ephemeral.go`, and `.git`.
fn is_passing(name: &str) -> bool {
    let hidden = |end: &str| name.starts_with('.') && name.ends_with(end);
    matches!(name, ".git" | ".idea" | "4913")
        || name.ends_with('~')
        || name.starts_with(".#")
        || (name.len() > 1 && name.starts_with('#') && name.ends_with('#'))
        || name.ends_with("___jb_old___")
        || name.ends_with("___jb_tmp___")
        || name.ends_with("-go-tmp-umask")
        || [".swp", ".swx", ".swo", ".swn", ".kate-swp"]
            .into_iter()
            .any(hidden)
}

/// The rules of a project's services, in order.
///
/// # Errors
/// Everything that makes one of them impossible; what is merely odd is in the diagnostics beside the rules.
pub fn rules(project: &Project) -> Result<(Vec<Rule>, Diagnostics), Diagnostics> {
    let mut found = Reader::default();
    for service in project.services.values() {
        let entries = service.develop.iter().flat_map(|develop| &develop.watch);
        for (at, entry) in entries.enumerate() {
            let path = KeyPath::default()
                .key("services")
                .key(service.name.as_str())
                .key("develop")
                .key("watch")
                .index(at);
            found.entry(service, entry, &path);
        }
    }
    match found.diags.has_errors() {
        true => Err(found.diags),
        false => Ok((found.rules, found.diags)),
    }
}

#[derive(Default)]
struct Reader {
    rules: Vec<Rule>,
    /// Where each rule stands.
    places: Vec<Option<Span>>,
    diags: Diagnostics,
}

impl Reader {
    fn entry(&mut self, service: &Service, entry: &Spanned<WatchRule>, path: &KeyPath) {
        let watch = &entry.value;
        let name = service.name.as_str();
        let fault = |text: String, hint: &str| {
            let fault = Diagnostic::error(text).at(entry.span).path(path);
            fault.hint(hint)
        };
        if watch.action == WatchAction::Rebuild && service.build.is_none() {
            let text =
                format!("can't watch service {name:?} with action rebuild without a build context");
            let hint = "give the service a `build:`, or choose another action";
            self.diags.push(fault(text, hint));
            return;
        }
        if watch.action == WatchAction::SyncExec && watch.exec.is_none() {
            let text =
                format!("can't watch service {name:?} with action sync+exec without a command");
            let hint = "add `exec:` with a `command:`, or choose `sync`";
            self.diags.push(fault(text, hint));
            return;
        }
        let rule = match rule(service, watch) {
            Ok(rule) => rule,
            Err(why) => {
                self.diags
                    .push(fault(why, "patterns are those of .dockerignore"));
                return;
            }
        };
        if rule.copies() && is_mounted(service, &rule.root) {
            let text = format!(
                "path '{}' also declared by a bind mount volume, this path won't be monitored!",
                rule.root.display()
            );
            let warning = Diagnostic::warning(text).at(entry.span).path(path);
            self.diags.push(warning);
            return;
        }
        self.look(&rule, entry.span, path);
        self.rules.push(rule);
        self.places.push(entry.span);
    }

    /// Says what is odd about a rule that works.
    fn look(&mut self, rule: &Rule, span: Option<Span>, path: &KeyPath) {
        if std::fs::symlink_metadata(&rule.root).is_err() {
            let text = format!(
                "there is nothing at {} yet; it is watched as soon as there is",
                rule.root.display()
            );
            self.diags
                .push(Diagnostic::warning(text).at(span).path(path));
        }
        let same = |other: &&Rule| {
            (&other.service, other.action, &other.root, &other.target)
                == (&rule.service, rule.action, &rule.root, &rule.target)
        };
        if let Some(at) = self.rules.iter().position(|other| same(&other))
            && rule.exec == self.rules[at].exec
        {
            let text = "another entry watches the same path for the same action";
            let warning = Diagnostic::warning(text).at(span).path(path);
            self.diags
                .push(warning.related(self.places[at], "the other one"));
        }
    }
}

fn rule(service: &Service, watch: &WatchRule) -> Result<Rule, String> {
    let root = crate::sys::fs::clean(&watch.path);
    let patterns = |rows: &[String]| {
        let rows: Vec<String> = rows.iter().map(|row| below(&root, row)).collect();
        Ignore::of(rows.iter().map(String::as_str))
    };
    let include = match watch.include.is_empty() {
        true => None,
        false => Some(patterns(&watch.include)?),
    };
    Ok(Rule {
        service: service.name.clone(),
        action: watch.action,
        include,
        ignore: patterns(&watch.ignore)?,
        context: service.build.as_ref().map(context).transpose()?.flatten(),
        target: watch.target.clone(),
        exec: watch.exec.clone(),
        initial: watch.initial_sync,
        root,
    })
}

/// A pattern as one that is relative to the root: one that begins with the root's own path, or with a slash, is.
fn below(root: &Path, row: &str) -> String {
    let (mark, body) = match row.trim().strip_prefix('!') {
        Some(body) => ("!", body),
        None => ("", row.trim()),
    };
    let root = root.to_string_lossy();
    let own = body.strip_prefix(&*root);
    let own = own.filter(|rest| rest.starts_with('/')).unwrap_or(body);
    format!("{mark}{}", own.trim_start_matches('/'))
}

/// The context of a build and its ignore file, if it has one.
fn context(build: &BuildSpec) -> Result<Option<(PathBuf, Ignore)>, String> {
    let Some(ContextRef::Dir(dir)) = build.context.as_ref().map(|context| &context.value) else {
        return Ok(None);
    };
    let file = build.dockerfile.as_ref().map(|file| file.value.as_str());
    let file = dir.join(file.unwrap_or("Dockerfile"));
    for candidate in candidates(Some(&file), dir) {
        if let Ok(text) = std::fs::read_to_string(&candidate) {
            let ignore =
                Ignore::parse(&text).map_err(|why| format!("{}: {why}", candidate.display()))?;
            return Ok(Some((dir.clone(), ignore)));
        }
    }
    Ok(None)
}

/// Whether the containers see a path as it is already. As Compose: `checkIfPathAlreadyBindMounted`.
fn is_mounted(service: &Service, root: &Path) -> bool {
    service
        .volumes
        .iter()
        .any(|mount| match &mount.value.source {
            VolumeSource::Bind { path, .. } => root.starts_with(path),
            _ => false,
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A rule that watches a path and leaves some out.
    pub(in crate::watch) fn of(root: &Path, ignore: &[&str]) -> Rule {
        Rule {
            root: root.to_owned(),
            ignore: Ignore::of(ignore.iter().copied()).expect("patterns"),
            ..a_rule(&[], &[], None)
        }
    }

    fn a_rule(include: &[&str], ignore: &[&str], docker: Option<&str>) -> Rule {
        let root = Path::new("/p/src");
        let of = |rows: &[&str]| {
            let rows: Vec<String> = rows.iter().map(|row| below(root, row)).collect();
            Ignore::of(rows.iter().map(String::as_str)).expect("patterns")
        };
        Rule {
            service: ServiceName::new("a"),
            action: WatchAction::Sync,
            root: root.to_owned(),
            target: Some("/app/".to_owned()),
            exec: None,
            initial: false,
            include: (!include.is_empty()).then(|| of(include)),
            ignore: of(ignore),
            context: docker.map(|text| {
                let ignore = Ignore::parse(text).expect("an ignore file");
                (PathBuf::from("/p"), ignore)
            }),
        }
    }

    #[test]
    fn patterns_are_relative_to_the_path_and_reach_below_folders() {
        let rule = a_rule(
            &["**/*.py", "static"],
            &["node_modules/", "/p/src/gone", "/out", "*.log", "!keep.log"],
            None,
        );
        for path in ["a.py", "x/y/a.py", "static/x/logo.png", "out.py"] {
            assert!(rule.takes(Path::new(path)), "{path}");
        }
        for path in [
            "a.rs",
            "node_modules/x.py",
            "gone/x.py",
            "out/x.py",
            "x/static/a",
        ] {
            assert!(!rule.takes(Path::new(path)), "{path}");
        }
        assert!(!rule.enters(Path::new("node_modules")));
        assert!(rule.enters(Path::new("x")));
    }

    #[test]
    fn what_editors_and_git_make_for_themselves_is_left_out() {
        let rule = a_rule(&[], &[], None);
        for path in [
            "4913",
            "a~",
            ".a.py.swp",
            ".#a",
            "#a#",
            "x/.git/index",
            ".idea/x",
            "f___jb_tmp___",
        ] {
            assert!(!rule.takes(Path::new(path)), "{path}");
        }
        for path in ["a.swf", "gitx", "#", ".env", "x/.gitignore"] {
            assert!(rule.takes(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn the_ignore_file_of_the_build_context_counts_with_its_exceptions() {
        let rule = a_rule(&[], &[], Some("src/*\n!src/kept\n"));
        assert!(rule.takes(Path::new("kept/x")));
        assert!(!rule.takes(Path::new("other")));
    }

    #[test]
    fn a_path_in_the_container_is_the_target_and_what_is_below() {
        let rule = a_rule(&[], &[], None);
        assert_eq!(
            rule.inside(Path::new("a/b")),
            Some(PathBuf::from("/app/a/b"))
        );
        assert_eq!(rule.inside(Path::new("")), Some(PathBuf::from("/app/")));
    }
}
