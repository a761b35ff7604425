//! Phase 1: the text of a compose file becomes trees whose every node knows its place.
//!
//! In: one registered text. Out: [`Raw`], a tree per YAML document. Anchors and merge keys are resolved here;
//! duplicate keys, keys that are no text, cycles and alias bombs are refused with both places.
//! It never interprets a key. Imports: `base`, `mend`, `tree`, `scalar`, `trace`, `yaml`.
//! Rules: YAML 1.2.2; scalars as `yaml.v3` reads them, since Compose does (see `scalar`).

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle};

use super::mend::Mended;
use super::scalar;
use super::trace::{By, Step, Trace};
use super::tree::{Entries, Node, Tag, Value};
use super::yaml;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::{Key, KeyPath};
use crate::base::span::{SourceId, Span};

/// Nodes that the aliases of one file may add.
///
/// Compose spends minutes and gigabytes on a nested alias bomb; real files stay far below this.
const ALIAS_BUDGET: usize = 200_000;
/// Depth of nesting that is accepted.
const DEPTH: usize = 128;
/// Bytes of a text that is read again where only strictness refused it.
const MENDABLE: usize = 1 << 20;

/// One file: the trees of its documents.
#[derive(Debug)]
pub(super) struct Raw {
    /// Documents in file order; empty ones are left out.
    pub(super) documents: Vec<Node>,
    /// Whether the text was read to its end; if not, what was open at the fault is left out.
    pub(super) complete: bool,
}

/// Parses a text.
///
/// Faults go to `diags`; what could be read is returned all the same, so that later phases find more of them.
pub(super) fn read(source: SourceId, text: &str, diags: &mut Diagnostics) -> Raw {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skip = text.len() - body.len();
    if let Some(fault) = yaml::web_page(source, text) {
        diags.push(fault);
        return Raw {
            documents: Vec::new(),
            complete: false,
        };
    }
    let mut pass = Pass::run(source, body, skip, None);
    if let Some(stop) = pass.stop.take() {
        match mended(source, body, skip, &stop) {
            Some(whole) => pass = whole,
            None => {
                let fault = yaml::fault(source, text, stop.at + skip, &stop.kind);
                pass.diags.push(fault);
            }
        }
    }
    diags.append(pass.diags);
    pass.raw
}

/// The text read as Compose reads it, where only strictness refused it.
fn mended(source: SourceId, body: &str, skip: usize, stop: &Stop) -> Option<Pass> {
    if body.len() > MENDABLE {
        return None;
    }
    let mut mended = Mended::new(body);
    let mut good = mended.mend(&stop.kind, stop.at);
    while good {
        let pass = Pass::run(source, &mended.text, skip, Some(&mended));
        match &pass.stop {
            None => return Some(pass),
            Some(stop) => good = mended.mend(&stop.kind, stop.at),
        }
    }
    None
}

/// Where and why the parser stopped.
struct Stop {
    /// Byte of the text it was given.
    at: usize,
    kind: ErrorKind,
}

/// One run of the parser over a text.
struct Pass {
    raw: Raw,
    diags: Diagnostics,
    stop: Option<Stop>,
}

impl Pass {
    /// Reads `body`, which stands `skip` bytes behind the start of the source; `mended` leads back to its places.
    fn run(source: SourceId, body: &str, skip: usize, mended: Option<&Mended>) -> Self {
        let mut options = Options::default();
        options.emit_comments = false;
        options.flow_nesting_limit = DEPTH;
        options.block_nesting_limit = DEPTH;
        let (mut diags, mut stop) = (Diagnostics::default(), None);
        let mut parser = Parser::new_from_str_with_options(body, options);
        let mut builder = Builder::new(source, skip, &mut diags);
        builder.mended = mended;
        let end = builder.offset(body.len());
        let last = body.rsplit(['\n', '\r']).next().unwrap_or_default();
        builder.unended_at = (!last.trim().is_empty()).then_some(end);
        let mut complete = true;
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => builder.event(event, &span),
                Err(error) => {
                    let at = error.marker().byte_offset().unwrap_or(body.len());
                    let kind = error.kind().clone();
                    stop = Some(Stop { at, kind });
                    complete = false;
                    break;
                }
            }
            if builder.spent > ALIAS_BUDGET {
                complete = false;
                break;
            }
        }
        if !complete {
            builder.abandon(Span::new(source, end, end));
        }
        let documents = builder.documents;
        let raw = Raw {
            documents,
            complete,
        };
        Self { raw, diags, stop }
    }
}

