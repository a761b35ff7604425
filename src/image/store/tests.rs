//! The store: names, imports, archives, removals.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::image::archive::write::{Entry, EntryKind, end};
use crate::image::config::RunConfig;

struct Scratch {
    dir: PathBuf,
    store: Store,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self {
            store: Store::open(&dir).unwrap(),
            dir,
        }
    }
    /// An image of one layer with one file.
    fn image(&self, content: &str, names: &[&str]) -> Image {
        let staging = self.store.layers().staging().unwrap();
        std::fs::write(staging.upper().join("f"), content).unwrap();
        let layer = self.store.layers().commit(staging).unwrap();
        let mut config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        config.rootfs.diff_ids = vec![layer];
        self.store
            .put(&config, &names.iter().map(|n| name(n)).collect::<Vec<_>>())
            .unwrap()
    }
    fn names(&self, image: &Image) -> Vec<String> {
        self.store
            .names(&image.id)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn tar_of(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Entry::new(path.as_bytes(), EntryKind::File, 0o644)
        .write(&mut bytes)
        .unwrap();
    end(&mut bytes).unwrap();
    bytes
}

#[test]
fn images_are_found_by_name_and_by_the_beginning_of_their_id() {
    let scratch = Scratch::new("find");
    let image = scratch.image("1", &["a:1", "reg.example/b"]);
    for text in [
        "a:1",
        "docker.io/library/a:1",
        "reg.example/b:latest",
        &image.id.to_string(),
        &image.id.hex()[..6],
    ] {
        assert_eq!(scratch.store.find(text).unwrap(), image, "{text}");
    }
    for text in ["a:2", "", "sha256:", "zz"] {
        assert!(
            matches!(scratch.store.find(text), Err(StoreError::NotFound(_))),
            "{text}"
        );
    }
    assert_eq!(
        scratch.store.resolve(&name("a:1")).unwrap().as_ref(),
        Some(&image)
    );
    assert_eq!(scratch.store.resolve(&name("a")).unwrap(), None);
    assert_eq!(
        Store::open(&scratch.dir).unwrap().find("a:1").unwrap(),
        image
    );
    let listed = scratch.store.list().unwrap();
    assert_eq!(
        (listed.len(), listed[0].size, listed[0].names.len()),
        (1, 1, 2)
    );
}

#[test]
fn a_name_moves_to_the_newer_image_and_the_older_one_stays_without() {
    let scratch = Scratch::new("move");
    let first = scratch.image("1", &["a"]);
    let second = scratch.image("2", &["a"]);
    assert_eq!(
        (scratch.names(&first), scratch.names(&second)),
        (vec![], vec!["a:latest".to_owned()])
    );
    assert_eq!(scratch.store.find(&first.id.to_string()).unwrap(), first);
    scratch.store.tag(&first.id, &name("b:x")).unwrap();
    scratch.store.tag(&first.id, &name("b:x")).unwrap();
    assert_eq!(scratch.names(&first), ["b:x"]);
    assert_eq!(scratch.store.list().unwrap().len(), 2);
    assert!(matches!(
        scratch.store.tag(&Digest::of(b"no"), &name("c")),
        Err(StoreError::NotFound(_))
    ));
}

#[test]
fn removal_takes_what_nothing_needs_and_refuses_what_is_in_use() {
    let scratch = Scratch::new("remove");
    let image = scratch.image("1", &["a", "b"]);
    let other = scratch.image("2", &["c"]);
    let shared = {
        let mut config = image.config.clone();
        config.author = Some("another".to_owned());
        scratch.store.put(&config, &[name("d")]).unwrap()
    };
    let nobody = || Ok(Needs::default());
    let free = Removal {
        force: false,
        needs: &nobody,
    };
    let user = |running| User {
        id: "0123456789ab".to_owned(),
        name: "web-1".to_owned(),
        running,
    };
    let by = |running| {
        let images = BTreeMap::from([(other.id, user(running))]);
        let layers = other.layers().iter().copied().collect();
        move || {
            Ok(Needs {
                images: images.clone(),
                layers: BTreeSet::clone(&layers),
            })
        }
    };
    let (stopped, running) = (by(false), by(true));
    let remove = |what: &str, force, needs: &dyn Fn() -> Result<Needs, StoreError>| {
        scratch.store.remove(what, &Removal { force, needs })
    };
    let short = other.id.short();
    let refused = |what: &str, force, needs: &dyn Fn() -> Result<Needs, StoreError>| {
        remove(what, force, needs).unwrap_err().to_string()
    };
    assert_eq!(
        refused("c", false, &stopped),
        format!(
            "conflict: unable to remove repository reference \"c:latest\" (must force) - container 0123456789ab is using its referenced image {short}"
        )
    );
    assert_eq!(
        refused(&short, true, &running),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
        )
    );
    assert_eq!(
        refused(&short, false, &stopped),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
        )
    );
    assert_eq!(
        refused(&image.id.to_string(), false, &nobody),
        format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            image.id.short()
        )
    );

    let removed = scratch.store.remove("a", &free).unwrap();
    assert_eq!(removed.gone, [Gone::Name(name("a"))]);
    let removed = scratch.store.remove("b", &free).unwrap();
    assert_eq!(
        removed.gone,
        [Gone::Name(name("b")), Gone::Image(image.id)],
        "its layer is shared"
    );
    let removed = scratch.store.remove("d", &free).unwrap();
    assert_eq!((removed.images(), removed.freed), (vec![shared.id], 1));
    assert_eq!(removed.layers(), shared.layers());
    assert!(!scratch.store.layers().contains(&shared.layers()[0]));

    // The last name may be taken away by force while a container runs; the image stays for it.
    assert_eq!(
        remove("c", true, &running).unwrap().gone,
        [Gone::Name(name("c"))]
    );
    assert_eq!(
        remove(&short, true, &stopped).unwrap().gone,
        [Gone::Image(other.id)]
    );
    assert!(
        scratch.store.layers().contains(&other.layers()[0]),
        "a container still has it"
    );
    assert_eq!(
        std::fs::read_dir(scratch.dir.join("images/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
    let all = Removal {
        force: true,
        needs: &nobody,
    };
    let pruned = scratch
        .store
        .prune(&all, &mut |_, names| names.is_empty())
        .unwrap();
    assert_eq!(pruned.layers(), other.layers());
    assert_eq!(scratch.store.check(true).unwrap(), []);
}

#[test]
fn a_root_file_system_becomes_an_image_whatever_its_compression() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: unpacking owners needs root");
        return;
    }
    let scratch = Scratch::new("import");
    let how = Import {
        names: vec![name("base:1")],
        run: RunConfig {
            cmd: Some(vec!["sh".to_owned()]),
            ..RunConfig::default()
        },
        message: "Imported from x".to_owned(),
        platform: None,
    };
    let tar = tar_of("etc/x");
    let (image, notes) = scratch.store.import_rootfs(tar.as_slice(), &how).unwrap();
    assert_eq!(
        (image.config.config.cmd.clone(), notes),
        (Some(vec!["sh".to_owned()]), vec![])
    );
    assert_eq!(
        image.config.history[0].comment.as_deref(),
        Some("Imported from x")
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let (again, _) = scratch
        .store
        .import_rootfs(gzip.finish().unwrap().as_slice(), &how)
        .unwrap();
    assert_eq!(again.layers(), image.layers());
    let junk = scratch
        .store
        .import_rootfs(vec![7; 2000].as_slice(), &Import::default());
    assert!(matches!(junk, Err(StoreError::Corrupt(_))), "{junk:?}");
}

#[test]
fn what_is_saved_loads_into_another_store_as_the_same_image() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: unpacking owners needs root");
        return;
    }
    let (scratch, other) = (Scratch::new("save"), Scratch::new("load"));
    let one = scratch.image("1", &["a:1"]);
    let two = scratch.image("2", &["b"]);
    let mut bytes = Vec::new();
    let all = [
        (one.clone(), vec![name("a:1"), name("a:2")]),
        (two.clone(), vec![]),
    ];
    let saved: Vec<Saved> = all
        .iter()
        .map(|(image, names)| Saved {
            images: vec![image.clone()],
            names: names.clone(),
            along: crate::image::attest::Along::default(),
        })
        .collect();
    let how = Saving::default();
    let target = Target::archive(&mut bytes);
    scratch.store.save(&saved, &how, target).unwrap();
    let load = |bytes: &[u8]| {
        let input = Input::Stream(Box::new(std::io::Cursor::new(bytes.to_vec())));
        other.store.load(input, None)
    };
    let loaded: Vec<_> = load(&bytes).unwrap();
    let loaded: Vec<_> = loaded
        .into_iter()
        .map(|one| (one.image, one.names))
        .collect();
    assert_eq!(loaded, all);
    assert_eq!(other.names(&one), ["a:1", "a:2"]);
    assert_eq!(other.store.find(&two.id.to_string()).unwrap(), two);
    let mut again = Vec::new();
    other
        .store
        .save(&saved, &how, Target::archive(&mut again))
        .unwrap();
    assert!(bytes == again, "the same images give the same archive");
    let none = load(&tar_of("etc/x")).unwrap_err().to_string();
    assert!(none.starts_with("the archive holds no image"), "{none}");
}

