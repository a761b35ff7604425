//! Pulls and pushes through everything that goes wrong on the way, with a proxy that makes it go wrong.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::pull::{REGISTRY, Registry, digest};
use crate::harness::process::Running;
use crate::harness::proxy::{Fault, Proxy, Seen};
use crate::harness::{Need, Sandbox, eventually, leftovers::children};

crate::cases!(&[Need::Root, Need::Program(REGISTRY), Need::Program("curl")];
    a_pull_goes_on_after_cuts_silence_and_refusals,
    a_registry_that_knows_no_ranges_costs_bytes_but_no_pull,
    what_is_not_what_it_says_is_refused_with_a_reason,
    a_registry_that_is_no_registry_is_named_as_what_it_is,
    credentials_do_not_follow_a_redirect,
    a_pull_that_is_killed_anywhere_leaves_no_half_image_and_is_gone_on_with,
    a_blob_that_several_processes_need_is_fetched_once,
    an_interrupt_ends_a_pull_that_stalls_at_once,
    what_is_unchanged_is_asked_for_without_fetching_anything,
    layers_are_unpacked_however_they_are_compressed_and_whatever_is_said_of_it,
    a_push_goes_on_after_cuts_and_refusals,
    a_push_says_what_docker_says,
);

/// An archive of one file of bytes that can't be compressed.
fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut state = name
        .bytes()
        .fold(7u32, |sum, byte| sum * 31 + u32::from(byte));
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let content: Vec<u8> = (0..size).map(|_| next()).collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size as u64);
    tar.append_data(&mut header, name, content.as_slice())
        .expect("memory takes it");
    tar.into_inner().expect("memory takes it")
}

/// A sandbox that waits briefly, a registry with an image of three layers, and these.
fn ready() -> (Sandbox, Registry, [Vec<u8>; 3]) {
    let hoist = Sandbox::empty();
    hoist.set("HOIST_REGISTRY_TIMEOUT", "1");
    let registry = Registry::start(&hoist);
    let layers = ["one", "two", "three"].map(|name| layer(name, 500_000));
    registry.image("app", &layers.each_ref().map(Vec::as_slice));
    (hoist, registry, layers)
}

/// Looks at each byte of the store: blobs have their digests, layers unpack from blobs of their diff ids.
fn check_store(data: &Path) {
    for blob in children(&data.join("images/blobs/sha256")) {
        let content = std::fs::read(&blob).expect("readable");
        let name = blob
            .file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned();
        if !name.starts_with('.') {
            assert_eq!(digest(&content), format!("sha256:{name}"));
        }
    }
    for dir in children(&data.join("layers")) {
        if !dir.is_dir() || dir.ends_with(".staging") {
            continue;
        }
        let record = std::fs::read(dir.with_extension("json")).expect("written before it");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        let blob = record["blob"]["digest"]
            .as_str()
            .expect("it came as a blob");
        let blob = data
            .join("images/blobs/sha256")
            .join(blob.trim_start_matches("sha256:"));
        let archive = std::fs::read(blob).expect("kept with its layer");
        let id = dir
            .file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned();
        assert_eq!(digest(&archive), format!("sha256:{id}"));
        for entry in tar::Archive::new(archive.as_slice())
            .entries()
            .expect("an archive")
        {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("readable");
            let path = dir.join(entry.path().expect("a name"));
            assert!(std::fs::read(path).expect("unpacked") == content);
        }
    }
}

fn nothing_is_kept(hoist: &Sandbox, name: &str) {
    hoist.global(&["image", "inspect", name]).code(1);
    check_store(&hoist.data());
}

fn ranges(seen: &[Seen]) -> Vec<&str> {
    let lines = seen
        .iter()
        .filter(|one| one.is_blob())
        .flat_map(|one| one.head.lines());
    lines
        .filter(|line| line.to_ascii_lowercase().starts_with("range:"))
        .collect()
}