/// How large a value is.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Nodes in it, itself too.
    size: usize,
    /// Levels of it; 1 for a scalar.
    depth: usize,
    /// Whether a part of it is tagged `!reset`.
    resets: bool,
}

/// Of a value without parts.
const LEAF: Extent = Extent {
    size: 1,
    depth: 1,
    resets: false,
};

/// A collection whose end has not come yet.
struct Frame {
    node: Node,
    anchor: usize,
    extent: Extent,
    key: Option<(String, Span)>,
    /// What `<<` brings, each with the place that says so.
    merges: Vec<(Node, Span)>,
    /// Place of the merge key.
    merged: Option<Span>,
}

struct Builder<'d> {
    source: SourceId,
    skip: usize,
    diags: &'d mut Diagnostics,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Extent)>,
    documents: Vec<Node>,
    spent: usize,
    /// Where the text ends, if no line break ends it.
    unended_at: Option<usize>,
    /// The way back to the places of the original.
    mended: Option<&'d Mended>,
    /// The last key that is a list or a mapping.
    odd_key: Option<Span>,
}

impl<'d> Builder<'d> {
    fn new(source: SourceId, skip: usize, diags: &'d mut Diagnostics) -> Self {
        let (frames, documents) = (Vec::new(), Vec::new());
        Self {
            source,
            skip,
            diags,
            frames,
            anchors: BTreeMap::new(),
            documents,
            spent: 0,
            unended_at: None,
            mended: None,
            odd_key: None,
        }
    }

    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag.to_string());
                let empty = style == ScalarStyle::Plain && place.start == place.end;
                let text = match empty {
                    true => "",
                    false => self.unended(&text, style, place),
                };
                let merge = merge_tag(tag.as_deref());
                let value = scalar::resolve(text, style, tag.as_deref()).unwrap_or_else(|fault| {
                    let path = self.path();
                    let fault = Diagnostic::error(fault).at(place).path(&path);
                    self.diags
                        .push(fault.hint("remove the tag, or write what it asks for"));
                    Value::Text(text.to_owned())
                });
                let node = Node {
                    tag: merge,
                    ..Node::new(place, value)
                };
                let tag = tag.as_deref().filter(|tag| *tag != "!");
                let merge = text == "<<"
                    && match tag {
                        Some(tag) => tag == MERGE_TAG,
                        None => style == ScalarStyle::Plain,
                    };
                self.finish(node, anchor, LEAF, merge);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(
                    Value::List(Vec::new()),
                    place,
                    anchor,
                    tag.map(|t| t.to_string()),
                );
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(
                    Value::Map(Entries::default()),
                    place,
                    anchor,
                    tag.map(|t| t.to_string()),
                );
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place),
            Event::Alias(id) => self.alias(id, place),
            _ => {}
        }
    }

    fn place(&self, span: &granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or(0..0);
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        Span::new(self.source, start, end)
    }

    /// The place in the source of a place in the text the parser was given.
    fn offset(&self, at: usize) -> usize {
        self.skip + self.mended.map_or(at, |mended| mended.original(at))
    }

    fn open(&mut self, value: Value, span: Span, anchor: usize, tag: Option<String>) {
        let node = Node {
            tag: merge_tag(tag.as_deref()),
            ..Node::new(span, value)
        };
        self.frames.push(Frame {
            node,
            anchor,
            extent: LEAF,
            key: None,
            merges: Vec::new(),
            merged: None,
        });
    }

    fn close(&mut self, end: Span) {
        let Some(mut frame) = self.frames.pop() else {
            return;
        };
        frame.node.span.end = frame.node.span.end.max(end.start);
        let merges = std::mem::take(&mut frame.merges);
        if let Some(entries) = frame.node.entries_mut() {
            for (merged, at) in merges {
                inherit(entries, merged, at, self.diags);
            }
        }
        self.finish(frame.node, frame.anchor, frame.extent, false);
    }

    /// Gives up what is open, but for the top level and its section: what is complete in these can be checked.
    fn abandon(&mut self, end: Span) {
        // A text that stands last may hold what should be keys.
        match self.frames.last_mut().map(|frame| &mut frame.node.value) {
            Some(Value::Map(entries)) => {
                let last = entries.last().and_then(|(_, node)| node.as_text());
                let kept = entries.len() - usize::from(last.is_some());
                entries.truncate(kept);
            }
            Some(Value::List(items)) => {
                items.pop_if(|node| node.as_text().is_some());
            }
            _ => {}
        }
        self.frames.truncate(2);
        while !self.frames.is_empty() {
            self.close(end);
        }
    }

    /// Where the builder stands.
    fn path(&self) -> KeyPath {
        let step = |frame: &Frame| match (&frame.node.value, &frame.key) {
            (Value::List(items), _) => Some(Key::Index(items.len())),
            (_, Some((key, _))) => Some(Key::Name(key.clone())),
            _ => None,
        };
        KeyPath(self.frames.iter().filter_map(step).collect())
    }

    /// The place of an open collection that has an anchor: its key, or where it begins.
    fn anchored(&self, id: usize) -> Option<Span> {
        let at = self.frames.iter().position(|frame| frame.anchor == id)?;
        let outer = at.checked_sub(1).and_then(|outer| self.frames.get(outer));
        let key = outer.and_then(|outer| outer.key.as_ref());
        let begin = self.frames.get(at).map(|frame| frame.node.span);
        key.map(|(_, place)| *place).or(begin)
    }

    fn alias(&mut self, id: usize, place: Span) {
        let Some((mut node, mut extent)) = self.anchors.get(&id).cloned() else {
            let path = self.path();
            let anchor = self.anchored(id);
            self.diags.push(
                Diagnostic::error("the alias stands inside the value it refers to")
                    .at(place)
                    .path(&path)
                    .label("this would never end")
                    .related(anchor, "the value it refers to begins here")
                    .hint("write out what is meant here"),
            );
            // What it is in place of fits where it stands, so that this is the only finding.
            let merges = self.frames.iter().rev().take(2).any(|frame| {
                let key = frame.key.as_ref();
                key.is_some_and(|(key, _)| key == MERGE)
            });
            let value = match merges {
                true => Value::Map(Entries::default()),
                false => Value::Null,
            };
            self.finish(Node::new(place, value), 0, LEAF, false);
            return;
        };
        self.spent += extent.size;
        if self.spent > ALIAS_BUDGET {
            self.diags.push(
                Diagnostic::error(format!(
                    "the aliases expand to more than {ALIAS_BUDGET} values"
                ))
                .at(place)
                .related(node.span, "the value that is repeated here")
                .hint("write the values out, or nest fewer aliases"),
            );
            return;
        }
        if self.frames.len() + extent.depth > DEPTH {
            let fault = format!("the alias nests values more than {DEPTH} levels deep");
            let path = self.path();
            self.diags
                .push(Diagnostic::error(fault).at(place).path(&path));
            self.finish(Node::new(place, Value::Null), 0, LEAF, false);
            return;
        }
        if extent.resets {
            self.drop_resets(&mut node, place);
            extent.resets = false;
        }
        node.brought(Step {
            by: By::Alias,
            at: place,
            of: node.span,
        });
        self.finish(node, 0, extent, false);
    }

    /// A block scalar without the line break that only its reader adds, where the text ends without one.
    fn unended<'t>(&self, text: &'t str, style: ScalarStyle, place: Span) -> &'t str {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        match block && self.unended_at.is_some_and(|end| place.end as usize >= end) {
            true => text.strip_suffix('\n').unwrap_or(text),
            false => text,
        }
    }

    /// Takes out of an alias's value what is tagged `!reset` in it: as in Compose such a part works at its own place only.
    fn drop_resets(&mut self, node: &mut Node, alias: Span) {
        match &mut node.value {
            Value::Map(entries) => entries.retain(|key, entry| {
                if entry.tag != Tag::Reset {
                    self.drop_resets(entry, alias);
                    return true;
                }
                self.diags.push(
                    Diagnostic::warning(format!(
                        "the `!reset` of `{key}` has no effect through this alias"
                    ))
                    .at(alias)
                    .related(entry.key_place(), "it works here only")
                    .hint(format!("write `{key}: !reset null` where it is meant")),
                );
                false
            }),
            Value::List(items) => {
                for item in items {
                    self.drop_resets(item, alias);
                }
            }
            _ => {}
        }
    }

    /// What a tag means where it stands: inside of a value that is tagged as a whole it means nothing.
    fn settle_tag(&self, node: &mut Node) {
        if node.tag != Tag::Plain && self.frames.iter().any(|f| f.node.tag != Tag::Plain) {
            node.tag = Tag::Plain;
        }
    }

    /// Puts a complete value where it belongs: under the open key, into the open list, or on top.
    ///
    /// `merge` says that it is the merge key where it is a key.
    fn finish(&mut self, mut node: Node, anchor: usize, extent: Extent, merge: bool) {
        self.settle_tag(&mut node);
        if anchor != 0 {
            self.anchors.insert(
                anchor,
                (
                    Node {
                        key: None,
                        ..node.clone()
                    },
                    extent,
                ),
            );
        }
        let Some(frame) = self.frames.last_mut() else {
            match node.is_null() {
                false => self.documents.push(node),
                true => {
                    let fault = "the top level must be a mapping, but this document is empty";
                    let hint = "remove it with the `---` in front, or add `services:`";
                    let fault = Diagnostic::error(fault).at(node.span);
                    self.diags.push(fault.hint(hint));
                }
            }
            return;
        };
        frame.extent.size += extent.size;
        frame.extent.depth = frame.extent.depth.max(extent.depth + 1);
        frame.extent.resets |= extent.resets || node.tag == Tag::Reset;
        if let Value::List(items) = &mut frame.node.value {
            if node.tag == Tag::Reset {
                let fault =
                    "`!reset` removes no item of another file's list: only this one is left out";
                let hint = "replace the whole list with `!override`";
                self.diags
                    .push(Diagnostic::warning(fault).at(node.span).hint(hint));
                return;
            }
            items.push(Node { key: None, ..node });
            return;
        }
        let Some((key, place)) = frame.key.take() else {
            let (text, place) = self.key(node);
            let text = if merge { MERGE.to_owned() } else { text };
            if let Some(frame) = self.frames.last_mut() {
                frame.key = Some((text, place));
            }
            return;
        };
        if key == DROPPED {
            return;
        }
        if key == MERGE {
            self.merge_key(node, place);
            return;
        }
        let node = Node {
            key: Some(place),
            ..node
        };
        let Value::Map(entries) = &mut frame.node.value else {
            return;
        };
        if let Some(first) = entries.get(&key) {
            let first = first.key_place();
            let path = self.path().key(&key);
            self.diags.push(
                Diagnostic::error(format!("the key `{key}` is already defined"))
                    .at(place)
                    .path(&path)
                    .label("defined again")
                    .related(first, "the first definition")
                    .hint("put both together under one key, remove one, or give it another name"),
            );
            return;
        }
        entries.insert(key, node);
    }

    fn merge_key(&mut self, node: Node, place: Span) {
        if let Some(frame) = self.frames.last_mut() {
            if let Some(first) = frame.merged {
                let fault = Diagnostic::error("the key `<<` is already defined").at(place);
                self.diags.push(
                    fault
                        .related(first, "the first definition")
                        .hint("merge several mappings with one list: `<<: [*one, *other]`"),
                );
                return;
            }
            frame.merged = Some(place);
        }
        let sources = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for source in sources {
            if source.entries().is_none() {
                let fault = format!("`<<` merges mappings, but this is {}", source.kind());
                let path = self.path();
                self.diags.push(
                    Diagnostic::error(fault)
                        .at(source.place())
                        .path(&path)
                        .label("expected an alias such as `*defaults`, or a list of them"),
                );
            } else if let Some(frame) = self.frames.last_mut() {
                frame.merges.push((source, place));
            }
        }
    }

    fn key(&mut self, node: Node) -> (String, Span) {
        if let Value::Text(text) = node.value {
            return (text, node.span);
        }
        if matches!(node.value, Value::Map(_) | Value::List(_)) {
            let inner = self.odd_key.replace(node.span);
            if inner.is_some_and(|key| node.span.start <= key.start && key.end <= node.span.end) {
                return (DROPPED.to_owned(), node.span);
            }
        }
        let shown = node.scalar().unwrap_or_default();
        let path = self.path();
        let fault = format!("a key must be a string, but this is {}", node.kind());
        let fault = Diagnostic::error(fault).at(node.place()).path(&path);
        let under_ports = matches!(path.0.last(), Some(Key::Name(key)) if key == "ports");
        self.diags.push(match (&node.value, shown.as_str()) {
            (Value::Map(_) | Value::List(_), _) => fault
                .label("expected a string")
                .hint("fill the template in first, or put its {{ … }} in quotes"),
            (_, text) if under_ports => fault
                .label("expected a list of ports")
                .hint(format!("write each as `- \"{text}:CONTAINER_PORT\"`")),
            (_, "") => fault,
            (_, text) => fault
                .label("expected a string")
                .hint(format!("put it in quotes: \"{text}\"")),
        });
        let odd = matches!(node.value, Value::Map(_) | Value::List(_));
        let key = if odd { DROPPED.to_owned() } else { shown };
        (key, node.span)
    }
}

