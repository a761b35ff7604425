//! Archives of all makers, and hostile ones.

use std::io::Cursor;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::manifest::{Platform, media};
use crate::image::reference::Reference;
use crate::image::store::Store;

/// A data directory that goes away.
struct Scratch {
    dir: PathBuf,
    store: Store,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-bundle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let store = Store::open(&dir).unwrap();
        Self { dir, store }
    }
    fn load(&self, tar: &Tar) -> Result<Vec<Loaded>, String> {
        let mut bytes = tar.0.clone();
        end(&mut bytes).unwrap();
        let input = Input::Stream(Box::new(Cursor::new(bytes)));
        self.store
            .load(input, None)
            .map_err(|error| error.to_string())
    }
    fn refused(&self, tar: &Tar) -> String {
        let why = self.load(tar).unwrap_err();
        assert!(
            self.store.list().unwrap().is_empty(),
            "no half image: {why}"
        );
        let left = std::fs::read_dir(self.dir.join("layers/.staging")).unwrap();
        assert_eq!(left.count(), 0, "{why}");
        why
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: unpacking owners needs root");
    }
    root
}

#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(mut self, name: &str, content: &[u8]) -> Self {
        let size = content.len() as u64;
        let entry = Entry::new(name.as_bytes(), EntryKind::File, 0o644);
        Entry { size, ..entry }.write(&mut self.0).unwrap();
        self.0.extend_from_slice(content);
        pad(&mut self.0, size).unwrap();
        self
    }
    fn json(self, name: &str, content: &Value) -> Self {
        self.file(name, content.to_string().as_bytes())
    }
    /// A blob of an OCI layout, and its descriptor.
    fn blob(self, kind: &str, content: &[u8]) -> (Self, Value) {
        let digest = Digest::of(content);
        let about = json!({"mediaType": kind, "digest": digest.to_string(), "size": content.len()});
        (self.file(&blob_name(&digest), content), about)
    }
    fn link(mut self, kind: EntryKind, name: &str, target: &str) -> Self {
        let entry = Entry::new(name.as_bytes(), kind, 0o777);
        let link = target.as_bytes();
        Entry { link, ..entry }.write(&mut self.0).unwrap();
        self
    }
}

fn layer(content: &str) -> Vec<u8> {
    let mut bytes = Tar::default().file("f", content.as_bytes()).0;
    end(&mut bytes).unwrap();
    bytes
}

fn config(architecture: &str, layers: &[&[u8]]) -> Value {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}})
}

/// An OCI layout of one image, its index not yet written.
fn oci(tar: Tar, architecture: &str, layer: &[u8], kind: &str) -> (Tar, Value) {
    let (tar, about_layer) = tar.blob(media::LAYER, layer);
    let config = config(architecture, &[layer]).to_string();
    let (tar, about_config) = tar.blob(kind, config.as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": about_config, "layers": [about_layer]});
    let (tar, mut about) = tar.blob(media::MANIFEST, manifest.to_string().as_bytes());
    about["platform"] = json!({"os": "linux", "architecture": architecture});
    (tar, about)
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "manifests": manifests})
}

fn names(loaded: &[Loaded]) -> Vec<Vec<String>> {
    let of = |one: &Loaded| one.names.iter().map(Reference::to_string).collect();
    loaded.iter().map(of).collect()
}

