//! Entry: the command line, or one of the processes that hoist starts of itself.

use std::process::ExitCode;

use hoist::base::env::Env;
use hoist::engine::native;
use hoist::{cli, sys};

fn main() -> ExitCode {
    // A failure here leaves the inherited state, with which everything still works.
    let _ = sys::signal::default_pipe();
    let mut args = std::env::args_os();
    let program = args.next();
    let words: Vec<_> = args.collect();
    let hidden = words
        .first()
        .and_then(|word| word.to_str())
        .unwrap_or_default();
    let rest = || {
        words
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    };
    let code = match hidden {
        "__supervise" => own(native::supervisor::main, rest()),
        "__sandbox" => own(native::sandbox::main, rest()),
        _ => cli::main(program.into_iter().chain(words), Env::of_process()),
    };
    // The kernel keeps the low eight bits.
    ExitCode::from((code & 0xff) as u8)
}

/// Runs one of hoist's own processes, without the signal mask of the command that started it.
fn own(main: fn(Vec<String>) -> i32, args: Vec<String>) -> i32 {
    let _ = sys::signal::unblock_all();
    main(args)
}
