//! Texts that look like passwords, tokens and keys, so that nobody publishes them by mistake.
//!
//! In: a text and the key it stands under. Out: what it seems to be. A guess: it finds what has a known form, and long
//! random values under keys that speak of secrets. The text itself is never shown whole.
//! Imports: nothing. Source: the published forms of the tokens; Compose asks about the same kinds.

use std::sync::LazyLock;

use regex::Regex;

/// A kind of secret and its form.
type Form = (&'static str, Regex);

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let forms = [
        (
            "AWS Client ID",
            r"\b(A3T[A-Z0-9]|AKIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|ASIA)[A-Z0-9]{16}\b",
        ),
        (
            "Github authentication",
            r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})",
        ),
        ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
        (
            "JSON Web Token",
            r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+",
        ),
        (
            "Private key",
            r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----",
        ),
        (
            "Password in an address",
            r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]+:[^/\s:@$]{3,}@",
        ),
    ];
    let forms = forms.into_iter();
    forms
        .filter_map(|(kind, form)| Some((kind, Regex::new(form).ok()?)))
        .collect()
});

/// Words in keys that speak of secrets.
const WORDS: [&str; 8] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
];
/// Shortest value under such a key that looks random.
const SHORTEST: usize = 16;
/// Bits of a character at which a value looks random; English words have fewer.
const RANDOM: f64 = 3.0;

/// What a text under a key seems to be, if it seems to be a secret.
pub(super) fn kind(path: &str, value: &str) -> Option<&'static str> {
    if let Some((kind, _)) = FORMS.iter().find(|(_, form)| form.is_match(value)) {
        return Some(kind);
    }
    let key = path.rsplit(['.', ' ']).next().unwrap_or(path);
    let key = key.to_ascii_lowercase().replace('-', "_");
    let speaks = WORDS.iter().any(|word| key.contains(word));
    (speaks && is_random(value)).then_some("Keyword Detector")
}

/// The beginning of a secret, enough to know it by.
pub(super) fn masked(value: &str) -> String {
    let shown: String = value.chars().take(4).collect();
    format!("{shown}… ({} characters)", value.chars().count())
}

fn is_random(value: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c == '$' || c == '/' && value.starts_with('/');
    if value.len() < SHORTEST || value.contains(odd) {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    let bits = |count: &u32| {
        let part = f64::from(*count) / length;
        -part * part.log2()
    };
    let mixed = value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let entropy: f64 = counts.iter().filter(|count| **count > 0).map(bits).sum();
    mixed && entropy >= RANDOM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_and_ordinary_values_are_not() {
        let env = "services.a.environment.";
        for (key, value, wanted) in [
            ("ID", "AKIAIOSFODNN7EXAMPLE", Some("AWS Client ID")),
            (
                "X",
                "ghp_016C7HY1Lq0Zs3cQpUb4iQk1Xv2Yz3Ab4Cd5",
                Some("Github authentication"),
            ),
            (
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                Some("Keyword Detector"),
            ),
            (
                "DATABASE_URL",
                "postgres://app:hunter2@db/x",
                Some("Password in an address"),
            ),
            ("DATABASE_URL", "postgres://app:${PASSWORD}@db/x", None),
            ("PASSWORD", "hunter2", None),
            ("PASSWORD_FILE", "/run/secrets/the_password_1", None),
            ("PASSWORD", "${PASSWORD:?must be set 123}", None),
            ("MODE", "production-2026-with-details", None),
        ] {
            assert_eq!(kind(&format!("{env}{key}"), value), wanted, "{key}={value}");
        }
        assert_eq!(masked("AKIAIOSFODNN7EXAMPLE"), "AKIA… (20 characters)");
    }
}
