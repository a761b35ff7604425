//! The examples of `compose-examples`: each is built and run for real, and answers real requests.
//!
//! Base images come from `compose-examples/base-images`, once for all examples of a test run: from a registry, or as
//! stand-ins that are made here. Imports: `harness`.

pub mod drafted;
pub mod image_classifier;
pub mod ml_workspace;
pub mod text_classifier;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::finish;
use crate::harness::{Need, Sandbox, hoist, http::Answer, leftovers::children, ports, repository};

/// What an example cannot do without, where no registry gives the base images.
pub const NEEDS: &[Need] = &[Need::Root, Need::Program("mmdebstrap")];

/// How long building and starting everything may take: packages are loaded from the net.
const BUILD: Duration = Duration::from_secs(1800);
/// Variables by which a machine says where its certificates are.
const CERTIFICATES: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
];
/// Variables by which a machine says how it reaches the net, beside [`CERTIFICATES`].
const NETWORK: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
];
/// A base image, as `compose-examples/base-images` knows it.
const PYTHON: &str = "python:3.11-slim";
/// A base image, as [`PYTHON`].
const DEBIAN: &str = "debian:bookworm-slim";

/// An image store with the base images got so far.
static BASES: Mutex<Option<Sandbox>> = Mutex::new(None);

/// Removes the base images.
pub fn clean_up() {
    let bases = BASES.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(bases);
}

/// A copy of an example, as a project of its own that has its base images.
#[derive(Debug)]
struct Example {
    sandbox: Sandbox,
    trust: &'static str,
}

impl Example {
    /// The example of this name, which builds on these images.
    fn new(name: &str, bases: &[&str]) -> Self {
        let mut sandbox = Sandbox::empty();
        sandbox.limit(BUILD);
        sandbox.name = format!("{}{}", &name[..2], ports::free());
        let mut trust = "";
        for name in CERTIFICATES.iter().chain(NETWORK) {
            if let Ok(value) = std::env::var(name) {
                sandbox.set(name, &value);
                if CERTIFICATES.contains(name) {
                    trust = "--trust-host-ca";
                }
            }
        }
        copy(
            &repository().join("compose-examples").join(name),
            &sandbox.dir(),
        );
        lend(name, bases, &sandbox);
        Self { sandbox, trust }
    }

    /// Sets the variable that names a published port to a free one, and gives its address.
    fn port(&self, variable: &str) -> SocketAddr {
        let port = ports::free();
        self.sandbox.set(variable, &port.to_string());
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Builds what is not built, starts everything, waits until it is healthy.
    fn up(&self) {
        self.sandbox.ok(&format!("{} up --wait", self.trust));
    }

    /// Builds, and gives what is printed.
    fn build(&self) -> String {
        let arguments = format!("{} --progress plain build", self.trust);
        self.sandbox.ok(&arguments).all()
    }

    /// Takes everything down with its data: nothing may be left.
    fn end(&self) {
        self.sandbox.ok("down -v");
        assert_eq!(self.sandbox.volumes().len(), 0, "down -v left a volume");
        assert_eq!(self.sandbox.sweep(), Vec::<String>::new());
    }
}

/// Gives a sandbox the base images of an example.
fn lend(example: &str, bases: &[&str], sandbox: &Sandbox) {
    let archive = sandbox.dir().with_file_name("bases.tar");
    let archive = archive.to_string_lossy();
    {
        let mut store = BASES.lock().unwrap_or_else(PoisonError::into_inner);
        let store = store.get_or_insert_with(|| Sandbox::of_the_run("bases"));
        let mut command = Command::new(repository().join("compose-examples/base-images"));
        command
            .arg(example)
            .env("HOIST", hoist())
            .env("HOIST_DATA_ROOT", store.data())
            .env("HOIST_RUN_ROOT", store.run_root())
            // A registry that does not answer must not take the test's time.
            .env("PULL_TIMEOUT", "60");
        finish(command, None, BUILD).ok();
        let words = ["image", "save", "-o", &archive];
        store.global(&[&words[..], bases].concat()).ok();
    }
    sandbox.global(&["image", "load", "-i", &archive]).ok();
    std::fs::remove_file(&*archive).expect("it was just made");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy's directory can be made");
    for path in children(from) {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a file of the example can be copied");
        }
    }
}

/// The JSON of an answer that must have this status.
fn json(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// A form with one file, as a browser sends it: content type and body.
fn form(field: &str, file: &[u8]) -> (String, Vec<u8>) {
    let boundary = "a-line-that-no-file-has";
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"file\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let end = format!("\r\n--{boundary}--\r\n");
    let kind = format!("multipart/form-data; boundary={boundary}");
    (kind, [head.as_bytes(), file, end.as_bytes()].concat())
}
