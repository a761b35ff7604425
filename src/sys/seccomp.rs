//! System call filters: a compiler from rules to classic BPF, and the call that installs the result.
//!
//! A filter is a switch over architectures, then a binary search over ranges of numbers with the same
//! answer: about eight comparisons a call, where a chain over the same rules needs hundreds.
//!
//! Imports: nothing of ours. Source: seccomp(2), linux/bpf_common.h, linux/audit.h.
#![expect(unsafe_code, reason = "seccomp has no safe binding")]

use std::collections::BTreeMap;
use std::str::FromStr as _;

use libc::sock_filter;
use nix::errno::Errno;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Errno(u16),
    /// Its thread ends.
    KillThread,
    /// Its process ends.
    KillProcess,
    /// Its thread gets `SIGSYS`.
    Trap,
    /// A tracer decides; `ENOSYS` without one.
    Trace(u16),
    /// It is made and logged.
    Log,
}

impl Action {
    fn value(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Trace(value) => libc::SECCOMP_RET_TRACE | u32::from(value),
            Self::Log => libc::SECCOMP_RET_LOG,
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Is not the value.
    Ne,
    /// Is the value.
    Eq,
    /// Is below it.
    Lt,
    /// Is not above it.
    Le,
    /// Is above it.
    Gt,
    /// Is not below it.
    Ge,
    /// Is the value once masked with this.
    MaskedEq(u64),
}

/// How much of an argument the kernel itself looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 32 bits. Comparing more would let a caller hide a value behind bits the kernel drops.
    Low,
    /// 64 bits.
    Full,
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub compare: Compare,
    /// What it is compared with.
    pub value: u64,
    /// How much of it counts.
    pub width: Width,
}

/// What happens to a call when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The call's name; one that an architecture does not have is left out there.
    pub call: String,
    /// What happens.
    pub action: Action,
    /// All must hold; none is always.
    pub conditions: Vec<Condition>,
}

/// A machine's way of numbering calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, also on a 64-bit kernel.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, also on a 64-bit kernel.
    Arm,
}

impl Arch {
    /// This machine's own, then those its kernel can run too.
    pub const NATIVE: &'static [Self] = if cfg!(target_arch = "x86_64") {
        &[Self::X86_64, Self::X86]
    } else {
        &[Self::Aarch64, Self::Arm]
    };

    /// `AUDIT_ARCH_*`
    fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }
    /// The number of a call, if this architecture has it.
    pub fn number(self, call: &str) -> Option<u32> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86_64 => syscalls::Sysno::from_str(call).ok().map(|call| call as u32),
            #[cfg(target_arch = "aarch64")]
            Self::Aarch64 => syscalls::Sysno::from_str(call).ok().map(|call| call as u32),
            Self::X86 => syscalls::x86::Sysno::from_str(call)
                .ok()
                .map(|call| call as u32),
            Self::Arm => syscalls::arm::Sysno::from_str(call)
                .ok()
                .map(|call| call as u32),
            #[cfg(not(target_arch = "x86_64"))]
            Self::X86_64 => None,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Aarch64 => None,
        }
    }
}

/// A filter in words.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What happens to a call without a rule that fits.
    pub default: Action,
    /// The first rule for a call whose conditions hold decides.
    pub rules: Vec<Rule>,
    /// Calls of other architectures end the process.
    pub arches: Vec<Arch>,
}

/// A filter the kernel takes.
#[derive(Debug, Clone)]
pub struct Filter(Vec<sock_filter>);

/// A policy too long for the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the filter has {0} instructions, the kernel takes 4096")]
pub struct TooLong(usize);

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const IF_NOT_BELOW: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const MASK: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// Calls of the x32 ABI carry this bit. Few kernels have it on, and it has a history of its own holes: it
/// answers as a kernel without it.
const X32: u32 = 0x4000_0000;

fn op(code: u32, value: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

fn jump(code: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k: value,
    }
}

/// Compiles a policy.
///
/// # Errors
/// [`TooLong`].
pub fn compile(policy: &Policy) -> Result<Filter, TooLong> {
    let mut code = vec![op(LOAD, ARCHITECTURE)];
    for arch in &policy.arches {
        let body = body(policy, *arch);
        code.push(jump(IF_EQUAL, arch.audit(), 1, 0));
        code.push(op(JUMP, body.len() as u32));
        code.extend(body);
    }
    code.push(op(RETURN, Action::KillProcess.value()));
    if code.len() > 4096 {
        Err(TooLong(code.len()))
    } else {
        Ok(Filter(code))
    }
}

