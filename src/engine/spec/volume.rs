//! What lies behind a volume: read from its driver and options, the same for planning and for mounting.
//!
//! In: a [`VolumeSpec`]. Out: a [`Backing`], or a [`Refusal`] that names the option. It looks at no file.
//! Imports: nothing but `spec`. Source: moby `daemon/volume/local/local_unix.go` (`validOpts`, `mandatoryOpts`, `mount`);
//! mount(8), "filesystem-independent mount options".

use std::path::PathBuf;

use super::VolumeSpec;

/// Where a volume's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// In a directory that is made for it.
    Own,
    /// In another directory of the host.
    Bind {
        /// The directory.
        dir: PathBuf,
        /// How it is shown.
        words: MountWords,
    },
    /// In a file system that is mounted while a container uses the volume.
    Mount(FileSystem),
}

/// A file system to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type: `tmpfs`, `nfs4`, `ext4`.
    pub kind: String,
    /// What is mounted: a device, `host:/path`, `//host/share`.
    pub device: String,
    /// Its own options, in order; those without a value are flags.
    pub options: Vec<(String, Option<String>)>,
    /// How it is shown.
    pub words: MountWords,
}

/// Options that every file system has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountWords {
    /// `ro`
    pub read_only: bool,
    /// `nosuid`
    pub no_suid: bool,
    /// `nodev`
    pub no_dev: bool,
    /// `noexec`
    pub no_exec: bool,
    /// `noatime`
    pub no_atime: bool,
}

/// Why a volume can't be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key below the volume: `driver`, or an option; `None` is the volume itself.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl FileSystem {
    /// Whether its content is in memory only, so that it begins empty each time.
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
    /// The server it comes from: the option `addr`, else what stands before the path. `None` for what is local.
    pub fn server(&self) -> Option<String> {
        let (from_device, is_net) = match self.kind.as_str() {
            "nfs" | "nfs4" => (self.device.rsplit_once(":/").map(|(host, _)| host), true),
            "cifs" | "smb3" => {
                let rest = self.device.strip_prefix("//");
                (rest.and_then(|rest| rest.split('/').next()), true)
            }
            _ => (None, false),
        };
        let address = self.options.iter().find(|(key, _)| key == "addr");
        let address = address.and_then(|(_, value)| value.clone());
        let named = from_device.filter(|host| !host.is_empty());
        let bare = |host: &str| host.trim_matches(['[', ']']).to_owned();
        address.or(named.map(bare)).filter(|_| is_net)
    }
    /// The TCP port that its server answers on, where it is reached over TCP.
    pub fn port(&self) -> Option<u16> {
        let option = |key: &str| {
            let found = self.options.iter().find(|(known, _)| known == key);
            found.and_then(|(_, value)| value.as_deref())
        };
        if option("proto").is_some_and(|proto| !proto.starts_with("tcp")) {
            return None;
        }
        let given = option("port").and_then(|port| port.parse().ok());
        let usual = if self.kind.starts_with("nfs") {
            2049
        } else {
            445
        };
        Some(given.filter(|port| *port != 0).unwrap_or(usual))
    }
}

/// Options of the driver `local`.
const KNOWN: [&str; 3] = ["type", "o", "device"];

/// Options that a tmpfs has. Source: tmpfs(5).
const TMPFS: [&str; 10] = [
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "huge",
    "mpol",
    "noswap",
    "inode64",
];

impl VolumeSpec {
    /// Reads driver and options.
    ///
    /// # Errors
    /// For another driver, an unknown option, one that is missing, or a name that no volume can have.
    pub fn backing(&self) -> Result<Backing, Refusal> {
        let refuse = |key: Option<&str>, what: String, hint: &str| Refusal {
            key: key.map(str::to_owned),
            what: format!("volume `{}` {what}", self.name),
            hint: hint.to_owned(),
        };
        if !is_name(&self.name) {
            let hint = "use letters, digits, `_`, `.` and `-`, a letter or digit first";
            return Err(refuse(
                None,
                "has a name that no volume can have".into(),
                hint,
            ));
        }
        if !matches!(self.driver.as_str(), "" | "local") {
            let what = format!(
                "asks for driver `{}`, but there is only `local`",
                self.driver
            );
            let hint = "drop `driver`; `driver_opts` of `local` can mount nfs, cifs, tmpfs, a directory or a device";
            return Err(refuse(Some("driver"), what, hint));
        }
        let hint = "the options are `type`, `o` and `device`";
        for key in self.options.keys() {
            if key == "size" {
                let hint = "for memory write `type: tmpfs`, `device: tmpfs`, `o: size=64m`";
                let what = "has the option `size`: there are no quotas of directories";
                return Err(refuse(Some(key), what.into(), hint));
            }
            if !KNOWN.contains(&key.as_str()) {
                let what = format!("has the option `{key}`, which is not known");
                return Err(refuse(Some(key), what, hint));
            }
        }
        if self.options.is_empty() {
            return Ok(Backing::Own);
        }
        let option = |key: &str| self.options.get(key).map_or("", String::as_str);
        let (kind, device) = (option("type"), option("device"));
        let (words, options) = split(option("o"));
        let bind = |(key, _): &(String, Option<String>)| matches!(key.as_str(), "bind" | "rbind");
        if device.is_empty() {
            let hint = "name what to mount: a directory, `tmpfs`, `:/path` of a server";
            return Err(refuse(None, "needs the option `device`".into(), hint));
        }
        if options.iter().any(bind) && matches!(kind, "" | "none" | "bind") {
            if !device.starts_with('/') {
                let what = format!("needs an absolute path as `device`, not `{device}`");
                return Err(refuse(
                    Some("device"),
                    what,
                    "write for example `/srv/data`",
                ));
            }
            if let Some((other, _)) = options.iter().find(|option| !bind(option)) {
                let what = format!("has `{other}` in `o`, which a directory can't have");
                let hint = "besides `bind` there are ro, nosuid, nodev, noexec and noatime";
                return Err(refuse(Some("o"), what, hint));
            }
            let dir = PathBuf::from(device);
            return Ok(Backing::Bind { dir, words });
        }
        if matches!(kind, "" | "none" | "bind") {
            let hint = "name a file system such as nfs4, cifs, tmpfs or ext4, or write `type: none` and `o: bind` for a directory";
            return Err(refuse(
                Some("type").filter(|_| !kind.is_empty()),
                "needs the option `type`".into(),
                hint,
            ));
        }
        let unknown = |(key, _): &&(String, Option<String>)| !TMPFS.contains(&key.as_str());
        if kind == "tmpfs"
            && let Some((other, _)) = options.iter().find(unknown)
        {
            let what = format!("has `{other}` in `o`, which tmpfs does not know");
            let hint = format!("the options of tmpfs are {}", TMPFS.join(", "));
            return Err(refuse(Some("o"), what, &hint));
        }
        Ok(Backing::Mount(FileSystem {
            kind: kind.to_owned(),
            device: device.to_owned(),
            options,
            words,
        }))
    }
}

