//! What a build may do beyond the ordinary: rights that a step must not take by itself, ssh agents that are lent to it.
//!
//! In: the words of `--allow`, `--ssh` and the compose file. Out: values. Nothing here looks at a file.
//! Imports: `base`. Words as BuildKit: `util/entitlements`; buildx: `--allow`, `--ssh`.

use std::path::PathBuf;

use crate::base::device::DeviceName;

/// Rights that steps get only when the caller gives them: `--allow`, `entitlements:`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: steps may use the host's network.
    pub network_host: bool,
    /// `security.insecure`: steps may run with every right; `privileged: true` gives it too.
    pub insecure: bool,
    /// `device`: steps may use any described device.
    pub all_devices: bool,
    /// `device=NAME`: full names of devices, or kinds, that steps may use.
    pub devices: Vec<String>,
}

impl Entitlements {
    /// Adds what a word names.
    ///
    /// # Errors
    /// Why the word names nothing.
    pub fn allow(&mut self, word: &str) -> Result<(), String> {
        match word.trim() {
            "network.host" => self.network_host = true,
            "security.insecure" => self.insecure = true,
            "device" => self.all_devices = true,
            other => match other.strip_prefix("device=") {
                Some(name) if !name.is_empty() => self.devices.push(name.to_owned()),
                _ => {
                    return Err(format!(
                        "unknown entitlement `{other}`: the entitlements are network.host, security.insecure, device \
                         and device=NAME"
                    ));
                }
            },
        }
        Ok(())
    }
    /// Whether a device was given, by its full name or its kind.
    pub fn has_device(&self, device: &DeviceName) -> bool {
        let full = format!("{}={}", device.kind(), device.name());
        self.all_devices
            || self
                .devices
                .iter()
                .any(|given| *given == full || given == device.kind())
    }
}

/// Where the keys of one `--ssh` are: sockets of agents or files with keys. Empty is the caller's own agent, the one of
/// `SSH_AUTH_SOCK`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshSource {
    /// One socket, or key files.
    pub paths: Vec<PathBuf>,
}

impl SshSource {
    /// Reads `ID[=SOCKET|KEY[,KEY]]`, paths as they are written.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<(String, Self), String> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = id.trim();
        if id.is_empty() {
            return Err(format!(
                "invalid ssh specification `{text}`: it has no id; write default or ID=SOCKET or ID=KEY"
            ));
        }
        let paths = paths.split(',').filter(|path| !path.is_empty());
        let paths = paths.map(PathBuf::from).collect();
        Ok((id.to_owned(), Self { paths }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_are_given_by_name_only() {
        let mut given = Entitlements::default();
        for word in ["network.host", "device=a.com/b"] {
            given.allow(word).unwrap();
        }
        assert!(given.network_host && !given.insecure && !given.all_devices);
        let device = |text| DeviceName::parse(text).unwrap();
        assert!(given.has_device(&device("a.com/b=1")));
        assert!(!given.has_device(&device("a.com/c=1")));
        for word in ["", "all", "security", "device=", "network"] {
            assert!(given.allow(word).is_err(), "{word}");
        }
    }

    #[test]
    fn an_ssh_source_has_an_id_and_paths() {
        let read = |text| SshSource::parse(text);
        assert_eq!(
            read("default").unwrap(),
            ("default".into(), SshSource::default())
        );
        let (id, source) = read("a=/x,/y").unwrap();
        assert_eq!((id.as_str(), source.paths.len()), ("a", 2));
        assert!(read("=x").is_err() && read("").is_err());
    }
}
