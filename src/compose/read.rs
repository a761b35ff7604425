//! Phase 1: the text of a compose file becomes trees whose every node knows its place.
//!
//! In: one registered text. Out: [`Raw`], a tree per YAML document. Anchors and merge keys are resolved here;
//! duplicate keys, keys that are no text, cycles and alias bombs are refused with both places.
//! It never interprets a key. Imports: `base`, `tree`, `scalar`.
//! Rules: YAML 1.2.2; scalars as `yaml.v3` reads them, since Compose does (see `scalar`).

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle};

use super::scalar;
use super::tree::{Entries, Node, Tag, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::{SourceId, Span};

/// Nodes that the aliases of one file may add.
///
/// Compose spends minutes and gigabytes on a nested alias bomb; real files stay far below this.
const ALIAS_BUDGET: usize = 200_000;
/// Depth of nesting that is accepted.
const DEPTH: usize = 128;

/// One file: the trees of its documents.
#[derive(Debug)]
pub(super) struct Raw {
    /// Documents in file order; empty ones are left out.
    pub(super) documents: Vec<Node>,
}

/// Parses a text.
///
/// Faults go to `diags`; what could be read is returned all the same, so that later phases find more of them.
pub(super) fn read(source: SourceId, text: &str, diags: &mut Diagnostics) -> Raw {
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = DEPTH;
    options.block_nesting_limit = DEPTH;
    let skip = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut parser = Parser::new_from_str_with_options(text.get(skip..).unwrap_or(""), options);
    let mut builder = Builder::new(source, skip, diags);
    builder.unended_at = (!text.ends_with(['\n', '\r'])).then_some(text.len());
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => {
                let at = error
                    .marker()
                    .byte_offset()
                    .map_or(text.len(), |at| at + skip);
                let span = Span::new(source, at, at);
                builder
                    .diags
                    .push(Diagnostic::error(format!("invalid YAML: {}", error.info())).at(span));
                break;
            }
        }
        if builder.spent > ALIAS_BUDGET {
            break;
        }
    }
    Raw {
        documents: builder.documents,
    }
}

/// How large a value is.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Nodes in it, itself too.
    size: usize,
    /// Levels of it; 1 for a scalar.
    depth: usize,
}

/// Of a value without parts.
const LEAF: Extent = Extent { size: 1, depth: 1 };

/// A collection whose end has not come yet.
struct Frame {
    node: Node,
    anchor: usize,
    extent: Extent,
    key: Option<(String, Span)>,
    merges: Vec<Node>,
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
        }
    }

    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag.to_string());
                let empty = style == ScalarStyle::Plain && place.start == place.end;
                let text = if empty {
                    ""
                } else {
                    self.unended(&text, style, place)
                };
                let value = scalar::resolve(text, style, tag.as_deref()).unwrap_or_else(|fault| {
                    self.diags.push(Diagnostic::error(fault).at(place));
                    Value::Text(text.to_owned())
                });
                let node = Node {
                    tag: merge_tag(tag.as_deref()),
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
                    Value::Map(Entries::new()),
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
        Span::new(self.source, range.start + self.skip, range.end + self.skip)
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
            for merged in merges {
                let Value::Map(inherited) = merged.value else {
                    continue;
                };
                for (key, node) in inherited {
                    entries.entry(key).or_insert(node);
                }
            }
        }
        self.finish(frame.node, frame.anchor, frame.extent, false);
    }

    fn alias(&mut self, id: usize, place: Span) {
        let Some((node, extent)) = self.anchors.get(&id).cloned() else {
            self.diags.push(
                Diagnostic::error("the alias stands inside the value it refers to").at(place),
            );
            self.finish(Node::new(place, Value::Null), 0, LEAF, false);
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
            self.diags.push(Diagnostic::error(fault).at(place));
            self.finish(Node::new(place, Value::Null), 0, LEAF, false);
            return;
        }
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

    /// Puts a complete value where it belongs: under the open key, into the open list, or on top.
    ///
    /// `merge` says that it is the merge key where it is a key.
    fn finish(&mut self, node: Node, anchor: usize, extent: Extent, merge: bool) {
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
        if let Value::List(items) = &mut frame.node.value {
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
            self.diags.push(
                Diagnostic::error(format!("the key `{key}` is already defined"))
                    .at(place)
                    .related(first.key_place(), "the first definition")
                    .hint("remove one of them or give it another name"),
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
                self.diags.push(Diagnostic::error(fault).at(place));
            } else if let Some(frame) = self.frames.last_mut() {
                frame.merges.push(source);
            }
        }
    }

    fn key(&mut self, node: Node) -> (String, Span) {
        if let Value::Text(text) = node.value {
            return (text, node.span);
        }
        let shown = node.scalar().unwrap_or_default();
        let fault = Diagnostic::error(format!(
            "a key must be a string, but this is {}",
            node.kind()
        ))
        .at(node.span);
        self.diags.push(match shown.as_str() {
            "" => fault,
            text => fault.hint(format!("put it in quotes: \"{text}\"")),
        });
        (shown, node.span)
    }
}

/// Stands for the merge key among the keys; no YAML text can hold it.
const MERGE: &str = "\0<<";
/// The tag that makes a quoted `<<` the merge key.
const MERGE_TAG: &str = "tag:yaml.org,2002:merge";

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
        assert_eq!(json("a: |+\n  b\n\nc: >\n  d"), r#"{"a":"b\n\n","c":"d"}"#);
    }

    #[test]
    fn tags_are_kept_to_and_a_document_must_not_be_empty() {
        assert_eq!(parse("a: !!int b").1, ["f.yaml:1:10: `b` is no !!int"]);
        let empty = "the top level must be a mapping, but this document is empty";
        assert_eq!(parse("a: 1\n---\n").1, [format!("f.yaml:2:4: {empty}")]);
        assert_eq!(parse("").1, Vec::<String>::new());
    }

    #[test]
    fn duplicate_and_non_string_keys_are_refused_with_both_places() {
        assert_eq!(
            parse("a:\n  b: 1\n  b: 2\n").1,
            ["f.yaml:3:3: the key `b` is already defined"]
        );
        assert_eq!(
            parse("a: {1: x}").1,
            ["f.yaml:1:5: a key must be a string, but this is an integer"]
        );
    }

    #[test]
    fn cycles_alias_bombs_and_deep_nesting_are_refused() {
        assert_eq!(
            parse("a: &x [*x]").1,
            ["f.yaml:1:8: the alias stands inside the value it refers to"]
        );
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
        assert_eq!(
            parse(&deep).1,
            ["f.yaml:2:104: the alias nests values more than 128 levels deep"]
        );
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
