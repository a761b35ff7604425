//! `kill -9` of everything, at every call that changes something.

use super::trace::Fault;
use super::world::{Report, World, caught, points};
use crate::harness::Need;

const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Tracing];

crate::cases!(NEEDS;
    an_up_killed_at_any_point_is_completed_by_the_next,
    an_up_killed_at_any_point_leaves_nothing_after_down,
    a_restart_killed_at_any_point_is_completed_by_the_next_up,
    a_down_killed_at_any_point_is_completed_by_the_next,
    a_run_killed_at_any_point_leaves_nothing,
    an_exec_killed_at_any_point_leaves_the_container_alone,
);

/// Which processes die.
const KILLS: [Fault; 2] = [Fault::KillCaller, Fault::KillAll];

/// Traces `command` on a project that `prepare` has brought into its state, with a kill at each point, and looks at what `look` finds then.
fn at_each_point(
    command: &str,
    some: usize,
    prepare: impl Fn(&World),
    look: impl Fn(&World) -> Result<(), String>,
) {
    let world = World::new();
    let mut report = Report::default();
    prepare(&world);
    let plain = world.trace(command, None);
    assert_eq!(plain.code, 0, "{}", plain.story());
    assert!(plain.calls.len() > 30, "few calls: {:?}", plain.calls);
    world.ends().expect("it ends");
    for at in points(plain.calls.len(), some) {
        for kill in KILLS {
            prepare(&world);
            let traced = world.trace(command, Some((at, kill)));
            let outcome = caught(|| look(&world).and_then(|()| world.ends()));
            if outcome.is_err() {
                world.hoist.sweep();
            }
            report.add(&format!("point {at}, {kill:?}"), &traced, outcome);
        }
    }
    report.end();
}

fn nothing(_: &World) {}

fn up(world: &World) {
    world.hoist.ok("up -d");
    world.hoist.logged("a", "line 9");
}

fn an_up_killed_at_any_point_is_completed_by_the_next() {
    at_each_point("up -d", 12, nothing, World::works);
}

fn an_up_killed_at_any_point_leaves_nothing_after_down() {
    at_each_point("up -d", 12, nothing, |_| Ok(()));
}

fn a_restart_killed_at_any_point_is_completed_by_the_next_up() {
    let log = |world: &World| {
        let text = world.hoist.run("logs --no-log-prefix a").out;
        let want: Vec<String> = (0..10).map(|n| format!("line {n}")).collect();
        let lines: Vec<&str> = text.lines().collect();
        if lines.starts_with(&want.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok(())
        } else {
            Err(format!("lines are lost: {lines:?}"))
        }
    };
    at_each_point("restart -t 0", 12, up, |world| {
        log(world)?;
        world.works()?;
        log(world)
    });
}

fn a_down_killed_at_any_point_is_completed_by_the_next() {
    at_each_point("down -v -t 0", 12, up, |_| Ok(()));
}

fn a_run_killed_at_any_point_leaves_nothing() {
    at_each_point("run --rm -T b true", 8, up, |world| {
        world.works()?;
        Ok(())
    });
}

fn an_exec_killed_at_any_point_leaves_the_container_alone() {
    at_each_point("exec -T a true", 8, up, |world| world.is_up());
}