/// Adds what a merge key brings; own entries and earlier ones win.
fn inherit(entries: &mut Entries, merged: Node, at: Span, diags: &mut Diagnostics) {
    let alias = merged.notes.as_ref().and_then(|notes| notes.steps.last());
    let step = Step {
        by: By::MergeKey,
        at: alias.map_or(at, |alias| alias.at),
        of: merged.span,
    };
    let Value::Map(inherited) = merged.value else {
        return;
    };
    let notes = Rc::new(Trace {
        steps: vec![step],
        ..Trace::default()
    });
    for (key, mut node) in inherited {
        node.brought_with(&notes);
        match entries.get_mut(&key) {
            Some(own) if own.tag == Tag::Reset && node.tag != Tag::Reset => {
                diags.push(
                    Diagnostic::warning(format!(
                        "`!reset` does not remove the `{key}` that `<<` brings"
                    ))
                    .at(own.key_place())
                    .related(node.key_place(), "this stays")
                    .hint("reset it in an override file, or merge a mapping without it"),
                );
                // What earlier files say is removed all the same.
                node.tag = Tag::Override;
                node.key = own.key;
                *own = node;
            }
            Some(own) => own.replaces(node),
            None => {
                entries.insert(key, node);
            }
        }
    }
}

/// Stands for the merge key among the keys; no YAML text can hold it.
const MERGE: &str = "\0<<";
/// The tag that makes a quoted `<<` the merge key.
const MERGE_TAG: &str = "tag:yaml.org,2002:merge";
/// Stands for a key that is a list or a mapping; its entry is left out.
const DROPPED: &str = "\0";

