//! The AppArmor profile of containers: our own default one, and profiles that a service names.
//!
//! In: [`Security`]. Out: the name of a loaded profile. Imports: `engine`, `sys`. The default allows and denies what
//! Docker's `docker-default` does. The kernel takes compiled policies only, so that the `apparmor_parser` program
//! loads it, once a boot; without that program there is no default profile, as with Docker.
//! Sources: apparmor.d(5), apparmor_parser(8), apparmorfs.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::limits::PrivateProc;
use super::message::step;
use crate::engine::spec::Security;
use crate::engine::{EngineError, Result};

/// Name of the profile of containers that name none.
const DEFAULT: &str = "hoist-default";
/// Loaded profiles, each a directory `NAME.NUMBER`.
const LOADED: &str = "/sys/kernel/security/apparmor/policy/profiles";
/// Where distributions put the parser.
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
/// The language version that the rules are written in; a parser without it needs no word.
const ABI: &str = "/etc/apparmor.d/abi/3.0";

/// The rules of [`DEFAULT`]. A file that no rule denies may be used as its permissions say.
const RULES: &str = "
profile hoist-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # The kernel's cryptography has a history of holes, vsock leads to the hypervisor, and 32-bit calls get around a
  # filter of system calls.
  deny network alg,
  deny network vsock,

  # Nothing is mounted, not even with SYS_ADMIN.
  deny mount,

  # /proc: a process may write what is its own, and the parameters of shared memory.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  # /sys: nothing is changed but cgroups, and what tells of the machine is not read.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  # The supervisor, which no profile confines, sends signals; processes of containers reach their own kind only.
  signal (receive) peer=unconfined,
  signal (send,receive) peer=hoist-default,
  ptrace (trace,read,tracedby,readby) peer=hoist-default,
}
";

/// What this machine offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppArmor {
    /// The kernel has it not, or not on.
    Off,
    /// It is on, but the program that loads profiles is missing: containers have no default profile.
    NoParser,
    /// It is on, and this program loads the default profile.
    On(PathBuf),
}

impl AppArmor {
    /// Looks.
    pub fn of_this_machine() -> Self {
        let on = std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with(b"Y"));
        if !on {
            return Self::Off;
        }
        let there = PARSERS.iter().map(Path::new).find(|path| path.exists());
        // Without its file system nothing can be loaded: so it is inside another container.
        match there.filter(|_| Path::new(LOADED).exists()) {
            Some(parser) => Self::On(parser.to_owned()),
            None => Self::NoParser,
        }
    }
}

/// Whether our own profile or one that somebody else wrote holds a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(String);

impl Label {
    /// The label that a container gets; the default profile is loaded by then.
    pub(super) fn choose(security: &Security) -> Result<Option<Self>> {
        let named = security.apparmor.as_deref();
        match named {
            Some("unconfined") => Ok(None),
            // Docker's name for the engine's own profile.
            None | Some(DEFAULT | "docker-default") => {
                if security.privileged && named.is_none() {
                    return Ok(None);
                }
                let AppArmor::On(parser) = AppArmor::of_this_machine() else {
                    return Ok(None);
                };
                load_default(&parser)?;
                Ok(Some(Self(DEFAULT.to_owned())))
            }
            Some(name) if AppArmor::of_this_machine() == AppArmor::Off => {
                let what =
                    format!("AppArmor profile `{name}`: this machine does not have AppArmor on");
                Err(EngineError::Unsupported { what })
            }
            Some(name) => Ok(Some(Self(name.to_owned()))),
        }
    }

    /// Whether it is the default profile, whose rules we know.
    pub(super) fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }

    /// Puts the caller under the profile: at the next execution, or at once.
    pub(super) fn take(&self, proc: &PrivateProc, at_once: bool) -> Result<()> {
        let (file, word) = match at_once {
            true => ("current", "changeprofile"),
            false => ("exec", "exec"),
        };
        let value = format!("{word} {}", self.0);
        // Where several security modules are on, the old place may be another's.
        let written = proc
            .write(&format!("self/attr/apparmor/{file}"), &value)
            .or_else(|_| proc.write(&format!("self/attr/{file}"), &value));
        written.map_err(|errno| match errno {
            Errno::ENOENT => EngineError::Unsupported {
                what: format!(
                    "AppArmor profile `{}` is not loaded: load it with `apparmor_parser -r FILE`",
                    self.0
                ),
            },
            errno => step(format!("set the AppArmor profile `{}`", self.0))(errno),
        })
    }
}

fn is_loaded() -> bool {
    let entries = std::fs::read_dir(LOADED).into_iter().flatten().flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.any(|name| {
        name.rsplit_once('.')
            .is_some_and(|(name, _)| name == DEFAULT)
    })
}

/// Loads the default profile unless it is there. Many containers may start at once: one of them loads it.
fn load_default(parser: &Path) -> Result<()> {
    if is_loaded() {
        return Ok(());
    }
    let failed = |error: String| {
        EngineError::failed(
            format!("load the AppArmor profile {DEFAULT}"),
            format!("{error} (`security_opt: [apparmor=unconfined]` goes without)"),
        )
    };
    let gate = File::open(parser).map_err(|error| failed(error.to_string()))?;
    // Held until the end. Without it the profile would only be loaded more than once.
    let _gate = Flock::lock(gate, FlockArg::LockExclusive).ok();
    if is_loaded() {
        return Ok(());
    }
    let mut child = Command::new(parser)
        .args(["--skip-cache", "--replace"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        // A parser that ends before it has read all says why itself.
        let _ = input.write_all(text(Path::new(ABI).exists()).as_bytes());
    }
    let done = child
        .wait_with_output()
        .map_err(|e| failed(e.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    ))
}

/// The text of the default profile.
fn text(abi: bool) -> String {
    let abi = if abi { "abi <abi/3.0>,\n" } else { "" };
    format!("{abi}@{{PROC}}=/proc/\n{RULES}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_has_the_name_it_is_asked_for_by() {
        assert!(text(true).contains(&format!("\nprofile {DEFAULT} ")));
        assert!(text(true).starts_with("abi <abi/3.0>,\n@{PROC}=/proc/\n"));
        assert!(text(false).starts_with("@{PROC}"));
    }

    #[test]
    fn who_is_privileged_or_says_so_has_no_label() {
        let mut security = Security {
            privileged: true,
            ..Security::default()
        };
        assert_eq!(Label::choose(&security).unwrap(), None);
        security.privileged = false;
        security.apparmor = Some("unconfined".to_owned());
        assert_eq!(Label::choose(&security).unwrap(), None);
    }
}
