//! Calls that fail: no space, no memory, a broken or read-only disk. The command says what and why, and the next one goes on.

use nix::errno::Errno;

use super::trace::{Fault, Traced};
use super::world::{Report, World, caught, points};
use crate::harness::Need;

const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Tracing];

crate::cases!(NEEDS;
    an_up_in_which_a_call_fails_says_so_and_the_next_goes_on,
    a_restart_in_which_a_call_fails_says_so_and_the_next_up_goes_on,
    a_down_in_which_a_call_fails_says_so_and_the_next_goes_on,
    an_exec_in_which_a_call_fails_leaves_the_container_alone,
);

/// What a call may meet on a machine that is full or broken.
const ERRORS: [Errno; 5] = [
    Errno::ENOSPC,
    Errno::EIO,
    Errno::EROFS,
    Errno::ENOMEM,
    Errno::EMFILE,
];

/// Calls that can't meet any of them.
const NEVER: [&str; 7] = [
    "pidfd_send_signal",
    "kill",
    "flock",
    "unshare",
    "listen",
    "setns",
    "sendmsg",
];

fn is_impossible(call: &str) -> bool {
    NEVER.iter().any(|name| call.starts_with(name))
}

/// A command that fails says why, in the words of the system.
fn is_told(traced: &Traced, errno: Errno) -> Result<(), String> {
    let story = traced.text.to_lowercase();
    let says = |errno: Errno| {
        story.contains(&errno.desc().to_lowercase())
            || story.contains(&format!("os error {}", errno as i32))
    };
    // Whatever keeps the kernel from making a thread, pthread_create(3) calls it EAGAIN.
    let thread = |call: &str| call.starts_with("clone3");
    let at_thread = traced.hit.as_ref().is_some_and(|call| thread(&call.text));
    let told = says(errno) || (at_thread && says(Errno::EAGAIN));
    // Calls come in another order each time.
    let impossible = traced
        .hit
        .as_ref()
        .is_none_or(|call| is_impossible(&call.text));
    if traced.code == 0 || told || impossible {
        Ok(())
    } else {
        Err(format!("`{}` is not told", errno.desc()))
    }
}

/// Traces `command` on a project that `prepare` has brought into its state, with an error at each point, and looks at what `look` finds then.
fn at_each_point(
    command: &str,
    some: usize,
    prepare: impl Fn(&World),
    look: impl Fn(&World, &Traced) -> Result<(), String>,
) {
    let world = World::new();
    let mut report = Report::default();
    prepare(&world);
    let plain = world.trace(command, None);
    assert_eq!(plain.code, 0, "{}", plain.story());
    world.ends().expect("it ends");
    let fallible = plain.calls.iter().enumerate();
    let fallible: Vec<usize> = fallible
        .filter(|(_, call)| !is_impossible(&call.text))
        .map(|(at, _)| at)
        .collect();
    for at in points(fallible.len(), some) {
        let at = fallible[at];
        // The sum lets neighbours of a kind meet different errors.
        let errno = ERRORS[(at + at / ERRORS.len()) % ERRORS.len()];
        prepare(&world);
        let traced = world.trace(command, Some((at, Fault::Fail(errno))));
        let told = is_told(&traced, errno);
        let outcome = caught(|| look(&world, &traced).and_then(|()| world.ends())).and(told);
        if outcome.is_err() {
            world.hoist.sweep();
        }
        report.add(&format!("point {at}, {errno}"), &traced, outcome);
    }
    report.end();
}

fn up(world: &World) {
    world.hoist.ok("up -d");
    world.hoist.logged("a", "line 9");
}

fn an_up_in_which_a_call_fails_says_so_and_the_next_goes_on() {
    at_each_point(
        "up -d",
        40,
        |_| (),
        |world, traced| {
            if traced.code == 0 {
                world.is_up()?;
            }
            world.works()
        },
    );
}

fn a_restart_in_which_a_call_fails_says_so_and_the_next_up_goes_on() {
    at_each_point("restart -t 0", 25, up, |world, _| world.works());
}

fn a_down_in_which_a_call_fails_says_so_and_the_next_goes_on() {
    at_each_point("down -v -t 0", 25, up, |_, _| Ok(()));
}

fn an_exec_in_which_a_call_fails_leaves_the_container_alone() {
    at_each_point("exec -T a true", 20, up, |world, _| world.is_up());
}