fn a_pull_goes_on_after_cuts_silence_and_refusals() {
    let (hoist, registry, layers) = ready();
    let digests = layers.each_ref().map(|layer| digest(layer));
    let proxy = Proxy::start(registry.address(), move |seen| match seen.earlier {
        0 if seen.path.ends_with(&digests[0]) => Fault::Cut(200_000),
        0 if seen.path.ends_with(&digests[1]) => Fault::Stall(100_000),
        0 if seen.path.ends_with(&digests[2]) => Fault::Instead(
            "503 Service Unavailable".into(),
            String::new(),
            String::new(),
        ),
        1 if seen.path.ends_with(&digests[2]) => Fault::Instead(
            "429 Too Many Requests".into(),
            "Retry-After: 1\r\n".into(),
            String::new(),
        ),
        0 if seen.path.contains("/manifests/") => Fault::Instead(
            "500 Internal Server Error".into(),
            String::new(),
            "oops".into(),
        ),
        _ => Fault::None,
    });
    hoist.global(&["image", "pull", &proxy.name("app")]).ok();
    check_store(&hoist.data());
    let seen = proxy.seen();
    let mut ranges = ranges(&seen);
    ranges.sort_unstable();
    assert_eq!(ranges, ["range: bytes=100000-", "range: bytes=200000-"]);
    // Nothing came twice.
    let all: usize = layers.iter().map(Vec::len).sum();
    let blobs: u64 = seen
        .iter()
        .filter(|one| {
            layers
                .iter()
                .any(|layer| one.path.ends_with(&digest(layer)))
        })
        .map(|one| one.served)
        .sum();
    assert_eq!(blobs, all as u64);
}

fn a_registry_that_knows_no_ranges_costs_bytes_but_no_pull() {
    let (hoist, registry, layers) = ready();
    let first = digest(&layers[0]);
    let proxy = Proxy::start(registry.address(), move |seen| {
        match (seen.path.ends_with(&first), seen.earlier) {
            (true, 0) => Fault::Cut(300_000),
            (true, _) => Fault::NoRange,
            _ => Fault::None,
        }
    });
    hoist.global(&["image", "pull", &proxy.name("app")]).ok();
    check_store(&hoist.data());
}

fn what_is_not_what_it_says_is_refused_with_a_reason() {
    let (hoist, registry, layers) = ready();
    hoist.set("HOIST_REGISTRY_RETRIES", "1");
    let first = digest(&layers[0]);
    for (fault, reason) in [
        (Fault::Flip(1000), "a blob's digest is sha256:"),
        (Fault::Length(10), "bytes long instead of"),
        (Fault::Length(-10), "bytes long instead of"),
        (Fault::Cut(0), "the connection broke"),
        (
            Fault::Instead(
                "200 OK".into(),
                "Content-Type: text/html\r\n".into(),
                "<html>".into(),
            ),
            "a web page instead of a layer",
        ),
        (
            Fault::Instead("404 Not Found".into(), String::new(), String::new()),
            "it has no blob sha256:",
        ),
        (
            Fault::Instead(
                "429 Too Many Requests".into(),
                "Retry-After: 3600\r\n".into(),
                String::new(),
            ),
            "it asks to wait 3600 s",
        ),
    ] {
        let spoilt = first.clone();
        let proxy = Proxy::start(registry.address(), move |seen| {
            match seen.path.ends_with(&spoilt) {
                true => fault.clone(),
                false => Fault::None,
            }
        });
        let name = proxy.name("app");
        hoist.global(&["image", "pull", &name]).code(1).says(reason);
        nothing_is_kept(&hoist, &name);
    }
    // What goes on behind the end is not waited for.
    let proxy = Proxy::start(registry.address(), |seen| match seen.is_blob() {
        true => Fault::Endless,
        false => Fault::None,
    });
    hoist.global(&["image", "pull", &proxy.name("app")]).ok();
    check_store(&hoist.data());
}