#[test]
fn archives_of_every_age_are_read() {
    if !root() {
        return;
    }
    let (one, two) = (layer("1"), layer("2"));
    let text = config("amd64", &[&one, &two, &one]);
    // As Docker until 24: a directory a layer, one that occurs twice as a link to the other.
    let listing = json!([{"Config": "c.json", "RepoTags": ["a:1", "a:2"], "Layers": ["x/layer.tar", "y/layer.tar", "z/layer.tar"]}]);
    let old = Tar::default()
        .file("x/layer.tar", &one)
        .file("./y/layer.tar", &two)
        .link(EntryKind::Symlink, "z/layer.tar", "../w/layer.tar")
        .link(EntryKind::HardLink, "w/layer.tar", "x/layer.tar")
        .json("c.json", &text)
        .json("manifest.json", &listing);
    let scratch = Scratch::new("old");
    assert_eq!(names(&scratch.load(&old).unwrap()), [["a:1", "a:2"]]);

    // Before 1.10: nothing but layers with parents.
    let id = |digit: char| digit.to_string().repeat(64);
    let first = json!({"id": id('a'), "architecture": "amd64", "os": "linux", "created": "2015-01-01T00:00:00Z",
        "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD <x>"]}});
    let second = json!({"id": id('b'), "parent": id('a'), "Size": 5, "architecture": "amd64", "os": "linux",
        "config": {"Env": ["A=b"]}, "container_config": {"Cmd": ["touch", "x"]}});
    let older = Tar::default()
        .json(&format!("{}/json", id('a')), &first)
        .file(&format!("{}/layer.tar", id('a')), &one)
        .json(&format!("{}/json", id('b')), &second)
        .file(&format!("{}/layer.tar", id('b')), &two)
        .json("repositories", &json!({"old/one": {"v1": id('b')}}));
    let loaded = Scratch::new("older").load(&older).unwrap();
    assert_eq!(names(&loaded), [["old/one:v1"]]);
    let image = &loaded[0].image;
    assert_eq!(image.layers(), [Digest::of(&one), Digest::of(&two)]);
    assert_eq!(image.config.config.env, ["A=b"]);
    let by: Vec<_> = image
        .config
        .history
        .iter()
        .filter_map(|step| step.created_by.as_deref())
        .collect();
    assert_eq!(by, ["/bin/sh -c #(nop) ADD <x>", "touch x"]);
    let ring = older.json(
        &format!("{}/json", id('a')),
        &json!({"parent": id('b'), "architecture": "", "os": ""}),
    );
    assert!(
        Scratch::new("ring")
            .refused(&ring)
            .contains("no sound order")
    );
}

#[test]
fn layouts_give_what_they_name_and_skip_what_is_no_image() {
    if !root() {
        return;
    }
    let host = Platform::host().architecture;
    let (tar, own) = oci(Tar::default(), &host, &layer("own"), media::CONFIG);
    let (tar, other) = oci(tar, "s390x", &layer("other"), media::CONFIG);
    let mut proof = own.clone();
    proof["annotations"] = json!({ATTESTATION: "attestation-manifest"});
    let absent = json!({"mediaType": media::MANIFEST, "size": 1, "digest": Digest::of(b"absent").to_string()});
    let both = index(&[other.clone(), own.clone(), proof, absent]).to_string();
    let (tar, mut named) = tar.blob(media::INDEX, both.as_bytes());
    named["annotations"] = json!({NAME: "docker.io/library/both:1", TAG: "1"});
    let mut tagged = other.clone();
    tagged["annotations"] = json!({TAG: "latest"});
    let mut whole = own.clone();
    whole["annotations"] = json!({TAG: "reg.example/x:y"});
    let tar = tar.json("index.json", &index(&[named, tagged, whole]));
    let scratch = Scratch::new("layout");
    let loaded = scratch.load(&tar).unwrap();
    assert_eq!(
        names(&loaded),
        [vec!["both:1"], vec![], vec!["reg.example/x:y"]]
    );
    assert_eq!(
        loaded[0].image.config.architecture, host,
        "the name is that of this machine's"
    );
    let name = Reference::parse("both:1").unwrap();
    assert_eq!(scratch.store.variants(&name).unwrap().len(), 2);
    let kept = scratch
        .store
        .manifest(&loaded[0].image.id)
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(
        json!(Digest::of(&kept).to_string()),
        own["digest"],
        "its manifest stays what it was"
    );
}

