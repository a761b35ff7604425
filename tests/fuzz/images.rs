//! What must hold for images that come from elsewhere: layers, archives of images, their documents, their names.
//!
//! In: a text; for archives a list of members, a line each. Out: nothing, or a panic that says which rule is broken.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

use hoist::image::archive::write::{Entry, EntryKind, end, pad};
use hoist::image::config::ImageConfig;
use hoist::image::digest::Digest;
use hoist::image::layer::LayerStore;
use hoist::image::manifest::{Document, Platform};
use hoist::image::reference::Reference;
use hoist::image::store::{Input, Store};

/// Names of images.
pub(super) const REFERENCES: &[&str] = &[
    "busybox",
    "localhost:5000/a/b_c/d-e:1.2_3-x",
    "docker.io/library/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "[::1]:5000/x:y@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "index.docker.io/a__b/c",
];
/// Pieces of names.
pub(super) const REFERENCE_TOKENS: &[&str] = &[
    "/",
    ":",
    "@",
    "sha256:",
    "sha512:",
    "localhost",
    "docker.io/",
    "library/",
    ".",
    "-",
    "_",
    "__",
    "..",
    "[",
    "]",
    "A",
    "a",
    "0",
    " ",
    "é",
    "%",
    "5000",
    "latest",
];

/// Documents about images.
pub(super) const DOCUMENTS: &[&str] = &[
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":3,"urls":["http://a"]}],"annotations":{"a":"b"}}"#,
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":5,"platform":{"os":"linux","architecture":"arm","variant":"v7"}},{"mediaType":"x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":5,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}"#,
    r#"{"created":"2024-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"User":"a:b","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":null,"Cmd":["x"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"m"},"Healthcheck":{"Test":["CMD","x"],"Interval":5},"OnBuild":["RUN x"]},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"created_by":"x","empty_layer":true}]}"#,
];
/// Pieces of such documents.
pub(super) const DOCUMENT_TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"layers\":[]",
    "\"manifests\":[]",
    "\"schemaVersion\":1",
    "\"mediaType\":\"\"",
    "\"platform\":{}",
    "\"digest\":\"sha256:\"",
    "\"size\":-1",
    "\\u0000",
    "\"variant\":\"v99999999999\"",
    "\"diff_ids\":null",
    "\"",
];

/// Archives of images. A line is a kind, an alias, a path and a content; `@x@` is the digest's digits of what has that
/// alias, `#x#` its length.
pub(super) const ARCHIVES: &[&str] = &[
    "layer l blobs/sha256/@l@ one\n\
     json c blobs/sha256/@c@ {\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:@l@\"]}}\n\
     json m blobs/sha256/@m@ {\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:@c@\",\"size\":#c#},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:@l@\",\"size\":#l#}]}\n\
     json n blobs/sha256/@n@ {\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:@m@\",\"size\":#m#}]}\n\
     json i index.json {\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"sha256:@n@\",\"size\":#n#,\"annotations\":{\"io.containerd.image.name\":\"docker.io/library/a:1\"}}]}",
    "layer l x/layer.tar one\nlayer k y/layer.tar two\nlink - z/layer.tar ../x/layer.tar\n\
     json c c.json {\"architecture\":\"s390x\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:@l@\",\"sha256:@k@\",\"sha256:@l@\"]}}\n\
     json m manifest.json [{\"Config\":\"c.json\",\"RepoTags\":[\"a:1\",\"b:2\"],\"Layers\":[\"x/layer.tar\",\"y/layer.tar\",\"z/layer.tar\"]}]",
    "layer l aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/layer.tar one\n\
     json j aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/json {\"architecture\":\"amd64\",\"os\":\"linux\"}\n\
     json r repositories {\"a\":{\"1\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}",
];
/// Pieces of such lists.
pub(super) const ARCHIVE_TOKENS: &[&str] = &[
    "layer ",
    "json ",
    "link ",
    "blobs/sha256/",
    "@l@",
    "@c@",
    "@m@",
    "#m#",
    "#l#",
    "manifest.json",
    "index.json",
    "repositories",
    "../",
    "/",
    "./",
    "null",
    "[]",
    "{}",
    "\"RepoTags\":",
    "\"Layers\":",
    "\"parent\":\"",
    "\n",
    ",",
];

/// A name.
pub(super) fn reference(text: &str) {
    let Ok(found) = Reference::parse(text) else {
        assert!(!text.is_empty() || Reference::parse(text).is_err());
        return;
    };
    // The short form is Docker's, which loses `docker.io/` also before what then looks like a registry.
    let written = found.canonical();
    let again = Reference::parse(&written);
    assert_eq!(again.as_ref().ok(), Some(&found), "{written:?}");
    assert!(!found.to_string().is_empty());
    assert!(!found.repository.is_empty() && !found.registry.is_empty());
}

