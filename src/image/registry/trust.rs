//! Certificates: authorities that are trusted, and those with which a registry is told who asks.
//!
//! In: the environment, a registry's `host:port`. Out: certificates that the TLS library accepts; others of a bundle
//! are left out rather than making every pull fail. Imports: `base::env`, `config`.
//! Rules: OpenSSL's `SSL_CERT_FILE` and `SSL_CERT_DIR`; the paths are those of Debian, Fedora, openSUSE, Alpine (Go
//! `crypto/x509/root_linux.go`); else Mozilla's list, built in. containers-certs.d(5); dockerd, `/etc/docker/certs.d`.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::config::user_config;
use super::credentials::is_hub;
use crate::base::env::Env;

const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities to trust, each as DER; never empty.
pub(in crate::image) fn authorities(env: &Env) -> Vec<Vec<u8>> {
    let said = env
        .non_empty("SSL_CERT_FILE")
        .map(|path| env.cwd.join(path));
    let paths = said.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let mut bundles = paths
        .filter_map(|path| std::fs::read(path).ok())
        .map(|text| usable(&text));
    let mut found = bundles.find(|found| !found.is_empty()).unwrap_or_default();
    // As Go and OpenSSL: the directories count besides.
    let dirs = env.non_empty("SSL_CERT_DIR").unwrap_or_default();
    for dir in dirs.split(':').filter(|dir| !dir.is_empty()) {
        for path in sorted(&env.cwd.join(dir)) {
            if let Ok(text) = std::fs::read(&path) {
                found.extend(usable(&text));
            }
        }
    }
    if found.is_empty() {
        let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        found = built_in.map(|cert| cert.to_vec()).collect();
    }
    found
}

fn usable(bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut store = RootCertStore::empty();
    CertificateDer::pem_slice_iter(bundle)
        .filter_map(Result::ok)
        .filter(|cert| store.add(cert.clone()).is_ok())
        .map(|cert| cert.to_vec())
        .collect()
}

/// What a directory of certificates adds for one registry.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Where it was found.
    pub(super) dir: Option<PathBuf>,
    pub(super) authorities: Vec<Certificate>,
    pub(super) identity: Option<Identity>,
}

/// The directories in which a registry's certificates may lie; the first that is there counts.
/// Source: containers/image `docker_client.go`; the last is that of Docker's users without root.
pub(super) fn dirs(registry: &str, env: &Env) -> Vec<PathBuf> {
    let user = user_config(env);
    let etc = env.etc.as_ref();
    let parents = [
        user.as_ref().map(|dir| dir.join("containers/certs.d")),
        etc.map(|dir| dir.join("containers/certs.d")),
        etc.map(|dir| dir.join("docker/certs.d")),
        user.as_ref().map(|dir| dir.join("docker/certs.d")),
    ];
    let hub = ["docker.io", "registry-1.docker.io"];
    let names: &[&str] = if is_hub(registry) { &hub } else { &[registry] };
    let parents = parents.into_iter().flatten();
    parents
        .flat_map(|parent| names.iter().map(move |name| parent.join(name)))
        .collect()
}

/// Reads a registry's own certificates.
///
/// # Errors
/// A file that can't be used, by name.
pub(super) fn own(registry: &str, env: &Env) -> Result<Own, String> {
    // A name that leads elsewhere is no directory of ours.
    if registry.contains('/') || registry.starts_with('.') {
        return Ok(Own::default());
    }
    let Some(dir) = dirs(registry, env).into_iter().find(|dir| dir.is_dir()) else {
        return Ok(Own::default());
    };
    let mut own = Own::default();
    for path in sorted(&dir) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            Some("crt") => own.authorities.extend(bundle(&path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(format!(
                        "{} has no key {} beside it; certificates of authorities end in .crt",
                        path.display(),
                        key.display()
                    ));
                }
                let identity = identity(&path, &key)?;
                own.identity = own.identity.or(Some(identity));
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(format!(
                    "{} has no certificate {} beside it",
                    path.display(),
                    path.with_extension("cert").display()
                ));
            }
            _ => {}
        }
    }
    own.dir = Some(dir);
    Ok(own)
}

fn bundle(path: &Path) -> Result<Vec<Certificate>, String> {
    let found = usable(&read(path)?);
    if found.is_empty() {
        return Err(format!(
            "{} has no usable certificate; expected PEM",
            path.display()
        ));
    }
    let made = found.iter().map(|der| Certificate::from_der(der));
    made.collect::<Result<_, _>>()
        .map_err(|_| format!("{} has an unusable certificate", path.display()))
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, String> {
    let mut pem = read(cert)?;
    pem.push(b'\n');
    pem.extend_from_slice(&read(key)?);
    Identity::from_pem(&pem).map_err(|_| {
        format!(
            "{} and {} are no certificate and key; expected PEM, the key without a passphrase",
            cert.display(),
            key.display()
        )
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = std::fs::read(path).map(Zeroizing::new);
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Entries of a directory by name.
fn sorted(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// What mends it that a registry's certificate is signed by an authority nobody knows.
pub(super) fn advice(registry: &str, env: &Env) -> String {
    let place = match env.etc.as_ref() {
        Some(etc) => etc.join("containers/certs.d"),
        None => PathBuf::from("/etc/containers/certs.d"),
    };
    format!(
        "put the authority's certificate into {}/{registry}/ca.crt, or name a bundle with it in SSL_CERT_FILE",
        place.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_does_not_leave_us_without_authorities() {
        assert!(
            usable(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_empty()
        );
        assert!(authorities(&Env::default()).len() > 20);
    }

    #[test]
    fn what_lies_in_certs_d_and_is_of_no_use_is_named() {
        let dir = std::env::temp_dir().join(format!("hoist-certs-{}", std::process::id()));
        let env = Env {
            etc: Some(dir.join("etc")),
            home: Some(dir.join("home")),
            ..Env::default()
        };
        let of = dir.join("etc/docker/certs.d/r.example:5000");
        std::fs::create_dir_all(&of).unwrap();
        let told = || own("r.example:5000", &env).unwrap_err();
        std::fs::write(of.join("ca.crt"), "nothing").unwrap();
        assert!(
            told().ends_with("ca.crt has no usable certificate; expected PEM"),
            "{}",
            told()
        );
        std::fs::remove_file(of.join("ca.crt")).unwrap();
        std::fs::write(of.join("client.cert"), "x").unwrap();
        assert!(told().contains("client.cert has no key "), "{}", told());
        std::fs::write(of.join("client.key"), "x").unwrap();
        assert!(told().contains("are no certificate and key"), "{}", told());
        std::fs::remove_file(of.join("client.cert")).unwrap();
        assert!(
            told().contains("client.key has no certificate "),
            "{}",
            told()
        );
        // Another port, and a directory that comes before.
        assert!(own("r.example", &env).unwrap().dir.is_none());
        let first = dir.join("home/.config/containers/certs.d/r.example:5000");
        std::fs::create_dir_all(&first).unwrap();
        assert_eq!(own("r.example:5000", &env).unwrap().dir, Some(first));
        assert!(own("../x", &env).unwrap().dir.is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
