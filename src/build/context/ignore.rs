//! `.dockerignore` and `--exclude`: which files of a tree do not exist for the build.
//!
//! In: the file's text, or rules one by one; then paths. Out: ignored or not. It reads no file. Imports: `build::pattern`.
//! Rules: Dockerfile reference, ".dockerignore file"; order and parents as moby's `patternmatcher` and BuildKit's walk:
//! the last rule that matches a path or one of its parents wins, but a rule that could change nothing at a folder is
//! not looked at there, and so is not known of that folder below it.

use std::path::Path;

use crate::build::pattern::Pattern;

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    exception: bool,
    /// For an exception without wildcards, but `/**` or `/*` at its end: what it begins with.
    fixed: Option<String>,
}

/// Rules in their order.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

/// Which rules match a folder or one of its parents.
#[derive(Debug, Clone, Default)]
pub struct Verdicts(Vec<bool>);

impl Ignore {
    /// Reads an ignore file. Paths in it may begin with a slash.
    ///
    /// # Errors
    /// The line at fault and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rows = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
        let rows = rows
            .filter(|row| !row.starts_with('#'))
            .map(str::trim)
            .filter(|row| !row.is_empty())
            .map(|row| {
                let body = row.strip_prefix('!').map_or(row, str::trim);
                let path = match body {
                    "" => String::new(),
                    body => clean(body),
                };
                let path = match path.strip_prefix('/') {
                    Some(below) if !below.is_empty() => below,
                    _ => path.as_str(),
                };
                let mark = if row.starts_with('!') { "!" } else { "" };
                format!("{mark}{path}")
            })
            .collect::<Vec<_>>();
        Self::of(rows.iter().map(String::as_str))
    }
    /// Takes rules that are given one by one, as `--exclude` does.
    ///
    /// # Errors
    /// The rule at fault and what is wrong with it.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Vec::new();
        for row in rows
            .into_iter()
            .map(str::trim)
            .filter(|row| !row.is_empty())
        {
            let cleaned = clean(row);
            let exception = cleaned.starts_with('!');
            let body = if exception {
                &cleaned[1..]
            } else {
                cleaned.as_str()
            };
            if body.is_empty() {
                return Err(format!("illegal exclusion pattern: {row:?}"));
            }
            let pattern = Pattern::ignore(body).map_err(|why| format!("{row}: {why}"))?;
            let fixed = body.strip_suffix("/**").unwrap_or(body);
            let fixed = fixed.strip_suffix("/*").unwrap_or(fixed);
            let fixed = (exception && !fixed.contains(['*', '[', ']', '?', '^', '\\']))
                .then(|| format!("{fixed}/"));
            rules.push(Rule {
                pattern,
                exception,
                fixed,
            });
        }
        Ok(Self { rules })
    }
    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
    /// Whether any rule takes something back in.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }
    /// Whether something below an ignored folder may be taken back in.
    pub fn may_hold_exceptions(&self, folder: &str) -> bool {
        let mut exceptions = self.rules.iter().filter(|rule| rule.exception).peekable();
        if exceptions.peek().is_none() {
            return false;
        }
        let fixed: Option<Vec<&str>> = exceptions.map(|rule| rule.fixed.as_deref()).collect();
        fixed.is_none_or(|fixed| {
            fixed.iter().any(|path| {
                path.strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            })
        })
    }
    /// The state above every path.
    pub fn begin(&self) -> Verdicts {
        Verdicts(vec![false; self.rules.len()])
    }
    /// Whether a path is ignored, given its folder's state; and its own state.
    pub fn judge(&self, path: &str, parent: &Verdicts) -> (bool, Verdicts) {
        let mut ignored = false;
        let hits = self.rules.iter().zip(&parent.0).map(|(rule, above)| {
            // A rule that could change nothing here is not looked at.
            let hit = *above || (rule.exception == ignored && rule.pattern.matches(path));
            if hit {
                ignored = !rule.exception;
            }
            hit
        });
        let hits = hits.collect();
        (ignored, Verdicts(hits))
    }
    /// The state of a folder, found from the top.
    pub fn of_path(&self, path: &str) -> Verdicts {
        self.down(path).1
    }
    /// Whether a path is ignored.
    pub fn ignores(&self, path: &str) -> bool {
        self.down(path).0
    }
    fn down(&self, path: &str) -> (bool, Verdicts) {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        ends.filter(|end| *end > 0)
            .fold((false, self.begin()), |(_, state), end| {
                self.judge(&path[..end], &state)
            })
    }
}

/// The path with `.`, `..` and doubled slashes worked out by text, as Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Names of the ignore files of a Dockerfile, the first that exists counts: `<Dockerfile>.dockerignore`, then
/// the context's `.dockerignore`.
pub fn candidates(dockerfile: Option<&Path>, context: &Path) -> Vec<std::path::PathBuf> {
    let own = dockerfile.map(|path| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".dockerignore");
        path.with_file_name(name)
    });
    own.into_iter()
        .chain([context.join(".dockerignore")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_wins() {
        for (rules, kept, gone) in [
            (
                "# c\n*.log\n\nnode_modules\n.git",
                "sub/drop.log a/node_modules/z",
                "drop.log node_modules/m/i .git/x",
            ),
            (
                "*.md\n!README.md\ntmp/*\n!tmp/b",
                "README.md docs/x.md tmp/b tmp",
                "x.md tmp/a",
            ),
            (
                "!README.md\n*.md\n**/*.md\n!docs/x.md",
                "docs/x.md",
                "README.md docs/README.md",
            ),
            (
                "*\n!sub\nsub/deep\n!sub/deep/keep.me",
                "sub/a sub/deep/keep.me",
                "a sub/deep/x",
            ),
            (
                "/keep.txt\ndocs/\n/sub/deep/",
                "sub/drop.log",
                "keep.txt docs/x.md sub/deep/x",
            ),
            ("?rop.log\nsub/d??p", "sub/drop.log", "drop.log sub/deep/x"),
            ("a/../b\n./c", "a", "b c"),
            ("foo/**", "foo", "foo/a foo/a/b"),
            ("**/foo", "food", "foo a/foo a/b/foo foo/x"),
            ("[a-c].x", "d.x", "a.x"),
            // A rule that could change nothing at a folder is not known below it.
            ("sub/x\n!sub", "sub/y sub", "sub/x"),
            ("*\n!a\\/b", "a/b", "a c"),
        ] {
            let ignore = Ignore::parse(rules).unwrap();
            for path in kept.split(' ') {
                assert!(!ignore.ignores(path), "{rules:?} must keep {path}");
            }
            for path in gone.split(' ') {
                assert!(ignore.ignores(path), "{rules:?} must ignore {path}");
            }
        }
        assert!(Ignore::parse("!").is_err());
        assert!(Ignore::parse("[").is_err());
    }
}
