//! Makes room: removes what the cache holds, least recently used first, within a budget.
//!
//! In: wishes ([`Prune`]). Out: what was removed. What a build uses just now, or an image or container needs, stays.
//! A record goes before its layer and a directory is renamed away before it is removed, so that a kill leaves nothing
//! that is half there. While a build runs no layer goes, only records; the next time finds the layers.
//! Locks: `<cache>/use` is held by every build, shared, and by who removes what builds read.
//! Imports: `list`, `image`, `sys`. Rules: BuildKit's `control/gateway` prune: what is kept is `max-used-space` or less to
//! leave `min-free-space`, and never less than `reserved-space`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::list::{Entry, Kind, Places, children};
use crate::image::digest::Digest;
use crate::image::store::StoreError;
use crate::sys::fs::{make_dirs, remove_tree};
use crate::sys::lock::{Hold, Lock};

/// How long what was seen of a Dockerfile is kept after its last build.
const FORGET: Duration = Duration::from_secs(60 * 24 * 3600);
/// How names of what is being removed begin.
const GONE: &str = ".gone-";

/// What is to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also results whose layers images have, and what projects were read from.
    pub all: bool,
    /// Only what was not used for so long.
    pub unused_for: Option<Duration>,
    /// Only these kinds.
    pub kinds: Vec<Kind>,
    /// Only what has one of these ids, or whose id begins so.
    pub ids: Vec<String>,
    /// Only what has this in its description.
    pub descriptions: Vec<String>,
    /// So many bytes may stay in any case.
    pub reserved: u64,
    /// So many bytes may stay at most; 0 is no limit.
    pub most: u64,
    /// So many bytes of the disk must be free; 0 is no limit.
    pub free: u64,
}

/// What is removed without being asked, on a disk of so many bytes. Source: BuildKit's `DefaultGCPolicy`: mounts and
/// sources that were not used for two days beyond 512 MB, everything that was not used for sixty days, and whatever else is
/// beyond six tenths of the disk or keeps it from having a fifth free, down to a tenth.
pub fn policy(disk: u64) -> [Prune; 3] {
    let day = Duration::from_secs(24 * 3600);
    let fetched = vec![Kind::Mount, Kind::Source];
    [
        Prune {
            kinds: fetched.clone(),
            unused_for: Some(2 * day),
            most: 512 << 20,
            ..Prune::default()
        },
        Prune {
            unused_for: Some(60 * day),
            reserved: disk / 10,
            ..Prune::default()
        },
        Prune {
            all: true,
            kinds: [fetched, vec![Kind::Step]].concat(),
            reserved: disk / 10,
            most: disk / 10 * 6,
            free: disk / 5,
            ..Prune::default()
        },
    ]
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What is gone.
    pub removed: Vec<Entry>,
    /// Bytes that are free now.
    pub freed: u64,
    /// A build is running, so that layers were left for another time.
    pub held_up: bool,
}

/// The lock that every build holds while it uses what lies in the cache.
///
/// # Errors
/// The system's.
pub fn in_use(cache: &Path) -> io::Result<Lock> {
    make_dirs(cache, 0o700)?;
    Lock::acquire(&cache.join("use"), Hold::Shared)
}

