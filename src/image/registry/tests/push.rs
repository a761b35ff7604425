//! Pushes to a real registry on this machine.

use super::*;
use crate::image::archive::pack::Packing;
use crate::image::store::{Needs, Removal};

fn how() -> PushOptions {
    PushOptions {
        env: options().env,
        ..PushOptions::default()
    }
}

/// An image of one layer that no registry has seen.
fn built(scratch: &Scratch, text: &[u8], name: &str) -> Image {
    let archive = tar("a", text);
    let (layer, _) = scratch
        .store
        .layers()
        .import_any(archive.as_slice())
        .unwrap();
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = vec![layer];
    scratch.store.put(&config, &[scratch.name(name)]).unwrap()
}

/// Forgets all images with their layers and blobs.
fn forget(scratch: &Scratch) {
    let how = Removal {
        force: true,
        needs: &|| Ok(Needs::default()),
    };
    for listed in scratch.store.list().unwrap() {
        scratch
            .store
            .remove(&listed.image.id.to_string(), &how)
            .unwrap();
    }
    assert_eq!(scratch.store.layers().list().unwrap(), []);
}

fn phases(seen: &Phases) -> Vec<&'static str> {
    let mut seen = std::mem::take(&mut *seen.0.lock().unwrap());
    seen.dedup();
    seen.retain(|phase| !matches!(*phase, "Pushing" | "Preparing"));
    seen
}

#[test]
fn what_was_pushed_and_removed_is_pulled_as_the_same_image() {
    let Some(scratch) = Scratch::new("push") else {
        return;
    };
    for (tag, packing, form) in [
        ("a", Packing::Gzip, Form::Oci),
        ("b", Packing::Zstd, Form::Oci),
        ("c", Packing::Plain, Form::Oci),
        ("d", Packing::Gzip, Form::Docker),
    ] {
        let name = format!("r/{tag}:1");
        let image = built(&scratch, &noise(300_000), &name);
        let seen = Phases::default();
        let how = PushOptions {
            packing,
            form,
            ..how()
        };
        let to = scratch.name(&name);
        let digest = push(&scratch.store, &image, &to, &how, &seen).unwrap();
        assert_eq!(phases(&seen), ["Pushed"], "{tag}");
        let known = scratch.store.repo_digests(&image.id).unwrap();
        assert_eq!(known, [to.by_digest(digest).to_string()]);
        // The second time nothing is sent, and nothing compressed.
        let again = push(&scratch.store, &image, &to, &how, &seen).unwrap();
        assert_eq!(
            (again, phases(&seen)),
            (digest, vec!["Layer already exists"])
        );
        forget(&scratch);
        assert_eq!(scratch.pull(&name).unwrap().id, image.id);
        // A pulled image goes on with the manifest that it came with.
        let to = scratch.name(&format!("r/{tag}:2"));
        scratch.store.tag(&image.id, &to).unwrap();
        let again = push(&scratch.store, &image, &to, &PushOptions::default(), &seen).unwrap();
        assert_eq!(again, digest, "{tag}");
        forget(&scratch);
    }
}

#[test]
fn a_layer_that_another_repository_has_is_not_sent_again() {
    let Some(scratch) = Scratch::new("mount") else {
        return;
    };
    let image = built(&scratch, &noise(100_000), "one:1");
    push(
        &scratch.store,
        &image,
        &scratch.name("one:1"),
        &how(),
        &Silent,
    )
    .unwrap();
    let seen = Phases::default();
    let two = scratch.name("two:1");
    scratch.store.tag(&image.id, &two).unwrap();
    push(&scratch.store, &image, &two, &how(), &seen).unwrap();
    assert_eq!(phases(&seen), ["Mounted"]);
    forget(&scratch);
    assert_eq!(scratch.pull("two:1").unwrap().id, image.id);
}

