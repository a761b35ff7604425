//! Steps that are being done: whoever needs the result of one that another build does just now waits and takes it.
//!
//! In: a key. Out: a lock, held while the step runs. It ends with its process, so a killed build holds up nobody.
//! Who holds one waits for a place to run in and for what the step itself waits for, never for another step: no two can
//! wait for each other. On disk: `<cache>/running/<key>`, removed when the step has ended.
//! Imports: `sys::lock`.

use std::path::PathBuf;
use std::time::Duration;

use super::Cache;
use crate::base::cancel::Cancel;
use crate::image::digest::Digest;
use crate::sys::fs::make_dirs;
use crate::sys::lock::{Hold, Lock};

/// Time between looks at a step that another build does.
const LOOK: Duration = Duration::from_millis(25);

/// The right to do a step.
#[derive(Debug)]
pub struct Flight {
    path: PathBuf,
    _lock: Lock,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Removed while it is held: who waits for it sees that it is not at its place any more, and makes it anew.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Cache {
    /// Waits until nobody does the step; `None` once `cancel` is used. `waiting` is called when there is somebody.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(
        &self,
        key: &Digest,
        cancel: &Cancel,
        waiting: impl FnOnce(),
    ) -> std::io::Result<Option<Flight>> {
        let dir = self.dir.join("running");
        make_dirs(&dir, 0o700)?;
        let path = dir.join(key.hex());
        let mut waiting = Some(waiting);
        loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            if let Some(lock) = Lock::try_acquire(&path, Hold::Exclusive)? {
                if lock.is_at(&path) {
                    return Ok(Some(Flight { path, _lock: lock }));
                }
                continue;
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            std::thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_step_is_done_by_one_at_a_time_and_waiting_ends_with_the_wish_to_stop() {
        let dir = std::env::temp_dir().join(format!("hoist-flight-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let cache = Cache::new(&dir);
        let (key, cancel) = (Digest::of(b"k"), Cancel::default());
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let flight = cache.begin(&key, &cancel, || ()).unwrap().unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(flight);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 0);
        let held = cache.begin(&key, &cancel, || ()).unwrap().unwrap();
        let other = cache.begin(&Digest::of(b"other"), &cancel, || ()).unwrap();
        assert!(other.is_some());
        let stop = || cancel.cancel();
        assert!(cache.begin(&key, &cancel, stop).unwrap().is_none());
        drop((held, other));
        assert_eq!(std::fs::read_dir(dir.join("running")).unwrap().count(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
