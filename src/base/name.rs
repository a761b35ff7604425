//! Checked names. A value of these types has passed its rule; raw text never travels further.
//!
//! Imports: nothing. Source: compose-spec "Name top-level element" for project names.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no project name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid project name `{0}`: must consist only of lowercase alphanumeric characters, hyphens, \
     and underscores as well as start with a letter or number"
)]
pub struct NameError(pub String);

/// A project's name: `[a-z0-9][a-z0-9_-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(String);

impl ProjectName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] when it breaks the rule.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = text.chars().next().is_some_and(good)
            && text.chars().all(|c| good(c) || c == '_' || c == '-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }
    /// Makes a name of a directory's: lower case, other characters dropped, leading `_-` cut.
    ///
    /// As Compose: `loader.NormalizeProjectName`.
    pub fn normalized(text: &str) -> Option<Self> {
        let kept: String = text
            .to_lowercase()
            .chars()
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
            .collect();
        Self::new(kept.trim_start_matches(['_', '-'])).ok()
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProjectName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}
impl From<ProjectName> for String {
    fn from(name: ProjectName) -> Self {
        name.0
    }
}
impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Declares a newtype over text that the compose schema has checked.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);
        impl $name {
            /// Wraps a text that its reader has checked.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_name! {
    /// A service as the compose file names it.
    ServiceName
}
text_name! {
    /// A container's id: 64 lower-case hex digits.
    ContainerId
}

impl ContainerId {
    /// The first twelve digits, as lists show them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
    /// Whether a text looks as [`ContainerId::short`] of an id does.
    pub fn is_short(text: &str) -> bool {
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == 12 && text.bytes().all(digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_checked_and_directories_normalised() {
        assert!(ProjectName::new("ml-workspace_2").is_ok());
        assert!(ProjectName::new("_x").is_err());
        assert!(ProjectName::new("").is_err());
        assert_eq!(
            ProjectName::normalized("My.App 1").map(String::from),
            Some("myapp1".into())
        );
        assert_eq!(ProjectName::normalized("..."), None);
    }
}
