//! The canonical form of a service as a whole: defaults, implied dependencies, paths.
//!
//! In: a service whose values are canonical each. Out: the service as `config` prints it.
//! Imports: `base`, `merge` (bare names), `tree`.

use super::Canon;
use super::value::drop_bare;
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::compose::tree::{Entries, Node, Value};

/// Keys of `build` that name where something runs, not a path.
const CONTEXT_SCHEMES: [&str; 2] = ["service:", "target:"];

impl Canon<'_, '_> {
    /// Completes one service.
    pub(super) fn service(&mut self, service: &mut Node, normalize: bool) {
        let span = service.key_place();
        let Some(entries) = service.entries_mut() else {
            return;
        };
        self.env_files(entries);
        self.label_files(entries);
        if let Some(build) = entries.get_mut("build") {
            self.build(build, span, normalize);
        }
        self.ports(entries);
        self.mounts(entries, normalize);
        self.devices(entries);
        self.grants(entries);
        self.device_requests(entries);
        self.watch(entries);
        self.deploy(entries, span);
        self.limits(entries);
        self.tmpfs_mounts(entries);
        generic_resources(entries);
        blkio(entries);
        for list in ["post_start", "pre_stop", "pre_start"] {
            bare_environment(entries.get_mut(list));
        }
        if normalize {
            normalise(entries, span, false);
        }
        drop_bare(entries, &["network_mode"]);
        for key in ["command", "entrypoint"] {
            entries
                .entry(key.to_owned())
                .or_insert_with(|| Node::new(span, Value::Null));
        }
    }

    fn build(&mut self, build: &mut Node, service: Span, normalize: bool) {
        let place = build.key_place();
        let Some(entries) = build.entries_mut() else {
            return;
        };
        let says = |key: &str| entries.get(key).is_some_and(|node| !node.is_null());
        if self.consistent && says("dockerfile") && says("dockerfile_inline") {
            let fault = "`dockerfile` and `dockerfile_inline` exclude each other";
            let diag = Diagnostic::error(fault)
                .at(place)
                .hint("remove one of them");
            self.session.diags.push(diag.path(&self.path.key("build")));
        }
        let context = entries
            .entry("context".to_owned())
            .or_insert_with(|| Node::text(service, "."));
        let empty = context.as_text().is_none_or(str::is_empty);
        if let Some(text) = context.as_text().filter(|text| !is_address(text)) {
            context.value = Value::Text(self.directory(context.span, text));
        }
        if empty {
            entries.shift_remove("context");
        }
        if let Some(contexts) = entries
            .get_mut("additional_contexts")
            .and_then(Node::entries_mut)
        {
            for context in contexts.values_mut() {
                let Some(text) = context.as_text() else {
                    continue;
                };
                let other = CONTEXT_SCHEMES.iter().any(|s| text.starts_with(s));
                if !text.is_empty() && !is_address(text) && !other {
                    context.value = Value::Text(self.directory(context.span, text));
                }
            }
        }
        if let Some(args) = entries.get_mut("args").and_then(Node::entries_mut) {
            args.retain(|_, arg| !normalize || !arg.is_null());
            if args.is_empty() {
                entries.shift_remove("args");
            }
        }
        let secrets = entries.get("secrets").and_then(Node::items);
        for (at, secret) in secrets.unwrap_or_default().iter().enumerate() {
            if secret.entries().is_some() && secret.get("source").is_none() {
                let path = self.path.key("build").key("secrets").index(at);
                let hint = "add `source:` with a name of the top-level `secrets`";
                self.missing(&path, "source", secret.place(), hint);
            }
        }
        if let Some(ssh) = entries.get_mut("ssh") {
            self.ssh_keys(ssh);
            keys_as_list(ssh);
        }
        let inline = entries.contains_key("dockerfile_inline");
        if normalize && !inline {
            let default = || Node::text(place, "Dockerfile");
            entries
                .entry("dockerfile".to_owned())
                .or_insert_with(default);
        }
        drop_bare(entries, &["dockerfile", "dockerfile_inline"]);
        if let Some(Value::List(items)) = entries.get_mut("secrets").map(|node| &mut node.value) {
            let secrets = items.iter_mut().filter_map(Node::entries_mut);
            secrets.for_each(|secret| drop_bare(secret, &["target"]));
        }
    }