#[test]
fn what_is_not_what_it_says_is_refused_and_leaves_nothing() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("hostile");
    let one = layer("1");
    let listing = |config: &str, layers: &[&str]| json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]);
    let docker = |config: &Value, listing: &Value| {
        Tar::default()
            .file("l", &one)
            .json("c", config)
            .json("manifest.json", listing)
    };
    let right = config("amd64", &[&one]);
    let wrong = config("amd64", &[b"other"]);
    let many = vec!["l"; 2000];
    let ids = vec![one.as_slice(); 2000];
    for (tar, why) in [
        (
            docker(&wrong, &listing("c", &["l"])),
            "of the archive unpacks to",
        ),
        (
            docker(&right, &listing("c", &["l", "l"])),
            "has 2 layers, and its config says 1",
        ),
        (
            docker(&right, &listing("c", &["../../../etc/passwd"])),
            "the archive has no `../../../etc/passwd`",
        ),
        (
            docker(&right, &listing("/etc/passwd", &["l"])),
            "the archive has no `/etc/passwd`",
        ),
        (
            docker(&config("amd64", &ids), &listing("c", &many)),
            "has 2000 layers; at most",
        ),
        (
            docker(&json!({"rootfs": 5}), &listing("c", &["l"])),
            "the config of image",
        ),
        (docker(&right, &json!([])), "holds no image"),
        (
            docker(
                &right,
                &json!([{"Config": "c", "RepoTags": ["A b"], "Layers": ["l"]}]),
            ),
            "a name in the archive",
        ),
        (
            Tar::default().link(EntryKind::Symlink, "manifest.json", "manifest.json"),
            "holds no image",
        ),
        (
            Tar::default().file("manifest.json", &vec![b'['; 5 << 20]),
            "is too long",
        ),
    ] {
        let found = scratch.refused(&tar);
        assert!(found.contains(why), "{found}");
    }
    // One document under many names is read only so often.
    let long = json!({"x": "y".repeat(3 << 20), "architecture": "", "os": "", "rootfs": {"type": "", "diff_ids": []}});
    let often: Vec<Value> = (0..50)
        .map(|_| json!({"Config": "c", "Layers": []}))
        .collect();
    let found = scratch.refused(&docker(&long, &json!(often)));
    assert!(found.contains("documents are too long"), "{found}");

    let (tar, about) = oci(Tar::default(), "amd64", &one, media::CONFIG);
    let changed = |key: &str, value: Value| {
        let mut about = about.clone();
        about[key] = value;
        tar.clone().json("index.json", &index(&[about]))
    };
    let absent = Digest::of(b"absent").to_string();
    let (artifact, chart) = oci(
        Tar::default(),
        "amd64",
        &one,
        "application/vnd.cncf.helm.config.v1+json",
    );
    for (tar, why) in [
        (changed("size", json!(5)), "has another content"),
        (
            changed("digest", json!(absent)),
            "the archive has no `blobs/sha256/",
        ),
        (
            tar.clone()
                .file(&blob_name(&Digest::of(&one)), &layer("other"))
                .json("index.json", &index(std::slice::from_ref(&about))),
            "unpacks to",
        ),
        (
            artifact.json("index.json", &index(&[chart])),
            "holds no image but something of type",
        ),
        (
            tar.clone().json(
                "index.json",
                &json!({"schemaVersion": 2, "manifests": [{}]}),
            ),
            "index.json: missing field",
        ),
    ] {
        let found = scratch.refused(&tar);
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn a_directory_is_read_without_leaving_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("dir");
    let dir = scratch.dir.join("given");
    let one = layer("1");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(scratch.dir.join("secret"), &one).unwrap();
    std::fs::write(dir.join("c"), config("amd64", &[&one]).to_string()).unwrap();
    let load = |layer: &str| {
        let listing = json!([{"Config": "c", "Layers": [layer]}]).to_string();
        std::fs::write(dir.join("manifest.json"), listing).unwrap();
        let loaded = scratch.store.load(Input::Dir(dir.clone()), None);
        loaded
            .map(|all| all.len())
            .map_err(|error| error.to_string())
    };
    std::os::unix::fs::symlink("../secret", dir.join("link")).unwrap();
    nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        load("../secret")
            .unwrap_err()
            .contains("leads out of the directory")
    );
    assert!(
        load("link")
            .unwrap_err()
            .contains("leads out of the directory")
    );
    assert!(load("fifo").unwrap_err().contains("is no file"));
    std::fs::write(dir.join("l"), &one).unwrap();
    assert_eq!(load("l"), Ok(1));
}