impl Prune {
    /// What `docker buildx du` would show for the same filters.
    pub fn selects(&self, entry: &Entry, now: SystemTime) -> bool {
        let idle = entry.used.is_none_or(|used| {
            now.duration_since(used).unwrap_or_default() >= self.unused_for.unwrap_or_default()
        });
        idle && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && (self.ids.is_empty()
                || self
                    .ids
                    .iter()
                    .any(|id| !id.is_empty() && entry.id.starts_with(id)))
            && self
                .descriptions
                .iter()
                .all(|text| entry.description.contains(text.as_str()))
    }
    fn takes(&self, entry: &Entry, now: SystemTime) -> bool {
        let spared = !self.all && (entry.shared || entry.kind == Kind::Project);
        !entry.busy && !spared && self.selects(entry, now)
    }
    /// Whether it says how much may stay.
    pub fn has_budget(&self) -> bool {
        (self.most, self.reserved, self.free) != (0, 0, 0)
    }
    /// Bytes that may stay of so many, with so many free; `None` is nothing of what is selected.
    pub fn kept(&self, total: u64, free: u64) -> Option<u64> {
        if !self.has_budget() {
            return None;
        }
        let mut keep = match self.most {
            0 => u64::MAX,
            most => most,
        };
        if self.most == 0 && self.free == 0 {
            keep = self.reserved;
        }
        let missing = self.free.saturating_sub(free);
        if missing > 0 {
            keep = keep.min(total.saturating_sub(missing));
        }
        Some(keep.max(self.reserved))
    }
    /// Removes what is selected, as far as the budget asks for. `keep` are layers that containers need; `free` is what the
    /// disk has left, in bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn run(
        &self,
        places: &Places<'_>,
        keep: &BTreeSet<Digest>,
        free: u64,
        now: SystemTime,
    ) -> Result<Pruned, StoreError> {
        let failed = |step: &str| {
            let step = step.to_owned();
            move |source: io::Error| StoreError::Io { step, source }
        };
        make_dirs(places.cache, 0o700).map_err(failed("make the build cache"))?;
        let alone = Lock::try_acquire(&places.cache.join("use"), Hold::Exclusive);
        let alone = alone.map_err(failed("lock the build cache"))?;
        let entries = places.list()?;
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        let budget = self.kept(total, free);
        let mut done = Pruned {
            held_up: alone.is_none(),
            ..Pruned::default()
        };
        let mut layers = BTreeSet::new();
        for entry in entries {
            if budget.is_some_and(|budget| total <= budget) {
                break;
            }
            if !self.takes(&entry, now) {
                continue;
            }
            let gone = match entry.kind {
                Kind::Step => {
                    layers.extend(entry.layer);
                    std::fs::remove_file(&entry.path).map(|()| true)
                }
                Kind::Mount => remove_mount(&entry.path),
                // A build may be reading it.
                Kind::Source | Kind::Project if alone.is_none() => Ok(false),
                Kind::Source | Kind::Project => remove_kept(&entry.path),
            };
            if gone.map_err(failed("remove a part of the build cache"))? {
                total = total.saturating_sub(entry.size);
                if entry.kind != Kind::Step {
                    done.freed += entry.size;
                }
                done.removed.push(entry);
            }
        }
        if alone.is_some() {
            // Also those whose records went while a build was running.
            layers.extend(places.store.layers().list()?);
            let mut needed = super::list::layers(places.cache);
            needed.extend(keep.iter().copied());
            done.freed += places.store.drop_layers(&layers, &needed)?.freed;
        }
        sweep(places.cache, now).map_err(failed("clear the build cache"))?;
        Ok(done)
    }
}

/// Removes a cache mount, unless somebody uses it.
fn remove_mount(dir: &Path) -> io::Result<bool> {
    let mut held = Vec::new();
    for path in children(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("lock.") || name == "making" {
            match Lock::try_acquire(&path, Hold::Exclusive)? {
                Some(lock) => held.push(lock),
                None => return Ok(false),
            }
        }
    }
    move_away(dir)
}

/// Removes a directory of `image::kept`, unless one is being made beside it.
fn remove_kept(dir: &Path) -> io::Result<bool> {
    let Some(parent) = dir.parent() else {
        return Ok(false);
    };
    match Lock::try_acquire(&parent.join("lock"), Hold::Exclusive)? {
        Some(_lock) => move_away(dir),
        None => Ok(false),
    }
}

fn move_away(dir: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Ok(false);
    };
    let doomed: PathBuf = parent.join(format!(
        "{GONE}{}-{}",
        std::process::id(),
        name.to_string_lossy()
    ));
    std::fs::rename(dir, &doomed)?;
    remove_tree(&doomed)?;
    Ok(true)
}