/// A manifest, an index or a configuration.
pub(super) fn document(text: &str) {
    let first = Document::parse(text.as_bytes());
    assert_eq!(Document::parse(text.as_bytes()), first, "two answers");
    match first {
        Ok(Document::Index(index)) => {
            let chosen = index.select(&Platform::host());
            assert!(chosen.map_or_else(|fault| !fault.to_string().is_empty(), |_| true));
        }
        Ok(Document::Manifest(manifest)) => {
            let written = serde_json::to_vec(&manifest).expect("JSON");
            let again = Document::parse(&written);
            assert_eq!(
                again,
                Ok(Document::Manifest(manifest)),
                "written and read again"
            );
        }
        Err(why) => assert!(!why.to_string().is_empty(), "a fault without words"),
    }
    if let Ok(config) = serde_json::from_str::<ImageConfig>(text) {
        let written = serde_json::to_vec(&config).expect("JSON");
        let again: ImageConfig = serde_json::from_slice(&written).expect("what is written is read");
        assert_eq!(again, config, "written and read again");
    }
}

/// Where the store of a target is.
fn place(target: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hst-{}-fuzz-{target}", std::process::id()))
}

/// Removes what the inputs of a target have left.
pub(super) fn clean_up(target: &str) {
    drop(std::fs::remove_dir_all(place(target)));
}

/// A directory for a store, with a file beside it that must stay as it is.
fn world(target: &str) -> PathBuf {
    let base = place(target);
    drop(std::fs::remove_dir_all(&base));
    std::fs::create_dir_all(&base).expect("a temporary directory");
    std::fs::write(base.join("canary"), "alive").expect("a temporary directory");
    base
}

fn unharmed(base: &std::path::Path) {
    let canary = std::fs::read_to_string(base.join("canary"));
    assert_eq!(
        canary.ok().as_deref(),
        Some("alive"),
        "a file outside was changed"
    );
    let names = std::fs::read_dir(base).expect("it is there");
    assert_eq!(names.count(), 2, "something was made outside");
    let staging = std::fs::read_dir(base.join("data/layers/.staging"));
    let left = staging.map_or(0, Iterator::count);
    assert_eq!(left, 0, "something half made was left");
}

/// A layer: unpacked, and made again of its files.
pub(super) fn layer(text: &str) {
    let base = world("layer");
    let layers = LayerStore::open(&base.join("data")).expect("a temporary directory");
    match layers.import_any(super::trees::packed(text).as_slice()) {
        Ok((id, _)) => {
            let mut out = Vec::new();
            layers.archive(&id, &mut out).expect("what was unpacked");
            assert_eq!(Digest::of(&out), id, "another archive came out");
        }
        Err(why) => assert!(!why.to_string().is_empty(), "a fault without words"),
    }
    unharmed(&base);
}

/// An archive of images.
pub(super) fn archive(text: &str) {
    let base = world("images");
    let store = Store::open(&base.join("data")).expect("a temporary directory");
    let input = Input::Stream(Box::new(Cursor::new(bundled(text))));
    let loaded = store.load(input, None);
    let listed = store.list().expect("nothing half");
    match loaded {
        Ok(loaded) => {
            for one in loaded {
                let found = listed.iter().any(|listed| listed.image == one.image);
                assert!(found, "an image that was loaded is not there");
                let layers = one.image.layers();
                assert!(
                    layers.iter().all(|id| store.layers().contains(id)),
                    "half an image"
                );
            }
        }
        Err(why) => {
            assert!(!why.to_string().is_empty(), "a fault without words");
            assert!(listed.is_empty(), "half an archive");
        }
    }
    unharmed(&base);
}

/// The archive of a list.
fn bundled(text: &str) -> Vec<u8> {
    let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut bytes = Vec::new();
    for line in text.lines().take(50) {
        let mut words = line.trim_start().splitn(4, ' ');
        let mut word = || words.next().unwrap_or("");
        let (kind, alias, path, rest) = (word(), word(), word(), word());
        let content = match kind {
            "layer" => {
                let mut layer = Vec::new();
                member(&mut layer, "f", EntryKind::File, rest.as_bytes(), "");
                end(&mut layer).expect("memory");
                layer
            }
            "json" => filled(rest, &known).into_bytes(),
            "link" => {
                member(
                    &mut bytes,
                    &filled(path, &known),
                    EntryKind::Symlink,
                    b"",
                    rest,
                );
                continue;
            }
            _ => continue,
        };
        known.insert(alias.to_owned(), content.clone());
        member(
            &mut bytes,
            &filled(path, &known),
            EntryKind::File,
            &content,
            "",
        );
    }
    end(&mut bytes).expect("memory");
    bytes
}

fn filled(text: &str, known: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = text.to_owned();
    for (alias, content) in known.iter().filter(|(alias, _)| !alias.is_empty()) {
        text = text.replace(&format!("@{alias}@"), &Digest::of(content).hex());
        text = text.replace(&format!("#{alias}#"), &content.len().to_string());
        text.truncate(text.floor_char_boundary(100_000));
    }
    text
}

fn member(bytes: &mut Vec<u8>, path: &str, kind: EntryKind, content: &[u8], link: &str) {
    let size = content.len() as u64;
    let entry = Entry::new(path.as_bytes(), kind, 0o644);
    let link = link.as_bytes();
    Entry {
        size,
        link,
        ..entry
    }
    .write(bytes)
    .expect("memory");
    bytes.extend_from_slice(content);
    pad(bytes, size).expect("memory");
}
