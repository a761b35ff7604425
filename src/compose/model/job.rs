//! One job: a container that does a task and ends.

use super::Service;
use crate::base::span::{Span, Spanned};

/// An entry of the top-level `jobs`.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// Its key.
    pub key: String,
    /// Where it is declared.
    pub span: Option<Span>,
    /// `triggers.schedule`: a line of a crontab, as written.
    pub schedule: Option<Spanned<String>>,
    /// `triggers.manual`; true when not said.
    pub manual: bool,
    /// The container, in the terms of a service of the same name.
    pub container: Service,
}