#[test]
fn many_writers_at_once_lose_no_name() {
    let scratch = Scratch::new("writers");
    let image = scratch.image("1", &["a"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (dir, id) = (&scratch.dir, image.id);
            scope.spawn(move || {
                let store = Store::open(dir).unwrap();
                for at in 0..5 {
                    store.tag(&id, &name(&format!("t{thread}:{at}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(scratch.names(&image).len(), 21);
}

#[test]
fn a_document_changed_on_disk_is_noticed() {
    let scratch = Scratch::new("changed");
    let image = scratch.image("1", &["a"]);
    std::fs::write(scratch.store.blob_path(&image.id), b"{}").unwrap();
    assert!(matches!(
        scratch.store.find("a"),
        Err(StoreError::Corrupt(_))
    ));
}

#[test]
fn a_name_with_a_digest_takes_no_tag_away() {
    let scratch = Scratch::new("digest");
    let tagged = scratch.image("1", &["a:1"]);
    let digest = Digest::of(b"some manifest");
    let pinned = scratch.image("2", &[&format!("a:1@{digest}")]);
    assert_eq!(scratch.names(&tagged), ["a:1"]);
    assert_eq!(scratch.names(&pinned), [format!("a@{digest}")]);
    let both = name(&format!("a:other@{digest}"));
    assert_eq!(scratch.store.resolve(&both).unwrap(), Some(pinned));
}

#[test]
fn an_image_that_another_process_holds_stays_and_one_that_is_gone_is_not_given() {
    let scratch = Scratch::new("held");
    let image = scratch.image("1", &["a"]);
    let other = Store::open(&scratch.dir).unwrap();
    assert_eq!(other.take(&name("a")).unwrap(), Some(image.clone()));
    let all = Removal {
        force: true,
        needs: &|| Ok(Needs::default()),
    };
    assert_eq!(
        scratch.store.prune(&all, &mut |_, _| true).unwrap().gone,
        []
    );
    assert!(matches!(
        scratch.store.remove(&image.id.to_string(), &all),
        Err(StoreError::Conflict { .. })
    ));
    drop(other);
    let gone = scratch.store.prune(&all, &mut |_, _| true).unwrap();
    assert_eq!(
        (gone.images(), gone.layers()),
        (vec![image.id], image.layers().to_vec())
    );
    assert_eq!(scratch.store.take(&name("a")).unwrap(), None);
    assert_eq!(
        std::fs::read_dir(scratch.dir.join("images/held"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn layers_stay_while_somebody_makes_one() {
    let scratch = Scratch::new("quiet");
    let image = scratch.image("1", &["a"]);
    let all = Removal {
        force: true,
        needs: &|| Ok(Needs::default()),
    };
    let making = scratch.store.layers().staging().unwrap();
    let removed = scratch.store.remove("a", &all).unwrap();
    assert_eq!(
        (removed.images(), removed.layers()),
        (vec![image.id], vec![])
    );
    drop(making);
    let gone = scratch.store.prune(&all, &mut |_, _| false).unwrap();
    assert_eq!(gone.layers(), image.layers());
}

#[test]
fn damage_is_found_and_named() {
    let scratch = Scratch::new("check");
    let image = scratch.image("1", &["a"]);
    assert_eq!(scratch.store.check(true).unwrap(), []);
    let layer = scratch.store.layers().path(&image.layers()[0]);
    std::fs::write(layer.join("new"), "x").unwrap();
    assert_eq!(scratch.store.check(false).unwrap(), []);
    let found = scratch.store.check(true).unwrap();
    assert!(
        found.len() == 1 && found[0].what.ends_with("its files were changed on disk"),
        "{found:?}"
    );
    std::fs::remove_dir_all(layer).unwrap();
    let found = scratch.store.check(false).unwrap();
    assert!(
        found[0].image.as_deref() == Some("a:latest") && found[0].what.ends_with("it is not there"),
        "{found:?}"
    );
}
