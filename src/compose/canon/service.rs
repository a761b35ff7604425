//! The canonical form of a service as a whole: defaults, implied dependencies, env files, paths.
//!
//! In: a service whose values are canonical each. Out: the service as `config` prints it.
//! Imports: `base`, `dotenv`, `join` (env files), `session`, `tree`.

use std::path::PathBuf;
use std::rc::Rc;

use super::Canon;
use crate::base::diag::Diagnostic;
use crate::base::key::Key;
use crate::base::span::Span;
use crate::compose::dotenv;
use crate::compose::session::Origin;
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
            self.build(build, normalize);
        }
        self.ports(entries);
        self.mounts(entries);
        self.devices(entries);
        self.grants(entries);
        self.device_requests(entries);
        self.watch(entries);
        self.deploy(entries, span);
        self.limits(entries);
        blkio(entries);
        for list in ["post_start", "pre_stop", "pre_start"] {
            bare_environment(entries.get_mut(list));
        }
        if normalize {
            normalise(entries, span);
        }
        for key in ["command", "entrypoint"] {
            entries
                .entry(key.to_owned())
                .or_insert_with(|| Node::new(span, Value::Null));
        }
    }

    fn env_files(&mut self, entries: &mut Entries) {
        let Some(files) = entries.shift_remove("env_file") else {
            return;
        };
        let own = entries
            .get("environment")
            .and_then(Node::entries)
            .cloned()
            .unwrap_or_default();
        let mut merged = Entries::new();
        for file in files.items().unwrap_or_default() {
            let Some(path) = file.text_of("path") else {
                continue;
            };
            let place = file.get("path").map_or(file.span, |node| node.span);
            let required = !matches!(
                file.get("required").map(|n| &n.value),
                Some(Value::Bool(false))
            );
            let raw = file.text_of("format") == Some("raw");
            let path = PathBuf::from(self.resolve(place, path));
            if !required && !path.exists() {
                continue;
            }
            let own = own.clone();
            let found = self.under_found("env_file", &path, place, raw, &own);
            for (name, value) in found {
                merged.insert(
                    name,
                    Node {
                        key: Some(place),
                        ..Node::text(place, value)
                    },
                );
            }
        }
        merged.extend(own);
        if !merged.is_empty() {
            let node = entries.get("environment").map_or_else(
                || Node {
                    key: files.key,
                    ..Node::new(files.span, Value::Null)
                },
                |node| node.with(Value::Null),
            );
            entries.insert("environment".to_owned(), node.with(Value::Map(merged)));
        }
    }

    fn under_found(
        &mut self,
        key: &str,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        own: &Entries,
    ) -> dotenv::Variables {
        self.path.0.push(Key::Name(key.to_owned()));
        let found = self.variables_file(path, place, raw, own);
        self.path.0.pop();
        found
    }

    /// Reads an env or label file; `own` answers for references in it after the project's variables.
    fn variables_file(
        &mut self,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        own: &Entries,
    ) -> dotenv::Variables {
        let vars = self
            .session
            .origin(place.source)
            .map(|o| o.vars.clone())
            .unwrap_or_default();
        if !path.is_file() {
            let shown = self.session.show(path);
            let text = format!("env file `{shown}` not found");
            let hint = "create it, or write `required: false` if it may be missing";
            let fault = match self.off {
                true => Diagnostic::warning(text),
                false => Diagnostic::error(text),
            };
            self.session
                .diags
                .push(fault.at(place).path(&self.path).hint(hint));
            return dotenv::Variables::new();
        }
        let origin = Origin {
            dir: PathBuf::from("/"),
            vars: Rc::default(),
        };
        let Some(id) = self.session.read_file(path, Some(place), origin) else {
            return dotenv::Variables::new();
        };
        let text = self.session.text(id);
        if raw {
            return dotenv::parse_raw(&text);
        }
        let lookup = |name: &str| {
            vars.get(name)
                .cloned()
                .or_else(|| own.get(name).and_then(Node::scalar))
        };
        let mut unset = Vec::new();
        match dotenv::parse(&text, &lookup, &mut unset) {
            Ok(found) => {
                for name in unset {
                    if self.session.warned.insert(name.clone()) {
                        let text = format!(
                            "The \"{name}\" variable is not set. Defaulting to a blank string."
                        );
                        self.session
                            .diags
                            .push(Diagnostic::warning(text).at(Span::new(id, 0, 0)));
                    }
                }
                found
            }
            Err(error) => {
                let at = Span::new(id, error.at, error.at);
                let fault = Diagnostic::error(error.fault.to_string()).at(at);
                self.session
                    .diags
                    .push(fault.related(place, "the file is named here"));
                dotenv::Variables::new()
            }
        }
    }

    fn label_files(&mut self, entries: &mut Entries) {
        let Some(files) = entries.shift_remove("label_file") else {
            return;
        };
        let mut merged = Entries::new();
        for file in files.items().unwrap_or_default() {
            let Some(path) = file.as_text() else { continue };
            let path = PathBuf::from(self.resolve(file.span, path));
            for (name, value) in
                self.under_found("label_file", &path, file.span, false, &Entries::new())
            {
                merged.insert(name, Node::text(file.span, value));
            }
        }
        let labels = entries.entry("labels".to_owned()).or_insert_with(|| Node {
            key: files.key,
            ..Node::new(files.span, Value::Map(Entries::new()))
        });
        if let Some(own) = labels.entries_mut() {
            merged.extend(std::mem::take(own));
            *own = merged;
        }
    }

    fn build(&mut self, build: &mut Node, normalize: bool) {
        let place = build.key_place();
        let Some(entries) = build.entries_mut() else {
            return;
        };
        if entries.contains_key("dockerfile") && entries.contains_key("dockerfile_inline") {
            let fault = "`dockerfile` and `dockerfile_inline` exclude each other";
            let diag = Diagnostic::error(fault).at(place);
            self.session.diags.push(diag.path(&self.path.key("build")));
        }
        let context = entries
            .entry("context".to_owned())
            .or_insert_with(|| Node::text(place, "."));
        if let Some(text) = context.as_text().filter(|text| !is_address(text)) {
            context.value = Value::Text(self.resolve(context.span, text));
        }
        if let Some(contexts) = entries
            .get_mut("additional_contexts")
            .and_then(Node::entries_mut)
        {
            for context in contexts.values_mut() {
                let Some(text) = context.as_text() else {
                    continue;
                };
                if !is_address(text) && !CONTEXT_SCHEMES.iter().any(|s| text.starts_with(s)) {
                    context.value = Value::Text(self.resolve(context.span, text));
                }
            }
        }
        if let Some(args) = entries.get_mut("args").and_then(Node::entries_mut) {
            args.retain(|_, arg| !arg.is_null());
        }
        if let Some(ssh) = entries.get_mut("ssh") {
            keys_as_list(ssh);
        }
        let inline = entries.contains_key("dockerfile_inline");
        if normalize && !inline {
            let default = || Node::text(place, "Dockerfile");
            entries
                .entry("dockerfile".to_owned())
                .or_insert_with(default);
        }
        unique(entries.get_mut("secrets"), |grant| {
            grant
                .text_of("target")
                .or(grant.text_of("source"))
                .map(str::to_owned)
        });
    }

    fn ports(&mut self, entries: &mut Entries) {
        let Some(ports) = entries.get_mut("ports") else {
            return;
        };
        if let Value::List(items) = &mut ports.value {
            for (at, item) in items.iter_mut().enumerate() {
                let (span, place) = (item.span, item.place());
                let Some(port) = item.entries_mut() else {
                    continue;
                };
                for (key, value) in [("mode", "ingress"), ("protocol", "tcp")] {
                    port.entry(key.to_owned())
                        .or_insert_with(|| Node::text(span, value));
                }
                if !port.contains_key("target") {
                    let path = self.path.key("ports").index(at);
                    let fault = Diagnostic::error("the key `target` is missing").at(place);
                    self.session.diags.push(fault.path(&path));
                }
            }
        }
        unique(Some(ports), |port| {
            port.entries()?;
            let part = |key: &str| port.get(key).and_then(Node::scalar).unwrap_or_default();
            let address = port.text_of("host_ip").unwrap_or("0.0.0.0").to_owned();
            Some([address, part("published"), part("target"), part("protocol")].join(" "))
        });
    }

    fn mounts(&mut self, entries: &mut Entries) {
        let Some(mounts) = entries.get_mut("volumes") else {
            return;
        };
        if let Value::List(items) = &mut mounts.value {
            for (at, item) in items.iter_mut().enumerate() {
                let place = item.place();
                let Some(mount) = item.entries_mut() else {
                    continue;
                };
                let path = self.path.key("volumes").index(at);
                let bind = mount.get("type").and_then(Node::as_text) == Some("bind");
                match mount.get_mut("source") {
                    Some(source) if bind => {
                        if let Some(text) = source.as_text() {
                            source.value = Value::Text(self.resolve(source.span, text));
                        }
                    }
                    None if bind => {
                        let fault =
                            Diagnostic::error("a bind mount needs the key `source`").at(place);
                        self.session.diags.push(fault.path(&path));
                    }
                    _ => {}
                }
                match mount.get_mut("target") {
                    Some(target) => {
                        if let Some(text) = target.as_text().filter(|text| text.starts_with('/')) {
                            target.value = Value::Text(clean(text));
                        }
                    }
                    None => {
                        let fault = Diagnostic::error("the key `target` is missing").at(place);
                        self.session.diags.push(fault.path(&path));
                    }
                }
            }
        }
        unique(Some(mounts), |mount| {
            mount.text_of("target").map(str::to_owned)
        });
    }

    fn devices(&mut self, entries: &mut Entries) {
        let Some(devices) = entries.get_mut("devices") else {
            return;
        };
        for (at, device) in devices.items().unwrap_or_default().iter().enumerate() {
            if device.text_of("target").is_none() {
                let path = self.path.key("devices").index(at);
                let fault = Diagnostic::error("the key `target` is missing").at(device.place());
                self.session.diags.push(fault.path(&path));
            }
        }
        unique(Some(devices), |device| {
            device.text_of("target").map(str::to_owned)
        });
    }

    fn grants(&mut self, entries: &mut Entries) {
        for (section, dir) in [("secrets", "/run/secrets/"), ("configs", "/")] {
            let Some(grants) = entries.get_mut(section) else {
                continue;
            };
            if let Value::List(items) = &mut grants.value
                && section == "secrets"
            {
                for item in items {
                    let span = item.span;
                    let target = format!("{dir}{}", item.text_of("source").unwrap_or_default());
                    if let Some(grant) = item.entries_mut() {
                        grant
                            .entry("target".to_owned())
                            .or_insert_with(|| Node::text(span, target));
                    }
                }
            }
            unique(Some(grants), |grant| match grant.text_of("target") {
                Some(target) => Some(target.to_owned()),
                None => Some(format!("{dir}{}", grant.text_of("source")?)),
            });
        }
    }

    fn device_requests(&mut self, entries: &mut Entries) {
        if let Some(gpus) = entries.get_mut("gpus")
            && let Value::List(items) = &mut gpus.value
        {
            items.iter_mut().for_each(whole_device);
        }
        if let Some(Value::Text(text)) = entries.get("gpus").map(|gpus| &gpus.value)
            && text == "all"
            && let Some(gpus) = entries.get_mut("gpus")
        {
            let count = Node::new(gpus.span, Value::Int(-1));
            let request = [("count".to_owned(), count)].into_iter().collect();
            let request = Node::new(gpus.span, Value::Map(request));
            gpus.value = Value::List(vec![request]);
        }
        let requests = entries
            .get_mut("deploy")
            .and_then(Node::entries_mut)
            .and_then(|deploy| deploy.get_mut("resources"))
            .and_then(Node::entries_mut)
            .and_then(|resources| resources.get_mut("reservations"))
            .and_then(Node::entries_mut)
            .and_then(|reservations| reservations.get_mut("devices"));
        let Some(Value::List(items)) = requests.map(|node| &mut node.value) else {
            return;
        };
        for item in items {
            if item.get("count").is_some() && item.get("device_ids").is_some() {
                let path = self
                    .path
                    .key("deploy")
                    .key("resources")
                    .key("reservations")
                    .key("devices");
                let fault = "`count` and `device_ids` exclude each other";
                self.session
                    .diags
                    .push(Diagnostic::error(fault).at(item.place()).path(&path));
            }
            whole_device(item);
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
        for item in items {
            let span = item.span;
            let Some(rule) = item.entries_mut() else {
                continue;
            };
            if let Some(path) = rule.get_mut("path")
                && let Some(text) = path.as_text()
            {
                path.value = Value::Text(self.resolve(path.span, text));
            }
            let exec = || Node::new(span, Value::Map(Entries::new()));
            rule.entry("exec".to_owned()).or_insert_with(exec);
        }
    }

    fn deploy(&mut self, entries: &mut Entries, span: Span) {
        let scale = entries.get("scale").and_then(number);
        let Some(deploy) = entries.get_mut("deploy") else {
            return;
        };
        let place = deploy.get("replicas").map_or(span, Node::place);
        let Some(deploy) = deploy.entries_mut() else {
            return;
        };
        for key in ["placement", "resources"] {
            let empty = || Node::new(span, Value::Map(Entries::new()));
            deploy.entry(key.to_owned()).or_insert_with(empty);
        }
        let replicas = deploy.get("replicas").and_then(number);
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
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

/// A context that is no directory of this machine.
pub(in crate::compose) fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// Resolves `.`, `..` and doubled slashes of an absolute path by name.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Of items with the same key the last one stays, at the place of the first.
fn unique(list: Option<&mut Node>, key: impl Fn(&Node) -> Option<String>) {
    let Some(Value::List(items)) = list.map(|node| &mut node.value) else {
        return;
    };
    let mut kept: Vec<Node> = Vec::new();
    let mut seen: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for item in std::mem::take(items) {
        match key(&item) {
            None => kept.push(item),
            Some(key) => match seen.get(&key) {
                Some(at) => kept[*at] = item,
                None => {
                    seen.insert(key, kept.len());
                    kept.push(item);
                }
            },
        }
    }
    *items = kept;
}

/// A request that says neither how many nor which asks for all.
fn whole_device(request: &mut Node) {
    let span = request.span;
    if let Some(entries) = request.entries_mut()
        && !entries.contains_key("count")
        && !entries.contains_key("device_ids")
    {
        entries.insert("count".to_owned(), Node::new(span, Value::Int(-1)));
    }
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
    for node in blkio.values_mut() {
        let Value::List(items) = &mut node.value else {
            continue;
        };
        for device in items.iter_mut().filter_map(Node::entries_mut) {
            for (old, new) in [("path", "Path"), ("rate", "Rate"), ("weight", "Weight")] {
                if let Some(value) = device.shift_remove(old) {
                    device.insert(new.to_owned(), value);
                }
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

/// What a service implies: the default network, dependencies, names of policies.
fn normalise(entries: &mut Entries, span: Span) {
    let alone = entries.contains_key("network_mode")
        || entries.contains_key("provider")
        || entries.contains_key("networks");
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
        let name = link
            .as_text()
            .unwrap_or_default()
            .split(':')
            .next()
            .unwrap_or_default();
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
        .or_insert_with(|| Node::new(span, Value::Map(Entries::new())));
    let Some(depends) = depends.entries_mut() else {
        return;
    };
    for (name, place, restart) in implied {
        let bare = Node {
            key: Some(place),
            ..Node::new(place, Value::Null)
        };
        let mut node = crate::compose::merge::dependency(&bare);
        if let Some(dependency) = node.entries_mut().filter(|_| restart) {
            dependency.insert("restart".to_owned(), Node::new(place, Value::Bool(true)));
        }
        depends.entry(name).or_insert(node);
    }
}
