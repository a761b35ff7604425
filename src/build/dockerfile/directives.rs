//! Parser directives: `# syntax=`, `# escape=`, `# check=` on the first lines of a file.
//!
//! In: the rows of a file. Out: what they direct, with places. It knows no instruction. Imports: `base`.
//! Rules: Dockerfile reference, "Parser directives". As in BuildKit, the program that reads a file is found out in any language
//! whose comments begin with `#` or `//`, in JSON, and behind a first line with `#!`; `escape` belongs to this language alone.

use super::lex::Row;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::{SourceId, Span};

/// What the first lines direct.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// `escape`
    pub escape: Option<char>,
    /// `syntax`: the image that reads the file.
    pub syntax: Option<(String, Span)>,
    /// `check`: which checks are left out, and whether they end the build.
    pub check: Option<(String, Span)>,
}

/// Reads the directives. Faults go to `found`.
pub(super) fn read(rows: &[Row<'_>], source: SourceId, found: &mut Diagnostics) -> Directives {
    let mut directives = Directives::default();
    let mut seen = Vec::new();
    for row in rows {
        let Some((key, value)) = directive(row.text.trim_start(), "#") else {
            break;
        };
        let span = row.span(source);
        if seen.contains(&key) {
            found.push(
                Diagnostic::error(format!("only one {key} parser directive can be used")).at(span),
            );
        }
        match (key.as_str(), value) {
            ("escape", "\\") => directives.escape = Some('\\'),
            ("escape", "`") => directives.escape = Some('`'),
            ("escape", value) => found.push(
                Diagnostic::error(format!(
                    "invalid escape token '{value}' does not match ` or \\"
                ))
                .at(span)
                .hint("write `# escape=\\` or `# escape=` and a backquote"),
            ),
            _ => {}
        }
        seen.push(key);
    }
    let shebang = rows.first().is_some_and(|row| row.text.starts_with("#!"));
    let rows = &rows[usize::from(shebang)..];
    directives.check = first(rows, source, "#", "check");
    directives.syntax = first(rows, source, "#", "syntax")
        .or_else(|| first(rows, source, "//", "syntax"))
        .or_else(|| in_json(rows, source))
        .map(|(value, span)| match value.split_once(' ') {
            Some((image, _)) => (image.to_owned(), span),
            None => (value, span),
        });
    directives
}

/// The first directive of a name, of those that stand at the very beginning of their rows.
fn first(rows: &[Row<'_>], source: SourceId, comment: &str, name: &str) -> Option<(String, Span)> {
    let found = rows
        .iter()
        .map_while(|row| Some((row, directive(row.text, comment)?)));
    let mut seen = Vec::new();
    for (row, (key, value)) in found {
        if key == name {
            return Some((value.to_owned(), row.span(source)));
        }
        // A directive that comes twice ends the search, as it is at fault.
        if seen.contains(&key) {
            return None;
        }
        seen.push(key);
    }
    None
}

/// `{"syntax": "image"}` in a file that is JSON.
fn in_json(rows: &[Row<'_>], source: SourceId) -> Option<(String, Span)> {
    let head = rows.iter().find(|row| !row.text.trim().is_empty())?;
    if !head.text.trim_start().starts_with('{') {
        return None;
    }
    let text: String = rows.iter().map(|row| row.full).collect();
    let document: serde_json::Value = serde_json::from_str(&text).ok()?;
    let image = document.get("syntax")?.as_str()?;
    Some((image.to_owned(), head.span(source)))
}

/// `# key = value` with a key that exists.
fn directive<'a>(row: &'a str, comment: &str) -> Option<(String, &'a str)> {
    let (key, value) = row.strip_prefix(comment)?.split_once('=')?;
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    let known = matches!(key.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then_some((key, value))
}

/// Whether an image that `syntax` names reads the language that is built in.
pub fn is_built_in(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image);
    // What follows the last colon is a tag unless it holds the rest of a path: `host:5000/docker/dockerfile`.
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => name,
    };
    matches!(
        path,
        "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0"
    )
}

/// Why a file in another language is not read.
pub(super) fn foreign(image: &str, place: Option<Span>) -> Diagnostic {
    let what = format!(
        "the syntax image `{image}` can't be used: hoist reads Dockerfiles itself and runs no other front end"
    );
    let hint = match place {
        Some(_) => "remove the directive if the file is an ordinary Dockerfile",
        None => {
            "BUILDKIT_SYNTAX is a build argument; leave it out if the file is an ordinary Dockerfile"
        }
    };
    Diagnostic::error(what).at(place).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::super::lex::rows;
    use super::*;

    fn of(text: &str) -> (Directives, Vec<String>) {
        let mut found = Diagnostics::default();
        let directives = read(&rows(text), SourceId(0), &mut found);
        let faults = found.iter().map(|item| item.message.clone()).collect();
        (directives, faults)
    }
    fn syntax(text: &str) -> Option<String> {
        of(text).0.syntax.map(|(image, _)| image)
    }
    fn check(text: &str) -> Option<String> {
        of(text).0.check.map(|(value, _)| value)
    }

    #[test]
    fn the_syntax_is_found_in_comments_of_both_kinds_in_json_and_behind_a_shebang() {
        for text in [
            "# syntax=me/mine\nFROM a",
            "#SYNTAX = me/mine more words\nFROM a",
            "# escape=`\n#syntax=me/mine",
            "#!/usr/bin/env x\n# syntax=me/mine",
            "\u{feff}# syntax=me/mine\r\nFROM a",
            "// syntax=me/mine\nimport x",
            "#!/bin/x\n// syntax = me/mine",
            "{\n \"a\": 1, \"syntax\": \"me/mine\"\n}\n",
            "#!/bin/x\n{\"syntax\": \"me/mine\"}",
        ] {
            assert_eq!(syntax(text).as_deref(), Some("me/mine"), "{text}");
        }
        for text in [
            "# a comment\n# syntax=me/mine",
            "\n# syntax=me/mine",
            "FROM a\n# syntax=me/mine",
            " # syntax=me/mine",
            "# syntax=",
            "# syntax me/mine",
            "{\"syntax\": 1}",
            "{\"syntax\": \"me/mine\"} x",
            "[\"syntax\"]",
        ] {
            assert_eq!(syntax(text), None, "{text}");
        }
    }

    #[test]
    fn checks_are_directed_on_the_first_lines_only() {
        assert_eq!(
            check("# syntax=a\n# Check = skip=all \n").as_deref(),
            Some("skip=all")
        );
        assert_eq!(
            check("#!/x\n# check=error=true").as_deref(),
            Some("error=true")
        );
        assert_eq!(check("# x\n# check=error=true"), None);
        assert_eq!(check("FROM a\n# check=error=true"), None);
    }

    #[test]
    fn an_escape_is_one_of_two_and_said_once() {
        assert_eq!(of("# escape=`\n").0.escape, Some('`'));
        assert_eq!(of("  #escape = \\\n").0.escape, Some('\\'));
        // The language's own directive is not looked for behind a shebang.
        assert_eq!(of("#!/x\n# escape=`\n").0.escape, None);
        assert_eq!(
            of("# escape=x\n").1,
            ["invalid escape token 'x' does not match ` or \\"]
        );
        assert_eq!(
            of("# escape=`\n# escape=`\n").1,
            ["only one escape parser directive can be used"]
        );
    }

    #[test]
    fn the_built_in_language_has_several_names() {
        for image in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs@sha256:00",
            "docker.io/docker/dockerfile:1",
            "docker/dockerfile-upstream:master",
            "mirror.example:5000/docker/dockerfile:1",
            "dockerfile.v0",
        ] {
            assert!(is_built_in(image), "{image}");
        }
        for image in [
            "me/mine",
            "docker/dockerfile2",
            "dockerfile",
            "me/docker/dockerfile",
            "",
        ] {
            assert!(!is_built_in(image), "{image}");
        }
    }
}
