//! Key paths as users read them: `services.api.ports[0]`.
//!
//! Imports: nothing.

use std::fmt;

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A mapping's key.
    Name(String),
    /// A sequence's index, from 0.
    Index(usize),
}

/// A path from the root of a document to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(pub Vec<Key>);

impl KeyPath {
    /// The document's root.
    pub fn root() -> Self {
        Self::default()
    }
    /// This path with one more mapping key.
    pub fn key(&self, name: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.0.push(Key::Name(name.into()));
        path
    }
    /// This path with one more index.
    pub fn index(&self, at: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Key::Index(at));
        path
    }
    /// Whether the path fits a pattern such as `services.*.ports[]`: `*` stands for any one
    /// mapping key, `[]` for any index.
    pub fn matches(&self, pattern: &str) -> bool {
        let mut want = pattern.split('.').flat_map(|part| {
            let lists = part.matches("[]").count();
            let name = part.trim_end_matches("[]");
            (!name.is_empty())
                .then_some(name)
                .into_iter()
                .chain(std::iter::repeat_n("[]", lists))
        });
        let mut have = self.0.iter();
        loop {
            match (want.next(), have.next()) {
                (None, None) => return true,
                (Some("[]"), Some(Key::Index(_))) | (Some("*"), Some(Key::Name(_))) => {}
                (Some(name), Some(Key::Name(key))) if name == key => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, key) in self.0.iter().enumerate() {
            match key {
                Key::Name(name) if at == 0 => f.write_str(name)?,
                Key::Name(name) => write!(f, ".{name}")?,
                Key::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_users_write_it_and_matches_patterns() {
        let path = KeyPath::root()
            .key("services")
            .key("api")
            .key("ports")
            .index(0)
            .key("target");
        assert_eq!(path.to_string(), "services.api.ports[0].target");
        assert!(path.matches("services.*.ports[].target"));
        assert!(!path.matches("services.*.ports[]"));
        assert!(!path.matches("services.*.ports.target"));
    }
}
