//! Where results come from and go to, as users write it: `type=registry,ref=host/app:cache,mode=max`.
//!
//! In: text of `--cache-from`, `--cache-to`, `cache_from:`, `cache_to:`. Out: values, or what is wrong and what to write.
//! A text without `=` is the name of an image. Imports: `image::reference`, `image::archive::pack`.
//! Rules: buildx's reference, "Cache storage backends".

use std::path::{Path, PathBuf};

use crate::image::archive::pack::Packing;
use crate::image::digest::Digest;
use crate::image::reference::Reference;

/// Where results come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFrom {
    /// A registry: a cache, or an image with its cache in it.
    Registry(Reference),
    /// A directory: an OCI layout.
    Local {
        /// The directory.
        dir: PathBuf,
        /// Which of its caches.
        tag: String,
        /// Exactly this one.
        digest: Option<Digest>,
    },
}

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// The place.
    pub to: Sink,
    /// All steps' results (`mode=max`), or only those the image is made of.
    pub max: bool,
    /// How layers are compressed.
    pub packing: Packing,
    /// Also those that came compressed in another way.
    pub repack: bool,
    /// What goes wrong is a warning.
    pub ignore_error: bool,
}

/// The place that results go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The image itself.
    Inline,
    /// A registry.
    Registry(Reference),
    /// A directory: an OCI layout.
    Local {
        /// The directory.
        dir: PathBuf,
        /// The name it gets there.
        tag: String,
        /// What else is there goes.
        reset: bool,
    },
}

/// `key=value` pairs of one text, each taken once.
#[derive(Default)]
pub(in crate::build) struct Fields(Vec<(String, String)>);

impl Fields {
    /// `None` for a text that has no pairs: a name.
    pub(in crate::build) fn of(text: &str) -> Result<Option<Self>, String> {
        let mut fields = Vec::new();
        let mut bare = 0;
        for part in split(text)? {
            match part.split_once('=') {
                Some((key, value)) => {
                    fields.push((key.trim().to_ascii_lowercase(), value.to_owned()));
                }
                None => bare += 1,
            }
        }
        match (fields.is_empty(), bare) {
            (true, _) => Ok(None),
            (false, 0) => Ok(Some(Self(fields))),
            _ => Err("write key=value with commas between".to_owned()),
        }
    }
    /// The last value of a key, which is taken out.
    pub(in crate::build) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().rposition(|(known, _)| known == key)?;
        let value = self.0.remove(at).1;
        self.0.retain(|(known, _)| known != key);
        Some(value)
    }
    fn needed(&mut self, key: &str) -> Result<String, String> {
        let value = self.take(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("it needs `{key}`"))
    }
    /// As [`Fields::take`], for a value that is true or false.
    pub(in crate::build) fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let parsed = crate::base::scalar::parse_bool(&value);
        let wrong = || format!("{key}={value}: write true or false");
        parsed.map(Some).ok_or_else(wrong)
    }
    /// A key that begins so.
    pub(in crate::build) fn find(&self, head: &str) -> Option<&str> {
        let mut keys = self.0.iter().map(|(key, _)| key.as_str());
        keys.find(|key| key.starts_with(head))
    }
    /// What was not taken out.
    pub(in crate::build) fn rest(self) -> Vec<(String, String)> {
        self.0
    }
    /// Refuses what was not taken out.
    pub(in crate::build) fn end(&self, kind: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("type={kind} has no `{key}`")),
        }
    }
}

/// Splits at commas; what stands between double quotes is one piece.
pub(in crate::build) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            _ => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    match quoted {
        true => Err("a quotation mark is missing".to_owned()),
        false => Ok(parts.iter().map(|part| part.trim().to_owned()).collect()),
    }
}

fn reference(text: &str) -> Result<Reference, String> {
    Reference::parse(text).map_err(|error| error.to_string())
}

/// Types of BuildKit that are not here, with what to use.
fn absent(kind: &str) -> String {
    match kind {
        "gha" | "s3" | "azblob" => format!(
            "the cache type `{kind}` is not supported; use type=registry, or keep the archive of `hoist cache export` \
             (or a directory of type=local) with the CI system's own cache"
        ),
        other => format!("`{other}` is no cache type; use registry, local or inline"),
    }
}

