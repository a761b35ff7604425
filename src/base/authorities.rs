//! How the host's CA bundle is shown inside builds and containers that trust it: where, and in which variables.
//!
//! Imports: nothing. Source: the documentation of OpenSSL, pip, requests, curl, Node.js and git.

/// Where the bundle is mounted, read-only.
pub const PATH: &str = "/run/hoist/host-ca.crt";

/// Variables that name a CA bundle to common programs.
pub const VARIABLES: [&str; 6] = [
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
];
