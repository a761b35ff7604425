//! Capabilities as bit sets.
//!
//! Imports: `base::kernel`. Source: capabilities(7), capset(2), prctl(2).
#![expect(
    unsafe_code,
    reason = "capset and the bounding set have no safe binding"
)]

use nix::errno::Errno;

use crate::base::kernel::CAPABILITIES;

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps(u64);

impl Caps {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Makes a set of its bits, as `/proc/PID/status` shows them.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// Makes the set of one capability named without `CAP_`, in capitals.
    pub fn named(name: &str) -> Option<Self> {
        CAPABILITIES
            .iter()
            .position(|known| *known == name)
            .map(|at| Self(1 << at))
    }
    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
    /// All that this kernel lets the caller hand on: its own permitted and bounding ones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn available() -> Result<Self, Errno> {
        Ok(Self(get()?.1).and(bounding()))
    }
    /// The caller's own permitted ones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn available_permitted() -> Result<Self, Errno> {
        Ok(Self(get()?.1))
    }
    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Those in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Those not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether it has the capability of this name, without `CAP_`.
    pub fn has(self, name: &str) -> bool {
        Self::named(name).is_some_and(|one| one.0 & self.0 != 0)
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
const HEADER: Header = Header {
    version: 0x2008_0522,
    pid: 0,
};

/// Effective and permitted bits of the caller.
fn get() -> Result<(u64, u64), Errno> {
    let (header, mut halves) = (HEADER, [Half::default(); 2]);
    // SAFETY: version 3 fills two live structures of this layout.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    Errno::result(done)?;
    let [low, high] = halves;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
    ))
}

/// Sets the caller's permitted and effective capabilities; the inheritable ones become none, and with
/// them the ambient ones.
///
/// # Errors
/// `EPERM` for one the caller does not have.
pub fn set(effective: Caps, permitted: Caps) -> Result<(), Errno> {
    let half = |shift: u32| Half {
        effective: (effective.0 >> shift) as u32,
        permitted: (permitted.0 >> shift) as u32,
        inheritable: 0,
    };
    let (header, halves) = (HEADER, [half(0), half(32)]);
    // SAFETY: version 3 reads two live structures of this layout.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    Errno::result(done).map(drop)
}

fn bounding() -> Caps {
    let held = (0..64u32).filter(|number| {
        // SAFETY: plain numbers.
        (unsafe { libc::prctl(libc::PR_CAPBSET_READ, *number, 0, 0, 0) }) == 1
    });
    Caps(held.fold(0, |bits, number| bits | 1 << number))
}

/// Takes every capability that is not in `keep` out of the bounding set, for good.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn bound(keep: Caps) -> Result<(), Errno> {
    let drop = bounding().without(keep);
    for number in (0..64u32).filter(|number| drop.0 >> number & 1 == 1) {
        // SAFETY: plain numbers.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        Errno::result(done)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        assert_eq!(Caps::named("SYS_ADMIN"), Some(Caps(1 << 21)));
        assert_eq!(Caps::named("CHECKPOINT_RESTORE"), Some(Caps(1 << 40)));
        assert_eq!(Caps::named("CAP_CHOWN"), None);
    }
}