fn a_registry_that_is_no_registry_is_named_as_what_it_is() {
    let (hoist, registry, _) = ready();
    hoist.set("HOIST_REGISTRY_RETRIES", "0");
    let ok = |kind: &str, body: String| {
        Fault::Instead("200 OK".into(), format!("Content-Type: {kind}\r\n"), body)
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let empty = digest(b"{}");
    let of = |config: &str, layers: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{empty}","size":2}},"layers":[{layers}]}}"#
        )
    };
    let foreign = format!(
        r#"{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{empty}","size":2,"urls":["https://x"]}}"#
    );
    let here = "Location: /v2/app/manifests/latest\r\n".to_owned();
    for (fault, reason) in [
        (
            ok("text/html", "<html>".into()),
            "a web page instead of a manifest",
        ),
        (ok(oci, "{".into()), "the manifest is malformed"),
        (
            ok(oci, " ".repeat(5 << 20)),
            "a manifest is longer than 4194304 bytes",
        ),
        (
            ok(
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                r#"{"schemaVersion":1}"#.into(),
            ),
            "manifest schema 1",
        ),
        (
            ok(
                oci,
                of("application/vnd.oci.image.config.v1+json", &foreign),
            ),
            "lies outside of the registry",
        ),
        (
            ok(oci, of("application/vnd.cncf.helm.config.v1+json", "")),
            "no image but an artifact",
        ),
        (
            Fault::Instead("307 Temporary Redirect".into(), here, String::new()),
            "redirects without end",
        ),
        (Fault::Stall(0), "silent for 1 s"),
        (
            Fault::Instead("403 Forbidden".into(), String::new(), String::new()),
            "refuses access",
        ),
    ] {
        let proxy = Proxy::start(registry.address(), move |seen| {
            match seen.path.contains("/manifests/") {
                true => fault.clone(),
                false => Fault::None,
            }
        });
        let name = proxy.name("app");
        hoist.global(&["image", "pull", &name]).code(1).says(reason);
        nothing_is_kept(&hoist, &name);
    }
}

fn credentials_do_not_follow_a_redirect() {
    let (hoist, registry, _) = ready();
    let elsewhere = Proxy::start(registry.address(), |_| Fault::None);
    let port = elsewhere.port();
    let proxy = Proxy::start(registry.address(), move |seen| {
        let asked = seen.head.to_ascii_lowercase();
        if !asked.contains(
            "authorization: basic dXNlcjpzZWNyZXQ="
                .to_lowercase()
                .as_str(),
        ) {
            let challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n".into();
            return Fault::Instead("401 Unauthorized".into(), challenge, String::new());
        }
        if !seen.is_blob() {
            return Fault::None;
        }
        let to = format!("Location: http://localhost:{port}{}\r\n", seen.path);
        Fault::Instead("307 Temporary Redirect".into(), to, String::new())
    });
    let name = proxy.name("app");
    let host = name.trim_end_matches("/app");
    // user:secret
    let text = format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    let file = hoist.file("docker/config.json", text);
    let dir = file.parent().expect("it lies in one");
    hoist.set("DOCKER_CONFIG", &dir.display().to_string());
    hoist.global(&["image", "pull", &name]).ok();
    check_store(&hoist.data());
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 4);
    for one in seen {
        let head = one.head.to_ascii_lowercase();
        assert!(!head.contains("authorization"), "{head}");
    }
}

fn a_pull_that_is_killed_anywhere_leaves_no_half_image_and_is_gone_on_with() {
    let (hoist, registry, layers) = ready();
    let proxy = Proxy::start(registry.address(), |seen| match seen.is_blob() {
        true => Fault::Slow(16 * 1024, Duration::from_millis(4)),
        false => Fault::None,
    });
    let name = proxy.name("app");
    let all: usize = layers.iter().map(Vec::len).sum();
    let steps = 6;
    for step in 0..steps {
        let until = (all * step / steps) as u64;
        let mut pull = Running::start(hoist.command(&["image", "pull", &name]));
        eventually("enough has come", || {
            (proxy.served() > until || !crate::harness::process::is_alive(pull.pid())).then_some(())
        });
        pull.signal(Signal::SIGKILL);
        pull.wait();
        nothing_is_kept(&hoist, &name);
    }
    hoist.global(&["image", "pull", &name]).ok();
    check_store(&hoist.data());
    // What the killed ones had received was not fetched again; a little was on its way.
    assert!(proxy.served() < all as u64 * 2, "{}", proxy.served());
    assert_eq!(
        children(&hoist.data().join("images/ingest")),
        [""; 0].map(std::path::PathBuf::from)
    );
    assert_eq!(children(&hoist.data().join("layers/.staging")).len(), 0);
}

