//! Certificate authorities: the host's bundle, else Mozilla's list built in.
//!
//! In: the environment. Out: certificates that the TLS library accepts as authorities; others of a bundle are
//! left out rather than making every pull fail. Imports: `base::env`.
//! Rules: OpenSSL's `SSL_CERT_FILE`; the paths are those of Debian, Fedora, openSUSE, Alpine (Go
//! `crypto/x509/root_linux.go`).

use std::path::PathBuf;

use oci_client::client::{Certificate, CertificateEncoding};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::base::env::Env;

const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities to trust; never empty.
pub(super) fn authorities(env: &Env) -> Vec<Certificate> {
    let said = env.non_empty("SSL_CERT_FILE").map(PathBuf::from);
    let paths = said.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let mut bundles = paths
        .filter_map(|path| std::fs::read(path).ok())
        .map(|text| usable(&text));
    bundles.find(|found| !found.is_empty()).unwrap_or_else(|| {
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|cert| der(cert.to_vec()))
            .collect()
    })
}

fn der(data: Vec<u8>) -> Certificate {
    Certificate {
        encoding: CertificateEncoding::Der,
        data,
    }
}

fn usable(bundle: &[u8]) -> Vec<Certificate> {
    let mut store = RootCertStore::empty();
    CertificateDer::pem_slice_iter(bundle)
        .filter_map(Result::ok)
        .filter(|cert| store.add(cert.clone()).is_ok())
        .map(|cert| der(cert.to_vec()))
        .collect()
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
}