impl CacheFrom {
    /// Parses one text; directories are below `base`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Vec<Self>, String> {
        let Some(mut fields) = Fields::of(text)? else {
            let names = split(text)?.into_iter().filter(|name| !name.is_empty());
            return names
                .map(|name| reference(&name).map(Self::Registry))
                .collect();
        };
        let kind = fields.needed("type")?;
        let found = match kind.as_str() {
            "registry" => Self::Registry(reference(&fields.needed("ref")?)?),
            "local" => Self::Local {
                dir: base.join(fields.needed("src")?),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                digest: fields
                    .take("digest")
                    .map(|text| Digest::parse(&text).map_err(|error| error.to_string()))
                    .transpose()?,
            },
            "inline" => {
                return Err(
                    "an inline cache is read from its image: use type=registry,ref=IMAGE"
                        .to_owned(),
                );
            }
            other => return Err(absent(other)),
        };
        fields.end(&kind)?;
        Ok(vec![found])
    }
}

impl CacheTo {
    /// Parses one text; directories are below `base`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let Some(mut fields) = Fields::of(text)? else {
            return match text.trim() {
                "inline" => Ok(Self::to(Sink::Inline)),
                name => Ok(Self::to(Sink::Registry(reference(name)?))),
            };
        };
        let kind = fields.needed("type")?;
        let mut to = Self::to(match kind.as_str() {
            "inline" => Sink::Inline,
            "registry" => Sink::Registry(reference(&fields.needed("ref")?)?),
            "local" => Sink::Local {
                dir: base.join(fields.needed("dest")?),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                reset: fields.flag("reset")?.unwrap_or_default(),
            },
            other => return Err(absent(other)),
        });
        match fields.take("mode").as_deref() {
            None | Some("min") => {}
            Some("max") if to.to == Sink::Inline => {
                return Err("an inline cache has mode=min only".to_owned());
            }
            Some("max") => to.max = true,
            Some(other) => return Err(format!("mode={other}: write min or max")),
        }
        if to.to != Sink::Inline {
            if let Some(text) = fields.take("compression") {
                to.packing = text.parse()?;
            }
            // What comes out has one level; a number is no reason to fail.
            fields.take("compression-level");
            to.repack = fields.flag("force-compression")?.unwrap_or_default();
            to.ignore_error = fields.flag("ignore-error")?.unwrap_or_default();
            // It is an image manifest in any case.
            fields.flag("image-manifest")?;
            if fields.flag("oci-mediatypes")? == Some(false) {
                return Err("oci-mediatypes=false: hoist's cache has OCI's types only".to_owned());
            }
        }
        fields.end(&kind)?;
        Ok(to)
    }
    fn to(to: Sink) -> Self {
        Self {
            to,
            max: false,
            packing: Packing::default(),
            repack: false,
            ignore_error: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_understood_as_buildx_does_and_faults_say_what_to_write() {
        let base = Path::new("/p");
        let from = |text: &str| CacheFrom::parse(text, base);
        let image = Reference::parse("app:cache").unwrap();
        for text in [
            "app:cache",
            "type=registry,ref=app:cache",
            "\"type=registry\", ref=app:cache",
        ] {
            assert_eq!(
                from(text),
                Ok(vec![CacheFrom::Registry(image.clone())]),
                "{text}"
            );
        }
        assert_eq!(from("a,b").map(|found| found.len()), Ok(2));
        let local = CacheFrom::Local {
            dir: "/p/c".into(),
            tag: "x".to_owned(),
            digest: None,
        };
        assert_eq!(from("type=local,src=c,tag=x"), Ok(vec![local]));
        let to = |text: &str| CacheTo::parse(text, base);
        let found = to(
            "type=registry,ref=app:cache,mode=max,compression=zstd,ignore-error=true,image-manifest=true",
        );
        let found = found.unwrap();
        assert_eq!(found.to, Sink::Registry(image));
        assert!(found.max && found.ignore_error && found.packing == Packing::Zstd);
        assert_eq!(to("inline").map(|found| found.to), Ok(Sink::Inline));
        for (wrong, said) in [
            (to("type=gha").unwrap_err(), "`hoist cache export`"),
            (from("type=s3,bucket=x").unwrap_err(), "not supported"),
            (
                from("type=nope").unwrap_err(),
                "use registry, local or inline",
            ),
            (from("type=local").unwrap_err(), "it needs `src`"),
            (
                from("type=registry,ref=a,dest=x").unwrap_err(),
                "has no `dest`",
            ),
            (
                to("type=local,dest=x,mode=all").unwrap_err(),
                "write min or max",
            ),
            (to("type=inline,mode=max").unwrap_err(), "mode=min only"),
            (
                to("type=registry,ref=a,compression=estargz").unwrap_err(),
                "use gzip",
            ),
            (from("type=inline").unwrap_err(), "type=registry,ref=IMAGE"),
            (from("\"a").unwrap_err(), "quotation mark"),
        ] {
            assert!(wrong.contains(said), "{wrong}");
        }
    }
}
