//! The system calls a container may make when nobody says otherwise.
//!
//! In: the container's capabilities. Out: a [`Policy`]. Everything not named fails with `EPERM`: what loads
//! code into the kernel, changes mounts or clocks, reaches into other processes' keys, or has a history of
//! holes (`io_uring_*`, `userfaultfd`). The facts are those of Docker's default profile (moby `profiles/seccomp`).
//! Imports: `sys::{caps, seccomp}`.

use crate::sys::caps::Caps;
use crate::sys::seccomp::{Action, Arch, Compare, Condition, Policy, Rule, Width};

/// Files: open, read, write, seek, space, locks.
const FILES: &str = "open openat openat2 creat close close_range read write readv writev pread64 pwrite64 \
    preadv preadv2 pwritev pwritev2 lseek _llseek sendfile sendfile64 copy_file_range splice tee vmsplice \
    readahead fadvise64 fadvise64_64 fallocate truncate truncate64 ftruncate ftruncate64 fsync fdatasync \
    sync syncfs sync_file_range cachestat dup dup2 dup3 fcntl fcntl64 flock ioctl pipe pipe2 \
    memfd_create memfd_secret";

/// Names, links, directories, attributes.
const NAMES: &str = "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat \
    statx statfs statfs64 fstatfs fstatfs64 statmount listmount chdir fchdir getcwd mkdir mkdirat rmdir \
    rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat readlink readlinkat mknod \
    mknodat getdents getdents64 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 lchown \
    lchown32 fchownat umask utime utimes futimesat utimensat utimensat_time64 name_to_handle_at getxattr \
    lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr \
    listxattrat removexattr lremovexattr fremovexattr removexattrat inotify_init inotify_init1 \
    inotify_add_watch inotify_rm_watch fanotify_mark";

/// Waiting for descriptors, and asynchronous reads of the old kind.
const WAITING: &str = "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create \
    epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd \
    eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime \
    timerfd_gettime64 io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents \
    io_pgetevents_time64";

/// Sockets once made; making one is looked at by family.
const SOCKETS: &str = "socketpair bind listen accept accept4 connect shutdown getsockname \
    getpeername getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg \
    recvmmsg_time64";

/// Memory.
const MEMORY: &str = "brk mmap mmap2 munmap mremap mprotect madvise msync mincore mlock mlock2 mlockall \
    munlock munlockall remap_file_pages membarrier mseal map_shadow_stack pkey_alloc pkey_free pkey_mprotect";

/// Processes and threads, their limits, their order.
const PROCESSES: &str = "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid \
    getpgid setpgid getpgrp getsid setsid set_tid_address set_thread_area get_thread_area \
    set_robust_list get_robust_list rseq futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue \
    restart_syscall prctl pidfd_open process_mrelease getrlimit ugetrlimit setrlimit prlimit64 getrusage times \
    getpriority setpriority ioprio_get ioprio_set sched_yield sched_getaffinity sched_setaffinity \
    sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler sched_setscheduler \
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getcpu \
    uname sysinfo getrandom";

/// Signals.
const SIGNALS: &str = "kill tkill tgkill pidfd_send_signal pause sigaltstack sigprocmask sigreturn rt_sigaction \
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    rt_sigtimedwait_time64 rt_tgsigqueueinfo uretprobe riscv_hwprobe";

/// Who a process is.
const IDENTITY: &str = "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid \
    getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid \
    setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setgroups setgroups32 \
    setfsuid setfsuid32 setfsgid setfsgid32 capget capset";

/// Walls that a process builds around itself.
const CONFINEMENT: &str =
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// Clocks and timers; setting a clock still needs its capability.
const CLOCKS: &str = "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 \
    clock_nanosleep clock_nanosleep_time64 clock_adjtime clock_adjtime64 adjtimex nanosleep alarm \
    getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
    timer_settime timer_settime64";

/// System V and POSIX queues, semaphores, shared memory.
const QUEUES: &str = "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat \
    shmctl shmdt shmget mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 \
    mq_timedsend mq_timedsend_time64";

/// Tracing one's own kind: safe since Linux 4.8, where a tracer can't get around a filter any more.
const TRACING: &str = "ptrace process_vm_readv process_vm_writev";

/// What one machine has and others do not.
const MACHINE: &str = if cfg!(target_arch = "x86_64") {
    "arch_prctl modify_ldt"
} else {
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
};

