//! `SOURCE_DATE_EPOCH`: the same input gives the same image, byte for byte.
//!
//! In: the request; layers that a build made. Out: the time that counts for the image's config, and layers in which no file is
//! newer. Steps are built and remembered without it, so that another time does not make them run again.
//! Rules: reproducible-builds.org, "SOURCE_DATE_EPOCH specification"; BuildKit's, with `rewrite-timestamp=true`.
//! Imports: `base`, `image`, [`super::cache`], [`super::key`].

use super::cache::Cache;
use super::error::BuildError;
use super::key::Key;
use super::{BuildRequest, Builder};
use crate::base::clock::Timestamp;
use crate::base::diag::Diagnostic;
use crate::base::span::SourceMap;
use crate::image::digest::Digest;

/// The argument, and the caller's variable.
pub(super) const NAME: &str = "SOURCE_DATE_EPOCH";

/// A time in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(i64);

impl Epoch {
    /// The time that a build argument, or else the caller's environment, names.
    ///
    /// # Errors
    /// [`BuildError::Invalid`] for what is no number of seconds.
    pub(super) fn of(request: &BuildRequest) -> Result<Option<Self>, BuildError> {
        let text = given(request).filter(|text| !text.is_empty());
        let Some(text) = text else { return Ok(None) };
        let seconds = text.parse::<i64>().ok();
        let seconds = seconds.filter(|seconds| seconds.checked_mul(1_000_000_000).is_some());
        seconds.map(Self).map(Some).ok_or_else(|| {
            let item = Diagnostic::error(format!("invalid {NAME}: {text}"));
            BuildError::Invalid {
                diagnostics: vec![item.hint("it is a number of seconds since 1970, such as 1700000000; `git log -1 --format=%ct` gives one")],
                sources: SourceMap::default(),
            }
        })
    }
    /// As configs say it.
    pub(super) fn rfc3339(self) -> String {
        let text = Timestamp(self.0.saturating_mul(1_000_000_000)).rfc3339();
        text.replace(".000000000Z", "Z")
    }
    /// Layers that hold the same files, none of them newer.
    ///
    /// # Errors
    /// [`BuildError`] when a layer can't be read or made.
    pub(super) fn clamp(
        self,
        layers: &[Digest],
        builder: &Builder<'_>,
    ) -> Result<Vec<Digest>, BuildError> {
        let cache = Cache::new(&builder.cache_dir);
        let store = builder.store.layers();
        let mut clamped = Vec::new();
        for layer in layers {
            let mut key = Key::of_step("clamp", &[*layer]);
            key.text(&self.0.to_string());
            let key = key.finish();
            let known = cache.get(&key, store, None).flatten();
            clamped.push(match known {
                Some(known) => known,
                None => {
                    let made = store.clamped(layer, self.0)?;
                    cache
                        .put(&key, &Some(made), NAME)
                        .map_err(|error| BuildError::io("write the build cache", error))?;
                    made
                }
            });
        }
        Ok(clamped)
    }
}

/// The value as given: an argument beats the environment.
pub(super) fn given(request: &BuildRequest) -> Option<String> {
    let known = request.args.iter().rev().find(|(name, _)| name == NAME);
    let from_env = || request.env.non_empty(NAME).map(str::to_owned);
    match known {
        Some((_, Some(value))) => Some(value.clone()),
        _ => from_env(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_whole_seconds_from_the_argument_or_the_environment() {
        let of = |value: &str| {
            let args = vec![(NAME.to_owned(), Some(value.to_owned()))];
            Epoch::of(&BuildRequest {
                args,
                ..BuildRequest::default()
            })
        };
        assert_eq!(
            of("1500000000").unwrap().unwrap().rfc3339(),
            "2017-07-14T02:40:00Z"
        );
        assert_eq!(of("-5").unwrap().unwrap().rfc3339(), "1969-12-31T23:59:55Z");
        assert_eq!(of("").unwrap(), None);
        for bad in ["abc", "1e3", "1500000000.5", "9223372036854775807", " 1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(Epoch::of(&BuildRequest::default()).unwrap(), None);
    }
}
