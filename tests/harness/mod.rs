//! What the cases stand on: needs, the list of cases, waiting, and the sandbox each case gets.
//!
//! In: functions and what they need. Out: trials whose skips are counted as ignored, with the reason.
//! Imports: nothing of hoist; the binary is driven from outside.

pub mod git;
pub mod host;
pub mod http;
pub mod image;
pub mod leftovers;
pub mod outside;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod resolver;
pub mod sandbox;
pub mod screen;
pub mod server;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

pub use process::Running;
pub use sandbox::Sandbox;

/// How long a condition may take to come true on a busy machine.
pub fn patience() -> Duration {
    Duration::from_secs(30) * slowness()
}

/// How much slower than usual this machine is: `HOIST_TEST_PATIENCE`, or 1. All limits are so many times as long.
pub fn slowness() -> u32 {
    let said = std::env::var("HOIST_TEST_PATIENCE").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// User id 0 with the capabilities to make namespaces and mounts.
    Root,
    /// A statically linked busybox in `PATH`.
    Busybox,
    /// A program in `PATH`.
    Program(&'static str),
    /// A kernel that makes devices of this kind (`ip link add … type KIND`).
    Device(&'static str),
    /// A kernel with AppArmor on, and the program that loads profiles.
    AppArmor,
    /// To follow the system calls of other processes, on the one kind of processor whose registers the harness knows.
    Tracing,
    /// IPv6 on devices to come.
    Ipv6,
    /// The guest with cgroup v2 beside the repository.
    Guest,
    /// A running Docker engine beside the repository.
    Peer,
    /// A machine that is thrown away afterwards: `HOIST_TEST_THROWAWAY` is `1`.
    Throwaway,
    /// The schema of the Compose Specification beside the repository.
    Specification,
    /// qemu for programs of arm64, on another processor, and a kernel that can be told of it.
    Emulator,
}

impl Need {
    /// Why this is not there, or `None`.
    fn missing(self) -> Option<String> {
        match self {
            Self::Root if !nix::unistd::geteuid().is_root() => Some("needs root".into()),
            Self::Root => None,
            Self::Busybox => image::busybox()
                .is_none()
                .then(|| "needs a static busybox in PATH".into()),
            Self::Program(name) => program(name)
                .is_none()
                .then(|| format!("needs {name} in PATH")),
            Self::Device(kind) => no_device(kind),
            Self::AppArmor => {
                let on = std::fs::read("/sys/module/apparmor/parameters/enabled")
                    .is_ok_and(|text| text.starts_with(b"Y"));
                (!on || program("apparmor_parser").is_none()).then(|| "needs AppArmor".into())
            }
            Self::Tracing => (!cfg!(target_arch = "x86_64"))
                .then(|| "follows system calls on x86-64 only".into()),
            Self::Ipv6 => (!outside::has_v6()).then(|| "needs IPv6".into()),
            Self::Guest => absent(guest()),
            Self::Throwaway => {
                let said = std::env::var_os("HOIST_TEST_THROWAWAY");
                (said.is_none_or(|value| value != "1"))
                    .then(|| "needs a machine that is thrown away".into())
            }
            Self::Peer => absent(peer()).or_else(|| {
                let asked = std::process::Command::new(peer())
                    .args(["run", "docker version"])
                    .output();
                let runs = asked.is_ok_and(|done| done.status.success());
                (!runs).then(|| "needs Docker's engine running".into())
            }),
            Self::Specification => absent(specification()),
            Self::Emulator => no_emulator(),
        }
    }
}

/// Why no program for another processor can be run, or `None`.
fn no_emulator() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("registers qemu for arm64 on x86-64 only".into());
    }
    if program("qemu-aarch64-static").is_none() {
        return Some("needs qemu-aarch64-static in PATH".into());
    }
    let line = "[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", line]);
    let shown = command.output().is_ok_and(|done| done.status.success());
    (!shown).then(|| "needs a kernel with binfmt_misc".into())
}

/// What nearly every case that starts containers needs.
pub const ENGINE: &[Need] = &[Need::Root, Need::Busybox];

/// One case: its name is a sentence.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Module and function.
    pub name: &'static str,
    /// What it needs.
    pub needs: &'static [Need],
    /// The case; it fails by panicking.
    pub run: fn(),
}

