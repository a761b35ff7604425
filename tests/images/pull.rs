//! Pulling, against a registry that the case starts on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::harness::{Need, Sandbox, eventually, http, leftovers::children, ports};

pub(super) const REGISTRY: &str = "docker-registry";

crate::cases!(&[Need::Root, Need::Busybox, Need::Program(REGISTRY), Need::Program("curl")];
    an_image_is_pulled_with_its_digests_verified_and_runs,
    a_corrupted_layer_is_refused_and_nothing_of_it_kept,
    an_image_the_registry_does_not_have_is_named_in_the_error,
    up_pulls_what_is_missing_and_nothing_else,
    an_image_that_is_only_mounted_is_pulled,
    pull_policies_decide_when_the_registry_is_asked,
);

/// A registry with its own storage; killed by its id when dropped.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    port: u16,
    storage: PathBuf,
}

impl Registry {
    pub(super) fn start(hoist: &Sandbox) -> Self {
        let port = ports::free();
        let storage = hoist.dir().join("registry");
        let config = hoist.file(
            "registry.yml",
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, maintenance: {{uploadpurging: {{enabled: \
                 false}}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
                storage.display()
            ),
        );
        let program = crate::harness::program(REGISTRY).expect("looked for before the case");
        let child = Command::new(program)
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the registry runs");
        let registry = Self {
            child,
            port,
            storage,
        };
        eventually("the registry answers", || {
            http::get(registry.address(), "/v2/")
                .ok()
                .filter(|a| a.status == 200)
        });
        registry
    }
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
    pub(super) fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.port)
    }
    /// Puts content at an address that ends in its digest.
    pub(super) fn upload(&self, image: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let answer = curl(
            &[
                "-si",
                "-X",
                "POST",
                &format!("http://127.0.0.1:{}/v2/{image}/blobs/uploads/", self.port),
            ],
            &[],
        );
        let place = answer
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("location:")
                    .then(|| line[9..].trim().to_owned())
            })
            .expect("a place to upload to");
        let place = if place.starts_with('/') {
            format!("http://127.0.0.1:{}{place}", self.port)
        } else {
            place
        };
        let joint = if place.contains('?') { '&' } else { '?' };
        let kind = "Content-Type: application/octet-stream";
        curl(
            &[
                "-sf",
                "-X",
                "PUT",
                "-H",
                kind,
                "--data-binary",
                "@-",
                &format!("{place}{joint}digest={digest}"),
            ],
            content,
        );
        digest
    }
    /// Makes an image of one uncompressed layer.
    fn push(&self, image: &str, layer: &[u8]) {
        self.image(image, &[layer]);
    }
    /// Makes an image of uncompressed layers.
    pub(super) fn image(&self, image: &str, layers: &[&[u8]]) {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| (digest(layer), *layer, kind))
            .collect();
        self.image_of(image, &layers);
    }
    /// Makes an image of layers: what each unpacks to, as it is, and its media type.
    pub(super) fn image_of(&self, image: &str, layers: &[(String, &[u8], &str)]) {
        let diffs: Vec<&String> = layers.iter().map(|(diff, ..)| diff).collect();
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "config": {"Cmd": ["cat", "/seed/grain"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diffs},
        })
        .to_string();
        let config_digest = self.upload(image, config.as_bytes());
        let mut said = Vec::new();
        for (_, layer, kind) in layers {
            let digest = self.upload(image, layer);
            said.push(
                serde_json::json!({"mediaType": kind, "digest": digest, "size": layer.len()}),
            );
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": said,
        })
        .to_string();
        let place = format!("http://127.0.0.1:{}/v2/{image}/manifests/latest", self.port);
        curl(
            &[
                "-sf",
                "-X",
                "PUT",
                "-H",
                &format!("Content-Type: {kind}"),
                "--data-binary",
                "@-",
                &place,
            ],
            manifest.as_bytes(),
        );
    }
    /// A manifest or index, by its path below `/v2/`.
    pub(super) fn manifest(&self, path: &str) -> String {
        let place = format!("http://127.0.0.1:{}/v2/{path}", self.port);
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json";
        curl(&["-sf", "-H", accept, &place], &[])
    }
    /// Its digest.
    pub(super) fn digest(&self, path: &str) -> String {
        digest(self.manifest(path).as_bytes())
    }
    /// File of a blob in the registry's storage.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage
            .join("docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

fn curl(arguments: &[&str], body: &[u8]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["--noproxy", "*", "--max-time", "60"])
        .args(arguments);
    crate::harness::process::finish(command, Some(body), crate::harness::process::LIMIT)
        .ok()
        .out
}

