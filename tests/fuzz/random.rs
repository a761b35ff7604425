//! Numbers that look random and come again with their seed.
//!
//! Imports: nothing. Source: `splitmix64`, Steele and others, "Fast Splittable Pseudorandom Number Generators".

use std::hash::{BuildHasher as _, RandomState};

/// A sequence of numbers.
pub(super) struct Random(u64);

/// A seed that nobody chose.
pub(super) fn from_system() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

impl Random {
    /// The sequence of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// A number below `limit`; 0 for 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        match limit {
            0 => 0,
            _ => (self.next() % limit as u64) as usize,
        }
    }
    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// One of several; they must not be empty.
    pub(super) fn pick<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        &items[self.below(items.len())]
    }
}
