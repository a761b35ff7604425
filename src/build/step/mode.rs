//! `--chmod`: octal or symbolic modes.
//!
//! Imports: nothing. Source: chmod(1).

/// A parsed mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod {
    clauses: Vec<Clause>,
    fixed: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// Bits of the classes named: `0o4700` for `u`, `0o2070` for `g`, `0o1007` for `o`.
    who: u32,
    op: char,
    what: String,
}

impl Chmod {
    /// Parses `0755`, `u=rwX,go-w`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            let mode = mode.ok_or_else(|| {
                format!("invalid chmod parameter: '{text}': it should be octal between 0 and 07777")
            })?;
            return Ok(Self {
                clauses: Vec::new(),
                fixed: Some(mode),
            });
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clauses).collect();
        let clauses =
            clauses.ok_or_else(|| format!("invalid chmod parameter: '{text}': invalid syntax"))?;
        Ok(Self {
            clauses: clauses.concat(),
            fixed: None,
        })
    }
    /// The mode if it is the same for every file.
    pub fn fixed(&self) -> Option<u32> {
        self.fixed
    }
    /// A file's new mode.
    pub fn apply(&self, old: u32, folder: bool) -> u32 {
        if let Some(mode) = self.fixed {
            return mode;
        }
        self.clauses
            .iter()
            .fold(old & 0o7777, |mode, clause| clause.apply(mode, folder))
    }
}

/// One part between commas: classes, then one or more operations.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let start = text.find(['+', '-', '='])?;
    let (classes, mut rest) = text.split_at(start);
    let mut who = 0;
    for class in classes.chars() {
        who |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let who = if classes.is_empty() { 0o7777 } else { who };
    let mut found = Vec::new();
    while let Some(op) = rest.chars().next() {
        let tail = &rest[1..];
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let what = &tail[..end];
        let copy = matches!(what, "u" | "g" | "o");
        if !copy && !what.chars().all(|ch| "rwxXst".contains(ch)) {
            return None;
        }
        found.push(Clause {
            who,
            op,
            what: what.to_owned(),
        });
        rest = &tail[end..];
    }
    Some(found)
}

impl Clause {
    fn apply(&self, mode: u32, folder: bool) -> u32 {
        let mut bits = 0;
        for ch in self.what.chars() {
            bits |= match ch {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if folder || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                'u' => (mode >> 6 & 7) * 0o111,
                'g' => (mode >> 3 & 7) * 0o111,
                'o' => (mode & 7) * 0o111,
                _ => 0,
            };
        }
        let bits = bits & self.who;
        match self.op {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => {
                (mode
                    & !(self.who & 0o777)
                    & !(self.who & 0o7000 & if folder { 0 } else { 0o7000 }))
                    | bits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        for (text, old, folder, want) in [
            ("0640", 0o755, false, 0o640),
            ("4755", 0o644, false, 0o4755),
            ("u=rwx,go=r", 0o644, false, 0o744),
            ("a=rX", 0o644, false, 0o444),
            ("a=rX", 0o700, true, 0o555),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("g=u", 0o740, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("u+w-x", 0o555, false, 0o655),
        ] {
            assert_eq!(
                Chmod::parse(text).unwrap().apply(old, folder),
                want,
                "{text}"
            );
        }
        for bad in ["zz", "", "9", "77777", "u", "u=q", "x+r"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }
}