/// Whether a volume can be called so. As Docker: `daemon/names`, `RestrictedNameChars`.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() <= 255 && name.bytes().all(inner)
}

/// Parts the words that every file system has from its own options.
fn split(text: &str) -> (MountWords, Vec<(String, Option<String>)>) {
    let mut words = MountWords::default();
    let mut options = Vec::new();
    for word in text.split(',').map(str::trim) {
        match word {
            // What is so anyway, or is for programs that read a table of file systems.
            "" | "rw" | "defaults" | "async" | "suid" | "dev" | "exec" | "relatime" | "auto"
            | "noauto" | "_netdev" | "nofail" => {}
            "ro" => words.read_only = true,
            "nosuid" => words.no_suid = true,
            "nodev" => words.no_dev = true,
            "noexec" => words.no_exec = true,
            "noatime" => words.no_atime = true,
            other => options.push(match other.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }
    (words, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(driver: &str, options: &[(&str, &str)]) -> VolumeSpec {
        VolumeSpec {
            name: "v".into(),
            project: None,
            driver: driver.into(),
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            labels: Default::default(),
        }
    }

    #[test]
    fn options_of_the_local_driver_say_what_is_mounted() {
        assert_eq!(spec("", &[]).backing(), Ok(Backing::Own));
        let bind = [("type", "none"), ("o", "bind,ro"), ("device", "/srv")];
        let words = MountWords {
            read_only: true,
            ..MountWords::default()
        };
        let dir = PathBuf::from("/srv");
        assert_eq!(
            spec("local", &bind).backing(),
            Ok(Backing::Bind { dir, words })
        );
        let nfs = [
            ("type", "nfs"),
            ("o", "addr=nas.lan,rw,nfsvers=4,soft"),
            ("device", ":/data"),
        ];
        let Ok(Backing::Mount(nfs)) = spec("local", &nfs).backing() else {
            panic!("a file system");
        };
        let option = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(
            nfs.options,
            [
                option("addr", Some("nas.lan")),
                option("nfsvers", Some("4")),
                option("soft", None)
            ]
        );
        assert_eq!(
            (nfs.server().as_deref(), nfs.port()),
            (Some("nas.lan"), Some(2049))
        );
    }

    #[test]
    fn the_server_is_the_address_or_part_of_the_device() {
        let of = |kind: &str, device: &str, o: &str| {
            let options = [("type", kind), ("device", device), ("o", o)];
            match spec("local", &options).backing() {
                Ok(Backing::Mount(fs)) => (fs.server(), fs.port()),
                other => panic!("{other:?}"),
            }
        };
        let some = |host: &str, port| (Some(host.to_owned()), port);
        assert_eq!(of("nfs4", "nas:/x", "port=77"), some("nas", Some(77)));
        assert_eq!(
            of("nfs", "[fd00::1]:/x", "proto=udp"),
            some("fd00::1", None)
        );
        assert_eq!(of("cifs", "//box/share", ""), some("box", Some(445)));
        assert_eq!(of("ext4", "/dev/sdx1", "").0, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let of = |driver: &str, options: &[(&str, &str)]| {
            spec(driver, options).backing().expect_err("a fault").key
        };
        assert_eq!(of("flocker", &[]).as_deref(), Some("driver"));
        assert_eq!(of("", &[("typ", "x")]).as_deref(), Some("typ"));
        assert_eq!(of("", &[("size", "1g")]).as_deref(), Some("size"));
        assert_eq!(of("", &[("type", "nfs")]), None);
        assert_eq!(
            of("", &[("type", "none"), ("device", "/x")]).as_deref(),
            Some("type")
        );
        let relative = [("type", "none"), ("o", "bind"), ("device", "x")];
        assert_eq!(of("", &relative).as_deref(), Some("device"));
        let tmpfs = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "colour=red")];
        assert_eq!(of("", &tmpfs).as_deref(), Some("o"));
        let name = VolumeSpec {
            name: "../x".into(),
            ..spec("", &[])
        };
        assert!(name.backing().is_err());
    }
}
