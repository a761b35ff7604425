//! What the last lines of a step that failed tell about the reason, where that is not in what the programs say.
//!
//! In: lines. Out: an act the user can do. Imports: nothing of ours.
//! Sources: what curl, wget, git, apt, pip, npm, Go, Java, rustls and OpenSSL print for a certificate that nobody they know has
//! signed, as their sources have it.

/// What programs say of a certificate they don't trust, in lower case.
const UNTRUSTED: [&str; 21] = [
    // OpenSSL, and with it curl, git, Ruby, PHP.
    "ssl certificate problem",
    "certificate verify failed",
    "certificate_verify_failed",
    "unable to get local issuer certificate",
    "self signed certificate",
    "self-signed certificate",
    // Python.
    "sslcertverificationerror",
    // GnuTLS: apt, wget, git.
    "certificate verification failed",
    "certificate is not trusted",
    "the certificate issuer is unknown",
    "cannot verify",
    // apk.
    "server certificate not trusted",
    // Node.
    "self_signed_cert_in_chain",
    "unable_to_get_issuer_cert",
    "unable_to_verify_leaf_signature",
    "unable to verify the first certificate",
    // Go.
    "certificate signed by unknown authority",
    "tls: failed to verify certificate",
    // Java.
    "pkix path building failed",
    // rustls.
    "unknownissuer",
    "invalid peer certificate",
];

/// What to do about a certificate that a step did not trust; `None` if its last lines speak of none. `trusting` is whether
/// steps trust what this machine trusts.
pub(super) fn of_certificates(output: &[String], trusting: bool) -> Option<String> {
    let says = |line: &String| {
        let line = line.to_lowercase();
        let said = |text: &&str| line.contains(*text);
        // wget says "cannot verify HOST's certificate".
        UNTRUSTED
            .iter()
            .filter(|text| **text != "cannot verify" || line.contains("certificate"))
            .any(said)
    };
    output.iter().any(says).then(|| {
        match trusting {
            false => {
                "a certificate was not trusted in the step: behind a proxy that signs what it passes on, have steps trust what \
                 this machine trusts, with --trust-host-ca or HOIST_TRUST_HOST_CA=1"
            }
            true => {
                "a certificate was not trusted in the step, though steps trust what this machine trusts: add the proxy's own \
                 to the machine's (update-ca-certificates), or name a bundle with it in SSL_CERT_FILE"
            }
        }
        .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_from_other_failures() {
        for line in [
            "curl: (60) SSL certificate problem: self-signed certificate in certificate chain",
            "ERROR: cannot verify example.org's certificate, issued by 'CN=Corp':",
            "W: https://deb.example.org/dists/x/InRelease: The certificate is NOT trusted.",
            "E: Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.",
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed')",
            "npm ERR! code SELF_SIGNED_CERT_IN_CHAIN",
            "go: proxy: Get \"https://example.org\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none",
            "PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException",
            "invalid peer certificate: UnknownIssuer",
        ] {
            let hint = of_certificates(&["x".to_owned(), line.to_owned()], false);
            assert!(
                hint.is_some_and(|hint| hint.contains("--trust-host-ca")),
                "{line}"
            );
        }
        let again = of_certificates(&["SSL certificate problem".to_owned()], true);
        assert!(again.is_some_and(|hint| hint.contains("update-ca-certificates")));
        for line in [
            "cannot verify the checksum",
            "wrong certificate number",
            "error: 1",
        ] {
            assert_eq!(of_certificates(&[line.to_owned()], false), None, "{line}");
        }
    }
}
