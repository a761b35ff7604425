//! How many steps run at a time, over all builds of one command.
//!
//! In: a limit, and a look at the machine's memory. Out: [`Slot`]s, one a step that runs.
//! Commands (`RUN`) may need any amount of memory, so beside one that runs another begins only while there is enough:
//! with little left they run one after the other, and never none. What copies files needs next to none and only counts.
//! Imports: `base`, `sys::memory`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::sys::memory;

/// How often memory, and the caller's wish to stop, are looked at while a step waits: neither tells of itself.
const GLANCE: Duration = Duration::from_millis(100);

/// Below this part of all memory, no second command begins.
const PART: u64 = 10;

/// What is enough on a machine of any size, in bytes.
const ENOUGH: u64 = 2 << 30;

/// What is too little on a machine of any size, in bytes.
const LEAST: u64 = 256 << 20;

/// Percent of time that processes wait for memory from which on no second command begins.
const PRESSED: f64 = 20.0;

/// What a step is, as far as this goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A command of the user's.
    Command,
    /// Files that are copied.
    Files,
}

/// The places for steps that run at a time.
pub struct Slots {
    limit: usize,
    room: Box<dyn Fn() -> bool + Send + Sync>,
    taken: Mutex<Taken>,
    freed: Condvar,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Taken {
    commands: usize,
    files: usize,
}

/// The place of one step, given back when the value is dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    slots: &'a Slots,
    work: Work,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.slots.lock().of(self.work) -= 1;
        self.slots.freed.notify_all();
    }
}

impl Taken {
    fn of(&mut self, work: Work) -> &mut usize {
        match work {
            Work::Command => &mut self.commands,
            Work::Files => &mut self.files,
        }
    }
}

impl Slots {
    /// So many places; 0 leaves the number to the machine. Most of a step's time is waiting for disk and network, so a
    /// few more than there are processors are right.
    pub fn new(limit: usize) -> Self {
        Self::with(limit, has_room)
    }
    /// As [`Slots::new`], with another answer to whether memory is left for one more command.
    pub fn with(limit: usize, room: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let cpus = || std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            limit: if limit == 0 { cpus() + 2 } else { limit },
            room: Box::new(room),
            taken: Mutex::default(),
            freed: Condvar::new(),
        }
    }
    /// A place if there is one now; else what there is too little of.
    ///
    /// # Errors
    /// `a free place`, `free memory`.
    pub fn take_now(&self, work: Work) -> Result<Slot<'_>, &'static str> {
        let mut taken = self.lock();
        let full = taken.commands + taken.files >= self.limit;
        if full {
            return Err("a free place");
        }
        if work == Work::Command && taken.commands > 0 && !(self.room)() {
            return Err("free memory");
        }
        *taken.of(work) += 1;
        Ok(Slot { slots: self, work })
    }
    /// A place, as soon as there is one; `None` when `cancel` was used before.
    pub fn take(&self, work: Work, cancel: &Cancel) -> Option<Slot<'_>> {
        let mut taken = self.lock();
        loop {
            if cancel.is_cancelled() {
                return None;
            }
            let beside = work == Work::Command && taken.commands > 0;
            if taken.commands + taken.files < self.limit && (!beside || (self.room)()) {
                *taken.of(work) += 1;
                return Some(Slot { slots: self, work });
            }
            let waited = self.freed.wait_timeout(taken, GLANCE);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the machine has memory for one more command. A kernel that does not tell is taken to have it.
fn has_room() -> bool {
    let enough = memory::memory()
        .is_none_or(|memory| memory.available >= (memory.total / PART).clamp(LEAST, ENOUGH));
    enough && memory::pressure().is_none_or(|percent| percent < PRESSED)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// The most commands that ran at a time, of eight on eight threads.
    fn most(slots: &Slots) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let slot = slots.take(Work::Command, &Cancel::default());
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(slot);
                });
            }
        });
        most.into_inner()
    }

    #[test]
    fn steps_of_all_builds_share_one_limit() {
        assert!(most(&Slots::with(3, || true)) <= 3);
        assert_eq!(most(&Slots::with(1, || true)), 1);
    }

    #[test]
    fn with_little_memory_one_command_runs_at_a_time_and_files_are_copied_beside_it() {
        let slots = Slots::with(8, || false);
        assert_eq!(most(&slots), 1);
        let command = slots.take(Work::Command, &Cancel::default());
        let files = slots.take(Work::Files, &Cancel::default());
        assert!(command.is_some() && files.is_some());
    }

    #[test]
    fn a_command_that_waits_for_memory_begins_when_there_is_some() {
        let room = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&room);
        let slots = Slots::with(8, move || seen.load(Ordering::SeqCst));
        let first = slots.take(Work::Command, &Cancel::default());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| slots.take(Work::Command, &Cancel::default()).is_some());
            room.store(true, Ordering::SeqCst);
            assert!(second.join().unwrap());
        });
        drop(first);
    }

    #[test]
    fn a_wait_ends_when_the_build_is_cancelled() {
        let slots = Slots::with(1, || true);
        let _first = slots.take(Work::Files, &Cancel::default());
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(slots.take(Work::Command, &cancel).is_none());
    }
}