fn body(policy: &Policy, arch: Arch) -> Vec<sock_filter> {
    let mut code = vec![op(LOAD, NUMBER)];
    if arch == Arch::X86_64 {
        code.push(jump(IF_NOT_BELOW, X32, 0, 1));
        code.push(op(RETURN, Action::Errno(libc::ENOSYS as u16).value()));
    }
    let mut calls: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &policy.rules {
        if let Some(number) = arch.number(&rule.call) {
            calls.entry(number).or_default().push(rule);
        }
    }
    // (first number, what to do from there on)
    let default = vec![op(RETURN, policy.default.value())];
    let mut ranges: Vec<(u32, Vec<sock_filter>)> = vec![(0, default.clone())];
    for (number, rules) in calls {
        let leaf = leaf(&rules, policy.default);
        let begin = ranges.last().is_some_and(|(first, _)| *first == number);
        if begin {
            ranges.pop();
        }
        if !ranges.last().is_some_and(|(_, last)| same(last, &leaf)) {
            ranges.push((number, leaf));
        }
        ranges.push((number + 1, default.clone()));
    }
    code.extend(search(&ranges));
    code
}

fn same(a: &[sock_filter], b: &[sock_filter]) -> bool {
    let key = |one: &sock_filter| (one.code, one.jt, one.jf, one.k);
    a.len() == b.len() && a.iter().map(key).eq(b.iter().map(key))
}

/// A binary search over ranges; every leaf returns.
fn search(ranges: &[(u32, Vec<sock_filter>)]) -> Vec<sock_filter> {
    match ranges {
        [] => Vec::new(),
        [(_, leaf)] => leaf.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let below = search(low);
            let first = high.first().map_or(0, |(first, _)| *first);
            let mut code = match u8::try_from(below.len()) {
                Ok(near) => vec![jump(IF_NOT_BELOW, first, near, 0)],
                // A conditional jump reaches 255 instructions, an unconditional one any number.
                Err(_) => {
                    vec![
                        jump(IF_NOT_BELOW, first, 0, 1),
                        op(JUMP, below.len() as u32),
                    ]
                }
            };
            code.extend(below);
            code.extend(search(high));
            code
        }
    }
}

/// The rules of one call, in order; the default at the end.
fn leaf(rules: &[&Rule], default: Action) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        let mut end = vec![op(RETURN, rule.action.value())];
        for condition in rule.conditions.iter().rev() {
            end = test(condition, end);
        }
        code.extend(end);
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(op(RETURN, default.value()));
    code
}

/// Instructions that run `then` (at most 200, all ending in a return) when the condition holds, and go on
/// behind it when not.
fn test(condition: &Condition, then: Vec<sock_filter>) -> Vec<sock_filter> {
    let low = ARGUMENTS + 8 * u32::from(condition.argument);
    let (value, skip) = (condition.value, then.len() as u8);
    let (value_low, value_high) = (value as u32, (value >> 32) as u32);
    let full = condition.width == Width::Full;
    let mut code = Vec::new();
    // Each line: `code` of a comparison, and where it goes when true and when false; `skip` is behind.
    match condition.compare {
        Compare::Eq | Compare::MaskedEq(_) => {
            let mask = match condition.compare {
                Compare::MaskedEq(mask) => mask,
                _ => u64::MAX,
            };
            if full {
                code.push(op(LOAD, low + 4));
                code.push(op(MASK, (mask >> 32) as u32));
                code.push(jump(IF_EQUAL, value_high, 0, skip + 3));
            }
            code.push(op(LOAD, low));
            code.push(op(MASK, mask as u32));
            code.push(jump(IF_EQUAL, value_low, 0, skip));
        }
        Compare::Ne => {
            if full {
                code.push(op(LOAD, low + 4));
                code.push(jump(IF_EQUAL, value_high, 0, 2));
            }
            code.push(op(LOAD, low));
            code.push(jump(IF_EQUAL, value_low, skip, 0));
        }
        Compare::Gt | Compare::Ge => {
            if full {
                code.push(op(LOAD, low + 4));
                code.push(jump(IF_ABOVE, value_high, 3, 0));
                code.push(jump(IF_EQUAL, value_high, 0, skip + 2));
            }
            let compare = if condition.compare == Compare::Gt {
                IF_ABOVE
            } else {
                IF_NOT_BELOW
            };
            code.push(op(LOAD, low));
            code.push(jump(compare, value_low, 0, skip));
        }
        Compare::Lt | Compare::Le => {
            if full {
                code.push(op(LOAD, low + 4));
                code.push(jump(IF_NOT_BELOW, value_high, 0, 3));
                code.push(jump(IF_EQUAL, value_high, 0, skip + 2));
            }
            let compare = if condition.compare == Compare::Lt {
                IF_NOT_BELOW
            } else {
                IF_ABOVE
            };
            code.push(op(LOAD, low));
            code.push(jump(compare, value_low, skip, 0));
        }
    }
    code.extend(then);
    code
}

