//! What a copy's two paths mean together: where the archive is unpacked, and under which name.
//!
//! In: paths as written, and what lies there. Out: a directory and a name, or why it can't be. No file is touched.
//! Imports: nothing of ours. Rules: docker's reference of `docker cp`; moby `pkg/archive/copy.go`, whose functions
//! are named where one is meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One argument of `cp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    /// `-`: an archive on a standard stream.
    Stream,
    /// A path of the host, as written.
    Host(PathBuf),
    /// A path in a service's containers, as written.
    Service(String, PathBuf),
}

impl Side {
    /// Reads an argument. A slash or a dot at its beginning makes it a path of the host, whatever colons follow.
    /// As Compose: `splitCpArg`.
    pub(super) fn parse(argument: &OsStr) -> Self {
        let bytes = argument.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let host = || Self::Host(argument.into());
        if bytes.starts_with(b"/") || bytes.starts_with(b".") {
            return host();
        }
        let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
            return host();
        };
        let (service, path) = bytes.split_at(colon);
        match std::str::from_utf8(service) {
            // `:x` has no service: a path like others.
            Ok(service) if !service.is_empty() => {
                let path = path.get(1..).unwrap_or_default();
                Self::Service(service.to_owned(), OsStr::from_bytes(path).into())
            }
            _ => host(),
        }
    }
}

/// How a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In a name.
    Plain,
    /// In a slash: it must be a directory.
    Slash,
    /// In `/.`, or it is empty: what lies in a directory.
    Dot,
}

/// A path with what its end says, which joining and cleaning would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Absolute, without `.`, `..` and a slash at the end.
    pub(super) path: PathBuf,
    /// How it ended.
    pub(super) ending: Ending,
}

impl Written {
    /// A path as written, from `base` if it is relative.
    pub(super) fn new(written: &Path, base: &Path) -> Self {
        let bytes = written.as_os_str().as_bytes();
        let trimmed = trim(bytes);
        let ending = if trimmed.is_empty() && !bytes.is_empty() {
            Ending::Slash
        } else if trimmed.is_empty() || trimmed == b"." || trimmed.ends_with(b"/.") {
            Ending::Dot
        } else if bytes.len() > trimmed.len() {
            Ending::Slash
        } else {
            Ending::Plain
        };
        Self {
            path: crate::sys::fs::clean(&base.join(written)),
            ending,
        }
    }
    /// The same end on another path.
    pub(super) fn at(&self, path: PathBuf) -> Self {
        Self {
            path,
            ending: self.ending,
        }
    }
    /// With its end, as the kernel and the engine understand it.
    pub(super) fn whole(&self) -> PathBuf {
        let mut whole = self.path.clone().into_os_string();
        let root = self.path == Path::new("/");
        match self.ending {
            Ending::Plain => {}
            Ending::Slash if root => {}
            Ending::Slash => whole.push("/"),
            Ending::Dot if root => whole.push("."),
            Ending::Dot => whole.push("/."),
        }
        whole.into()
    }
    /// Whether only a directory can be meant.
    pub(super) fn asserts_directory(&self) -> bool {
        self.ending != Ending::Plain
    }
    /// The name that an archive of it begins with; `.` is what lies in it.
    pub(super) fn base(&self) -> &[u8] {
        match self.path.file_name() {
            Some(name) if self.ending != Ending::Dot => name.as_bytes(),
            _ => b".",
        }
    }
    /// The directory and the name in it. As moby: `SplitPathDirEntry`.
    fn split(&self) -> (PathBuf, &[u8]) {
        match self.ending {
            Ending::Dot => (self.path.clone(), b"."),
            _ => {
                let above = self.path.parent().unwrap_or(Path::new("/"));
                (above.to_owned(), self.base())
            }
        }
    }
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What lies at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir,
    /// Something else.
    File,
}

/// Where an archive is unpacked, and the name of what is copied there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory.
    pub(super) directory: PathBuf,
    /// The name of the archive's first entry.
    pub(super) name: Vec<u8>,
}

/// Why a copy makes no sense. The words are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// A directory onto a file.
    #[error("cannot copy directory")]
    DirectoryOntoFile,
    /// A file into a directory that is not there.
    #[error("no such directory")]
    NoDirectory,
}

