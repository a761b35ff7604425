//! Runs a graph's nodes on threads: each as soon as its own needs are met.
//!
//! In: a [`Dag`], the work, when an edge's need counts as met. Out: one [`Slot`] a node.
//! A failure begins nothing new ([`OnFailure`] says how far that reaches); what runs is let end.
//! It knows neither what the work is nor a clock. Imports: `dag`.

use std::sync::mpsc;
use std::thread;

use super::dag::{Dag, NodeId};

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot<T, X> {
    /// It was worked off.
    Done(T),
    /// Its work failed.
    Failed(X),
    /// It was never begun: a need failed, or the run was ended.
    Skipped,
}

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing new is begun anywhere.
    Stop,
    /// Only what needs the failed node is left out.
    GoOn,
}

/// How a graph is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many nodes at a time; 0 is no limit.
    pub parallel: usize,
    /// How far a failure reaches.
    pub on_failure: OnFailure,
}

/// Where one node stands while the graph runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It waits for so many needs.
    Open(usize),
    Running,
    Over,
}

/// Runs a graph to its end and gives one slot a node, by id.
///
/// `met` says whether a done need opens an edge; one that does not leaves the dependent out. `ended` is
/// asked before each begin: once it says yes, nothing new is begun. A graph with a cycle leaves the nodes
/// of the cycle out.
pub fn run<N: Sync, E, T: Send, X: Send>(
    dag: &Dag<N, E>,
    rules: Rules,
    met: impl Fn(&E, &T) -> bool,
    ended: impl Fn() -> bool,
    work: impl Fn(NodeId, &N) -> Result<T, X> + Sync,
) -> Vec<Slot<T, X>> {
    let mut slots: Vec<Slot<T, X>> = dag.nodes().map(|_| Slot::Skipped).collect();
    let mut standing: Vec<Standing> = (0..dag.len())
        .map(|at| Standing::Open(dag.needs(NodeId(at)).len()))
        .collect();
    let limit = if rules.parallel == 0 {
        usize::MAX
    } else {
        rules.parallel
    };
    let (tell, told) = mpsc::channel::<(NodeId, Result<T, X>)>();
    let work = &work;
    thread::scope(|scope| {
        let mut running = 0;
        let mut stopped = false;
        loop {
            stopped = stopped || ended();
            for (id, node) in dag.nodes() {
                if stopped || running >= limit {
                    break;
                }
                if standing[id.0] != Standing::Open(0) {
                    continue;
                }
                let own = tell.clone();
                let worker = move || {
                    let _ = own.send((id, work(id, node)));
                };
                match thread::Builder::new().spawn_scoped(scope, worker) {
                    Ok(_) => {}
                    // No thread can be had: when one ends there may be room for another.
                    Err(_) if running > 0 => break,
                    Err(_) => {
                        let _ = tell.send((id, work(id, node)));
                    }
                }
                standing[id.0] = Standing::Running;
                running += 1;
            }
            if running == 0 {
                break;
            }
            // A worker that panics ends the scope with its panic once the others are done; it
            // can't send, so the channel must not be waited on for it alone: `tell` is held here,
            // and release builds abort on panic.
            let Ok((id, result)) = told.recv() else { break };
            running -= 1;
            standing[id.0] = Standing::Over;
            match result {
                Ok(value) => {
                    for (next, label) in dag.dependents(id) {
                        if met(label, &value)
                            && let Standing::Open(needs) = &mut standing[next.0]
                        {
                            *needs = needs.saturating_sub(1);
                        }
                    }
                    slots[id.0] = Slot::Done(value);
                }
                Err(error) => {
                    stopped = stopped || rules.on_failure == OnFailure::Stop;
                    slots[id.0] = Slot::Failed(error);
                }
            }
        }
    });
    slots
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const ALL: Rules = Rules {
        parallel: 0,
        on_failure: OnFailure::Stop,
    };

    fn chain(nodes: usize, edges: &[(usize, usize)]) -> Dag<usize, ()> {
        let mut dag = Dag::default();
        for at in 0..nodes {
            dag.add(at);
        }
        for (node, need) in edges {
            dag.need(NodeId(*node), NodeId(*need), ());
        }
        dag
    }

    #[test]
    fn a_node_runs_after_its_needs_and_free_ones_run_at_the_same_time() {
        let dag = chain(4, &[(2, 0), (2, 1), (3, 2)]);
        let both = std::sync::Barrier::new(2);
        let seen = Mutex::new(Vec::new());
        let slots = run(
            &dag,
            ALL,
            |(), ()| true,
            || false,
            |id, _| -> Result<(), ()> {
                if id.0 < 2 {
                    both.wait();
                }
                seen.lock().expect("no worker panics").push(id.0);
                Ok(())
            },
        );
        assert!(slots.iter().all(|slot| *slot == Slot::Done(())));
        assert_eq!(seen.into_inner().expect("no worker panics")[2..], [2, 3]);
    }

    #[test]
    fn a_failure_begins_nothing_new_and_lets_running_ones_end() {
        let dag = chain(4, &[(2, 0), (3, 1)]);
        let failed = AtomicBool::new(false);
        let slots = run(
            &dag,
            ALL,
            |(), ()| true,
            || false,
            |id, _| {
                if id.0 == 0 {
                    failed.store(true, Ordering::SeqCst);
                    return Err("no");
                }
                while !failed.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                // The failure is told before this end only if the channel keeps order: give it way.
                thread::sleep(std::time::Duration::from_millis(20));
                Ok(())
            },
        );
        assert_eq!(
            slots,
            [
                Slot::Failed("no"),
                Slot::Done(()),
                Slot::Skipped,
                Slot::Skipped
            ]
        );
    }

    #[test]
    fn going_on_leaves_out_only_what_needs_the_failed_one() {
        let dag = chain(4, &[(2, 0), (3, 1)]);
        let rules = Rules {
            parallel: 1,
            on_failure: OnFailure::GoOn,
        };
        let slots = run(
            &dag,
            rules,
            |(), ()| true,
            || false,
            |id, _| {
                if id.0 == 0 { Err("no") } else { Ok(()) }
            },
        );
        assert_eq!(
            slots,
            [
                Slot::Failed("no"),
                Slot::Done(()),
                Slot::Skipped,
                Slot::Done(())
            ]
        );
    }

    #[test]
    fn no_more_run_at_a_time_than_allowed() {
        let dag = chain(16, &[]);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let rules = Rules {
            parallel: 3,
            on_failure: OnFailure::Stop,
        };
        run(
            &dag,
            rules,
            |(), ()| true,
            || false,
            |_, _| -> Result<(), ()> {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
        );
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn an_unmet_edge_leaves_its_dependent_out_and_an_end_begins_nothing() {
        let mut dag: Dag<usize, bool> = Dag::default();
        let (a, b, c) = (dag.add(0), dag.add(1), dag.add(2));
        dag.need(b, a, true);
        dag.need(c, a, false);
        let slots = run(
            &dag,
            ALL,
            |open, ()| *open,
            || false,
            |_, _| -> Result<(), ()> { Ok(()) },
        );
        assert_eq!(slots, [Slot::Done(()), Slot::Done(()), Slot::Skipped]);
        let slots = run(
            &dag,
            ALL,
            |_, ()| true,
            || true,
            |_, _| -> Result<(), ()> { Ok(()) },
        );
        assert_eq!(slots, [Slot::Skipped, Slot::Skipped, Slot::Skipped]);
    }
}
