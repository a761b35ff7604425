//! Entry: the command line, or one of the processes that hoist starts of itself.

use std::ffi::OsString;
use std::process::ExitCode;

use hoist::base::env::Env;
use hoist::engine::native;
use hoist::{cli, sys};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let rest = words.get(2..).unwrap_or_default();
    let code = match words.get(1).and_then(|word| word.to_str()) {
        Some("__supervise") => own(native::supervisor::main, rest),
        Some("__mount") => own(native::mount_volume, rest),
        Some("__pack") => own(native::pack_log, rest),
        Some("__copy") => own(native::copy::main, rest),
        Some("__sandbox") => own(native::sandbox::main, rest),
        _ => {
            // A failure leaves the inherited state, with which everything still works.
            let _ = sys::signal::default_pipe();
            cli::main(words, Env::of_process())
        }
    };
    // The kernel keeps the low eight bits.
    ExitCode::from((code & 0xff) as u8)
}

/// Runs one of hoist's own processes, without the signal mask of the command that started it. SIGPIPE stays
/// ignored there, as Rust's start-up code leaves it: a container that closes its input must not end them.
fn own(main: fn(&[OsString]) -> i32, args: &[OsString]) -> i32 {
    let _ = sys::signal::unblock_all();
    main(args)
}
