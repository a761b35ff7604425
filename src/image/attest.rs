//! What goes along with an image where it leaves the store: statements about it, and annotations.
//!
//! In: predicates, and the descriptor of the image's manifest. Out: in-toto statements, and the manifest that carries them beside
//! the image's own in an index. It reads and writes nothing, and does not know what a predicate says.
//! Imports: `digest`, `manifest`, `reference`. Rules: in-toto attestation framework 0.1; BuildKit, "Image attestation storage";
//! package-url specification, `docker`; buildx's reference, `--annotation`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::digest::Digest;
use super::manifest::{Descriptor, Manifest, Platform, media};
use super::reference::Reference;

/// Media type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Type of a statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v0.1";
/// Says on a layer what kind of statement it is.
const PREDICATE: &str = "in-toto.io/predicate-type";
/// Says on a descriptor of an index what it is about, and in which way.
const ABOUT: &str = "vnd.docker.reference.digest";
const ROLE: &str = "vnd.docker.reference.type";
/// What a platform is called that is none.
const UNKNOWN: &str = "unknown";

/// A statement whose subjects are not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Name of its file where an image's files go: `provenance.json`.
    pub file: String,
    /// `https://slsa.dev/provenance/v0.2`
    pub kind: String,
    /// What it says.
    pub predicate: Value,
    /// It goes with images only, not with files.
    pub inline_only: bool,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A package's address, or a file's path.
    pub name: String,
    /// Of its content.
    pub digest: Digest,
}

impl Statement {
    /// The whole statement.
    pub fn about(&self, subjects: &[Subject]) -> Value {
        let subject = |subject: &Subject| json!({"name": subject.name, "digest": {"sha256": subject.digest.hex()}});
        let subjects: Vec<Value> = subjects.iter().map(subject).collect();
        json!({
            "_type": STATEMENT,
            "subject": subjects,
            "predicateType": self.kind,
            "predicate": self.predicate,
        })
    }
}

/// What goes along with the images of one build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Along {
    /// Statements about each image, in the order of the images.
    pub statements: Vec<Vec<Statement>>,
    /// Remarks on manifests and on what names them.
    pub annotations: Vec<Annotation>,
}

impl Along {
    /// Statements about an image, by its place.
    pub fn statements_of(&self, at: usize) -> &[Statement] {
        self.statements.get(at).map_or(&[], Vec::as_slice)
    }
    /// Whether one image needs an index around its manifest.
    pub fn needs_index(&self) -> bool {
        let about_index = |note: &Annotation| note.level == Level::Index;
        self.statements.iter().any(|all| !all.is_empty())
            || self.annotations.iter().any(about_index)
    }
    /// Remarks on one level, those of images for one platform.
    pub fn notes(&self, level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let fits = |note: &&Annotation| {
            note.level == level && (note.platform.is_none() || note.platform.as_ref() == platform)
        };
        let found = self.annotations.iter().filter(fits);
        found
            .map(|note| (note.key.clone(), note.value.clone()))
            .collect()
    }
}

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The manifest of an image.
    Manifest,
    /// The index around manifests.
    Index,
    /// What an index says of a manifest.
    ManifestDescriptor,
    /// What a layout says of an index.
    IndexDescriptor,
}

impl Level {
    /// All, as users name them.
    const ALL: [(&str, Self); 4] = [
        ("manifest", Self::Manifest),
        ("index", Self::Index),
        ("manifest-descriptor", Self::ManifestDescriptor),
        ("index-descriptor", Self::IndexDescriptor),
    ];
}

/// A remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What is annotated.
    pub level: Level,
    /// Only the image for this platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

