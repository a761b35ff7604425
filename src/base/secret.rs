//! Bytes that are not for showing: contents of configs and secrets on their way into a container.
//!
//! Nothing here can be printed or serialised, so that no record, log or message can have it by mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes that are not for showing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// Contents by name: `secrets.db`, `configs.app`.
pub type Contents = BTreeMap<String, Secret>;

impl Secret {
    /// These bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }
    /// The bytes themselves, for whoever puts them in their place.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
