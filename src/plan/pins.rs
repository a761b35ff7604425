//! The digests that names of images stand for, where a lock file says so.
//!
//! In: names of images with the places that use them. Out: digests; everything a lock does not cover, each with its
//! place. Pure: reading and writing the file is `cli::lock`'s. Imports: `base`, `image::{digest, reference}`.
//! Rules: hoist's own. A digest is that of the index, so that one lock serves every platform.

use std::collections::BTreeMap;

use crate::base::diag::Diagnostic;
use crate::base::key::KeyPath;
use crate::base::name::ServiceName;
use crate::base::span::Span;
use crate::image::digest::Digest;
use crate::image::reference::Reference;

/// A place where a project names an image that it does not build itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The image.
    pub image: Reference,
    /// The service that needs it.
    pub service: ServiceName,
    /// The key below the service: `image`, `build`, `volumes`.
    pub key: &'static str,
    /// Where it is written: in a compose file or a Dockerfile.
    pub place: Option<Span>,
}

impl ImageUse {
    /// The use as lock files name it: `services.web.image`.
    pub fn path(&self) -> KeyPath {
        KeyPath::root()
            .key("services")
            .key(self.service.as_str())
            .key(self.key)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The digest that its registry had for it.
    pub digest: Digest,
    /// Which keys named it, sorted: `services.web.image`.
    pub used_by: Vec<String>,
}

/// A lock: images by their full names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// The file, as messages name it.
    pub file: String,
    /// What each name stands for.
    pub images: BTreeMap<String, Pin>,
}

impl Pins {
    /// The digest that a name stands for.
    pub fn digest(&self, image: &Reference) -> Option<Digest> {
        self.images
            .get(&image.canonical())
            .map(|pin| pin.digest)
            .or(image.digest)
    }

    /// The digests by name.
    pub fn digests(&self) -> BTreeMap<String, Digest> {
        let all = self.images.iter();
        all.map(|(name, pin)| (name.clone(), pin.digest)).collect()
    }

    /// A name with the digest that it stands for; as it is, where the lock does not have it.
    #[must_use]
    pub fn pinned(&self, image: &Reference) -> Reference {
        Reference {
            digest: self.digest(image),
            ..image.clone()
        }
    }

    /// Why an image must not be used, if it must not.
    pub fn fault(&self, used: &ImageUse) -> Option<Diagnostic> {
        let (image, path) = (&used.image, used.path());
        let about = |text: String| Diagnostic::error(text).at(used.place).path(&path);
        if let Some(pin) = self.images.get(&image.canonical()) {
            let own = image.digest.filter(|own| *own != pin.digest)?;
            let text = format!(
                "`{image}` is {own} here, but {} says {}",
                self.file, pin.digest
            );
            return Some(about(text).hint("run `hoist lock` if the compose file is right"));
        }
        let key = path.to_string();
        let before = self.images.iter().find(|(name, pin)| {
            pin.used_by.contains(&key)
                && Reference::parse(name).is_ok_and(|name| name.repository == image.repository)
        });
        Some(match before {
            Some((name, _)) => about(format!(
                "`{image}` is not locked: {} has `{name}`",
                self.file
            ))
            .label("the name has changed since")
            .hint("run `hoist lock` to lock it as it is now"),
            None => about(format!("`{image}` is not in {}", self.file))
                .hint("run `hoist lock`, which adds it"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(image: &str) -> ImageUse {
        ImageUse {
            image: Reference::parse(image).unwrap(),
            service: ServiceName::new("web"),
            key: "image",
            place: None,
        }
    }

    #[test]
    fn only_what_the_lock_has_is_let_through() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let pin = Pin {
            digest: a,
            used_by: vec!["services.web.image".to_owned()],
        };
        let own = format!("docker.io/library/c:1@{a}");
        let pins = Pins {
            file: "compose.lock.json".to_owned(),
            images: [
                ("docker.io/library/nginx:1".to_owned(), pin.clone()),
                (own.clone(), pin),
            ]
            .into(),
        };
        assert_eq!(pins.fault(&used("nginx:1")), None);
        assert_eq!(pins.fault(&used(&own)), None);
        let text = |image: &str| pins.fault(&used(image)).unwrap().message;
        assert!(text("nginx:2").contains("has `docker.io/library/nginx:1`"));
        assert!(text("redis:1").contains("is not in compose.lock.json"));
        assert!(text(&format!("nginx:1@{b}")).contains("is not locked"));
        assert_eq!(pins.pinned(&used("nginx:1").image).digest, Some(a));
        assert_eq!(pins.pinned(&used("redis:1").image).digest, None);
    }
}
