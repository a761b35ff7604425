//! How a service's health is found out: `healthcheck`, `x-hoist.ready`.

use std::time::Duration;

use crate::base::line::LinePattern;

/// `healthcheck`; fields that are `None` come from the image or the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthcheckSpec {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`; `None` takes the image's.
    pub test: Option<Vec<String>>,
    /// When it runs.
    pub timing: TimingSpec,
    /// `disable`.
    pub disable: bool,
}

/// When a probe runs, and what its failures mean, as far as it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimingSpec {
    /// `interval`.
    pub interval: Option<Duration>,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `start_period`.
    pub start_period: Option<Duration>,
    /// `start_interval`.
    pub start_interval: Option<Duration>,
}

/// `x-hoist.ready`: all parts that are there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadySpec {
    /// `http`.
    pub http: Option<ReadyHttp>,
    /// `tcp.port`.
    pub tcp: Option<u16>,
    /// `log`.
    pub log: Option<LinePattern>,
    /// When it is looked; fields that are `None` come from `healthcheck` or the defaults.
    pub timing: TimingSpec,
}

/// `x-hoist.ready.http`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadyHttp {
    /// `port`.
    pub port: u16,
    /// `path`; `/` when it is not said.
    pub path: String,
    /// `status`: the one good status; 200 to 399 when it is not said.
    pub status: Option<u16>,
    /// `headers`, by name.
    pub headers: Vec<(String, String)>,
}
