//! What wakes those who follow logs: something has happened to a container, or it is over.
//!
//! In: an engine's happenings. Out: wake-ups. Where an engine tells nothing, its containers are looked at from time
//! to time. Imports: `base`, `engine`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, PipeReader, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::happening::{Happening, Happenings};
use crate::engine::{Engine, Waker};

/// Time between two looks at a container that has ended, where nothing is told.
const LOOK: Duration = Duration::from_millis(150);

/// The same where it is told that something happens: what is told may be lost when memory is full.
const RARELY: Duration = Duration::from_secs(2);

/// Time between two looks for containers that nobody has told of.
const SILENCE: Duration = Duration::from_secs(10);

/// The word that it is over, and that something has happened; it wakes whoever sleeps. Shared by clones.
#[derive(Clone, Default)]
pub struct Done(Arc<(Mutex<Told>, Condvar)>);

#[derive(Default)]
struct Told {
    over: bool,
    wakers: Vec<Waker>,
    /// How often something has happened to each container; `None` where nothing is told.
    happened: Option<BTreeMap<ContainerId, u64>>,
    /// When containers have ended and with which code, until somebody takes it.
    ends: BTreeMap<ContainerId, Vec<(Timestamp, i32)>>,
}

impl Told {
    fn of(&self, id: &ContainerId) -> Option<u64> {
        let happened = self.happened.as_ref()?;
        Some(happened.get(id).copied().unwrap_or_default())
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Done").field(&self.is_told()).finish()
    }
}

impl Done {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is waited for: what is there is told, and that is all.
    pub fn tell(&self) {
        let mut told = self.told();
        told.over = true;
        told.wakers.iter().for_each(|wake| wake());
        self.0.1.notify_all();
    }

    /// Whether it is over.
    pub(super) fn is_told(&self) -> bool {
        self.told().over
    }

    /// Sleeps, at most until it is told.
    pub(super) fn sleep(&self, time: Duration) {
        let told = self.told();
        // Whether it was told or the time is over makes no difference to who looks then.
        drop(self.0.1.wait_timeout_while(told, time, |told| !told.over));
    }

    /// How often something has happened to a container, for [`Done::sleep_over`].
    pub(super) fn happened(&self, id: &ContainerId) -> Option<u64> {
        self.told().of(id)
    }

    /// Sleeps until something more has happened to a container, it is over, or a look is due anyway.
    pub(super) fn sleep_over(&self, id: &ContainerId, known: Option<u64>) {
        let time = known.map_or(LOOK, |_| RARELY);
        let same = |told: &mut Told| !told.over && told.of(id) == known;
        drop(self.0.1.wait_timeout_while(self.told(), time, same));
    }

    /// Has a stream woken when it is told.
    pub(super) fn wakes(&self, waker: Option<Waker>) {
        let mut told = self.told();
        if told.over {
            waker.iter().for_each(|wake| wake());
        }
        told.wakers.extend(waker);
    }

    /// From now on [`Done::ring`] says what happens.
    fn rings(&self) {
        self.told().happened = Some(BTreeMap::new());
    }

    /// This has happened.
    fn ring(&self, all: Vec<Happening>) {
        let mut told = self.told();
        for one in all {
            let code = || one.attributes.get("exitCode")?.parse().ok();
            if let Some(code) = code().filter(|_| one.action == "die") {
                let ends = told.ends.entry(one.id.clone()).or_default();
                ends.push((one.time, code));
            }
            let happened = told.happened.get_or_insert_default();
            *happened.entry(one.id).or_default() += 1;
        }
        self.0.1.notify_all();
    }

    /// Whether a container has ended before a time, and nobody has taken that.
    pub(super) fn has_ended(&self, id: &ContainerId, time: Timestamp) -> bool {
        let told = self.told();
        let first = told.ends.get(id).and_then(|ends| ends.first());
        first.is_some_and(|(at, _)| *at < time)
    }