#[test]
fn images_of_several_platforms_are_pushed_as_an_index() {
    let Some(scratch) = Scratch::new("push-index") else {
        return;
    };
    let one = built(&scratch, b"one", "i:one");
    let mut config = one.config.clone();
    config.architecture = "s390x".to_owned();
    let two = scratch
        .store
        .put(&config, &[scratch.name("i:two")])
        .unwrap();
    let images = [one.clone(), two.clone()];
    push_index(
        &scratch.store,
        &images,
        &crate::image::attest::Along::default(),
        &scratch.name("i:all"),
        &how(),
        &Silent,
    )
    .unwrap();
    forget(&scratch);
    for (platform, image) in [("linux/amd64", &one), ("linux/s390x", &two)] {
        let options = PullOptions {
            platform: Some(platform.to_owned()),
            ..options()
        };
        let found = pull(&scratch.store, &scratch.name("i:all"), &options, &Silent).unwrap();
        assert_eq!(found.id, image.id);
    }
}

#[test]
fn a_layer_that_was_changed_on_disk_is_not_pushed() {
    let Some(scratch) = Scratch::new("push-damage") else {
        return;
    };
    let image = built(&scratch, b"text", "x:1");
    let file = scratch.store.layers().path(&image.layers()[0]).join("a");
    std::fs::write(file, b"evil").unwrap();
    let to = scratch.name("x:1");
    let error = push(&scratch.store, &image, &to, &how(), &Silent).unwrap_err();
    assert!(error.to_string().contains("was changed on disk"), "{error}");
    assert!(matches!(scratch.pull("x:1"), Err(PullError::NotFound(_))));
}

#[test]
fn a_registry_that_wants_credentials_gets_those_of_its_file_and_says_when_there_are_none() {
    let Some(scratch) = Scratch::with("push-auth", true) else {
        return;
    };
    let image = built(&scratch, b"text", "x:1");
    let to = scratch.name("x:1");
    let error = push(&scratch.store, &image, &to, &how(), &Silent).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!(
            "registry {} refuses the push of `{to}`: it needs credentials that may write there;",
            scratch.host
        )),
        "{error}"
    );
    // user:secret
    let text = format!(
        r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#,
        scratch.host
    );
    std::fs::write(scratch.dir.join("config.json"), text).unwrap();
    let mut how = how();
    how.env.vars.insert(
        "DOCKER_CONFIG".to_owned(),
        scratch.dir.display().to_string(),
    );
    push(&scratch.store, &image, &to, &how, &Silent).unwrap();
}

#[test]
fn a_push_out_of_reach_refused_cancelled_or_to_a_digest_says_so() {
    let (dir, store) = empty_store("push-refused");
    let image = store.put(&ImageConfig::default(), &[]).unwrap();
    let try_at = |name: &str, how: &PushOptions| {
        let name = Reference::parse(name).unwrap();
        push(&store, &image, &name, how, &Silent)
            .unwrap_err()
            .to_string()
    };
    let host = format!("127.0.0.1:{}", free_port());
    let text = try_at(&format!("{host}/x"), &how());
    assert!(
        text.starts_with(&format!(
            "cannot push `{host}/x:latest`: registry {host} is not in reach ("
        )),
        "{text}"
    );
    let host = serve(|_, line| match line {
        line if line.starts_with("GET") => reply("200 OK", "", ""),
        line if line.starts_with("HEAD") => reply("404 Not Found", "", ""),
        _ => reply(
            "400 Bad Request",
            "",
            r#"{"errors":[{"code":"NAME_INVALID","message":"\u001b[31mno such thing"}]}"#,
        ),
    });
    let text = try_at(&format!("{host}/x"), &how());
    assert_eq!(
        text,
        format!(
            "cannot push `{host}/x:latest` to registry {host}: it answers with status 400: NAME_INVALID: [31mno such thing"
        )
    );
    let digest = format!("{host}/x@sha256:{}", "0".repeat(64));
    assert!(try_at(&digest, &how()).contains("name a tag"));
    let cancelled = how();
    cancelled.cancel.cancel();
    assert!(try_at(&format!("{host}/x"), &cancelled).ends_with("was cancelled"));
    std::fs::remove_dir_all(&dir).unwrap();
}
