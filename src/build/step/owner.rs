//! `user[:group]` → numbers, with the image's own `/etc/passwd` and `/etc/group`.
//!
//! Imports: `sys::fs`. A name that the files do not hold is root, as in BuildKit; where there is no file
//! system at all, a name is an error.

use std::path::Path;

use super::StepError;
use crate::sys::fs::Root;

/// Largest account file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// The numbers of an owner. `root` is the file system whose names count; `None` where there is none yet.
///
/// # Errors
/// [`StepError`] for a name where no account file can be.
pub(super) fn find(text: &str, root: Option<&Root>) -> Result<(u32, u32), StepError> {
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let files = |name: &str| {
        root.ok_or_else(|| {
            StepError::hinted(
                format!("no user or group `{name}`: the image has no files yet"),
                "write numbers, such as 1000:1000, in a stage that begins FROM scratch",
            )
        })
    };
    let mut owner = (0, 0);
    if let Some(id) = number(user) {
        owner = (id, id);
    } else if !user.is_empty() {
        let fields = account(files(user)?, "etc/passwd", user);
        let field = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
        owner = (field(2).unwrap_or(0), field(3).unwrap_or(0));
    }
    match group {
        None => {}
        Some("") => owner.1 = 0,
        Some(group) => {
            if let Some(id) = number(group) {
                owner.1 = id;
            } else {
                let fields = account(files(group)?, "etc/group", group);
                // An unknown group changes nothing.
                let id = fields.get(2).and_then(|text| text.parse().ok());
                owner.1 = id.unwrap_or(owner.1);
            }
        }
    }
    Ok(owner)
}

/// An id, or the one name that needs no file. Numbers beyond 31 bits are taken for names, as BuildKit does.
fn number(text: &str) -> Option<u32> {
    let id = text.parse::<u32>().ok().filter(|id| *id <= 0x7fff_ffff);
    id.or_else(|| (text == "root").then_some(0))
}

/// The fields of an account file's line.
fn account(root: &Root, file: &str, name: &str) -> Vec<String> {
    let bytes = root.read(Path::new(file), LARGEST).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.split(':').next() == Some(name));
    line.map(|line| line.split(':').map(str::to_owned).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_image_and_unknown_ones_are_root() {
        let dir = std::env::temp_dir().join(format!("hoist-owner-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(
            dir.join("etc/passwd"),
            "root:x:0:0::/:\napp:x:1000:1001::/:\n",
        )
        .unwrap();
        std::fs::write(dir.join("etc/group"), "adm:x:4:app\n").unwrap();
        let root = Root::open(&dir).unwrap();
        for (text, want) in [
            ("app", (1000, 1001)),
            ("app:adm", (1000, 4)),
            ("55", (55, 55)),
            ("1:2", (1, 2)),
            ("nope", (0, 0)),
            ("app:nope", (1000, 1001)),
            ("app:", (1000, 0)),
            ("5:", (5, 0)),
            ("4294967294", (0, 0)),
        ] {
            assert_eq!(find(text, Some(&root)).unwrap(), want, "{text}");
        }
        assert!(find("app", None).is_err());
        assert_eq!(find("7:8", None).unwrap(), (7, 8));
        assert_eq!(find("root:root", None).unwrap(), (0, 0));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
