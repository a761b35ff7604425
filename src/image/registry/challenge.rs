//! What a registry asks for: challenges in the answer 401, and the tokens that answer them.
//!
//! In: headers, JSON. Out: values; asks nobody. Imports: `secret`. Source: RFC 9110, 11.6.1; distribution
//! `docs/spec/auth/token.md` and `oauth.md`.

use std::time::{Duration, Instant};

use http_auth::parse_challenges;
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::secret::Secret;

/// How long a token is good that does not say so. Source: token.md, `expires_in`.
const SHORTEST: u64 = 60;
/// A token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(10);

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Without credentials.
    Open,
    /// With name and password in each request.
    Basic,
    /// With a token that a server gives.
    Bearer {
        realm: Url,
        service: Option<String>,
        /// What the refused request would have needed.
        scope: Option<String>,
    },
}

/// The way that an answer 401 asks for: tokens before passwords.
///
/// # Errors
/// When it asks for nothing that is known.
pub(super) fn way(headers: &HeaderMap) -> Result<Way, String> {
    let mut basic = false;
    let mut others = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        let Ok(challenges) = parse_challenges(text) else {
            continue;
        };
        for challenge in challenges {
            let param = |wanted: &str| {
                let found = challenge
                    .params
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                let text = found.map(|(_, value)| value.to_unescaped());
                text.filter(|text| !text.is_empty())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let Some(realm) = param("realm") else {
                    return Err("asks for a token but does not say where one is had".to_owned());
                };
                let realm = Url::parse(&realm)
                    .map_err(|_| "names a token server that is no address".to_owned())?;
                return Ok(Way::Bearer {
                    realm,
                    service: param("service"),
                    scope: param("scope"),
                });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            others.push(challenge.scheme.to_owned());
        }
    }
    if basic {
        return Ok(Way::Basic);
    }
    Err(match others.as_slice() {
        [] => "asks for credentials but does not say which".to_owned(),
        others => format!(
            "asks for credentials of the kind {}; basic and bearer are known",
            others.join(", ")
        ),
    })
}

/// A token, and until when it is good.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) until: Instant,
    /// A token to be kept, which is changed for others.
    pub(super) identity: Option<Secret>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

impl Token {
    /// Reads a token server's answer that came at `now`. What it says of when it made the token does not count: its
    /// clock is another one, and a token that is refused is renewed.
    pub(super) fn parse(body: &[u8], now: Instant) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let seconds = answer.expires_in.and_then(|number| number.as_f64());
        // As Docker: less than a minute is taken for a minute.
        let seconds = seconds.map_or(SHORTEST, |seconds| seconds as u64);
        let good = Duration::from_secs(seconds.clamp(SHORTEST, 7 * 86_400));
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Some(Self {
            value: Secret::new(filled(answer.token).or(filled(answer.access_token))?),
            until: now + good,
            identity: filled(answer.refresh_token).map(Secret::new),
        })
    }
    /// Whether it will be good for the next request.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        now + MARGIN < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> Result<Way, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        way(&headers)
    }
    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<Way, String> {
        Ok(Way::Bearer {
            realm: Url::parse(realm).unwrap(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn a_token_is_preferred_wherever_its_challenge_stands() {
        let full = "Bearer realm=\"https://a.example/token\",service=\"r\",scope=\"repository:x/y:pull,push\"";
        let expected = bearer(
            "https://a.example/token",
            Some("r"),
            Some("repository:x/y:pull,push"),
        );
        assert_eq!(asked(&[full]), expected);
        assert_eq!(asked(&["Basic realm=\"r\"", full]), expected);
        assert_eq!(asked(&[&format!("Basic realm=\"r\", {full}")]), expected);
        assert_eq!(asked(&["Negotiate", "basic realm=r"]), Ok(Way::Basic));
        assert_eq!(
            asked(&["bEaReR REALM=\"http://h/t\""]),
            bearer("http://h/t", None, None)
        );
        for odd in [
            &["Negotiate"][..],
            &[],
            &["Bearer service=x"],
            &["Bearer realm=\"::\""],
            &[",,"],
        ] {
            assert!(asked(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_token_is_good_for_at_least_a_minute() {
        let now = Instant::now();
        let good = |json: &str, after: u64| {
            let token = Token::parse(json.as_bytes(), now).unwrap();
            token.is_good(now + Duration::from_secs(after))
        };
        assert!(good("{\"token\": \"t\"}", 49) && !good("{\"token\": \"t\"}", 51));
        assert!(good("{\"access_token\": \"t\", \"expires_in\": 5}", 49));
        assert!(good("{\"token\": \"t\", \"expires_in\": 300.5}", 289));
        assert!(!good("{\"token\": \"t\", \"expires_in\": 300}", 291));
        assert!(good("{\"token\": \"t\", \"expires_in\": 1e300}", 3600));
        assert!(good("{\"token\": \"t\", \"expires_in\": -1}", 0));
        for bad in ["{}", "{\"token\": \"\"}", "[]", "x", "{\"token\": 1}"] {
            assert!(Token::parse(bad.as_bytes(), now).is_none(), "{bad}");
        }
    }
}
