//! The table of mounts of the caller's mount namespace.
//!
//! Imports: nothing of ours. Source: proc_pid_mountinfo(5), statx(2) (`STATX_MNT_ID`).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Its number.
    pub id: u64,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Type of its file system.
    pub kind: String,
    /// Whether it passes mounts on to its peers.
    pub shared: bool,
    /// Whether it gets mounts of a master.
    pub slave: bool,
}

/// All mounts, in the order they were made.
///
/// # Errors
/// The system's.
pub fn all() -> io::Result<Vec<MountPoint>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(parse).collect())
}

/// The mount that an open file lies on; `None` where the kernel does not tell.
///
/// # Errors
/// The system's.
pub fn of(fd: impl AsFd) -> io::Result<Option<MountPoint>> {
    use std::os::fd::AsRawFd as _;
    // The field is there since Linux 3.15 and needs no structure of the kernel's.
    let info = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(info)?;
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
    Ok(all()?.into_iter().find(|point| Some(point.id) == id))
}

/// Whether something is mounted at exactly this path.
///
/// # Errors
/// The system's.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(all()?.iter().any(|point| point.at == path))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let at = unescape(fields.nth(3)?);
    let _options = fields.next()?;
    let (mut shared, mut slave) = (false, false);
    for tag in fields.by_ref() {
        match tag {
            b"-" => break,
            tag if tag.starts_with(b"shared:") => shared = true,
            tag if tag.starts_with(b"master:") => slave = true,
            _ => {}
        }
    }
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(MountPoint {
        id,
        at,
        kind,
        shared,
        slave,
    })
}

/// `\040` → a space.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let code = || {
            let digits = std::str::from_utf8(tail.get(..3)?).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        match code().filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line =
            br"36 35 98:0 /mnt1 /with\040space rw,noatime shared:7 master:1 - ext3 /dev/root rw";
        let point = MountPoint {
            id: 36,
            at: "/with space".into(),
            kind: "ext3".into(),
            shared: true,
            slave: true,
        };
        assert_eq!(parse(line), Some(point));
        let line = b"36 35 98:0 / / rw - tmpfs none rw";
        let plain = parse(line).expect("it is well formed");
        assert_eq!(
            (plain.shared, plain.slave, plain.kind.as_str()),
            (false, false, "tmpfs")
        );
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_file_is_found_on_its_mount() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let found = of(&proc).unwrap().expect("the kernel tells");
        assert_eq!((found.kind.as_str(), found.at), ("proc", "/proc".into()));
    }
}
