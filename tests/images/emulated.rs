//! Programs of another processor in a build, for real: qemu runs them, registered for as long as a case lasts.
//!
//! The handler is registered under a name of this run, open (`F`), and is gone however the case ends. Where the kernel's
//! list of handlers is shown is a mount of each command's own, so that the machine keeps its mounts.
//! Source: Documentation/admin-guide/binfmt-misc.rst.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::process::{Done, LIMIT, finish};
use crate::harness::{Need, Sandbox, program};

crate::cases!(&[Need::Root, Need::Busybox, Need::Emulator];
    a_run_for_another_processor_runs_where_an_interpreter_is_registered,
);

/// Shows the list of handlers where it belongs, then does the rest.
const WITH_LIST: &str =
    "d=/proc/sys/fs/binfmt_misc; [ -e $d/status ] || mount -t binfmt_misc none $d; exec \"$@\"";

/// How 64-bit programs for arm begin, and which of its bytes count, as the kernel reads them.
const ARM64: &str = concat!(
    r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:",
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
);

fn with_list(command: &Command) -> Done {
    finish(listed(command), None, LIMIT)
}

/// A command that has the list of handlers in a mount namespace of its own.
fn listed(command: &Command) -> Command {
    let mut whole = Command::new("unshare");
    whole.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        WITH_LIST,
        "sh",
    ]);
    whole.arg(command.get_program()).args(command.get_args());
    whole.env_clear();
    for (name, value) in command.get_envs() {
        whole.env(name, value.unwrap_or_default());
    }
    if let Some(dir) = command.get_current_dir() {
        whole.current_dir(dir);
    }
    whole
}

/// A handler that is there until this is dropped.
struct Handler {
    name: String,
    /// Has the list mounted: with the last mount all handlers go (Linux 6.7). It ends with its input.
    keeper: Child,
}

impl Handler {
    fn register(interpreter: &Path, flags: &str) -> Self {
        let name = format!("hoist-test-{}", std::process::id());
        let line = format!(":{name}:M::{ARM64}:{}:{flags}", interpreter.display());
        let mut keeper = Command::new("sh");
        keeper.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        keeper.args(["-c", "echo there; read -r _"]);
        let mut keeper = listed(&keeper);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("there is a shell");
        let told = BufReader::new(keeper.stdout.take().expect("a pipe"))
            .lines()
            .next();
        told.expect("it is mounted").expect("a line");
        let handler = Self { name, keeper };
        handler.write("register", &line).ok();
        handler
    }
    fn write(&self, file: &str, text: &str) -> Done {
        let mut command = Command::new("sh");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args([
            "-c",
            "printf %s \"$1\" >/proc/sys/fs/binfmt_misc/$0",
            file,
            text,
        ]);
        with_list(&command)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.write(&self.name, "-1");
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A static program for arm of 64 bits: it writes the name of the processor that it sees to `/made` and to its output.
///
/// ```text
/// adr x0, buf ; mov x8, 160 ; svc 0                                     uname(buf)
/// mov x0, -100 ; adr x1, name ; mov x2, 0x41 ; mov x3, 0644 ; mov x8, 56 ; svc 0   openat(AT_FDCWD, "/made", O_WRONLY|O_CREAT)
/// adr x1, buf+260 ; mov x2, 7 ; mov x8, 64 ; svc 0                       write(fd, buf.machine, 7)
/// mov x0, 1 ; svc 0                                                     write(1, buf.machine, 7)
/// mov x0, 0 ; mov x8, 93 ; svc 0                                        exit(0)
/// name: "/made" ; buf: 512 bytes
/// ```
fn program_for_arm() -> Vec<u8> {
    const CODE: [u32; 20] = [
        0x1000_0280,
        0xd280_1408,
        0xd400_0001,
        0x9280_0c60,
        0x1000_01c1,
        0xd280_0822,
        0xd280_3483,
        0xd280_0708,
        0xd400_0001,
        0x1000_0981,
        0xd280_00e2,
        0xd280_0808,
        0xd400_0001,
        0xd280_0020,
        0xd400_0001,
        0xd280_0000,
        0xd280_0ba8,
        0xd400_0001,
        0x6461_6d2f,
        0x0000_0065,
    ];
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + 4 * CODE.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let half = |bytes: &mut Vec<u8>, all: &[u16]| {
        all.iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    };
    let long = |bytes: &mut Vec<u8>, all: &[u64]| {
        all.iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    };
    // An executable for AArch64, version 1; where it begins; where the program headers are; sizes and counts.
    half(&mut bytes, &[2, 183, 1, 0]);
    long(&mut bytes, &[BASE + HEADERS, 64, 0]);
    half(&mut bytes, &[0, 0, 64, 56, 1, 0, 0, 0]);
    // One part that is loaded, and may be read, written and run.
    half(&mut bytes, &[1, 0, 7, 0]);
    long(&mut bytes, &[0, BASE, BASE, size, size + 512, 0x1000]);
    CODE.iter()
        .for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

fn a_run_for_another_processor_runs_where_an_interpreter_is_registered() {
    let hoist = Sandbox::new();
    let path = hoist.file("made-for-arm", program_for_arm());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("the owner may change the mode");
    hoist.file(
        "Dockerfile",
        "FROM --platform=linux/arm64 scratch AS arm\nCOPY made-for-arm /program\nRUN [\"/program\"]\n\
         FROM tiny\nCOPY --from=arm /made /made\nRUN echo \"made by $(cat /made)\"\n",
    );
    let interpreter = program("qemu-aarch64-static");
    let interpreter = interpreter.expect("the case says that it needs it");
    let build = |flags: &str| {
        let words = ["image", "build", "--progress", "plain", "--no-cache"];
        let words = words.iter().copied().chain(flags.split_whitespace());
        with_list(&hoist.command(&words.chain(["."]).collect::<Vec<_>>()))
    };
    {
        let _open = Handler::register(&interpreter, "F");
        build("").ok().says("made by aarch64");
        build("--platform linux/arm64 --target arm -t arm").ok();
    }
    let _closed = Handler::register(&interpreter, "");
    let other = Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists();
    if !other {
        build("")
            .code(1)
            .says("Dockerfile:3:1")
            .says("is registered without the flag F, and is not in the image");
    }
}
