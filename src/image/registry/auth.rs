//! Credentials: what `docker login` has kept for a registry.
//!
//! In: the environment. Out: credentials for one registry, sent to no other. A credential helper that is missing
//! or fails means no credentials, with a remark, since most images need none.
//! Imports: `base::env`, `reference`. Rules: docker CLI `config.json` (`auths`, `credsStore`, `credHelpers`).

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use crate::base::env::Env;
use crate::image::reference::DEFAULT_REGISTRY;

/// Key under which Docker keeps credentials of `docker.io`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Credentials for a registry.
pub(super) struct Credentials {
    pub(super) auth: RegistryAuth,
    /// What was used, and where others can be put: a clause for an error's text.
    pub(super) remark: String,
}

/// Where credentials are kept.
fn file(env: &Env) -> Option<PathBuf> {
    let dir = env.non_empty("DOCKER_CONFIG").map(PathBuf::from);
    Some(
        dir.or_else(|| Some(env.home.as_ref()?.join(".docker")))?
            .join("config.json"),
    )
}

/// Looks up the credentials for `registry`.
pub(super) fn find(registry: &str, env: &Env) -> Credentials {
    let none = |remark: String| Credentials {
        auth: RegistryAuth::Anonymous,
        remark,
    };
    let Some(path) = file(env) else {
        return none("there is no home directory with credentials; set DOCKER_CONFIG".to_owned());
    };
    let shown = path.display();
    let Ok(open) = File::open(&path) else {
        return none(format!(
            "`docker login {registry}` on any machine makes the file {shown} to put here"
        ));
    };
    let server = if registry == DEFAULT_REGISTRY {
        DOCKER_HUB
    } else {
        registry
    };
    match docker_credential::get_credential_from_reader(BufReader::new(open), server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            let remark = format!("those of `{user}` in {shown} were used");
            Credentials {
                auth: RegistryAuth::Basic(user, password),
                remark,
            }
        }
        Ok(DockerCredential::IdentityToken(_)) => none(format!(
            "{shown} has an identity token for it, which hoist can't use; put user and password there"
        )),
        Err(CredentialRetrievalError::NoCredentialConfigured) => {
            none(format!("{shown} has none for it"))
        }
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => none(format!(
            "the credential helper `{helper}` named in {shown} gave none"
        )),
        Err(error) => none(format!(
            "none could be read by way of {shown} ({})",
            error.to_string().to_lowercase()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_for_their_registry_only_and_a_missing_helper_is_no_failure() {
        let dir = std::env::temp_dir().join(format!("hoist-auth-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // user:secret
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpzZWNyZXQ="},
            "t.example":{"identitytoken":"x"}},"credHelpers":{"h.example":"hoist-has-no-such"}}"#;
        std::fs::write(dir.join("config.json"), text).unwrap();
        let mut env = Env::default();
        env.vars
            .insert("DOCKER_CONFIG".to_owned(), dir.display().to_string());
        let hub = RegistryAuth::Basic("user".to_owned(), "secret".to_owned());
        assert!(find("docker.io", &env).auth == hub);
        for other in ["ghcr.io", "t.example", "h.example"] {
            assert!(find(other, &env).auth == RegistryAuth::Anonymous, "{other}");
        }
        assert!(find("t.example", &env).remark.contains("identity token"));
        assert!(find("docker.io", &Env::default()).auth == RegistryAuth::Anonymous);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