fn layer() -> Vec<u8> {
    std::fs::read(crate::harness::image::archive()).expect("the archive is there")
}

fn an_image_is_pulled_with_its_digests_verified_and_runs() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    registry.push("team/app", &layer());
    let name = registry.name("team/app");
    hoist.global(&["image", "pull", &name]).ok();
    hoist.compose(&format!("services:\n  a: {{image: '{name}'}}\n"));
    hoist.ok("run --rm -T a").prints("from the image");
    // Here already: told, not loaded again.
    hoist.global(&["image", "pull", &name]).ok();
}

fn a_corrupted_layer_is_refused_and_nothing_of_it_kept() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let layer = layer();
    registry.push("app", &layer);
    let file = registry.blob(&digest(&layer));
    let mut bytes = std::fs::read(&file).expect("the registry stores it so");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("writable");
    let name = registry.name("app");
    hoist
        .global(&["image", "pull", &name])
        .code(1)
        .says(&digest(&layer)[7..19]);
    hoist.global(&["image", "inspect", &name]).code(1);
    let layers = children(&hoist.data().join("layers"));
    let own = |path: &&PathBuf| path.ends_with(".staging") || path.ends_with(".quiet");
    let whole = layers.iter().filter(|path| !own(path));
    assert_eq!(whole.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    std::fs::write(&file, &layer).expect("writable");
    hoist.global(&["image", "pull", &name]).ok();
}

fn an_image_the_registry_does_not_have_is_named_in_the_error() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let name = registry.name("nosuch:1.0");
    hoist
        .global(&["image", "pull", &name])
        .code(1)
        .says("nosuch")
        .says("1.0");
    hoist.compose(&format!("services:\n  a: {{image: '{name}'}}\n"));
    hoist.run("up -d").code(1).says("nosuch");
    assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new());
}

fn up_pulls_what_is_missing_and_nothing_else() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    registry.push("app", &layer());
    let name = registry.name("app");
    hoist.compose(&format!(
        "services:\n  a: {{image: '{name}', command: sleep 3600, stop_signal: SIGKILL}}\n"
    ));
    hoist.run("up -d --pull never").code(1).says("app");
    hoist.ok("up -d").says("Pull");
    drop(registry);
    hoist.ok("up -d --force-recreate");
    assert_eq!(hoist.state("a"), "running");
}

fn an_image_that_is_only_mounted_is_pulled() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    registry.push("app", &layer());
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, volumes: [{{type: image, source: '{}', target: /data}}]}}\n",
        registry.name("app")
    ));
    hoist.ok("up -d").says("Pull");
    drop(registry);
    hoist.sh("a", "test -x /data/bin/busybox");
    hoist.ok("up -d --force-recreate");
    hoist.sh("a", "test -x /data/bin/busybox");
}

fn pull_policies_decide_when_the_registry_is_asked() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    registry.push("app", &layer());
    let name = registry.name("app");
    let with = |policy: &str| {
        hoist.compose(&format!(
            "services:\n  a:\n    image: '{name}'\n    command: sleep 3600\n    stop_signal: SIGKILL\n{policy}"
        ));
    };
    let pulled = || hoist.ok("up -d").all().contains("Pulled");
    with("    pull_policy: never\n");
    hoist.run("up -d").code(1).says("is not here");
    with("    pull_policy: missing\n");
    assert!(pulled() && !pulled());
    with("    pull_policy: if_not_present\n");
    assert!(!pulled());
    with("    pull_policy: always\n");
    assert!(pulled() && pulled());
    with("    pull_policy: daily\n");
    assert!(!pulled());
    with("    pull_policy: every_1h\n");
    assert!(!pulled());
    with("    pull_policy: refresh\n    pull_refresh_after: 24h\n");
    assert!(!pulled());
    with("    pull_policy: refresh\n    pull_refresh_after: 1ms\n");
    assert!(pulled());
    with("    pull_policy: every_1ms\n");
    assert!(pulled());
    with("    pull_policy: refresh\n");
    assert!(pulled());
    with("    pull_policy: sometimes\n");
    hoist.run("up -d").code(1).says("sometimes");
}