/// Installs a filter for the caller and everything it will execute.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` and `no_new_privs`; the kernel's.
pub fn install(filter: &Filter) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: filter.0.len() as u16,
        filter: filter.0.as_ptr().cast_mut(),
    };
    // SAFETY: `program` describes live instructions, which the kernel only reads during the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0u32,
            &raw const program,
        )
    };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would.
    fn run(filter: &Filter, arch: Arch, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![number, arch.audit(), 0, 0];
        data.extend(
            arguments
                .iter()
                .flat_map(|value| [*value as u32, (value >> 32) as u32]),
        );
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let now = filter.0[at];
            at += 1;
            let hit = match u32::from(now.code) {
                LOAD => {
                    a = data[now.k as usize / 4];
                    continue;
                }
                MASK => {
                    a &= now.k;
                    continue;
                }
                JUMP => {
                    at += now.k as usize;
                    continue;
                }
                RETURN => return now.k,
                IF_EQUAL => a == now.k,
                IF_ABOVE => a > now.k,
                IF_NOT_BELOW => a >= now.k,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if hit { now.jt } else { now.jf });
        }
    }

    const HERE: Arch = Arch::NATIVE[0];

    fn one(compare: Compare, value: u64, width: Width) -> Filter {
        let condition = Condition {
            argument: 1,
            compare,
            value,
            width,
        };
        let rule = |call: &str, conditions| Rule {
            call: call.into(),
            action: Action::Allow,
            conditions,
        };
        let rules = vec![
            rule("socket", vec![condition]),
            rule("read", vec![]),
            rule("write", vec![]),
        ];
        let policy = Policy {
            default: Action::Errno(1),
            rules,
            arches: Arch::NATIVE.to_vec(),
        };
        compile(&policy).unwrap()
    }

    #[test]
    fn comparisons_are_those_of_whole_numbers() {
        const BIG: u64 = 5 << 32 | 7;
        let values = [0, 6, 7, 8, BIG - 1, BIG, BIG + 1, 4 << 32 | 9, 6 << 32];
        let socket = HERE.number("socket").unwrap();
        for want in [7, BIG] {
            for got in values {
                for (compare, holds) in [
                    (Compare::Eq, got == want),
                    (Compare::Ne, got != want),
                    (Compare::Lt, got < want),
                    (Compare::Le, got <= want),
                    (Compare::Gt, got > want),
                    (Compare::Ge, got >= want),
                    (Compare::MaskedEq(0xf), got & 0xf == want),
                ] {
                    let filter = one(compare, want, Width::Full);
                    let answer = run(&filter, HERE, socket, [0, got, 0, 0, 0, 0]);
                    let allow = if holds {
                        libc::SECCOMP_RET_ALLOW
                    } else {
                        0x0005_0001
                    };
                    assert_eq!(answer, allow, "{got:#x} {compare:?} {want:#x}");
                }
            }
        }
        let narrow = one(Compare::Lt, 38, Width::Low);
        assert_eq!(
            run(&narrow, HERE, socket, [0, 1 << 32 | 38, 0, 0, 0, 0]),
            0x0005_0001
        );
    }

    #[test]
    fn each_architecture_has_its_own_numbers_and_others_end_the_process() {
        let filter = one(Compare::Eq, 0, Width::Full);
        for arch in Arch::NATIVE {
            for number in 0..600 {
                let allowed = ["read", "write"]
                    .iter()
                    .any(|n| arch.number(n) == Some(number))
                    || arch.number("socket") == Some(number);
                let want = if allowed {
                    libc::SECCOMP_RET_ALLOW
                } else {
                    0x0005_0001
                };
                assert_eq!(
                    run(&filter, *arch, number, [0; 6]),
                    want,
                    "{arch:?} {number}"
                );
            }
        }
        let other = Filter(filter.0.clone());
        let foreign = if HERE == Arch::X86_64 {
            Arch::Arm
        } else {
            Arch::X86
        };
        assert_eq!(
            run(&other, foreign, 0, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        if HERE == Arch::X86_64 {
            assert_eq!(
                run(&other, HERE, X32, [0; 6]),
                0x0005_0000 | libc::ENOSYS as u32
            );
        }
    }
}
