//! Who a process runs as: `user[:group]` looked up in the container's own files.
//!
//! In: a root, the text. Out: numbers. The files are the image's: reads are bounded, and only regular files
//! are read, so that a pipe, a device or a huge file can't hang or fill us.
//! Imports: `engine`, `sys`. As Docker: `moby/sys/user`, `GetExecUser` and `GetAdditionalGroups`.

use std::path::Path;

use nix::errno::Errno;

use super::message::words;
use crate::engine::{EngineError, Result};
use crate::sys::fs::Root;

/// Longest `/etc/passwd` or `/etc/group` that is read, in bytes.
const LIMIT: u64 = 16 << 20;
/// Biggest id. As Docker: `maxID`.
const MAX_ID: u32 = i32::MAX as u32;

/// A user of a container, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids, sorted.
    pub groups: Vec<u32>,
    /// Home directory; `/` when the user has none.
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

fn read(root: &Root, path: &str) -> Result<String> {
    match root.read(Path::new(path), LIMIT) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(String::new()),
        Err(Errno::EFBIG) => Err(EngineError::failed(
            format!("read {path} of the container"),
            "longer than 16 MiB",
        )),
        Err(Errno::EINVAL) => Err(EngineError::failed(
            format!("read {path} of the container"),
            "not a regular file",
        )),
        Err(errno) => Err(EngineError::failed(
            format!("read {path} of the container"),
            words(errno),
        )),
    }
}

fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields
            .next()
            .unwrap_or("")
            .split(',')
            .filter(|name| !name.is_empty());
        Some(Group {
            name,
            gid,
            members: members.collect(),
        })
    })
}

fn refused(what: String) -> EngineError {
    EngineError::Unsupported { what }
}

/// A text as an id; `None` when it is a name.
fn id(text: &str) -> Result<Option<u32>> {
    let sign = text.strip_prefix(['-', '+']).unwrap_or(text);
    if sign.is_empty() || !sign.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID && !text.starts_with('+') => Ok(Some(id)),
        _ => Err(refused(format!(
            "uids and gids must be in range 0-{MAX_ID}: `{text}`"
        ))),
    }
}

/// Looks a user up; `groups` are further groups, names or numbers.
///
/// # Errors
/// [`EngineError::Unsupported`] for a name that is not there (in Docker's words) or a number out of range,
/// [`EngineError::Failed`] when a file can't be read.
pub fn lookup(root: &Root, user: &str, groups: &[String]) -> Result<User> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve(user, groups, &passwd, &group)
}

fn resolve(user: &str, extra: &[String], passwd: &str, group: &str) -> Result<User> {
    let (name, group_name) = user
        .split_once(':')
        .map_or((user, ""), |(name, group)| (name, group));
    let number = if name.is_empty() { Some(0) } else { id(name)? };
    let account = accounts(passwd)
        .find(|account| account.name == name || number.is_some_and(|uid| uid == account.uid));
    let mut found = match (&account, number) {
        (Some(account), _) => User {
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: account.home.to_owned(),
        },
        (None, Some(uid)) => User {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: String::new(),
        },
        (None, None) => {
            let what = format!("unable to find user {name}: no matching entries in passwd file");
            return Err(refused(what));
        }
    };
    if found.uid > MAX_ID || found.gid > MAX_ID {
        return Err(refused(format!(
            "uids and gids must be in range 0-{MAX_ID}"
        )));
    }
    if group_name.is_empty() {
        let own = account.as_ref().map(|account| account.name);
        let member = |group: &Group<'_>| own.is_some_and(|own| group.members.contains(&own));
        found.groups = group_lines(group)
            .filter(member)
            .map(|group| group.gid)
            .collect();
    } else {
        found.gid = group_id(group_name, group)?.ok_or_else(|| {
            refused(format!(
                "unable to find group {group_name}: no matching entries in group file"
            ))
        })?;
    }
    for name in extra {
        let gid = group_id(name, group)?;
        found
            .groups
            .push(gid.ok_or_else(|| refused(format!("unable to find group {name}")))?);
    }
    // Its own group among them: who may drop supplementary groups could else pass a mode that shuts a group out.
    // As Docker since CVE-2022-36109.
    found.groups.push(found.gid);
    found.groups.sort_unstable();
    found.groups.dedup();
    if found.home.is_empty() {
        found.home = "/".to_owned();
    }
    Ok(found)
}

fn group_id(name: &str, group: &str) -> Result<Option<u32>> {
    let number = id(name)?;
    let known = group_lines(group)
        .find(|group| group.name == name)
        .map(|group| group.gid);
    Ok(known.or(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:100::/home/ann:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\naudio:x:29:ann\n";

    fn numbers(user: &str, extra: &[&str]) -> String {
        let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
        match resolve(user, &extra, PASSWD, GROUP) {
            Ok(u) => format!("{}:{} {:?} {}", u.uid, u.gid, u.groups, u.home),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number_as_docker_does() {
        let range = "uids and gids must be in range 0-2147483647";
        for (user, want) in [
            ("", "0:0 [0, 10] /root".to_owned()),
            ("0", "0:0 [0, 10] /root".into()),
            ("0:", "0:0 [0, 10] /root".into()),
            ("ann", "1000:100 [10, 29, 100] /home/ann".into()),
            ("1000", "1000:100 [10, 29, 100] /home/ann".into()),
            ("1000:", "1000:100 [10, 29, 100] /home/ann".into()),
            ("ann:wheel", "1000:10 [10] /home/ann".into()),
            (":1000", "0:1000 [1000] /root".into()),
            ("4242", "4242:0 [0] /".into()),
            ("4242:4243", "4242:4243 [4243] /".into()),
            (
                "bob",
                "unable to find user bob: no matching entries in passwd file".into(),
            ),
            (
                "ann:bobs",
                "unable to find group bobs: no matching entries in group file".into(),
            ),
            (
                " ann",
                "unable to find user  ann: no matching entries in passwd file".into(),
            ),
            ("-1", format!("{range}: `-1`")),
            ("4294967296", format!("{range}: `4294967296`")),
            ("0:4294967296", format!("{range}: `4294967296`")),
        ] {
            assert_eq!(numbers(user, &[]), want, "{user:?}");
        }
        assert_eq!(
            numbers("ann:users", &["audio", "7"]),
            "1000:100 [7, 29, 100] /home/ann"
        );
        assert_eq!(numbers("ann", &["nope"]), "unable to find group nope");
    }

    #[test]
    fn a_pipe_or_a_link_to_a_device_is_no_password_file() {
        let dir = std::env::temp_dir().join(format!("hoist-user-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        nix::unistd::mkfifo(&dir.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = Root::open(&dir).unwrap();
        let told = lookup(&root, "0", &[]).unwrap_err().to_string();
        assert_eq!(
            told,
            "cannot read /etc/passwd of the container: not a regular file"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
