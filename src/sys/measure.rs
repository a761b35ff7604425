//! How much of the disk directories take: allocated blocks, a file with several names once, many directories at a time.
//!
//! It follows no link, leaves no file system and opens no file. What vanishes meanwhile does not count.
//! Imports: `base`. Source: stat(2), `st_blocks` counts 512 bytes each.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::scalar::Measure;

/// Measures one tree; nothing where there is none.
pub fn tree(root: &Path) -> Measure {
    let mut sum = Measure::default();
    let Ok(top) = std::fs::symlink_metadata(root) else {
        return sum;
    };
    let mut seen = BTreeSet::new();
    count(&top, &mut sum, &mut seen);
    if !top.is_dir() {
        return sum;
    }
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            // Does not follow links.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            count(&meta, &mut sum, &mut seen);
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
}

fn count(meta: &Metadata, sum: &mut Measure, seen: &mut BTreeSet<u64>) {
    if !meta.is_dir() && meta.nlink() > 1 && !seen.insert(meta.ino()) {
        return;
    }
    *sum += Measure {
        content: if meta.is_file() { meta.len() } else { 0 },
        disk: meta.blocks().saturating_mul(512),
    };
}

/// Measures trees, several at a time, in their order.
pub fn trees(roots: &[PathBuf]) -> Vec<Measure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![Measure::default(); roots.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(roots.len()) {
            scope.spawn(|| {
                while let Some((at, root)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    roots.get(at).map(|root| (at, root))
                } {
                    let measure = tree(root);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(place) = found.get_mut(at) {
                        *place = measure;
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_takes_no_disk_and_a_second_name_none_again() {
        let dir = std::env::temp_dir().join(format!("hoist-measure-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(dir.join("a/file"), dir.join("a/b/same")).unwrap();
        std::fs::File::create(dir.join("hole"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
        let [whole, part, none] = trees(&[dir.clone(), dir.join("a"), dir.join("no")])[..] else {
            panic!("three trees give three measures");
        };
        assert_eq!(
            (whole.content, part.content),
            ((1 << 30) + 100_000, 100_000)
        );
        assert!((100_000..1_000_000).contains(&whole.disk), "{whole:?}");
        assert_eq!(none, Measure::default());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