fn a_blob_that_several_processes_need_is_fetched_once() {
    let (hoist, registry, layers) = ready();
    let own = layer("own", 300_000);
    registry.image("other", &[&layers[0], &own, &layers[2]]);
    registry.image("third", &[&layers[1], &layers[2]]);
    let proxy = Proxy::start(registry.address(), |seen| match seen.is_blob() {
        true => Fault::Slow(64 * 1024, Duration::from_millis(4)),
        false => Fault::None,
    });
    let names = ["app", "other", "third"].map(|image| proxy.name(image));
    let pulls = names
        .each_ref()
        .map(|name| Running::start(hoist.command(&["image", "pull", name])));
    for mut pull in pulls {
        let code = pull.wait();
        assert_eq!(code, 0, "{}", pull.text());
    }
    check_store(&hoist.data());
    let seen = proxy.seen();
    let blobs: Vec<&str> = seen
        .iter()
        .filter(|one| one.is_blob())
        .filter_map(|one| one.path.rsplit('/').next())
        .collect();
    let each: BTreeSet<&str> = blobs.iter().copied().collect();
    assert_eq!(blobs.len(), each.len(), "{blobs:?}");
    for name in &names {
        hoist.global(&["image", "inspect", name]).ok();
    }
}

fn an_interrupt_ends_a_pull_that_stalls_at_once() {
    let (hoist, registry, _) = ready();
    hoist.set("HOIST_REGISTRY_TIMEOUT", "60");
    let proxy = Proxy::start(registry.address(), |seen| match seen.is_blob() {
        true => Fault::Stall(1000),
        false => Fault::None,
    });
    hoist.compose(&format!(
        "services:\n  a: {{image: '{}'}}\n",
        proxy.name("app")
    ));
    for command in [vec!["image", "pull", &proxy.name("app")], vec!["pull"]] {
        proxy.forget();
        let mut pull = Running::start(hoist.command(&command));
        eventually("it stalls", || {
            proxy
                .seen()
                .iter()
                .any(|one| one.served >= 1000)
                .then_some(())
        });
        let begun = Instant::now();
        pull.signal(Signal::SIGINT);
        assert_ne!(pull.wait(), 0);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

fn what_is_unchanged_is_asked_for_without_fetching_anything() {
    let (hoist, registry, layers) = ready();
    let proxy = Proxy::start(registry.address(), |_| Fault::None);
    let name = proxy.name("app");
    hoist
        .global(&["image", "pull", &name])
        .ok()
        .says("Status: Downloaded newer image for");
    proxy.forget();
    hoist
        .global(&["image", "pull", &name])
        .ok()
        .says("Status: Image is up to date for");
    let asked = |seen: &Seen| format!("{} {}", seen.method, seen.path);
    let seen: Vec<String> = proxy.seen().iter().map(asked).collect();
    // The first one finds out how the registry is spoken to.
    assert_eq!(seen, ["GET /v2/", "HEAD /v2/app/manifests/latest"]);
    // Another image of the name is noticed, and only what is new is fetched.
    registry.image("app", &[&layers[0]]);
    proxy.forget();
    hoist
        .global(&["image", "pull", "-q", &name])
        .ok()
        .prints(&format!("{name}:latest"));
    let blobs = proxy.seen().iter().filter(|one| one.is_blob()).count();
    assert_eq!(blobs, 1);
}

fn layers_are_unpacked_however_they_are_compressed_and_whatever_is_said_of_it() {
    let (hoist, registry, layers) = ready();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layers[0]).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(layers[1].as_slice(), level);
    let ids = layers.each_ref().map(|layer| digest(layer));
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    for (name, kinds) in [
        (
            "honest",
            [&format!("{oci}+gzip"), &format!("{oci}+zstd"), oci],
        ),
        ("liar", [&format!("{oci}+zstd"), docker, docker]),
    ] {
        let [one, two, three] = ids.clone();
        let layers: [(String, &[u8], &str); 3] = [
            (one, &gzip, kinds[0]),
            (two, &zstd, kinds[1]),
            (three, &layers[2], kinds[2]),
        ];
        registry.image_of(name, &layers);
        let name = registry.name(name);
        hoist.global(&["image", "pull", &name]).ok();
        for (id, file) in ids.iter().zip(["one", "two", "three"]) {
            let dir = hoist
                .data()
                .join("layers")
                .join(id.trim_start_matches("sha256:"));
            assert_eq!(dir.join(file).metadata().expect("unpacked").len(), 500_000);
        }
        hoist.global(&["image", "rm", &name]).ok();
    }
}

fn a_push_goes_on_after_cuts_and_refusals() {
    let (hoist, registry, layers) = ready();
    hoist.global(&["image", "pull", &registry.name("app")]).ok();
    let refused = |status: &str| Fault::Instead(status.to_owned(), String::new(), String::new());
    let uploads = std::sync::atomic::AtomicUsize::new(0);
    let proxy = Proxy::start(registry.address(), move |seen| {
        if seen.method == "PUT" && seen.path.contains("/uploads/") {
            return match uploads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Fault::CutRequest(100_000),
                1 => refused("413 Payload Too Large"),
                2 => refused("503 Service Unavailable"),
                _ => Fault::None,
            };
        }
        match (seen.method.as_str(), seen.earlier) {
            ("PUT", 0) => refused("502 Bad Gateway"),
            _ => Fault::None,
        }
    });
    let name = proxy.name("pushed:1");
    hoist
        .global(&["image", "tag", &registry.name("app"), &name])
        .ok();
    hoist
        .global(&["image", "push", &name])
        .ok()
        .says("1: digest: sha256:");
    hoist
        .global(&["image", "rm", &name, &registry.name("app")])
        .ok();
    hoist
        .global(&["image", "pull", &registry.name("pushed:1")])
        .ok();
    check_store(&hoist.data());
    for layer in &layers {
        let id = digest(layer);
        let dir = hoist
            .data()
            .join("layers")
            .join(id.trim_start_matches("sha256:"));
        assert!(dir.is_dir());
    }
}

