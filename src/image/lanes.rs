//! How many blobs move at the same time over all images of a command, and who of them sends which.
//!
//! In: what a transfer is about to do. Out: leave to do it, held until it is dropped. It knows no registry: each pull and
//! push has connections of its own, and all of them share the lanes of the store that they are about.
//! Imports: nothing of ours. Source: dockerd, `--max-concurrent-downloads` (3), `--max-concurrent-uploads` (5): both count
//! over all images of a daemon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

/// Blobs that are downloaded at the same time: twice what dockerd takes, since they are unpacked while they come.
const DOWN: usize = 6;
/// Blobs that are uploaded at the same time, as dockerd.
const UP: usize = 5;

/// The lanes of one store.
#[derive(Debug)]
pub(super) struct Lanes {
    down: Semaphore,
    up: Semaphore,
    /// What is sent just now, by where it goes.
    sent: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            down: Semaphore::new(DOWN),
            up: Semaphore::new(UP),
            sent: Mutex::default(),
        }
    }
}

impl Lanes {
    /// Waits until one more blob may come and be unpacked. There is none to give back only where the lanes were closed, which nobody does.
    pub(super) async fn down(&self) -> Option<SemaphorePermit<'_>> {
        self.down.acquire().await.ok()
    }
    /// Waits until one more blob may go out.
    pub(super) async fn up(&self) -> Option<SemaphorePermit<'_>> {
        self.up.acquire().await.ok()
    }
    /// Waits until nobody else sends this: who comes later finds it there.
    ///
    /// Two uploads of a blob to one repository are not only work done twice. A registry that keeps files writes the
    /// repository's link to the blob once more, in place, and answers who looks at that moment `DIGEST_INVALID`.
    /// Source: distribution 2.8, `registry/storage/driver/filesystem/driver.go`, `PutContent`.
    pub(super) async fn alone(&self, what: String) -> OwnedMutexGuard<()> {
        let own = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(sent.entry(what).or_default())
        };
        own.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn so_many_blobs_move_at_a_time_and_the_next_one_when_another_is_done() {
        let lanes = Lanes::default();
        run(async {
            let mut down = Vec::new();
            for _ in 0..DOWN {
                down.push(lanes.down().await);
            }
            assert!(lanes.down.try_acquire().is_err());
            // The other direction has its own.
            assert!(lanes.up().await.is_some());
            down.pop();
            assert!(lanes.down.try_acquire().is_ok());
        });
    }

    #[test]
    fn the_same_thing_is_sent_by_one_at_a_time_and_then_forgotten() {
        let lanes = Lanes::default();
        run(async {
            let first = lanes.alone("r/a@1".to_owned()).await;
            let other = lanes.alone("r/b@1".to_owned()).await;
            let waiting = lanes.alone("r/a@1".to_owned());
            let mut waiting = std::pin::pin!(waiting);
            let early = waiting.as_mut().now_or_never();
            assert!(early.is_none(), "another one sends it");
            drop((first, other));
            drop(waiting.await);
            drop(lanes.alone("r/c@1".to_owned()).await);
            let left = lanes.sent.lock().unwrap().len();
            assert_eq!(left, 1, "only what was asked for last");
        });
    }
}
