//! A switch that ends long work.
//!
//! Imports: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A one-way switch that ends waits; shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends every wait that holds this token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Whether it was used.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
