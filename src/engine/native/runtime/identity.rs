//! What a process may do: capabilities, `no_new_privs`, AppArmor label, filter; and becoming its user.
//!
//! In: [`Security`]. Out: an [`Identity`], decided and compiled before the process exists. Inheritable and
//! ambient capabilities are always empty. Imports: `engine`, `sys`. Rules: capabilities(7), "Transformation
//! of capabilities during execve"; the default set as Docker (`oci/caps/defaults.go`).

use nix::unistd::{Gid, Uid};

use super::limits::PrivateProc;
use super::message::{step, words};
use super::user::User;
use super::{apparmor::Label, profile, seccomp};
use crate::base::kernel::capability;
use crate::engine::spec::{Seccomp, Security};
use crate::engine::{EngineError, Result};
use crate::sys::caps::{self, Caps};
use crate::sys::seccomp::{Filter, compile, install};

/// What every container gets: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
const DEFAULT: Caps = Caps::from_bits(0xa804_25fb);

/// What a process may do, ready to be taken on.
#[derive(Debug)]
pub(super) struct Identity {
    /// Bounding set, and what root has.
    caps: Caps,
    filter: Option<Filter>,
    no_new_privs: bool,
    label: Option<Label>,
}

/// The capability set that the words of a file make. As Docker: `caps.TweakCapabilities`.
fn capabilities(security: &Security, privileged: bool) -> Result<Caps> {
    let all = Caps::from_bits(u64::MAX);
    if privileged {
        return Ok(all);
    }
    let read = |names: &[String]| -> Result<Caps> {
        names.iter().try_fold(Caps::EMPTY, |set, name| {
            let one = match capability(name) {
                Some("ALL") => Some(all),
                known => known.and_then(Caps::named),
            };
            let one = one.ok_or_else(|| EngineError::Unsupported {
                what: format!("invalid capability: `{name}`"),
            })?;
            Ok(set.or(one))
        })
    };
    let (add, drop) = (read(&security.cap_add)?, read(&security.cap_drop)?);
    Ok(if add == all {
        // What is dropped by name stays dropped; ALL on both sides is all.
        all.without(if drop == all { Caps::EMPTY } else { drop })
    } else {
        DEFAULT.without(drop).or(add)
    })
}

/// What a process does once it has its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It executes a program, which the label holds from then on.
    Execute,
    /// It goes on as it is.
    Stay,
}

impl Identity {
    /// Decides and compiles. Before the process exists, on the host.
    ///
    /// With `all` it has every capability whatever the container has, as Docker's `exec --privileged`: filter and
    /// label stay those of the container.
    pub(super) fn prepare(security: &Security, all: bool) -> Result<Self> {
        let available = Caps::available().map_err(step("read our capabilities"))?;
        let own = capabilities(security, security.privileged)?.and(available);
        let label = Label::choose(security)?;
        let policy = match &security.seccomp {
            Seccomp::Unconfined => None,
            Seccomp::Default if security.privileged => None,
            Seccomp::Default => {
                let guarded = label.as_ref().is_some_and(Label::is_default);
                Some(seccomp::default_policy(own, guarded))
            }
            Seccomp::Profile(text) => Some(profile::read(text, own)?),
        };
        let filter = policy.map(|policy| compile(&policy)).transpose();
        let filter =
            filter.map_err(|long| EngineError::failed("compile the seccomp profile", long))?;
        Ok(Self {
            caps: if all { available } else { own },
            filter,
            no_new_privs: security.no_new_privileges,
            label,
        })
    }

    /// Makes the caller this user with these rights; all but the filter, which [`Identity::confine`] adds.
    ///
    /// `CAP_SYS_ADMIN` stays until the execution takes it, since installing the filter needs it.
    pub(super) fn assume(&self, user: &User, proc: &PrivateProc, next: Next) -> Result<()> {
        if let Some(label) = &self.label {
            label.take(proc, next == Next::Stay)?;
        }
        caps::bound(self.caps).map_err(step("limit the capabilities"))?;
        nix::sys::prctl::set_keepcaps(true).map_err(step("keep capabilities"))?;
        let groups: Vec<Gid> = user.groups.iter().map(|gid| (*gid).into()).collect();
        nix::unistd::setgroups(&groups).map_err(step("set the groups"))?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        nix::unistd::setresgid(gid, gid, gid).map_err(step(format!("become group {gid}")))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(step(format!("become user {uid}")))?;
        // Who is not root has nothing after the execution; until then files are looked at with what the
        // program itself will have.
        let usual = if uid.is_root() {
            self.caps
        } else {
            Caps::EMPTY
        };
        let admin = Caps::named("SYS_ADMIN").unwrap_or(Caps::EMPTY);
        let available = Caps::available_permitted().map_err(step("read our capabilities"))?;
        let now = usual.or(admin).and(available);
        caps::set(now, now).map_err(step("set the capabilities"))?;
        // Changing the user has made us traceable or not by the system's setting: never, until the end.
        nix::sys::prctl::set_dumpable(false).map_err(step("refuse to be traced"))?;
        if self.no_new_privs {
            nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
        }
        Ok(())
    }

    /// Drops what [`Identity::assume`] kept for the filter; for a process that executes nothing.
    pub(super) fn give_up_admin(&self) -> Result<()> {
        let usual = if Uid::effective().is_root() {
            self.caps
        } else {
            Caps::EMPTY
        };
        let left = Caps::available_permitted().map(|have| usual.and(have));
        left.and_then(|left| caps::set(left, left))
            .map_err(step("drop the capabilities"))
    }

    /// Installs the filter. The last thing before the execution.
    pub(super) fn confine(&self) -> Result<()> {
        let Some(filter) = &self.filter else {
            return Ok(());
        };
        install(filter)
            .map_err(|errno| EngineError::failed("install the seccomp filter", words(errno)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(add: &[&str], drop: &[&str]) -> u64 {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = Security {
            cap_add: own(add),
            cap_drop: own(drop),
            ..Security::default()
        };
        capabilities(&security, false).unwrap().bits()
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        assert_eq!(bits(&[], &[]), 0xa804_25fb);
        assert_eq!(bits(&["net_admin"], &["CAP_CHOWN"]), 0xa804_35fa);
        assert_eq!(bits(&[], &["ALL"]), 0);
        assert_eq!(bits(&["NET_ADMIN"], &["all"]), 1 << 12);
        assert_eq!(bits(&["ALL"], &["MKNOD"]), !(1 << 27));
        assert_eq!(bits(&["ALL"], &["ALL"]), u64::MAX);
        let security = Security {
            cap_add: vec!["FLY".into()],
            ..Security::default()
        };
        let told = capabilities(&security, false).unwrap_err().to_string();
        assert_eq!(told, "invalid capability: `FLY`");
    }
}