/// Where what is called `name` goes. As moby: `PrepareArchiveCopy`.
///
/// # Errors
/// [`Misfit`].
pub(super) fn place(
    name: &[u8],
    is_dir: bool,
    destination: &Written,
    there: There,
) -> Result<Place, Misfit> {
    match there {
        There::Dir => {
            return Ok(Place {
                directory: destination.path.clone(),
                name: name.to_vec(),
            });
        }
        There::File if is_dir => return Err(Misfit::DirectoryOntoFile),
        There::Nothing if !is_dir && destination.asserts_directory() => {
            return Err(Misfit::NoDirectory);
        }
        There::File | There::Nothing => {}
    }
    let (directory, name) = destination.split();
    Ok(Place {
        directory,
        name: name.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &str) -> Written {
        Written::new(Path::new(path), Path::new("/here"))
    }

    #[test]
    fn a_service_is_what_stands_before_the_first_colon() {
        let parse = |text: &str| Side::parse(OsStr::new(text));
        let host = |text: &str| Side::Host(text.into());
        let service = |name: &str, path: &str| Side::Service(name.to_owned(), path.into());
        assert_eq!(parse("-"), Side::Stream);
        assert_eq!(parse("a:/x"), service("a", "/x"));
        assert_eq!(parse("a:x:y"), service("a", "x:y"));
        assert_eq!(parse("a:"), service("a", ""));
        assert_eq!(parse("a:-"), service("a", "-"));
        for text in ["/a:b", "./a:b", "../a:b", ".a:b", "plain", ":x"] {
            assert_eq!(parse(text), host(text), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_path_is_kept() {
        for (text, path, ending, base) in [
            ("x", "/here/x", Ending::Plain, "x"),
            ("x/", "/here/x", Ending::Slash, "x"),
            ("x//", "/here/x", Ending::Slash, "x"),
            ("x/.", "/here/x", Ending::Dot, "."),
            ("x/./", "/here/x", Ending::Dot, "."),
            (".", "/here", Ending::Dot, "."),
            ("", "/here", Ending::Dot, "."),
            ("..", "/", Ending::Plain, "."),
            ("/", "/", Ending::Slash, "."),
            ("/.", "/", Ending::Dot, "."),
            ("/a/../b", "/b", Ending::Plain, "b"),
            ("x.", "/here/x.", Ending::Plain, "x."),
        ] {
            let found = written(text);
            assert_eq!(found.path, Path::new(path), "{text}");
            assert_eq!(found.ending, ending, "{text}");
            assert_eq!(found.base(), base.as_bytes(), "{text}");
        }
        for (text, whole) in [
            ("x", "/here/x"),
            ("x/", "/here/x/"),
            ("x/.", "/here/x/."),
            ("/", "/"),
            ("/.", "/."),
        ] {
            assert_eq!(written(text).whole(), Path::new(whole), "{text}");
        }
    }

    #[test]
    fn the_table_of_the_reference_holds() {
        let at = |directory: &str, name: &str| {
            Ok(Place {
                directory: directory.into(),
                name: name.as_bytes().to_vec(),
            })
        };
        let go = |source: &str, is_dir, destination: &str, there| {
            place(written(source).base(), is_dir, &written(destination), there)
        };
        // A file.
        assert_eq!(go("f", false, "/d", There::Dir), at("/d", "f"));
        assert_eq!(go("f", false, "/d/", There::Dir), at("/d", "f"));
        assert_eq!(go("f", false, "/d/g", There::File), at("/d", "g"));
        assert_eq!(go("f", false, "/d/g", There::Nothing), at("/d", "g"));
        assert_eq!(
            go("f", false, "/d/", There::Nothing),
            Err(Misfit::NoDirectory)
        );
        assert_eq!(
            go("f", false, "/d/.", There::Nothing),
            Err(Misfit::NoDirectory)
        );
        // A directory.
        assert_eq!(go("s", true, "/d", There::Dir), at("/d", "s"));
        assert_eq!(go("s/", true, "/d", There::Dir), at("/d", "s"));
        assert_eq!(go("s/.", true, "/d", There::Dir), at("/d", "."));
        assert_eq!(go("s", true, "/d/t", There::Nothing), at("/d", "t"));
        assert_eq!(go("s/.", true, "/d/t", There::Nothing), at("/d", "t"));
        assert_eq!(go("s", true, "/d/t/", There::Nothing), at("/d", "t"));
        assert_eq!(
            go("s", true, "/d/t", There::File),
            Err(Misfit::DirectoryOntoFile)
        );
    }
}