impl Annotation {
    /// Parses `[LEVEL[PLATFORM],…:]KEY=VALUE`; without a level it is the manifest's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (head, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or("write KEY=VALUE")?;
        // What stands before a colon is a list of levels, unless it is a part of the key.
        let levels = head.split_once(':').and_then(|(levels, key)| {
            let known = |text: &str| {
                let name = text.split('[').next().unwrap_or_default();
                let letters = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
                !name.is_empty() && name.bytes().all(letters)
            };
            levels.split(',').all(known).then_some((levels, key))
        });
        let (levels, key) = levels.unwrap_or(("manifest", head));
        let one = |level: &str| Self::at(level, key, value);
        levels.split(',').map(one).collect()
    }
    /// Reads what an output says, as `annotation-manifest[linux/amd64].KEY`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_output(field: &str, value: &str) -> Result<Self, String> {
        let rest = field.strip_prefix("annotation").unwrap_or(field);
        let (level, key) = match rest.strip_prefix('-') {
            None => ("manifest", rest.strip_prefix('.').unwrap_or_default()),
            Some(rest) => rest.split_once('.').unwrap_or_default(),
        };
        Self::at(level, key, value)
    }
    fn at(level: &str, key: &str, value: &str) -> Result<Self, String> {
        let (name, platform) = match level.split_once('[') {
            None => (level, None),
            Some((name, rest)) => {
                let platform = rest.strip_suffix(']').ok_or("a ] is missing")?;
                let parsed = Platform::parse(platform);
                let parsed = parsed.map_err(|text| format!("`{text}` is no platform"))?;
                (name, Some(parsed))
            }
        };
        let level = Level::ALL.iter().find(|(known, _)| *known == name);
        let (_, level) = level.ok_or_else(|| {
            format!("unknown annotation type \"{name}\": use manifest, index, manifest-descriptor or index-descriptor")
        })?;
        if key.is_empty() {
            return Err("the annotation has no name".to_owned());
        }
        Ok(Self {
            level: *level,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Statements as they lie beside an image: documents, and the manifest that names them.
#[derive(Debug)]
pub struct Sealed {
    /// Statements and the configuration that the manifest needs.
    pub documents: Vec<Vec<u8>>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// What an index says of the manifest.
    pub descriptor: Descriptor,
}

/// The address of an image as a package. Source: package-url specification, type `docker`.
pub fn package_of(name: &Reference, platform: Option<&Platform>) -> String {
    let tag = name.tag.as_ref().map(|tag| format!("@{tag}"));
    let platform =
        platform.map(|platform| format!("?platform={}", platform.to_string().replace('/', "%2F")));
    format!(
        "pkg:docker/{}{}{}",
        name.familiar_name(),
        tag.unwrap_or_default(),
        platform.unwrap_or_default()
    )
}

/// Makes statements about an image of its predicates.
///
/// # Errors
/// When something can't be written as JSON.
pub fn seal(
    statements: &[Statement],
    image: &Descriptor,
    names: &[&Reference],
) -> serde_json::Result<Sealed> {
    let named = names
        .iter()
        .map(|name| package_of(name, image.platform.as_ref()));
    let mut named: Vec<String> = named.collect();
    if named.is_empty() {
        named.push("_".to_owned());
    }
    let subject = |name: String| Subject {
        name,
        digest: image.digest,
    };
    let subjects: Vec<Subject> = named.into_iter().map(subject).collect();
    let mut documents = Vec::new();
    let mut layers = Vec::new();
    for statement in statements {
        let bytes = serde_json::to_vec(&statement.about(&subjects))?;
        let mut layer = Descriptor::new(IN_TOTO, Digest::of(&bytes), bytes.len() as u64);
        layer
            .annotations
            .insert(PREDICATE.to_owned(), statement.kind.clone());
        layers.push(layer);
        documents.push(bytes);
    }
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    // For readers that take it for an image's; it says nothing.
    let config = json!({
        "architecture": UNKNOWN,
        "os": UNKNOWN,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let config = serde_json::to_vec(&config)?;
    let of_config = Descriptor::new(media::CONFIG, Digest::of(&config), config.len() as u64);
    documents.push(config);
    let manifest = serde_json::to_vec(&Manifest::new(of_config, layers))?;
    let mut descriptor = Descriptor::new(
        media::MANIFEST,
        Digest::of(&manifest),
        manifest.len() as u64,
    );
    descriptor.platform = Some(Platform {
        os: UNKNOWN.to_owned(),
        architecture: UNKNOWN.to_owned(),
        variant: None,
    });
    let about = [
        (ABOUT, image.digest.to_string()),
        (ROLE, "attestation-manifest".to_owned()),
    ];
    let about = about.into_iter().map(|(key, text)| (key.to_owned(), text));
    descriptor.annotations = about.collect();
    Ok(Sealed {
        documents,
        manifest,
        descriptor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_as_buildx_reads_them() {
        let one = |level, platform: Option<&str>, key: &str| Annotation {
            level,
            platform: platform.map(|text| Platform::parse(text).unwrap()),
            key: key.to_owned(),
            value: "v=1".to_owned(),
        };
        assert_eq!(
            Annotation::parse("org.a=v=1"),
            Ok(vec![one(Level::Manifest, None, "org.a")])
        );
        assert_eq!(
            Annotation::parse("index,manifest[linux/arm64]:a:b=v=1"),
            Ok(vec![
                one(Level::Index, None, "a:b"),
                one(Level::Manifest, Some("linux/arm64"), "a:b")
            ])
        );
        assert_eq!(
            Annotation::of_output("annotation-manifest-descriptor[linux/amd64].a.b", "v=1"),
            Ok(one(Level::ManifestDescriptor, Some("linux/amd64"), "a.b"))
        );
        assert_eq!(
            Annotation::of_output("annotation.a", "v=1"),
            Ok(one(Level::Manifest, None, "a"))
        );
        for wrong in ["a", "=v", "nothing:a=v", "manifest[linux:a=v", "index:=v"] {
            assert!(Annotation::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Annotation::of_output("annotation-x.a", "v").is_err());
    }

    #[test]
    fn statements_lie_beside_the_image_they_are_about() {
        let mut image = Descriptor::new(media::MANIFEST, Digest::of(b"image"), 5);
        image.platform = Some(Platform::parse("linux/amd64").unwrap());
        let statement = Statement {
            file: "provenance.json".to_owned(),
            kind: "https://slsa.dev/provenance/v0.2".to_owned(),
            predicate: json!({"a": 1}),
            inline_only: false,
        };
        let name = Reference::parse("localhost:5000/app:1").unwrap();
        let sealed = seal(&[statement], &image, &[&name]).unwrap();
        let said: Value = serde_json::from_slice(&sealed.documents[0]).unwrap();
        assert_eq!(
            said["subject"][0]["name"],
            "pkg:docker/localhost:5000/app@1?platform=linux%2Famd64"
        );
        assert_eq!(said["subject"][0]["digest"]["sha256"], image.digest.hex());
        assert_eq!(said["predicate"]["a"], 1);
        let manifest: Value = serde_json::from_slice(&sealed.manifest).unwrap();
        assert_eq!(
            manifest["layers"][0]["annotations"][PREDICATE],
            "https://slsa.dev/provenance/v0.2"
        );
        assert_eq!(
            manifest["config"]["digest"],
            Digest::of(&sealed.documents[1]).to_string()
        );
        assert_eq!(
            sealed.descriptor.annotations[ABOUT],
            image.digest.to_string()
        );
        assert_eq!(sealed.descriptor.digest, Digest::of(&sealed.manifest));
    }
}