impl Case {
    /// Its name without the program's.
    pub fn short_name(&self) -> &'static str {
        self.name.strip_prefix("main::").unwrap_or(self.name)
    }

    /// As the runner takes it. A skip is a failure where `HOIST_TEST_STRICT` is `1`.
    pub fn trial(self) -> Trial {
        Trial::ignorable_test(self.short_name(), move || {
            let missing: Vec<String> = self
                .needs
                .iter()
                .filter_map(|need| need.missing())
                .collect();
            if missing.is_empty() {
                let outcome = match leftovers::is_alone() {
                    true => leftovers::around(|| run(self.run)),
                    false => run(self.run),
                };
                return outcome
                    .map(|()| Completion::Completed)
                    .map_err(Failed::from);
            }
            if std::env::var_os("HOIST_TEST_STRICT").is_some_and(|value| value == "1") {
                return Err(missing.join(", ").into());
            }
            Ok(Completion::ignored_with(missing.join(", ")))
        })
    }
}

thread_local! {
    /// Where this thread panicked first: what comes later is a consequence.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics say nothing by themselves; [`run`] puts the place and the message into the report.
pub fn collect_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        PLACE.with_borrow_mut(|first| {
            first.get_or_insert(place);
        });
    }));
}

/// Runs a case; a panic becomes its place and its message.
fn run(case: fn()) -> Result<(), String> {
    PLACE.set(None);
    std::panic::catch_unwind(case).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        format!("{}: {text}", PLACE.take().unwrap_or_default())
    })
}

/// Lists the cases of a module: `cases!(NEEDS; first, second)`. A function left out is dead code, which the
/// compiler reports.
#[macro_export]
macro_rules! cases {
    ($needs:expr; $($name:ident),+ $(,)?) => {
        /// The cases of this module.
        pub const CASES: &[$crate::harness::Case] = &[$($crate::harness::Case {
            name: concat!(module_path!(), "::", stringify!($name)),
            needs: $needs,
            run: $name,
        }),+];
    };
}

/// Waits until `check` gives a value.
///
/// # Panics
/// When that takes longer than [`patience`]; `what` says what was waited for.
pub fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_until(patience(), what, check)
}

/// Waits until `check` gives a value, at most `limit`.
///
/// # Panics
/// When it takes longer.
pub fn within<T>(limit: Duration, what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_until(limit * slowness(), what, check)
}

fn wait_until<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "not within {} s: {what}",
            limit.as_secs()
        );
        // The pause between two looks; nothing relies on its length.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells what no case can.
pub fn complain(text: &str) {
    use std::io::Write as _;
    // Nobody to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The binary under test: the one built with this program, or what `HOIST_TEST_BINARY` names.
pub fn hoist() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let named = std::env::var_os("HOIST_TEST_BINARY");
        named.map_or_else(|| env!("CARGO_BIN_EXE_hoist").into(), PathBuf::from)
    })
}

/// Runs a program of the machine with something to read.
pub fn with_input(name: &str, arguments: &[&str], stdin: &[u8]) -> process::Done {
    let path = program(name).expect("asked for only where there is one");
    let mut command = std::process::Command::new(path);
    command.args(arguments);
    process::finish(command, Some(stdin), patience() * 2)
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program that runs a command in a guest with cgroup v2.
pub fn guest() -> PathBuf {
    repository().join("../shared/vm/vm")
}

/// The program that runs Docker's engine in a root of its own.
pub fn peer() -> PathBuf {
    repository().join("../shared/peer/peer")
}

/// Where the schema of the Compose Specification is, if it is there.
pub fn specification() -> PathBuf {
    repository().join("../shared/data/compose-spec.json")
}

/// Why the kernel makes no devices of a kind. Asked in a namespace that ends at once, on a parent that is there.
fn no_device(kind: &str) -> Option<String> {
    let ask = format!(
        "ip link add p0 type veth peer name p1; ip link add x0 link p0 type {kind} id 1 2>&1"
    );
    let ask = match kind {
        "vlan" => ask,
        "dummy" => "ip link add x0 type dummy 2>&1".to_owned(),
        _ => ask.replace(" id 1", ""),
    };
    let answer = std::process::Command::new("unshare")
        .args(["-n", "sh", "-c", &ask])
        .output();
    let there = answer.is_ok_and(|answer| answer.status.success());
    (!there).then(|| format!("needs a kernel with devices of type {kind}"))
}

/// Why a file is missing, or `None` if it is there.
fn absent(path: PathBuf) -> Option<String> {
    (!path.is_file()).then(|| format!("needs {}", path.display()))
}

/// Path of a program in `PATH`, or in the places of system programs that some users' `PATH` lacks.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
