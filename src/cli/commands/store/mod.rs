//! Commands on images as they lie here: what there is, what it is made of, what is given up.
//!
//! [`ls`], [`inspect`], [`history`], [`rm`] (and `tag`), [`prune`]; what they share stands here: how images are found and
//! filtered, and who needs them. Imports: `image`, `engine`, `ui`. As Docker: `docker image`.

pub(super) mod history;
pub(super) mod inspect;
pub(super) mod ls;
pub(super) mod prune;
pub(super) mod rm;

use crate::apply::needs::needs;
use crate::base::clock::{Timestamp, human_duration};
use crate::build::pattern::Pattern;
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::cli::parse;
use crate::image::config::ImageConfig;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Image, Listed, Needs, Store, StoreError};
use crate::ui::template::Fault;

/// A template that can't be used, as docker says it.
pub(super) fn template_failure(fault: &Fault) -> Failure {
    Failure::new(format!("template parsing error: {fault}"))
}

/// Asks the engine and the build cache what must stay. `cache` is whether results of build steps count.
pub(super) fn asker(
    app: &App,
    cache: bool,
) -> Result<impl Fn() -> Result<Needs, StoreError> + use<>, Failure> {
    let engine = app.engine()?;
    let cache = cache.then_some(app.roots()?.data.join("cache"));
    Ok(move || needs(&*engine, cache.as_deref()))
}

/// The image a name or an id names, and of several platforms the one that is asked for.
pub(super) fn find(store: &Store, text: &str, platform: Option<&str>) -> Result<Image, Failure> {
    let image = store.find(text).map_err(|error| missing(error, text))?;
    let Some(platform) = platform else {
        return Ok(image);
    };
    let wanted = Platform::parse(platform).map_err(|_| {
        Failure::new(format!(
            "{platform:?}: cannot parse platform specifier: invalid argument"
        ))
    })?;
    let mut all = match Reference::parse(text) {
        Ok(name) => store.variants(&name)?,
        Err(_) => Vec::new(),
    };
    all.push(image.clone());
    let fits = |image: &&Image| {
        let config = &image.config;
        config.os == wanted.os
            && config.architecture == wanted.architecture
            && (wanted.variant.is_none() || config.variant == wanted.variant)
    };
    all.iter().find(fits).cloned().ok_or_else(|| {
        Failure::new(format!(
            "image with reference {text} was found but its platform ({}) does not match the specified platform ({wanted})",
            super::image::platform(&image.config)
        ))
    })
}

/// What is not there, with the tag that was meant.
fn missing(error: StoreError, text: &str) -> Failure {
    match (error, Reference::parse(text)) {
        (StoreError::NotFound(_), Ok(name)) => StoreError::NotFound(name.to_string()).into(),
        (error, _) => error.into(),
    }
}

/// `2 hours ago`; `N/A` when nobody knows.
pub(super) fn since(created: Option<Timestamp>, now: Timestamp) -> String {
    created.map_or_else(
        || "N/A".to_owned(),
        |at| format!("{} ago", human_duration(at.until(now))),
    )
}

/// What `--filter` asks for.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// Only images without a name, or only those with one.
    pub(super) dangling: Option<bool>,
    labels: Vec<(String, Option<String>)>,
    not_labels: Vec<(String, Option<String>)>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    references: Vec<Pattern>,
}

impl Filters {
    /// Reads filters; `known` are the names that the command has.
    pub(super) fn parse(
        items: &[String],
        known: &[&str],
        store: &Store,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for item in items {
            let (name, value) = item.split_once('=').ok_or_else(|| {
                let text = format!("invalid argument {item:?} for \"--filter\" flag: bad format of filter (expected name=value)");
                Failure::new(text).code(125)
            })?;
            let name = name.trim().to_ascii_lowercase();
            let value = value.trim();
            if !known.contains(&name.as_str()) {
                return Err(Failure::new(format!("invalid filter '{name}'"))
                    .hint(format!("the filters are {}", known.join(", "))));
            }
            let created = || -> Result<Option<Timestamp>, Failure> {
                Ok(find(store, value, None)?.created())
            };
            let label = || {
                let (key, value) = value
                    .split_once('=')
                    .map_or((value, None), |(k, v)| (k, Some(v)));
                (key.to_owned(), value.map(str::to_owned))
            };
            match name.as_str() {
                "dangling" => {
                    filters.dangling = Some(match value {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => {
                            return Err(Failure::new(format!(
                                "invalid filter 'dangling=[{value}]'"
                            )));
                        }
                    });
                }
                "label" => filters.labels.push(label()),
                "label!" => filters.not_labels.push(label()),
                "before" => filters.before = created()?,
                "since" => filters.since = created()?,
                "until" => {
                    let wrong = |_| {
                        Failure::new(format!(
                            "failed to parse value as time or duration: {value:?}"
                        ))
                    };
                    filters.until = Some(parse::time(value, now).map_err(wrong)?);
                }
                _ => filters.reference(value)?,
            }
        }
        Ok(filters)
    }
    /// Also only names like this.
    pub(super) fn reference(&mut self, pattern: &str) -> Result<(), Failure> {
        let pattern = Pattern::path(pattern)
            .map_err(|why| Failure::new(format!("invalid pattern `{pattern}`: {why}")))?;
        self.references.push(pattern);
        Ok(())
    }
    /// Whether an object with these labels, made then, is meant.
    pub(super) fn fits(
        &self,
        labels: &std::collections::BTreeMap<String, String>,
        created: Option<Timestamp>,
    ) -> bool {
        let has = |(key, value): &(String, Option<String>)| match (labels.get(key), value) {
            (Some(found), Some(value)) => found == value,
            (found, None) => found.is_some(),
            (None, Some(_)) => false,
        };
        self.labels.iter().all(has)
            && !self.not_labels.iter().any(has)
            && self
                .until
                .is_none_or(|until| created.is_none_or(|at| at < until))
            && self
                .before
                .is_none_or(|before| created.is_some_and(|at| at < before))
            && self
                .since
                .is_none_or(|since| created.is_some_and(|at| at > since))
    }
    /// The same for an image.
    pub(super) fn fits_image(&self, config: &ImageConfig, created: Option<Timestamp>) -> bool {
        self.fits(&config.config.labels, created)
    }
    /// Leaves the images, and of each the names, that are meant.
    fn narrow(&self, listed: &mut Vec<Listed>) {
        let names_fit = |name: &Reference| {
            self.references.iter().any(|pattern| {
                [name.to_string(), name.familiar_name()]
                    .iter()
                    .any(|text| pattern.matches(text))
            })
        };
        listed.retain_mut(|one| {
            if let Some(dangling) = self.dangling
                && dangling != (one.names.is_empty() && one.behind.is_none())
            {
                return false;
            }
            if !self.references.is_empty() {
                one.names.retain(names_fit);
                if one.names.is_empty() {
                    return false;
                }
            }
            self.fits_image(&one.image.config, one.image.created())
        });
    }
}
