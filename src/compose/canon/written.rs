//! The long form of a project whose variables stand as they were written: `config --no-interpolate`.
//!
//! In: a checked value and its rule. Out: the value in its long form where it has a short one; scalars stay untouched,
//! since they may hold variables. Imports: `schema`, `tree`. Rules: as Compose's model before it has types.

use super::lists::unique;
use super::service::normalise;
use super::{Canon, is_address};
use crate::base::key::Key;
use crate::compose::schema::{Rule, Short};
use crate::compose::tree::{Entries, Node, Value, Value::List};

impl Canon<'_, '_> {
    /// The long form of a value.
    pub(super) fn written(&mut self, rule: &Rule, node: Node) -> Option<Node> {
        use Value::Map;
        match (rule, &node.value) {
            (Rule::Nullable(rule), value) if !matches!(value, Value::Null) => {
                self.written(rule, node)
            }
            (Rule::Object(shape) | Rule::Short(_, shape), Map(_)) => Some(self.object(shape, node)),
            (Rule::Each(rule), Map(_)) => Some(self.each(rule, node)),
            // As Compose: all ports stay as they are written where one of them can't be read yet.
            (Rule::List(Rule::Short(Short::Port, _)), List(items))
                if items
                    .iter()
                    .any(|item| item.as_text().is_some_and(|text| self.raw(text))) =>
            {
                Some(node)
            }
            (Rule::List(rule) | Rule::OneOrList(rule) | Rule::AllOrList(rule), List(_)) => {
                Some(self.list(rule, node))
            }
            (Rule::OneOrList(rule), Value::Text(_)) if matches!(rule, Rule::Short(..)) => {
                let item = Node {
                    key: None,
                    ..node.clone()
                };
                Some(self.list(rule, node.with(List(vec![item]))))
            }
            (Rule::Short(short, _), Value::Text(text)) => {
                // As Compose, whose devices know of no variables: a default's colons part, unless they are too many.
                let torn = self.raw(text) && text.matches(':').count() > 2;
                match short {
                    Short::Device if torn => Some(node),
                    short => self.short(*short, node),
                }
            }
            // its empty addresses say nothing
            (Rule::TextOrSet, Value::Text(text)) if self.is_last("dns") => {
                let items = match text.is_empty() {
                    true => Vec::new(),
                    false => vec![Node::text(node.span, text.clone())],
                };
                Some(node.with(List(items)))
            }
            (Rule::TextOrUnique, Value::Text(text)) => {
                let item = Node::text(node.span, text.clone());
                Some(node.with(List(vec![item])))
            }
            (Rule::Labels | Rule::Vars, List(_)) => Some(once(node, |text| {
                text.split('=').next().unwrap_or_default()
            })),
            (Rule::TextOrSet, List(_)) if self.is_last("label_file") => Some(node),
            (Rule::TextOrSet, List(_)) if self.is_last("dns") => {
                let mut node = once(node, |text| text);
                if let List(items) = &mut node.value {
                    items.retain(|item| item.as_text() != Some(""));
                }
                Some(node)
            }
            (Rule::Set | Rule::TextOrSet | Rule::Hosts | Rule::Exposed, List(_)) => {
                Some(once(node, |text| text))
            }
            (Rule::Named(named, rule), List(_) | Map(_)) => Some(self.named(*named, rule, node)),
            _ => Some(node),
        }
    }

    /// Whether this is the key of the value at hand.
    fn is_last(&self, name: &str) -> bool {
        matches!(self.path.0.last(), Some(Key::Name(key)) if key == name)
    }

    /// Completes one service as far as that needs no value's meaning.
    pub(super) fn written_service(&mut self, service: &mut Node, normalize: bool) {
        let span = service.key_place();
        let Some(entries) = service.entries_mut() else {
            return;
        };
        self.written_files(entries);
        if let Some(gpus) = entries.get_mut("gpus") {
            written_devices(gpus);
        }
        let steps = ["deploy", "resources", "reservations", "devices"];
        let mut reserved = entries.get_mut(steps[0]);
        for step in &steps[1..] {
            reserved = reserved
                .and_then(Node::entries_mut)
                .and_then(|entries| entries.get_mut(*step));
        }
        if let Some(devices) = reserved {
            written_devices(devices);
        }
        if let Some(build) = entries.get_mut("build") {
            self.written_build(build, normalize);
        }
        self.ports(entries);
        self.mounts(entries, normalize);
        self.devices(entries);
        self.grants(entries);
        self.device_requests(entries);
        let watch = entries
            .get_mut("develop")
            .and_then(Node::entries_mut)
            .and_then(|develop| develop.get_mut("watch"));
        if let Some(List(rules)) = watch.map(|node| &mut node.value) {
            for rule in rules.iter_mut().filter_map(Node::entries_mut) {
                self.written_path(rule.get_mut("path"));
            }
        }
        if normalize {
            normalise(entries, span, true);
        }
    }

