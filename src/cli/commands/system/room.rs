//! What `system prune` would free: for its own budget, and for who has a full disk.
//!
//! In: images, layers, records of build steps. Out: candidates with the bytes that go with each. It changes nothing.
//! Imports: `apply::needs`, `build::cache`, `image::store`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::apply::needs::needs;
use crate::build::cache::list::{Entry, Kind, Places};
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::image::digest::Digest;
use crate::image::store::{Image, Store};

/// Something that could go.
#[derive(Debug, Clone)]
pub(super) enum Candidate {
    /// An image that no container uses.
    Image(Box<Image>),
    /// A part of the build cache.
    Cache(Box<Entry>),
}

/// Everything that is kept, and how often each layer is needed.
#[derive(Debug)]
pub(super) struct Room {
    /// Least recently used first, each with when that was.
    pub(super) candidates: Vec<(Option<SystemTime>, Candidate)>,
    /// How many images, results of steps and containers need a layer.
    users: BTreeMap<Digest, usize>,
    sizes: BTreeMap<Digest, u64>,
    /// Bytes of everything.
    pub(super) total: u64,
}

impl Room {
    /// Looks at everything. `image` and `entry` say what may go at all.
    pub(super) fn look(
        app: &App,
        image: &dyn Fn(&Image, bool) -> bool,
        entry: &dyn Fn(&Entry) -> bool,
    ) -> Result<Self, Failure> {
        let store = app.store()?;
        let data = app.roots()?.data;
        let cache = data.join("cache");
        let needs = needs(&*app.engine()?, None)?;
        let mut room = Self {
            candidates: Vec::new(),
            users: BTreeMap::new(),
            sizes: sizes(&store)?,
            total: 0,
        };
        for layer in &needs.layers {
            room.need(layer);
        }
        for one in store.list()? {
            let layers: BTreeSet<&Digest> = one.image.layers().iter().collect();
            layers.into_iter().for_each(|layer| room.need(layer));
            let dangling = one.names.is_empty() && one.behind.is_none();
            let used = needs.images.contains_key(&one.image.id);
            if !used && one.behind.is_none() && image(&one.image, dangling) {
                let at = store.used(&one.image.id);
                room.candidates
                    .push((at, Candidate::Image(Box::new(one.image))));
            }
        }
        let places = Places {
            cache: &cache,
            data: &data,
            store: &store,
        };
        for one in places.list()? {
            if let Some(layer) = &one.layer {
                room.need(layer);
            }
            if one.kind != Kind::Step {
                room.total += one.size;
            }
            if !one.busy && entry(&one) {
                room.candidates
                    .push((one.used, Candidate::Cache(Box::new(one))));
            }
        }
        room.total += room.sizes.values().sum::<u64>();
        room.candidates.sort_by_key(|(at, _)| *at);
        Ok(room)
    }
    fn need(&mut self, layer: &Digest) {
        *self.users.entry(*layer).or_default() += 1;
    }
    /// Takes one away in thought; gives the bytes that would be free.
    pub(super) fn without(&mut self, candidate: &Candidate) -> u64 {
        let layers: BTreeSet<Digest> = match candidate {
            Candidate::Image(image) => image.layers().iter().copied().collect(),
            Candidate::Cache(entry) if entry.kind != Kind::Step => return entry.size,
            Candidate::Cache(entry) => entry.layer.into_iter().collect(),
        };
        let mut freed = 0;
        for layer in layers {
            if let Some(count) = self.users.get_mut(&layer) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    freed += self.sizes.get(&layer).copied().unwrap_or_default();
                }
            }
        }
        freed
    }
    /// Bytes of everything that may go, with layers that nothing needs already.
    fn all(mut self) -> u64 {
        let idle = self
            .sizes
            .iter()
            .filter(|(layer, _)| !self.users.contains_key(layer));
        let idle: u64 = idle.map(|(_, size)| size).sum();
        let candidates = std::mem::take(&mut self.candidates);
        idle + candidates
            .iter()
            .map(|(_, candidate)| self.without(candidate))
            .sum::<u64>()
    }
}

fn sizes(store: &Store) -> Result<BTreeMap<Digest, u64>, Failure> {
    let mut sizes = BTreeMap::new();
    for layer in store.layers().list()? {
        let record = store.layers().record(&layer).ok();
        let size = record.map_or(0, |record| {
            record.content + record.blob.map_or(0, |blob| blob.size)
        });
        sizes.insert(layer, size);
    }
    Ok(sizes)
}

/// What `system prune` would free, without and with `--all`.
pub(in crate::cli) fn reclaimable(app: &App) -> Result<(u64, u64), Failure> {
    let usual = Room::look(app, &|_, dangling| dangling, &|entry| {
        !entry.shared && entry.kind != Kind::Project
    })?;
    let all = Room::look(app, &|_, _| true, &|_| true)?;
    Ok((usual.all(), all.all()))
}
