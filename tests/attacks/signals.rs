//! Attacks with signals: what a container does to processes that enter it.

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_container_that_stops_all_who_enter_it_does_not_stop_its_supervisor,
);

/// A process on its way in is seen by those inside, who may stop it before it has executed anything; a supervisor that
/// waited for it could neither probe nor stop its container.
fn a_container_that_stops_all_who_enter_it_does_not_stop_its_supervisor() {
    let hoist = Sandbox::new();
    let hold = "while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p -gt 1 ] && kill -STOP $p; done; done 2>/dev/null";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, '{}'], stop_signal: SIGKILL, healthcheck: {{test: [CMD, 'true'], interval: 20ms, \
         timeout: 300ms, retries: 2}}}}\n",
        hold.replace('$', "$$")
    ));
    hoist.ok("up -d");
    eventually("a probe was held up", || {
        let found = hoist.ok("ps --format json").out;
        found.contains("(unhealthy)").then_some(())
    });
    // A few more are on their way by now.
    for _ in 0..3 {
        drop(hoist.start("exec -T a true"));
    }
    hoist.ok("down -t 0");
    hoist.is_gone();
}