    /// Takes the ends of a container that were before a time, oldest first.
    pub(super) fn ends_before(&self, id: &ContainerId, time: Timestamp) -> Vec<(Timestamp, i32)> {
        let mut told = self.told();
        let Some(ends) = told.ends.get_mut(id) else {
            return Vec::new();
        };
        let later = ends.iter().position(|(at, _)| *at >= time);
        let later = ends.split_off(later.unwrap_or(ends.len()));
        std::mem::replace(ends, later)
    }
}

/// Waits for what happens in a project, and hands it on.
pub(super) struct Bell {
    happenings: Box<dyn Happenings>,
    over: PipeReader,
    done: Done,
}

impl Bell {
    /// `None` where the engine does not tell what happens. What happens from now on is not missed.
    pub(super) fn new(engine: &dyn Engine, project: &ProjectName, done: &Done) -> Option<Self> {
        let happenings = engine.happenings(project, false).ok()?;
        let (over, wake) = io::pipe().ok()?;
        done.wakes(Some(Box::new(move || {
            // Nobody waits any more when it can't be written.
            let _ = (&wake).write(&[0]);
        })));
        done.rings();
        Some(Self {
            happenings,
            over,
            done: done.clone(),
        })
    }

    /// Waits until there may be containers besides those that are known, or it is over.
    pub(super) fn wait(&mut self, known: &BTreeSet<ContainerId>) {
        let end = Instant::now() + SILENCE;
        while !self.done.is_told() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let mut fds = [self.happenings.ready(), self.over.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let waited = match poll(&mut fds, left) {
                Ok(_) | Err(Errno::EINTR) => self.happenings.read().ok(),
                Err(_) => None,
            };
            let Some(happened) = waited else {
                return self.done.sleep(RARELY);
            };
            let made = happened.iter().any(|one| {
                matches!(one.action.as_str(), "create" | "start") && !known.contains(&one.id)
            });
            if !happened.is_empty() {
                self.done.ring(happened);
            }
            if made {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(id: &str, time: i64, action: &str, code: Option<i32>) -> Happening {
        let code = code.map(|code| ("exitCode".to_owned(), code.to_string()));
        Happening {
            time: Timestamp(time),
            id: ContainerId::new(id),
            action: action.to_owned(),
            attributes: code.into_iter().collect(),
        }
    }

    #[test]
    fn ends_are_given_once_and_in_their_order() {
        let (done, id) = (Done::default(), ContainerId::new("a"));
        done.ring(vec![
            happening("a", 3, "die", Some(4)),
            happening("b", 4, "die", Some(1)),
            happening("a", 5, "exec_die", Some(9)),
            happening("a", 6, "die", Some(137)),
        ]);
        let before = |time| done.ends_before(&id, Timestamp(time));
        assert_eq!(
            (
                done.has_ended(&id, Timestamp(3)),
                done.has_ended(&id, Timestamp(4))
            ),
            (false, true)
        );
        assert_eq!(before(3), []);
        assert_eq!(before(6), [(Timestamp(3), 4)]);
        assert_eq!(before(7), [(Timestamp(6), 137)]);
        assert_eq!(before(7), []);
    }

    #[test]
    fn who_sleeps_over_a_container_wakes_when_something_happens_to_it() {
        let (done, id) = (Done::default(), ContainerId::new("a"));
        assert_eq!(done.happened(&id), None);
        done.rings();
        let known = done.happened(&id);
        assert_eq!(known, Some(0));
        done.ring(["b", "a"].map(|id| happening(id, 1, "start", None)).into());
        let begun = Instant::now();
        // It has happened before it sleeps, and is not missed.
        done.sleep_over(&id, known);
        assert!(begun.elapsed() < RARELY);
        assert_eq!(done.happened(&id), Some(1));
        let other = done.clone();
        let sleeper = std::thread::spawn(move || other.sleep_over(&id, Some(1)));
        done.tell();
        sleeper.join().expect("it wakes");
        assert!(begun.elapsed() < RARELY);
    }
}
