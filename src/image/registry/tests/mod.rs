//! Pulls from a real registry on this machine, and what a broken one must not do.

mod access;
mod push;
mod resume;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference as OciReference, RegistryOperation};

use super::*;
use crate::base::event::{Event, Silent};
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Index, Manifest, Platform, media};

/// `secret`, as `htpasswd -B` writes it.
const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// A real registry on a free port, its files, and a store to pull into.
struct Scratch {
    dir: PathBuf,
    server: Child,
    host: String,
    store: Store,
}

impl Scratch {
    /// `None`, said aloud, where there is no registry program or no right to unpack.
    fn new(name: &str) -> Option<Self> {
        Self::with(name, false)
    }
    /// As [`Scratch::new`]; `user` with the password `secret` may use it, or everybody.
    fn with(name: &str, credentials: bool) -> Option<Self> {
        let program = "/usr/bin/docker-registry";
        if !std::path::Path::new(program).exists() || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and {program}");
            return None;
        }
        let dir =
            std::env::temp_dir().join(format!("hoist-registry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let host = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}/files}}\n\
             http: {{addr: {host}}}\n",
            dir.display()
        );
        let users = dir.join("users");
        std::fs::write(&users, format!("user:{BCRYPT}\n")).unwrap();
        let access = match credentials {
            true => format!(
                "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
                users.display()
            ),
            false => String::new(),
        };
        std::fs::write(dir.join("config.yml"), config + &access).unwrap();
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdin(Stdio::null());
        let server = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let scratch = Self {
            store: Store::open(&dir.join("data")).unwrap(),
            dir,
            server,
            host,
        };
        let begun = Instant::now();
        while TcpStream::connect(&scratch.host).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the registry does not listen"
            );
            std::thread::yield_now();
        }
        Some(scratch)
    }
    fn name(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.host)).unwrap()
    }
    fn pull(&self, rest: &str) -> Result<Image, PullError> {
        pull(&self.store, &self.name(rest), &options(), &Silent)
    }
    /// Pushes blobs to the repository `r`, then a manifest or index; gives its digest.
    fn push(&self, blobs: &[&[u8]], manifest: &[u8], media_type: &str, tag: &str) -> Digest {
        let digest = Digest::of(manifest);
        let image = OciReference::with_tag(self.host.clone(), "r".to_owned(), tag.to_owned());
        block_on(async {
            let client = Client::try_from(ClientConfig {
                protocol: ClientProtocol::HttpsExcept(vec![self.host.clone()]),
                tls_certs_only: certificates(),
                ..ClientConfig::default()
            });
            let client = client.unwrap();
            client
                .auth(&image, &RegistryAuth::Anonymous, RegistryOperation::Push)
                .await
                .unwrap();
            for blob in blobs {
                client
                    .push_blob(&image, blob.to_vec(), &Digest::of(blob).to_string())
                    .await
                    .unwrap();
            }
            client
                .push_manifest_raw(&image, manifest.to_vec(), media_type.parse().unwrap())
                .await
                .unwrap();
        });
        digest
    }
    /// Where the registry keeps a blob.
    fn kept(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join(format!(
            "files/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }
}

/// The authorities as the other client wants them.
fn certificates() -> Vec<oci_client::client::Certificate> {
    web::install_provider();
    let all = super::trust::authorities(&crate::base::env::Env::default()).into_iter();
    let encoding = || oci_client::client::CertificateEncoding::Der;
    all.map(|data| oci_client::client::Certificate {
        encoding: encoding(),
        data,
    })
    .collect()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    install();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn install() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn options() -> PullOptions {
    PullOptions {
        env: crate::base::env::Env::of_process(),
        ..PullOptions::default()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = content.len() as u64;
    Entry {
        size,
        ..Entry::new(path.as_bytes(), EntryKind::File, 0o644)
    }
    .write(&mut bytes)
    .unwrap();
    bytes.extend_from_slice(content);
    pad(&mut bytes, size).unwrap();
    end(&mut bytes).unwrap();
    bytes
}

/// Not compressible, so that a blob is as long as it says.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A config, two layers (gzip and zstd), and the manifest of them.
struct Sample {
    config: Vec<u8>,
    layers: [Vec<u8>; 2],
    manifest: Vec<u8>,
}

fn sample(text: &[u8]) -> Sample {
    let tars = [tar("a", text), tar("b", b"2")];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tars[0]).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let layers = [
        gzip.finish().unwrap(),
        ruzstd::encoding::compress_to_vec(tars[1].as_slice(), level),
    ];
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = tars.iter().map(|tar| Digest::of(tar)).collect();
    let config = serde_json::to_vec(&config).unwrap();
    let of = |kind, bytes: &[u8]| Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
    let blobs = vec![
        of(media::LAYER_GZIP, &layers[0]),
        of(media::LAYER_ZSTD, &layers[1]),
    ];
    let manifest = serde_json::to_vec(&Manifest::new(of(media::CONFIG, &config), blobs)).unwrap();
    Sample {
        config,
        layers,
        manifest,
    }
}

impl Sample {
    fn push(&self, to: &Scratch, tag: &str) -> Digest {
        let blobs = [self.config.as_slice(), &self.layers[0], &self.layers[1]];
        to.push(&blobs, &self.manifest, media::MANIFEST, tag)
    }
}

#[derive(Default)]
struct Phases(Mutex<Vec<&'static str>>);

impl EventSink for Phases {
    fn send(&self, event: Event) {
        if let Event::Pull { phase, .. } = event {
            self.0.lock().unwrap().push(phase);
        }
    }
}

#[test]
fn an_image_is_pulled_with_its_blobs_and_a_second_pull_finds_its_layers() {
    let Some(scratch) = Scratch::new("pull") else {
        return;
    };
    let sample = sample(b"hello");
    let digest = sample.push(&scratch, "1");
    let phases = Phases::default();
    let image = pull(&scratch.store, &scratch.name("r:1"), &options(), &phases).unwrap();
    assert_eq!(image.id, Digest::of(&sample.config));
    let layers = scratch.store.layers();
    let read =
        |at: usize, name: &str| std::fs::read(layers.path(&image.layers()[at]).join(name)).unwrap();
    assert_eq!(
        (read(0, "a"), read(1, "b")),
        (b"hello".to_vec(), b"2".to_vec())
    );
    assert_eq!(
        scratch.store.blob(&Digest::of(&sample.layers[0])).unwrap(),
        sample.layers[0]
    );
    let mut seen = std::mem::take(&mut *phases.0.lock().unwrap());
    seen.sort_unstable();
    seen.dedup();
    seen.retain(|phase| *phase != "Downloading");
    assert_eq!(
        seen,
        [
            "Download complete",
            "Extracting",
            "Pull complete",
            "Pulling fs layer"
        ]
    );

    let by_digest = Reference::parse(&format!("{}/r@{digest}", scratch.host)).unwrap();
    assert_eq!(
        scratch.store.resolve(&by_digest).unwrap().as_ref(),
        Some(&image)
    );
    pull(&scratch.store, &by_digest, &options(), &phases).unwrap();
    // What is unchanged is only asked for.
    assert_eq!(*phases.0.lock().unwrap(), [""; 0]);
    let known = scratch.store.repo_digests(&image.id).unwrap();
    assert_eq!(known, [by_digest.to_string()]);

    // Saved, the layers are the very bytes that were pulled.
    let mut saved = Vec::new();
    let one = crate::image::store::Saved {
        images: vec![image.clone()],
        names: vec![],
        along: crate::image::attest::Along::default(),
    };
    let target = crate::image::store::Target::archive(&mut saved);
    let how = crate::image::store::Saving::default();
    scratch.store.save(&[one], &how, target).unwrap();
    assert!(
        saved
            .windows(sample.layers[0].len())
            .any(|part| part == sample.layers[0])
    );
}

#[test]
fn the_platform_is_selected_from_an_index() {
    let Some(scratch) = Scratch::new("index") else {
        return;
    };
    let (one, two) = (sample(b"one"), sample(b"two"));
    let mut index = Index::default();
    for (sample, platform) in [(&one, "linux/amd64"), (&two, "linux/s390x")] {
        let digest = sample.push(&scratch, "part");
        let mut entry = Descriptor::new(media::MANIFEST, digest, sample.manifest.len() as u64);
        entry.platform = Some(Platform::parse(platform).unwrap());
        index.manifests.push(entry);
    }
    scratch.push(
        &[],
        &serde_json::to_vec(&index).unwrap(),
        media::INDEX,
        "all",
    );
    let with = |platform: &str| {
        let options = PullOptions {
            platform: Some(platform.to_owned()),
            ..options()
        };
        pull(&scratch.store, &scratch.name("r:all"), &options, &Silent)
    };
    assert_eq!(with("linux/s390x").unwrap().id, Digest::of(&two.config));
    assert_eq!(with("linux/amd64").unwrap().id, Digest::of(&one.config));
    let error = with("linux/riscv64").unwrap_err().to_string();
    assert!(
        error.contains("no matching manifest for linux/riscv64 in the manifest list entries: it has linux/amd64"),
        "{error}"
    );
    assert_eq!(
        with("a/b/c/d").unwrap_err().to_string(),
        "`a/b/c/d` is no platform; write it as linux/amd64"
    );
}

#[test]
fn a_download_goes_on_where_it_stopped_and_starts_again_when_its_part_is_bad() {
    let Some(scratch) = Scratch::new("resume") else {
        return;
    };
    let sample = sample(&noise(300_000));
    sample.push(&scratch, "1");
    let blob = &sample.layers[0];
    let part = scratch.store.ingest_path(&Digest::of(blob));
    let log = scratch.kept(&Digest::of(blob));
    assert!(log.exists());
    for begun in [
        blob[..blob.len() / 2].to_vec(),
        vec![0; 1000],
        blob.repeat(2),
    ] {
        let store = Store::open(&scratch.dir.join("again")).unwrap();
        std::fs::write(store.ingest_path(&Digest::of(blob)), begun).unwrap();
        pull(&store, &scratch.name("r:1"), &options(), &Silent).unwrap();
        assert_eq!(store.blob(&Digest::of(blob)).unwrap(), *blob);
        assert!(!store.ingest_path(&Digest::of(blob)).exists());
        std::fs::remove_dir_all(scratch.dir.join("again")).unwrap();
    }
    assert!(!part.exists());
}

#[test]
fn damaged_content_never_becomes_a_layer() {
    let Some(scratch) = Scratch::new("damage") else {
        return;
    };
    let sample = sample(b"x");
    sample.push(&scratch, "1");
    let kept = scratch.kept(&Digest::of(&sample.layers[0]));
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let error = scratch.pull("r:1").unwrap_err();
    assert!(matches!(error, PullError::Corrupt { .. }), "{error}");
    assert!(
        !scratch
            .store
            .blob_path(&Digest::of(&sample.layers[0]))
            .exists()
    );
    assert_eq!(scratch.store.resolve(&scratch.name("r:1")).unwrap(), None);

    // A config that lies about its layers.
    let honest = super::super::store::parse_config(&sample.config).unwrap();
    let mut lie = honest.config;
    lie.rootfs.diff_ids.swap(0, 1);
    let lie = serde_json::to_vec(&lie).unwrap();
    let of = |kind, bytes: &[u8]| Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
    let layers = vec![
        of(media::LAYER_ZSTD, &sample.layers[1]),
        of(media::LAYER_ZSTD, &sample.layers[1]),
    ];
    let manifest = serde_json::to_vec(&Manifest::new(of(media::CONFIG, &lie), layers)).unwrap();
    scratch.push(
        &[&lie, &sample.layers[1]],
        &manifest,
        media::MANIFEST,
        "lie",
    );
    let error = scratch.pull("r:lie").unwrap_err().to_string();
    assert!(error.contains("unpacks to"), "{error}");
}

#[test]
fn pulls_of_the_same_image_at_the_same_time_all_end_well() {
    let Some(scratch) = Scratch::new("together") else {
        return;
    };
    let sample = sample(&noise(200_000));
    sample.push(&scratch, "1");
    std::thread::scope(|scope| {
        let pull = || {
            let store = Store::open(&scratch.dir.join("data")).unwrap();
            pull(&store, &scratch.name("r:1"), &options(), &Silent)
                .unwrap()
                .id
        };
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(pull)).collect();
        for pull in pulls {
            assert_eq!(pull.join().unwrap(), Digest::of(&sample.config));
        }
    });
    let left = |dir: &str| {
        std::fs::read_dir(scratch.dir.join("data").join(dir))
            .unwrap()
            .count()
    };
    assert_eq!((left("images/ingest"), left("layers/.staging")), (0, 0));
    assert_eq!(left("images/blobs/sha256"), 4);
}

#[test]
fn an_image_that_is_not_there_is_said_so() {
    let Some(scratch) = Scratch::new("missing") else {
        return;
    };
    sample(b"x").push(&scratch, "1");
    for name in ["r:2", "q"] {
        let error = scratch.pull(name).unwrap_err();
        assert!(
            matches!(&error, PullError::NotFound(image) if *image == scratch.name(name).to_string()),
            "{error}"
        );
    }
}

fn empty_store(name: &str) -> (PathBuf, Store) {
    let dir = std::env::temp_dir().join(format!("hoist-pull-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let store = Store::open(&dir).unwrap();
    (dir, store)
}

#[test]
fn a_registry_out_of_reach_is_named_soon() {
    let (dir, store) = empty_store("unreachable");
    let host = format!("127.0.0.1:{}", free_port());
    let name = Reference::parse(&format!("{host}/x")).unwrap();
    let begun = Instant::now();
    let error = pull(&store, &name, &options(), &Silent).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!(
            "cannot pull `{host}/x:latest`: registry {host} is not in reach ("
        )),
        "{text}"
    );
    assert!(
        text.contains("refused") && text.contains("hoist image import"),
        "{text}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Answers requests one after the other with what `answer` makes of their number and first line.
fn serve(answer: impl Fn(usize, &str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let _ = stream
                .write_all(answer(number, text.lines().next().unwrap_or_default()).as_bytes());
        }
    });
    host
}

fn reply(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_refusal_says_where_credentials_are_looked_for() {
    let (dir, store) = empty_store("refused");
    let host = serve(|_, _| {
        reply(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "",
        )
    });
    let name = Reference::parse(&format!("{host}/x")).unwrap();
    let mut options = PullOptions::default();
    options
        .env
        .vars
        .insert("DOCKER_CONFIG".to_owned(), "/nowhere".to_owned());
    let error = pull(&store, &name, &options, &Silent)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "registry {host} refuses access to `{host}/x:latest`: it may not exist, or need credentials; \
             there is no /nowhere/config.json; log in with `hoist login {host}`"
        )
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_busy_registry_is_asked_again() {
    let (dir, store) = empty_store("busy");
    let host = serve(|_, line| match line {
        line if line.contains("/v2/ ") => reply("200 OK", "", ""),
        _ => {
            static ASKED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            match ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => reply("503 Service Unavailable", "", ""),
                _ => reply("404 Not Found", "", ""),
            }
        }
    });
    let name = Reference::parse(&format!("{host}/x")).unwrap();
    let error = pull(&store, &name, &PullOptions::default(), &Silent).unwrap_err();
    assert!(matches!(error, PullError::NotFound(_)), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}
