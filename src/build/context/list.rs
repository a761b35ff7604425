//! The files of a copy, one a line: by it is told later which of them changed.
//!
//! In: each file, with all that counts of it. Out: lines of a short digest and a path. Most builds need no list, so
//! what counts is only put aside while the files are looked at, and hashed when the list is asked for; of many files it
//! is hashed now and then, so that memory stays bounded.
//! Imports: `image::digest`.

use std::fmt::Write as _;
use std::path::Path;

use crate::image::digest::Digest;

/// Bytes that are put aside before they become lines.
const ASIDE: usize = 1 << 20;

/// A list that is being made.
#[derive(Debug)]
pub struct List {
    /// Paths and what counts, end to end.
    aside: Vec<u8>,
    /// Lengths of a path and of what counts.
    lengths: Vec<(u32, u32)>,
    text: String,
    count: usize,
    most: usize,
}

impl List {
    /// An empty one, of so many files at most.
    pub fn new(most: usize) -> Self {
        Self {
            aside: Vec::new(),
            lengths: Vec::new(),
            text: String::new(),
            count: 0,
            most,
        }
    }
    /// Notes a file that lies at `path` of a tree, below its part at `start`.
    pub fn note(&mut self, start: &Path, path: &Path, counts: &[u8]) {
        use std::os::unix::ffi::OsStrExt as _;

        let (start, path) = (start.as_os_str().as_bytes(), path.as_os_str().as_bytes());
        if start.is_empty() && path.is_empty() || self.count > self.most {
            return;
        }
        self.count += 1;
        if self.count > self.most {
            // Nothing is told of so many.
            (self.aside, self.lengths) = (Vec::new(), Vec::new());
            self.text = String::new();
            return;
        }
        let begin = self.aside.len();
        self.aside.extend_from_slice(start);
        if !start.is_empty() && !path.is_empty() {
            self.aside.push(b'/');
        }
        self.aside.extend_from_slice(path);
        let shown = self.aside.len() - begin;
        self.aside.extend_from_slice(counts);
        // Paths are bounded by the kernel, and what counts is a path and a little more.
        self.lengths.push((shown as u32, counts.len() as u32));
        if self.aside.len() > ASIDE {
            self.settle();
        }
    }
    fn settle(&mut self) {
        let mut rest = self.aside.as_slice();
        for (shown, counts) in self.lengths.drain(..) {
            let (path, after) = rest.split_at((shown as usize).min(rest.len()));
            let (counts, after) = after.split_at((counts as usize).min(after.len()));
            rest = after;
            let path = String::from_utf8_lossy(path);
            // Writing to a string can't fail.
            let _ = write!(self.text, "{} ", Digest::of(counts).short());
            let visible = |c: char| if c.is_control() { '?' } else { c };
            self.text.extend(path.chars().map(visible));
            self.text.push('\n');
        }
        self.aside.clear();
    }
    /// The lines; `None` when there are too many.
    pub fn text(mut self) -> Option<String> {
        self.settle();
        (self.count <= self.most).then_some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_a_file_however_many_were_put_aside() {
        let list = |most: usize, counts: &[u8]| {
            let mut list = List::new(most);
            list.note(Path::new(""), Path::new(""), counts);
            for at in 0..10 {
                list.note(Path::new("src"), Path::new(&format!("a\n{at}")), counts);
            }
            list.note(Path::new("one"), Path::new(""), counts);
            list.text()
        };
        let short = list(11, b"x").unwrap();
        let of = |counts: &[u8]| Digest::of(counts).short().to_string();
        assert_eq!(short.lines().count(), 11);
        assert!(short.starts_with(&format!("{} src/a?0\n", of(b"x"))));
        assert!(short.ends_with(&format!("{} one\n", of(b"x"))));
        let long = list(11, &vec![7; ASIDE / 3]).unwrap();
        assert_eq!(long.lines().count(), 11);
        assert!(long.ends_with(&format!("{} one\n", of(&vec![7; ASIDE / 3]))));
        assert_eq!(list(10, b"x"), None);
    }
}
