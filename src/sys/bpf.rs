//! Device filters of cgroup v2: a small eBPF program for each cgroup.
//!
//! Imports: nothing of ours. Source: bpf(2), linux/bpf.h (`struct bpf_cgroup_dev_ctx`),
//! Documentation/bpf/standardization/instruction-set.rst.
#![expect(unsafe_code, reason = "bpf has no safe binding")]

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

/// One kind of access that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// `BPF_DEVCG_DEV_BLOCK` 1 or `BPF_DEVCG_DEV_CHAR` 2; both when `None`.
    pub kind: Option<u8>,
    /// Major number; any when `None`.
    pub major: Option<u32>,
    /// Minor number; any when `None`.
    pub minor: Option<u32>,
    /// Bits of `BPF_DEVCG_ACC_MKNOD` 1, `_READ` 2, `_WRITE` 4.
    pub access: u8,
}

/// One instruction: `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

fn insn(code: u8, to: u8, from: u8, offset: i16, value: u32) -> Insn {
    Insn {
        code,
        registers: to | from << 4,
        offset,
        value: value as i32,
    }
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNEQUAL: u8 = 0x55;
const JUMP_UNEQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Registers: 2 kind, 3 access, 4 major, 5 minor. Answers 1 at the first rule that fits, else 0.
fn program(rules: &[Allowed]) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(MOVE_REGISTER, 3, 2, 0, 0),
        insn(AND, 2, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // Each test that fails jumps behind the rule; `left` is how many instructions that is.
        let tests = [
            (2, rule.kind.map(u32::from)),
            (4, rule.major),
            (5, rule.minor),
        ];
        let tests: Vec<_> = tests
            .iter()
            .filter_map(|(at, want)| want.map(|w| (*at, w)))
            .collect();
        let mut left = tests.len() as i16 + 5;
        code.push(insn(MOVE_REGISTER, 1, 3, 0, 0));
        code.push(insn(AND, 1, 0, 0, rule.access.into()));
        left -= 3;
        code.push(insn(JUMP_UNEQUAL_REGISTER, 1, 3, left, 0));
        for (register, want) in tests {
            left -= 1;
            code.push(insn(JUMP_UNEQUAL, register, 0, left, want));
        }
        code.push(insn(MOVE, 0, 0, 0, 1));
        code.push(insn(EXIT, 0, 0, 0, 0));
    }
    code.push(insn(MOVE, 0, 0, 0, 0));
    code.push(insn(EXIT, 0, 0, 0, 0));
    code
}

/// `union bpf_attr` as far as the two commands need it.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.0.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
    fn call(&self, command: libc::c_int) -> Result<libc::c_long, Errno> {
        // SAFETY: 128 live bytes, zero where nothing was set; pointers put into it outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len()) };
        Errno::result(done)
    }
}

/// Lets tasks of a cgroup (v2) use only the devices of `rules`. Ends with the cgroup.
///
/// # Errors
/// The kernel's: `EPERM` without `CAP_BPF` and `CAP_SYS_ADMIN`, `EINVAL` without `CONFIG_CGROUP_BPF`.
pub fn restrict_devices(cgroup: impl AsFd, rules: &[Allowed]) -> Result<(), Errno> {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let code = program(rules);
    let mut load = Attr([0; 128]);
    load.put(0, &TYPE_CGROUP_DEVICE.to_ne_bytes());
    load.put(4, &(code.len() as u32).to_ne_bytes());
    load.put(8, &(code.as_ptr() as u64).to_ne_bytes());
    load.put(16, &(c"Apache-2.0".as_ptr() as u64).to_ne_bytes());
    let fd = load.call(PROG_LOAD)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut attach = Attr([0; 128]);
    attach.put(0, &cgroup.as_fd().as_raw_fd().to_ne_bytes());
    attach.put(4, &program.as_raw_fd().to_ne_bytes());
    attach.put(8, &ATTACH_CGROUP_DEVICE.to_ne_bytes());
    attach.put(12, &ALLOW_MULTI.to_ne_bytes());
    attach.call(PROG_ATTACH).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, for the instructions it uses.
    fn allows(rules: &[Allowed], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let code = program(rules);
        let context = [kind | access << 16, major, minor];
        let mut r = [0u64; 6];
        let mut at = 0usize;
        loop {
            let now = code[at];
            let (to, from) = ((now.registers & 15) as usize, (now.registers >> 4) as usize);
            at += 1;
            match now.code {
                LOAD_WORD => r[to] = context[now.offset as usize / 4].into(),
                MOVE => r[to] = now.value as u64,
                MOVE_REGISTER => r[to] = r[from],
                AND => r[to] &= now.value as u64,
                SHIFT_RIGHT => r[to] >>= now.value,
                JUMP_UNEQUAL if r[to] != now.value as u64 => at += now.offset as usize,
                JUMP_UNEQUAL_REGISTER if r[to] != r[from] => at += now.offset as usize,
                JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER => {}
                EXIT => return r[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn only_the_listed_devices_and_kinds_of_access_pass() {
        let rules = [
            Allowed {
                kind: Some(2),
                major: None,
                minor: None,
                access: 1,
            },
            Allowed {
                kind: Some(2),
                major: Some(1),
                minor: Some(3),
                access: 7,
            },
            Allowed {
                kind: Some(1),
                major: Some(8),
                minor: None,
                access: 2,
            },
        ];
        assert!(allows(&rules, 2, 1, 99, 99));
        assert!(!allows(&rules, 2, 2, 99, 99));
        assert!(allows(&rules, 2, 6, 1, 3));
        assert!(!allows(&rules, 1, 6, 1, 3));
        assert!(allows(&rules, 1, 2, 8, 5));
        assert!(!allows(&rules, 1, 6, 8, 5));
        assert!(!allows(&[], 2, 1, 1, 3));
    }
}
