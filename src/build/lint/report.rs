//! What `--check` prints.
//!
//! In: findings and the texts they point into. Out: the text for a terminal, and JSON, both of the shape that `docker build --check`
//! gives. Imports: `base`.

use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Finding, rows};
use crate::base::diag::Diagnostic;
use crate::base::span::{SourceMap, Span};

/// Rows shown around a place of one row; around one of several rows half as many.
const AROUND: usize = 4;

/// The findings as text, those first that stand first in the file.
pub fn text(findings: &[Finding], sources: &SourceMap) -> String {
    let mut text = match findings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| (finding.span.source, rows(finding.span, sources).0));
    for finding in findings {
        let (rule, detail) = (finding.rule, &finding.detail);
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "\nWARNING: {} - {}\n{detail}\n",
            rule.name(),
            rule.url()
        );
        text.push_str(&excerpt(finding.span, sources));
    }
    text
}

/// The rows of a place, marked, with some around it.
fn excerpt(span: Span, sources: &SourceMap) -> String {
    let Some(source) = sources.get(span.source) else {
        return String::new();
    };
    let (first, last) = rows(span, sources);
    // As in the reference, what follows the last line break counts as a row.
    let all: Vec<&str> = source.text.split('\n').collect();
    let (mut from, mut to) = (first, last.min(all.len()));
    let wanted = if from == to { AROUND } else { AROUND / 2 };
    let mut grown = 0;
    while grown < wanted {
        if from > 1 {
            from -= 1;
            grown += 1;
        }
        if to < all.len() {
            to += 1;
            grown += 1;
        }
        grown += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", source.name);
    for (number, row) in all.iter().enumerate().map(|(at, row)| (at + 1, row)) {
        if (from..=to).contains(&number) {
            let mark = if (first..=last).contains(&number) {
                ">>>"
            } else {
                "   "
            };
            let _ = writeln!(text, " {number:>3} | {mark} {row}");
        }
    }
    text.push_str("--------------------\n");
    text
}

/// The findings as a document. `fault` is what would end the build.
pub fn document(findings: &[Finding], fault: Option<&Diagnostic>, sources: &SourceMap) -> Value {
    let mut texts: Vec<Span> = Vec::new();
    let mut place = |span: Span| {
        let known = texts.iter().position(|text| text.source == span.source);
        let index = known.unwrap_or_else(|| {
            texts.push(span);
            texts.len() - 1
        });
        let ranges = ranges(span, sources);
        match index {
            0 => json!({ "ranges": ranges }),
            index => json!({ "sourceIndex": index, "ranges": ranges }),
        }
    };
    let warnings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "ruleName": finding.rule.name(),
                "description": finding.rule.description(),
                "url": finding.rule.url(),
                "detail": finding.detail,
                "location": place(finding.span),
            })
        })
        .collect();
    let fault = fault.map(|fault| {
        json!({
            "message": fault.message,
            "location": fault.span.map_or_else(|| json!({}), &mut place),
        })
    });
    let mut document = json!({ "warnings": warnings });
    let texts = match texts.is_empty() {
        true => vec![Span::new(crate::base::span::SourceId(0), 0, 0)],
        false => texts,
    };
    let sources = texts
        .iter()
        .filter_map(|text| sources.get(text.source))
        .map(|source| {
            json!({
                "filename": source.name,
                "data": base64(source.text.as_bytes()),
                "language": "Dockerfile",
            })
        });
    document["sources"] = sources.collect();
    if let Some(fault) = fault {
        document["buildError"] = fault;
    }
    document
}

/// A range for each row of a place.
pub fn ranges(span: Span, sources: &SourceMap) -> Vec<Value> {
    let (first, last) = rows(span, sources);
    let row = |row: usize| json!({ "start": { "line": row }, "end": { "line": row } });
    (first..=last).map(row).collect()
}

/// Bytes in base64.
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
