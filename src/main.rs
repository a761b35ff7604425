//! Entry: the command line, or one of the processes that hoist starts of itself.

use std::ffi::OsString;
use std::process::ExitCode;

use hoist::base::env::Env;
use hoist::engine::native;
use hoist::{cli, sys};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let rest = args.get(2..).unwrap_or_default();
    let code = match args.get(1).and_then(|word| word.to_str()) {
        Some("__supervise") => own(native::supervisor::main, rest),
        Some("__sandbox") => own(|_| native::sandbox::main(), rest),
        _ => {
            // Only here: a supervisor must outlive a client that goes away. When it fails, a closed
            // pipe is an error like others.
            let _ = sys::signal::default_pipe();
            cli::main(args, Env::of_process())
        }
    };
    // The kernel keeps the low eight bits.
    ExitCode::from((code & 0xff) as u8)
}

/// Runs one of hoist's own processes, without the signal mask of the command that started it.
fn own(main: fn(&[OsString]) -> i32, args: &[OsString]) -> i32 {
    let _ = sys::signal::unblock_all();
    main(args)
}
