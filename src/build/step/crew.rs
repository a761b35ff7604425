//! Work that several threads share, while its results are taken in the order in which it was given.
//!
//! In: pieces of work. Out: their results. Who waits for one does another meanwhile; threads begin only when there is
//! more than one piece to do, and end with the crew.
//! Imports: nothing of ours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the threads share.
struct Shared<T, R> {
    state: Mutex<State<T, R>>,
    changed: Condvar,
}

struct State<T, R> {
    waiting: VecDeque<(u64, T)>,
    done: BTreeMap<u64, R>,
    /// Nothing more comes, and nobody wants what is left.
    ended: bool,
    /// A thread ended in the middle of its work: its result never comes.
    lost: bool,
}

impl<T, R> Shared<T, R> {
    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Works until the end.
    fn serve(&self, work: &(impl Fn(T) -> R + Sync)) {
        let _lost = Lost(self);
        let mut state = self.lock();
        while !state.ended {
            let Some((ticket, piece)) = state.waiting.pop_front() else {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let result = work(piece);
            state = self.lock();
            state.done.insert(ticket, result);
            self.changed.notify_all();
        }
    }
}

/// Ends the threads, whatever happens.
struct End<'c, T, R>(&'c Shared<T, R>);

impl<T, R> Drop for End<'_, T, R> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Tells the one who waits that a thread's work failed wholly.
struct Lost<'c, T, R>(&'c Shared<T, R>);

impl<T, R> Drop for Lost<'_, T, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().lost = true;
            self.0.changed.notify_all();
        }
    }
}

/// Threads that work.
pub(super) struct Crew<'c, T, R> {
    shared: &'c Shared<T, R>,
    work: &'c (dyn Fn(T) -> R + Sync),
    hire: &'c dyn Fn(),
    /// Threads that may still begin.
    idle: usize,
    next: u64,
}

/// Leads a crew of so many threads, this one among them.
pub(super) fn with_crew<T: Send, R: Send, O>(
    threads: usize,
    work: impl Fn(T) -> R + Sync,
    lead: impl FnOnce(&mut Crew<'_, T, R>) -> O,
) -> O {
    let shared = Shared {
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            done: BTreeMap::new(),
            ended: false,
            lost: false,
        }),
        changed: Condvar::new(),
    };
    let (shared, work) = (&shared, &work);
    std::thread::scope(|scope| {
        let _end = End(shared);
        let hire = || {
            let thread = std::thread::Builder::new();
            // Without it the others do the work.
            let _ = thread.spawn_scoped(scope, || shared.serve(work));
        };
        lead(&mut Crew {
            shared,
            work,
            hire: &hire,
            idle: threads.saturating_sub(1),
            next: 0,
        })
    })
}

impl<T, R> Crew<'_, T, R> {
    /// Gives a piece of work; the number is what its result is asked for by.
    pub(super) fn give(&mut self, piece: T) -> u64 {
        let ticket = self.next;
        self.next += 1;
        let mut state = self.shared.lock();
        state.waiting.push_back((ticket, piece));
        let many = state.waiting.len() > 1;
        drop(state);
        if many && self.idle > 0 {
            self.idle -= 1;
            (self.hire)();
        }
        self.shared.changed.notify_one();
        ticket
    }
    /// The result of a piece. Until it is there, others are done. `None` when a thread was lost with its work.
    pub(super) fn take(&mut self, ticket: u64) -> Option<R> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.done.remove(&ticket) {
                return Some(result);
            }
            if state.lost {
                return None;
            }
            let Some((other, piece)) = state.waiting.pop_front() else {
                let woken = self.shared.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let result = (self.work)(piece);
            if other == ticket {
                return Some(result);
            }
            state = self.shared.lock();
            state.done.insert(other, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_in_any_order_and_what_is_left_is_not_waited_for() {
        for threads in [1, 2, 5] {
            let sum = with_crew(
                threads,
                |piece: u64| piece * 2,
                |crew| {
                    let tickets: Vec<u64> = (0..200).map(|piece| crew.give(piece)).collect();
                    let half = tickets.iter().rev().take(100);
                    half.filter_map(|ticket| crew.take(*ticket)).sum::<u64>()
                },
            );
            assert_eq!(sum, (100..200).map(|piece| piece * 2).sum::<u64>());
        }
    }

    #[test]
    fn one_piece_is_done_by_the_one_who_asks() {
        let here = std::thread::current().id();
        let by = with_crew(
            4,
            |()| std::thread::current().id(),
            |crew| {
                let ticket = crew.give(());
                crew.take(ticket)
            },
        );
        assert_eq!(by, Some(here));
    }
}