fn a_push_says_what_docker_says() {
    let (hoist, registry, layers) = ready();
    let (app, two) = (registry.name("app"), registry.name("two"));
    hoist.global(&["image", "pull", "-q", &app]).ok();
    for tag in ["1", "2"] {
        hoist
            .global(&["image", "tag", &app, &format!("{two}:{tag}")])
            .ok();
    }
    let id = |at: usize| digest(&layers[at])[7..19].to_owned();
    let first = hoist.global(&["image", "push", &format!("{two}:1")]).ok();
    assert!(
        first
            .out
            .starts_with(&format!("The push refers to repository [{two}]\n"))
    );
    for at in 0..3 {
        // The registry has it under another name.
        assert!(
            first.out.contains(&format!("{}: Mounted\n", id(at))),
            "{}",
            first.out
        );
    }
    assert!(first.out.contains("\n1: digest: sha256:") && first.out.contains(" size: "));
    let all = hoist.global(&["image", "push", "-a", &two]).ok();
    assert!(
        all.out
            .contains(&format!("{}: Layer already exists\n", id(0)))
    );
    assert!(all.out.contains("\n1: digest: ") && all.out.contains("\n2: digest: "));
    hoist
        .global(&["image", "push", "-q", &format!("{two}:2")])
        .ok()
        .prints(&format!("{two}:2"));
    for (arguments, says) in [
        (vec!["-a", "two:1"], "tag can't be used with --all-tags"),
        (
            vec!["nosuch:1"],
            "does not exist locally with the tag: nosuch:1",
        ),
        (
            vec!["--platform", "linux/s390x", &app],
            "does not match the specified platform",
        ),
    ] {
        let arguments: Vec<&str> = ["image", "push"].into_iter().chain(arguments).collect();
        hoist.global(&arguments).code(1).says(says);
    }
}