fn merge_tag(tag: Option<&str>) -> Tag {
    match tag {
        Some("!reset") => Tag::Reset,
        Some("!override") => Tag::Override,
        _ => Tag::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;

    fn parse(text: &str) -> (Vec<Node>, Vec<String>) {
        let (mut sources, mut diags) = (SourceMap::default(), Diagnostics::default());
        let id = sources.add("f.yaml", text);
        let raw = read(id, text, &mut diags);
        (
            raw.documents,
            diags
                .sorted()
                .iter()
                .map(|d| d.headline(&sources))
                .collect(),
        )
    }

    fn json(text: &str) -> String {
        let (documents, faults) = parse(text);
        assert_eq!(faults, Vec::<String>::new());
        documents[0].to_json().to_string()
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved_and_own_keys_win() {
        let text = "x: &a {k: 1, l: 2}\ny:\n  l: 3\n  <<: [*a, {m: 4}]\nz: *a\n";
        assert_eq!(
            json(text),
            r#"{"x":{"k":1,"l":2},"y":{"k":1,"l":3,"m":4},"z":{"k":1,"l":2}}"#
        );
        assert_eq!(json("\"<<\": 1"), r#"{"<<":1}"#);
        assert_eq!(json("!!str <<: {k: 1}"), r#"{"<<":{"k":1}}"#);
        assert_eq!(json("!!merge '<<': {k: 1}"), r#"{"k":1}"#);
        assert_eq!(
            parse("a:\n  <<: {k: 1}\n  <<: {l: 1}\n").1,
            ["f.yaml:3:3: the key `<<` is already defined"]
        );
    }

    #[test]
    fn a_block_at_the_end_of_a_text_has_the_line_breaks_that_are_there() {
        assert_eq!(json("a: |\n  b"), r#"{"a":"b"}"#);
        assert_eq!(json("a: |\n  b\n"), r#"{"a":"b\n"}"#);
        assert_eq!(json("a: |-\n  b"), r#"{"a":"b"}"#);
        assert_eq!(json("a: |\n  b\n "), r#"{"a":"b\n"}"#);
        assert_eq!(json("a: |+\n  b\n\nc: >\n  d"), r#"{"a":"b\n\n","c":"d"}"#);
    }

    #[test]
    fn tags_are_kept_to_and_a_document_must_not_be_empty() {
        assert_eq!(parse("a: !!int b").1, ["f.yaml:1:10: a: `b` is no !!int"]);
        let empty = "the top level must be a mapping, but this document is empty";
        assert_eq!(parse("a: 1\n---\n").1, [format!("f.yaml:2:4: {empty}")]);
        assert_eq!(parse("").1, Vec::<String>::new());
    }

    #[test]
    fn duplicate_and_non_string_keys_are_refused_with_both_places() {
        assert_eq!(
            parse("a:\n  b: 1\n  b: 2\n").1,
            ["f.yaml:3:3: a.b: the key `b` is already defined"]
        );
        assert_eq!(
            parse("a: {1: x}").1,
            ["f.yaml:1:5: a: a key must be a string, but this is an integer"]
        );
    }

    #[test]
    fn cycles_alias_bombs_and_deep_nesting_are_refused() {
        assert_eq!(
            parse("a: &x [*x]").1,
            ["f.yaml:1:8: a[0]: the alias stands inside the value it refers to"]
        );
        assert_eq!(parse("a: &x\n  <<: *x\n").1.len(), 1);
        assert_eq!(parse("a: &x\n  <<: [*x]\n").1.len(), 1);
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for at in 1..9 {
            let one = format!("*a{}", at - 1);
            bomb.push_str(&format!(
                "a{at}: &a{at} [{}]\n",
                [one.as_str(); 10].join(",")
            ));
        }
        assert_eq!(parse(&bomb).1.len(), 1);
        assert_eq!(parse(&"[".repeat(100_000)).1.len(), 1);
        let (open, close) = ("[".repeat(100), "]".repeat(100));
        let deep = format!("a: &a {open}{close}\nb: {open}*a{close}\n");
        let path = "[0]".repeat(100);
        assert_eq!(
            parse(&deep).1,
            [format!(
                "f.yaml:2:104: b{path}: the alias nests values more than 128 levels deep"
            )]
        );
    }

    #[test]
    fn what_only_a_strict_reader_refuses_is_read_and_keeps_its_places() {
        assert_eq!(
            json("a:\n  b: \"c\n d\n\ne\"# f\n  g: [1,#h\n2]\n  i: \"it\\'s\"\n"),
            r#"{"a":{"b":"c d\ne","g":[1,2],"i":"it's"}}"#
        );
        let text = "a:\n  b: 'c\nd'\n  e: 1\n  e: 2\n";
        assert_eq!(
            parse(text).1,
            ["f.yaml:5:3: a.e: the key `e` is already defined"]
        );
        assert_eq!(parse("a:\n  b: 'c\nd\n").1.len(), 1);
    }

    #[test]
    fn places_are_byte_ranges_and_tags_are_kept() {
        let text = "\u{feff}é: !reset\nb: !override [1]\n";
        let (documents, _) = parse(text);
        let node = &documents[0].get("b").unwrap();
        assert_eq!(node.tag, Tag::Override);
        assert_eq!(
            &text[node.key.unwrap().start as usize..node.key.unwrap().end as usize],
            "b"
        );
        assert_eq!(documents[0].get("é").unwrap().tag, Tag::Reset);
    }
}