/// Removes what killed processes left, and what no Dockerfile is known by any more.
fn sweep(cache: &Path, now: SystemTime) -> io::Result<()> {
    for path in children(&cache.join("mounts"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(GONE) {
            remove_tree(&path)?;
        }
    }
    for path in children(&cache.join("running"))? {
        if let Some(lock) = Lock::try_acquire(&path, Hold::Exclusive)?
            && lock.is_at(&path)
        {
            std::fs::remove_file(&path)?;
        }
    }
    let age = |path: &Path| {
        let modified = path.metadata().and_then(|meta| meta.modified()).ok();
        modified.and_then(|at| now.duration_since(at).ok())
    };
    let mut used = BTreeSet::new();
    for path in children(&cache.join("seen"))? {
        if age(&path).is_some_and(|age| age > FORGET) {
            std::fs::remove_file(&path)?;
            continue;
        }
        used.extend(super::seen::lists_of(&path));
    }
    for path in children(&cache.join("lists"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A build that runs has lists before it has what names them.
        let old = age(&path).is_some_and(|age| age > Duration::from_secs(3600));
        if old && !used.contains(name.as_ref()) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_used_for_long_goes_by_itself_and_what_is_in_use_stays() {
        let dir = std::env::temp_dir().join(format!("hoist-prune-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let store = crate::image::store::Store::open(&dir).unwrap();
        let cache = dir.join("cache");
        let places = Places {
            cache: &cache,
            data: &dir,
            store: &store,
        };
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let used = |path: &Path, days: u32| {
            let file = std::fs::File::open(path).unwrap();
            file.set_modified(now - days * day).unwrap();
        };
        let records = super::super::Cache::new(&cache);
        for (name, days) in [("old", 61), ("new", 1)] {
            let key = Digest::of(name.as_bytes());
            records.put(&key, &None, name).unwrap();
            used(&cache.join("steps").join(key.hex()), days);
        }
        for (name, days) in [("large", 3), ("busy", 3), ("fresh", 1)] {
            let mount = cache.join("mounts").join(name);
            std::fs::create_dir_all(mount.join("data.0")).unwrap();
            let file = std::fs::File::create(mount.join("data.0/file")).unwrap();
            file.set_len(600 << 20).unwrap();
            std::fs::write(mount.join("lock.0"), "").unwrap();
            used(&mount.join("lock.0"), days);
            used(&mount.join("data.0"), days);
        }
        let held = Lock::acquire(&cache.join("mounts/busy/lock.0"), Hold::Shared).unwrap();
        let keep = BTreeSet::new();
        let mut gone = Vec::new();
        for rule in policy(0) {
            let done = rule.run(&places, &keep, u64::MAX, now).unwrap();
            gone.extend(done.removed.into_iter().map(|entry| entry.description));
        }
        // The last rule has no disk to leave anything on, but never takes what is in use.
        gone[2..].sort();
        assert_eq!(gone, ["cache mount ", "old", "cache mount ", "new"]);
        let left = children(&cache.join("mounts")).unwrap();
        assert_eq!(left, [cache.join("mounts/busy")]);
        drop(held);
        // While a build runs, records go and layers stay.
        let build = in_use(&cache).unwrap();
        let all = Prune::default();
        let done = all.run(&places, &keep, u64::MAX, now).unwrap();
        assert!(done.held_up && done.removed.len() == 1);
        drop(build);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_stays_is_as_buildkit_works_it_out() {
        let of = |reserved, most, free| Prune {
            reserved,
            most,
            free,
            ..Prune::default()
        };
        for (wish, total, left, want) in [
            (of(0, 0, 0), 100, 0, None),
            (of(40, 0, 0), 100, 0, Some(40)),
            (of(0, 60, 0), 100, 0, Some(60)),
            (of(80, 60, 0), 100, 0, Some(80)),
            (of(0, 0, 50), 100, 30, Some(80)),
            (of(90, 0, 50), 100, 30, Some(90)),
            (of(10, 60, 50), 100, 0, Some(50)),
        ] {
            assert_eq!(wish.kept(total, left), want, "{wish:?}");
        }
    }
}
