//! Phase 6: everything in its long form, defaults filled in, paths absolute.
//!
//! In: [`Checked`]. Out: [`Canonical`], whose JSON is the document that `config` prints.
//! It reads env files and label files; it checks no reference between parts: `bind` does.
//! Imports: `base`, `check`, `dotenv`, `join` (env files), `merge` (list forms), `schema`, `session`, `tree`.
//! Rules: Compose Specification; where it is silent as Compose (`loader/normalize.go`, `transform/`).

mod files;
mod lists;
mod service;
mod short;
#[cfg(test)]
mod tests;
mod unit;
mod value;
mod words;
mod written;

pub(super) use service::is_address;
pub(super) use short::read_range;

use std::path::{Component, Path, PathBuf};

use self::value::drop_bare;
use super::check::Checked;
use super::schema::PROJECT;
use super::session::Session;
use super::tree::{Entries, Node, Value};
use crate::base::diag::Diagnostic;
use crate::base::key::KeyPath;
use crate::base::name::ProjectName;
use crate::base::span::Span;

/// What the canonical form depends on besides the files.
#[derive(Debug)]
pub(super) struct Frame<'f> {
    /// The project's name.
    pub(super) name: &'f ProjectName,
    /// Whether implied values are filled in; false only for `config --no-normalize`.
    pub(super) normalize: bool,
    /// Whether what services refer to must be there; false only for `config --no-consistency`.
    pub(super) consistent: bool,
    /// The project's directory if paths stay relative to it: `config --no-path-resolution`.
    pub(super) relative_to: Option<&'f Path>,
    /// Whether `env_file`s are read.
    pub(super) resolve_env: bool,
    /// Whether services keep the names of their `env_file`s.
    pub(super) name_env_files: bool,
    /// Whether scalars stay as they were written, for a document that is bound to no types.
    pub(super) as_written: bool,
    /// Whether values that only a container's start refuses are warnings.
    pub(super) print_only: bool,
    /// Active profiles: what a service that is off refers to need not be there.
    pub(super) profiles: &'f [String],
}

impl Frame<'_> {
    /// Whether no active profile enables a service.
    pub(super) fn is_off(&self, service: &Node) -> bool {
        let profiles = service
            .get("profiles")
            .and_then(Node::items)
            .unwrap_or_default();
        let on = |name: &str| {
            self.profiles
                .iter()
                .any(|active| active == "*" || active == name)
        };
        !profiles.is_empty() && !profiles.iter().filter_map(Node::as_text).any(on)
    }
}

/// A project in its long form.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    /// `services`.
    pub(super) services: Entries,
    /// `networks`.
    pub(super) networks: Entries,
    /// `volumes`.
    pub(super) volumes: Entries,
    /// `configs`.
    pub(super) configs: Entries,
    /// `secrets`.
    pub(super) secrets: Entries,
    /// `models`.
    pub(super) models: Entries,
    /// `jobs`.
    pub(super) jobs: Entries,
    /// Top-level `x-*` keys.
    pub(super) extensions: Entries,
}