    fn written_files(&mut self, entries: &mut Entries) {
        if let Some(List(files)) = entries.get_mut("env_file").map(|node| &mut node.value) {
            for file in files {
                let required = Node::new(file.span, Value::Bool(true));
                if let Some(file) = file.entries_mut() {
                    self.written_path(file.get_mut("path"));
                    file.entry("required".to_owned()).or_insert(required);
                }
            }
        }
        if let Some(files) = entries.get_mut("label_file") {
            if files.as_text().is_some() {
                let item = Node {
                    key: None,
                    ..files.clone()
                };
                files.value = List(vec![item]);
            }
            if let List(files) = &mut files.value {
                files
                    .iter_mut()
                    .for_each(|file| self.written_path(Some(file)));
            }
        }
    }

    fn written_build(&mut self, build: &mut Node, normalize: bool) {
        let place = build.key_place();
        let Some(entries) = build.entries_mut() else {
            return;
        };
        let context = || Node::text(place, ".");
        let context = entries.entry("context".to_owned()).or_insert_with(context);
        if !context.as_text().is_some_and(is_address) {
            self.written_path(Some(context));
        }
        if let Some(args) = entries.get_mut("args").filter(|_| normalize) {
            written_args(args);
        }
        let contexts = entries.get_mut("additional_contexts");
        for context in contexts
            .and_then(Node::entries_mut)
            .into_iter()
            .flat_map(|contexts| contexts.values_mut())
        {
            let elsewhere = |text: &str| {
                is_address(text) || text.starts_with("service:") || text.starts_with("target:")
            };
            if !context.as_text().is_some_and(elsewhere) {
                self.written_path(Some(context));
            }
        }
        if let Some(ssh) = entries.get_mut("ssh")
            && let List(items) = &ssh.value
        {
            let entry = |item: &Node| {
                let text = item.as_text()?;
                let (id, value) = match text.split_once('=') {
                    Some((id, path)) => (id, Value::Text(path.to_owned())),
                    None => (text, Value::Null),
                };
                Some((id.to_owned(), Node::new(item.span, value)))
            };
            ssh.value = Value::Map(items.iter().filter_map(entry).collect());
        }
        if let Some(args) = entries.get_mut("args").filter(|_| normalize) {
            // An argument without a value is gone, also where a variable has one.
            match &mut args.value {
                List(items) => {
                    items.retain(|item| item.as_text().is_none_or(|text| text.contains('=')));
                }
                Value::Map(entries) => entries.retain(|_, entry| !entry.is_null()),
                _ => {}
            }
        }
        if normalize && !entries.contains_key("dockerfile_inline") {
            let dockerfile = || Node::text(place, "Dockerfile");
            entries
                .entry("dockerfile".to_owned())
                .or_insert_with(dockerfile);
        }
    }

    /// Makes the path of a node absolute.
    fn written_path(&self, node: Option<&mut Node>) {
        let Some(node) = node else { return };
        if let Some(text) = node.as_text().filter(|text| !text.is_empty()) {
            node.value = Value::Text(self.resolve(node.span, text));
        }
    }
}

/// Drops the arguments without a value: those of the variables of their names are known where all is interpolated.
fn written_args(args: &mut Node) {
    match &mut args.value {
        List(items) => items.retain(|item| item.as_text().is_none_or(|text| text.contains('='))),
        Value::Map(entries) => entries.retain(|_, entry| !entry.is_null()),
        _ => {}
    }
}

/// Device requests with their counts: what says neither how many nor which asks for all.
fn written_devices(requests: &mut Node) {
    let all = |place| ("count".to_owned(), Node::text(place, "all"));
    if requests.as_text() == Some("all") {
        let request = Value::Map([all(requests.span)].into_iter().collect());
        requests.value = List(vec![Node::new(requests.span, request)]);
        return;
    }
    let List(items) = &mut requests.value else {
        return;
    };
    for item in items {
        let place = item.span;
        let Some(request) = item.entries_mut() else {
            continue;
        };
        if !request.contains_key("count") && !request.contains_key("device_ids") {
            request.extend([all(place)]);
        }
    }
}

/// A list in which each text is there once, told apart by a part of it: the last one, at the place of the first.
fn once(mut node: Node, part: impl Fn(&str) -> &str) -> Node {
    unique(Some(&mut node), |item| {
        item.scalar().map(|text| part(&text).to_owned())
    });
    node
}