    fn watch(&mut self, entries: &mut Entries) {
        let rules = entries
            .get_mut("develop")
            .and_then(Node::entries_mut)
            .and_then(|develop| develop.get_mut("watch"));
        let Some(Value::List(items)) = rules.map(|node| &mut node.value) else {
            return;
        };
        for (at, item) in items.iter_mut().enumerate() {
            let (span, place) = (item.span, item.place());
            let Some(rule) = item.entries_mut() else {
                continue;
            };
            if let Some(path) = rule.get_mut("path")
                && let Some(text) = path.as_text()
            {
                path.value = Value::Text(self.resolve(path.span, text));
            }
            self.watch_target(at, rule, place);
            let exec = || Node::new(span, Value::Map(Entries::default()));
            let exec = rule.entry("exec".to_owned()).or_insert_with(exec);
            if let Some(exec) = exec.entries_mut() {
                let none = || Node::new(span, Value::Null);
                exec.entry("command".to_owned()).or_insert_with(none);
            }
        }
    }

    /// A rule that copies files says where to, and each rule what it watches.
    fn watch_target(&mut self, at: usize, rule: &Entries, place: Span) {
        let path = self.path.key("develop").key("watch").index(at);
        let action = rule
            .get("action")
            .and_then(Node::as_text)
            .unwrap_or_default();
        let copies = action.starts_with("sync");
        let missing = match copies && !rule.contains_key("target") {
            true => Some(("target", "add `target:` with a path in the container")),
            false if !rule.contains_key("path") => {
                Some(("path", "add `path:` with a file or directory to watch"))
            }
            false => None,
        };
        if let Some((key, hint)) = missing {
            self.missing(&path, key, place, hint);
        }
    }

    /// A key of `build.ssh` is the agent, `default`, or an id with a path.
    fn ssh_keys(&mut self, node: &Node) {
        for (id, value) in node.entries().into_iter().flatten() {
            let bare = value.as_text().is_none_or(str::is_empty);
            if bare && id != "default" && !self.raw(id) {
                let fault = format!("the ssh key `{id}` has no path");
                let path = self.path.key("build").key("ssh").key(id);
                let fault = Diagnostic::error(fault).at(value.key_place()).path(&path);
                let hint = format!("write `{id}=PATH`, or `default` for the agent");
                self.session.diags.push(fault.hint(hint));
            }
        }
    }

    fn deploy(&mut self, entries: &mut Entries, span: Span) {
        let written = entries.get("scale").cloned();
        let scale = entries.get("scale").and_then(number);
        let Some(deploy) = entries.get_mut("deploy") else {
            return;
        };
        let place = deploy.get("replicas").map_or(span, Node::place);
        let Some(deploy) = deploy.entries_mut() else {
            return;
        };
        for key in ["placement", "resources"] {
            let empty = || Node::new(span, Value::Map(Entries::default()));
            deploy.entry(key.to_owned()).or_insert_with(empty);
        }
        let replicas = deploy.get("replicas").and_then(number);
        if let (Some(scale), None) = (written, replicas) {
            deploy.insert("replicas".to_owned(), scale);
        }
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
            && self.consistent
        {
            let fault = format!("`scale: {scale}` and `deploy.replicas: {replicas}` differ");
            let hint = "write the number in one place only";
            self.session.diags.push(
                Diagnostic::error(fault)
                    .at(place)
                    .path(&self.path)
                    .hint(hint),
            );
        }
    }

    /// `mem_limit` and its kin may be said in two places, but not differently.
    fn limits(&mut self, entries: &Entries) {
        if !self.consistent {
            return;
        }
        let resources = entries
            .get("deploy")
            .and_then(|deploy| deploy.get("resources"));
        let pairs = [
            ("mem_limit", "limits", "memory"),
            ("mem_reservation", "reservations", "memory"),
            ("cpus", "limits", "cpus"),
            ("pids_limit", "limits", "pids"),
        ];
        for (key, part, inner) in pairs {
            let other = resources
                .and_then(|r| r.get(part))
                .and_then(|p| p.get(inner));
            let whole = resources.and_then(|r| r.get(part));
            if let (Some(node), None, Some(whole)) = (entries.get(key), other, whole) {
                let fault = format!("`{key}` stands beside `deploy.resources.{part}` without it");
                let diag = Diagnostic::error(fault).at(node.place()).path(&self.path);
                let diag = diag.related(whole.key_place(), "the limits of the same containers");
                let hint = format!("move it there, as `deploy.resources.{part}.{inner}`");
                self.session.diags.push(diag.hint(hint));
            }
            if let (Some(node), Some(other)) = (entries.get(key), other)
                && !node.same(other)
            {
                let fault = format!("`{key}` and `deploy.resources.{part}.{inner}` differ");
                let diag = Diagnostic::error(fault).at(node.place()).path(&self.path);
                let diag = diag.related(other.place(), "the other value");
                self.session
                    .diags
                    .push(diag.hint("write the limit in one place only"));
            }
        }
    }
}