impl Canonical {
    /// The sections by their names, and the top-level `x-*` keys.
    pub(super) fn into_parts(self) -> ([(&'static str, Entries); 7], Entries) {
        let sections = [
            ("configs", self.configs),
            ("jobs", self.jobs),
            ("models", self.models),
            ("networks", self.networks),
            ("secrets", self.secrets),
            ("services", self.services),
            ("volumes", self.volumes),
        ];
        (sections, self.extensions)
    }
}

/// Brings a project to its long form.
pub(super) fn canon(checked: Checked, frame: &Frame<'_>, session: &mut Session<'_>) -> Canonical {
    let interpolated = session.interpolate;
    let mut walk = Canon {
        session,
        path: KeyPath::root(),
        interpolated,
        off: false,
        consistent: frame.consistent,
        relative_to: frame.relative_to.map(Path::to_path_buf),
        resolve_env: frame.resolve_env,
        name_env_files: frame.name_env_files,
        as_written: frame.as_written,
        normalize: frame.normalize,
    };
    let place = Span::new(crate::base::span::SourceId(0), 0, 0);
    let root = walk.object(&PROJECT, Node::new(place, Value::Map(checked.root)));
    let mut out = Canonical::default();
    let Value::Map(sections) = root.value else {
        return out;
    };
    for (key, node) in sections {
        match (key.as_str(), node.value) {
            ("services", Value::Map(entries)) => out.services = entries,
            ("networks", Value::Map(entries)) => out.networks = entries,
            ("volumes", Value::Map(entries)) => out.volumes = entries,
            ("configs", Value::Map(entries)) => out.configs = entries,
            ("secrets", Value::Map(entries)) => out.secrets = entries,
            ("models", Value::Map(entries)) => out.models = entries,
            ("jobs", Value::Map(entries)) => out.jobs = entries,
            (name, value) if name.starts_with("x-") => {
                let node = Node {
                    key: node.key,
                    span: node.span,
                    tag: node.tag,
                    notes: node.notes,
                    value,
                };
                out.extensions.insert(key, node);
            }
            _ => {}
        }
    }
    let names: Vec<String> = out.services.keys().cloned().collect();
    for name in names {
        walk.path = KeyPath::root().key("services").key(&name);
        if let Some(service) = out.services.get_mut(&name) {
            walk.off = frame.is_off(service);
            match frame.as_written {
                true => walk.written_service(service, frame.normalize),
                false => walk.service(service, frame.normalize),
            }
        }
    }
    walk.off = true;
    for (name, job) in &mut out.jobs {
        walk.path = KeyPath::root().key("jobs").key(name);
        walk.service(job, frame.normalize);
    }
    walk.sections(&mut out, frame);
    out
}

/// Keys of networks, volumes, configs and secrets that may be there without a value until the rest is filled in.
const KEPT: [&str; 8] = [
    "content",
    "driver",
    "driver_opts",
    "environment",
    "external",
    "file",
    "labels",
    "name",
];

/// The walk over one project.
struct Canon<'s, 'e> {
    session: &'s mut Session<'e>,
    path: KeyPath,
    interpolated: bool,
    /// Whether the service at hand is off by its profiles.
    off: bool,
    /// Whether values must fit each other.
    consistent: bool,
    /// The directory that paths stay relative to.
    relative_to: Option<PathBuf>,
    /// Whether `env_file`s are read.
    resolve_env: bool,
    /// Whether services keep their names.
    name_env_files: bool,
    /// Whether scalars stay as they were written.
    as_written: bool,
    /// Whether implied values are filled in.
    normalize: bool,
}

impl Canon<'_, '_> {
    /// Whether a text may still hold variables, so that it can't be understood.
    fn raw(&self, text: &str) -> bool {
        !self.interpolated && text.contains('$')
    }

    fn sections(&mut self, out: &mut Canonical, frame: &Frame<'_>) {
        for (section, entries) in [
            ("networks", &mut out.networks),
            ("volumes", &mut out.volumes),
            ("configs", &mut out.configs),
            ("secrets", &mut out.secrets),
            ("models", &mut out.models),
        ] {
            for (name, node) in entries.iter_mut() {
                self.path = KeyPath::root().key(section).key(name);
                // As Compose, whose document is that of the files where nothing at all is done to it.
                if node.is_null() && (frame.normalize || !frame.as_written) {
                    node.value = Value::Map(Entries::default());
                }
                self.resource(section, name, node, frame);
            }
        }
        if !frame.normalize {
            return;
        }
        let wanted = out
            .services
            .values()
            .chain(out.jobs.values())
            .any(|service| {
                service
                    .get("networks")
                    .is_some_and(|networks| networks.get("default").is_some())
            });
        if wanted && !out.networks.contains_key("default") {
            let place = Span::new(crate::base::span::SourceId(0), 0, 0);
            let mut node = Node::new(place, Value::Map(Entries::default()));
            self.resource("networks", "default", &mut node, frame);
            out.networks.insert("default".to_owned(), node);
        }
    }

    fn resource(&mut self, section: &str, name: &str, node: &mut Node, frame: &Frame<'_>) {
        let (span, key) = (node.span, node.key_place());
        let text = |text: String| Node::text(span, text);
        let external_name = node
            .get("external")
            .and_then(|external| external.text_of("name"))
            .map(str::to_owned);
        let Some(entries) = node.entries_mut() else {
            return;
        };
        if entries
            .get("external")
            .is_some_and(|external| external.entries().is_some())
        {
            entries.insert("external".to_owned(), Node::new(span, Value::Bool(true)));
        }
        if let (Some(old), Some(name)) = (&external_name, entries.get("name"))
            && name.as_text().unwrap_or_default() != old
        {
            let fault = "`name` and `external.name` differ";
            let place = name.place();
            let fault = Diagnostic::error(fault).at(place).path(&self.path);
            let hint = "write `external: true` and `name:`";
            self.session.diags.push(fault.hint(hint));
        }
        if let Some(external) = external_name {
            entries
                .entry("name".to_owned())
                .or_insert_with(|| text(external));
        }
        let external = entries
            .get("external")
            .is_some_and(|external| matches!(external.value, Value::Bool(true)));
        if external && section == "volumes" {
            for other in ["driver", "driver_opts", "labels"] {
                let Some(node) = entries.get(other) else {
                    continue;
                };
                let fault = format!("`external` and `{other}` exclude each other");
                let place = node.key_place();
                let hint = "an external volume exists already; remove one of the two";
                self.session.diags.push(
                    Diagnostic::error(fault)
                        .at(place)
                        .path(&self.path)
                        .hint(hint),
                );
            }
        }
        if matches!(section, "configs" | "secrets") {
            self.content(section, entries, key, external);
        }
        if let Some(file) = entries.get_mut("file") {
            let path = self.resolve(file.span, file.as_text().unwrap_or_default());
            file.value = match path.is_empty() {
                true => Value::Null,
                false => Value::Text(path),
            };
        }
        self.bind_device(section, entries);
        if section == "networks" && frame.normalize && !frame.as_written {
            let ipam = Node::new(span, Value::Map(Entries::default()));
            entries.entry("ipam".to_owned()).or_insert(ipam);
        }
        if frame.normalize && section != "models" {
            let full = if external {
                name.to_owned()
            } else {
                format!("{}_{name}", frame.name)
            };
            entries
                .entry("name".to_owned())
                .or_insert_with(|| text(full));
        }
        if frame.as_written {
            return;
        }
        if entries.get("name").and_then(Node::as_text) == Some("") {
            entries.shift_remove("name");
        }
        drop_bare(entries, &KEPT);
    }

    /// The device of a volume that is a bind mount in fact is a path like others; as Compose, only where the driver is
    /// said and `bind` is the one option.
    fn bind_device(&mut self, section: &str, entries: &mut Entries) {
        let driver = entries.get("driver").and_then(Node::as_text);
        if section != "volumes" || driver != Some("local") {
            return;
        }
        let Some(options) = entries.get_mut("driver_opts").and_then(Node::entries_mut) else {
            return;
        };
        let bind = options
            .get("o")
            .and_then(Node::as_text)
            .is_some_and(|o| o == "bind");
        if let Some(device) = options.get_mut("device").filter(|_| bind)
            && let Some(path) = device.as_text()
        {
            let path = self.resolve(device.span, path);
            device.value = Value::Text(path);
        }
    }

    /// A config or secret says in exactly one way where its content is.
    fn content(&mut self, section: &str, entries: &Entries, place: Span, external: bool) {
        let own = entries.get("x-hoist").and_then(|own| own.get("command"));
        let ways: &[&str] = match section {
            "configs" => &["file", "environment", "content"],
            _ => &["file", "environment"],
        };
        let said: Vec<&str> = ways
            .iter()
            .copied()
            .filter(|way| entries.contains_key(*way))
            .chain(own.map(|_| "x-hoist.command"))
            .collect();
        if self.session.diags.is_faulty(&self.path) {
            return;
        }
        let says = |key: &str| entries.contains_key(key);
        let keyed = says("driver") || says("external");
        // a secret needs more than the key
        let bare = |key: &str| entries.get(key).is_none_or(Node::is_null);
        let sourceless = section == "secrets"
            && self.consistent
            && !self.as_written
            && !external
            && !says("file")
            && own.is_none()
            && bare("environment");
        let fault = match said.len() {
            _ if sourceless => "one of the keys file, environment must be set".to_owned(),
            0 if keyed => return,
            0 => format!("one of the keys {} must be set", ways.join(", ")),
            1 => return,
            _ => format!("{} exclude each other", said.join(" and ")),
        };
        let hint = match said.first() {
            None => {
                "write `file: PATH` below it, or `external: true` if it exists already".to_owned()
            }
            Some(first) => format!("keep one of them, for example `{first}`"),
        };
        let fault = Diagnostic::error(fault).at(place).path(&self.path);
        self.session.diags.push(fault.hint(hint));
    }

    /// Makes a directory of this machine absolute, whatever its name looks like.
    fn directory(&self, span: Span, path: &str) -> String {
        if self.raw(path) || path.starts_with('/') || self.relative_to.is_some() {
            return self.resolve(span, path);
        }
        let dir = self.session.origin(span.source).map(|origin| &origin.dir);
        let full = self.session.absolute(span, path);
        match &self.relative_to {
            Some(base) if dir.is_none_or(|dir| dir == base) => path.to_owned(),
            Some(base) => relative(&full, base),
            None => full.to_string_lossy().into_owned(),
        }
    }

    /// Makes a path absolute, or relative to the project where that is asked for.
    fn resolve(&self, span: Span, path: &str) -> String {
        let Some(base) = &self.relative_to else {
            return self.located(span, path);
        };
        let dir = self.session.origin(span.source).map(|origin| &origin.dir);
        match dir.is_none_or(|dir| dir == base) {
            true => path.to_owned(),
            false => relative(Path::new(&self.located(span, path)), base),
        }
    }

    /// Makes a path absolute; Windows paths stay as they are.
    fn located(&self, span: Span, path: &str) -> String {
        let bytes = path.as_bytes();
        if path.starts_with('/') {
            return path.to_owned();
        }
        let drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.get(1) == Some(&b':')
            && matches!(bytes.get(2), Some(b'/' | b'\\'));
        if drive || path.starts_with("\\\\") {
            return path.to_owned();
        }
        self.session
            .absolute(span, path)
            .to_string_lossy()
            .into_owned()
    }
}

/// An absolute path as seen from a directory; one that shares nothing with it stays absolute.
fn relative(path: &Path, base: &Path) -> String {
    let shared = path
        .components()
        .zip(base.components())
        .take_while(|(a, b)| a == b)
        .count();
    if shared <= 1 {
        return path.to_string_lossy().into_owned();
    }
    let up = base.components().skip(shared).map(|_| Component::ParentDir);
    let out: PathBuf = up.chain(path.components().skip(shared)).collect();
    match out.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => out.to_string_lossy().into_owned(),
    }
}
