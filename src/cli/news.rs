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

/// So long a happening that is written already is waited for.
const MOMENT: Duration = Duration::from_millis(500);

/// Most ends of one container that are kept.
const MOST_ENDS: usize = 64;

/// Time between two looks for containers that nobody has told of.
const SILENCE: Duration = Duration::from_secs(10);

/// The word that it is over, and that something has happened; it wakes whoever sleeps. Shared by clones.
#[derive(Clone, Default)]
pub struct Done(Arc<(Mutex<Told>, Condvar)>);

#[derive(Default)]
struct Told {
    over: bool,
    wakers: Vec<Waker>,
    /// Those of who reads one container's log.
    readers: BTreeMap<ContainerId, Waker>,
    /// How often something has happened to each container; `None` where nothing is told.
    happened: Option<BTreeMap<ContainerId, u64>>,
    /// How containers have ended, until somebody takes it.
    ends: BTreeMap<ContainerId, Vec<End>>,
}

/// An end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// When.
    pub(super) at: Timestamp,
    /// Exit code.
    pub(super) code: i32,
    /// When it was started again.
    again: Option<Timestamp>,
}

impl Told {
    fn of(&self, id: &ContainerId) -> Option<u64> {
        let happened = self.happened.as_ref()?;
        Some(happened.get(id).copied().unwrap_or_default())
    }
    /// Keeps what is known of a container's ends.
    fn note(&mut self, one: &Happening) {
        let ends = self.ends.entry(one.id.clone()).or_default();
        match one.action.as_str() {
            "die" => {
                let code = one.attributes.get("exitCode");
                ends.extend(code.and_then(|code| code.parse().ok()).map(|code| End {
                    at: one.time,
                    code,
                    again: None,
                }));
                // Nobody may ever take them.
                ends.drain(..ends.len().saturating_sub(MOST_ENDS));
            }
            "start" if !ends.is_empty() => {
                let last = ends.iter_mut().rev().take_while(|end| end.again.is_none());
                last.for_each(|end| end.again = Some(one.time));
                if let Some(wake) = self.readers.get(&one.id) {
                    wake();
                }
            }
            _ => {}
        }
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

    /// Has who reads a container's log woken when it was started.
    pub(super) fn wakes_reader(&self, id: &ContainerId, waker: Option<Waker>) {
        let mut told = self.told();
        told.readers.extend(waker.map(|waker| (id.clone(), waker)));
    }

    /// From now on [`Done::ring`] says what happens.
    fn rings(&self) {
        self.told().happened = Some(BTreeMap::new());
    }

    /// This has happened.
    fn ring(&self, all: Vec<Happening>) {
        let mut told = self.told();
        for one in all {
            told.note(&one);
            let happened = told.happened.get_or_insert_default();
            *happened.entry(one.id).or_default() += 1;
        }
        self.0.1.notify_all();
    }

    /// Takes the ends of a container after which it was started again, by `time`; oldest first.
    pub(super) fn renewed(&self, id: &ContainerId, time: Timestamp) -> Vec<End> {
        let mut told = self.told();
        let Some(ends) = told.ends.get_mut(id) else {
            return Vec::new();
        };
        let by_then = |end: &End| end.again.is_some_and(|again| again <= time);
        let many = ends.iter().take_while(|end| by_then(end)).count();
        ends.drain(..many).collect()
    }

    /// Whether it is told that a container was started again, and nobody has taken that.
    pub(super) fn is_renewed(&self, id: &ContainerId) -> bool {
        let told = self.told();
        let ends = told.ends.get(id).map(Vec::as_slice).unwrap_or_default();
        ends.iter().any(|end| end.again.is_some())
    }

    /// Waits until it is told that a container was started again, which has happened already; not for long.
    pub(super) fn until_renewed(&self, id: &ContainerId) {
        let told = self.told();
        if told.happened.is_none() {
            return;
        }
        let untold = |told: &mut Told| {
            let ends = told.ends.get(id).map(Vec::as_slice);
            !told.over && ends.is_none_or(|ends| ends.iter().all(|end| end.again.is_none()))
        };
        drop(self.0.1.wait_timeout_while(told, MOMENT, untold));
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
    fn ends_are_given_once_a_new_run_has_followed() {
        let (done, id) = (Done::default(), ContainerId::new("a"));
        let all = [
            ("a", 3, "die", Some(4)),
            ("b", 4, "die", Some(1)),
            ("a", 5, "exec_die", Some(9)),
            ("a", 6, "start", None),
            ("a", 7, "die", Some(137)),
        ];
        done.ring(
            all.map(|(id, time, action, code)| happening(id, time, action, code))
                .into(),
        );
        let by = |time| {
            let ends = done.renewed(&id, Timestamp(time)).into_iter();
            ends.map(|end| (end.at.0, end.code)).collect::<Vec<_>>()
        };
        assert_eq!(by(5), []);
        assert_eq!(by(6), [(3, 4)]);
        assert_eq!(by(9), []);
        // It has not begun to be told of what happens yet: there is nothing to wait for.
        done.ring(vec![happening("a", 8, "start", None)]);
        done.until_renewed(&id);
        assert_eq!(by(9), [(7, 137)]);
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