/// A generic resource says its kind and number even where they are empty.
fn generic_resources(entries: &mut Entries) {
    let list = ["resources", "reservations", "generic_resources"];
    let found = list
        .iter()
        .try_fold(entries.get_mut("deploy"), |node, key| {
            Some(node?.entries_mut()?.get_mut(*key))
        });
    let Some(Value::List(items)) = found.flatten().map(|node| &mut node.value) else {
        return;
    };
    for item in items {
        let span = item.span;
        let spec = item
            .entries_mut()
            .and_then(|item| item.get_mut("discrete_resource_spec"));
        if let Some(spec) = spec.and_then(Node::entries_mut) {
            let none = [
                ("kind", Value::Text(String::new())),
                ("value", Value::Int(0)),
            ];
            for (key, value) in none {
                spec.entry(key.to_owned())
                    .or_insert_with(|| Node::new(span, value));
            }
        }
    }
}

/// A context that is no directory of this machine.
pub(in crate::compose) fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// `{default: "", id: path}` as `["default", "id=path"]`.
fn keys_as_list(node: &mut Node) {
    let Value::Map(entries) = &node.value else {
        return;
    };
    let item = |(key, value): (&String, &Node)| match value.as_text() {
        Some(text) if !text.is_empty() => Node::text(value.span, format!("{key}={text}")),
        _ => Node::text(value.span, key.clone()),
    };
    node.value = Value::List(entries.iter().map(item).collect());
}

/// Compose prints the keys of these entries in capitals.
fn blkio(entries: &mut Entries) {
    let Some(blkio) = entries.get_mut("blkio_config").and_then(Node::entries_mut) else {
        return;
    };
    for (key, node) in blkio {
        let Value::List(items) = &mut node.value else {
            continue;
        };
        for device in items.iter_mut() {
            let empty = device.with(Value::Null);
            let Some(device) = device.entries_mut() else {
                continue;
            };
            let size = match key.as_str() {
                "weight_device" => ("weight", "Weight", Value::Int(0)),
                _ => ("rate", "Rate", Value::Text("0".to_owned())),
            };
            for (old, new, none) in [("path", "Path", Value::Text(String::new())), size] {
                let value = device.shift_remove(old);
                device.insert(new.to_owned(), value.unwrap_or_else(|| empty.with(none)));
            }
        }
    }
}

/// An empty environment of a hook says nothing.
fn bare_environment(hooks: Option<&mut Node>) {
    let Some(Value::List(items)) = hooks.map(|node| &mut node.value) else {
        return;
    };
    for hook in items.iter_mut().filter_map(Node::entries_mut) {
        hook.retain(|key, value| {
            key != "environment" || value.entries().is_some_and(|e| !e.is_empty())
        });
    }
}

fn number(node: &Node) -> Option<i128> {
    match node.value {
        Value::Int(value) => Some(value),
        _ => None,
    }
}

/// What a service implies: the default network, dependencies, names of policies. A document `as_written` also says
/// of dependencies what goes without saying.
pub(super) fn normalise(entries: &mut Entries, span: Span, as_written: bool) {
    let alone = entries.contains_key("network_mode")
        || entries.contains_key("provider")
        || entries
            .get("networks")
            .is_some_and(|networks| !networks.is_bare());
    if !alone {
        let default = [("default".to_owned(), Node::new(span, Value::Null))]
            .into_iter()
            .collect();
        entries.insert("networks".to_owned(), Node::new(span, Value::Map(default)));
    }
    if let Some(policy) = entries.get_mut("pull_policy")
        && policy.as_text() == Some("if_not_present")
    {
        policy.value = Value::Text("missing".to_owned());
    }
    let mut implied: Vec<(String, Span, bool)> = Vec::new();
    let listed = |key: &str| entries.get(key).and_then(Node::items).unwrap_or_default();
    for link in listed("links") {
        let text = link.as_text().unwrap_or_default();
        let name = match text.split_once(':') {
            Some((name, alias)) if !alias.contains(':') => name,
            _ => text,
        };
        implied.push((name.to_owned(), link.span, true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = entries.get(key)
            && let Some(name) = node
                .as_text()
                .and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((name.to_owned(), node.span, true));
        }
    }
    for from in listed("volumes_from") {
        let text = from.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            let name = text.split(':').next().unwrap_or_default();
            implied.push((name.to_owned(), from.span, false));
        }
    }
    if implied.is_empty() {
        return;
    }
    let depends = entries
        .entry("depends_on".to_owned())
        .or_insert_with(|| Node::new(span, Value::Map(Entries::default())));
    let Some(depends) = depends.entries_mut() else {
        return;
    };
    for (name, place, restart) in implied {
        let bare = Node {
            key: Some(place),
            ..Node::new(place, Value::Null)
        };
        let mut node = crate::compose::merge::dependency(&bare);
        if let Some(dependency) = node.entries_mut().filter(|_| restart || as_written) {
            let restart = Node::new(place, Value::Bool(restart));
            dependency.insert("restart".to_owned(), restart);
        }
        depends.entry(name).or_insert(node);
    }
}