/// What a capability opens.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    (
        "SYS_ADMIN",
        "clone clone3 unshare setns mount umount umount2 mount_setattr move_mount open_tree fsopen \
         fsconfig fsmount fspick bpf perf_event_open fanotify_init quotactl quotactl_fd sethostname \
         setdomainname syslog lookup_dcookie lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    ),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_MODULE", "init_module finit_module delete_module"),
    (
        "SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    (
        "SYS_NICE",
        "get_mempolicy set_mempolicy mbind set_mempolicy_home_node",
    ),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_BOOT", "reboot"),
    ("SYS_PACCT", "acct"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// `AF_ALG`, the kernel's cryptography, and `AF_VSOCK`, a way to the hypervisor.
const REFUSED_FAMILIES: [u64; 2] = [38, 40];

/// Personalities that change no protection: plain, 32-bit addresses shown, with `UNAME26`, both, ask.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW*`, but for the time namespace, whose bit is another's in clone(2).
const NEW_NAMESPACES: u64 = 0x7e02_0000;

fn low(argument: u8, compare: Compare, value: u64) -> Condition {
    Condition {
        argument,
        compare,
        value,
        width: Width::Low,
    }
}

/// `socketcall(SYS_SOCKET, …)`: the way of 32-bit programs to make a socket. The family lies in memory that a filter
/// can't read.
const SOCKETCALL_SOCKET: u64 = 1;

/// The default policy for a process with these capabilities. `guarded` says that an AppArmor profile refuses
/// [`REFUSED_FAMILIES`] too; where none does, 32-bit programs make sockets with socket(2) only, or not at all.
pub(super) fn default_policy(caps: Caps, guarded: bool) -> Policy {
    let always = [
        FILES,
        NAMES,
        WAITING,
        SOCKETS,
        MEMORY,
        PROCESSES,
        SIGNALS,
        IDENTITY,
        CONFINEMENT,
        CLOCKS,
        QUEUES,
        TRACING,
        MACHINE,
    ];
    let gated = WITH_CAPABILITY
        .iter()
        .filter(|(cap, _)| caps.has(cap))
        .map(|(_, calls)| *calls);
    let calls = always
        .into_iter()
        .chain(gated)
        .flat_map(str::split_ascii_whitespace);
    let rule = |call: &str, action, conditions| Rule {
        call: call.to_owned(),
        action,
        conditions,
    };
    let mut rules: Vec<Rule> = calls
        .map(|call| rule(call, Action::Allow, Vec::new()))
        .collect();
    let families = REFUSED_FAMILIES.map(|family| low(0, Compare::Ne, family));
    rules.push(rule("socket", Action::Allow, families.to_vec()));
    let not_made = low(0, Compare::Ne, SOCKETCALL_SOCKET);
    let not_made = Some(not_made).filter(|_| !guarded);
    rules.push(rule(
        "socketcall",
        Action::Allow,
        not_made.into_iter().collect(),
    ));
    for value in PERSONALITIES {
        let is = low(0, Compare::Eq, value);
        rules.push(rule("personality", Action::Allow, vec![is]));
    }
    if !caps.has("SYS_ADMIN") {
        let none = low(0, Compare::MaskedEq(NEW_NAMESPACES), 0);
        rules.push(rule("clone", Action::Allow, vec![none]));
        // Its flags lie in memory that a filter can't read; callers fall back to clone.
        rules.push(rule(
            "clone3",
            Action::Errno(libc::ENOSYS as u16),
            Vec::new(),
        ));
    }
    let default = Action::Errno(libc::EPERM as u16);
    Policy {
        default,
        rules,
        arches: Arch::NATIVE.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::seccomp::compile;

    fn calls(caps: Caps) -> Vec<String> {
        default_policy(caps, true)
            .rules
            .into_iter()
            .map(|rule| rule.call)
            .collect()
    }

    #[test]
    fn no_call_is_named_twice_without_a_condition() {
        let mut plain: Vec<_> = default_policy(Caps::EMPTY, true)
            .rules
            .into_iter()
            .filter(|rule| rule.conditions.is_empty())
            .map(|rule| rule.call)
            .collect();
        let before = plain.len();
        plain.sort();
        plain.dedup();
        assert_eq!(plain.len(), before);
    }

    #[test]
    fn capabilities_open_calls_and_nothing_opens_the_forbidden_ones() {
        let all = Caps::from_bits(u64::MAX);
        assert!(!calls(Caps::EMPTY).contains(&"mount".to_owned()));
        assert!(calls(all).contains(&"mount".to_owned()));
        for never in [
            "io_uring_setup",
            "userfaultfd",
            "kexec_load",
            "add_key",
            "keyctl",
            "swapon",
        ] {
            assert!(!calls(all).contains(&never.to_owned()), "{never}");
        }
    }

    #[test]
    fn the_policy_fits_into_the_kernels_limit() {
        compile(&default_policy(Caps::EMPTY, false)).unwrap();
        compile(&default_policy(Caps::from_bits(u64::MAX), false)).unwrap();
    }
}
