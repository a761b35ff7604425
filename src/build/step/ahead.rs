//! Whether, and from when on, a layer is hashed while its files are still being copied.
//!
//! In: what was written. Out: [`Early`], once it is worth a thread. Imports: `image::layer`.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use crate::image::layer::{Early, Growing, Grown, Written};

/// Entries from which on a layer is hashed while it is made; so many bytes as may wait are much, too.
const MUCH: usize = 512;

/// A layer that is hashed while it is made.
#[derive(Debug)]
pub(super) enum Ahead<'a> {
    /// There is none, or it is in vain.
    Off,
    /// What was written to this upper directory is too little yet.
    Little(&'a Path, Vec<Written>),
    /// It is told.
    On(Early),
}

impl<'a> Ahead<'a> {
    /// Of what is written to an upper directory.
    pub(super) fn of(upper: &'a Path) -> Self {
        Self::Little(upper, Vec::new())
    }
    /// Takes what was written since.
    pub(super) fn take(&mut self, mut written: Vec<Written>) {
        match self {
            Self::Off => {}
            Self::Little(_, before) => {
                before.append(&mut written);
                if before.len() >= MUCH {
                    self.begin();
                }
            }
            Self::On(early) => early.take(written),
        }
    }
    /// Follows a file that grows, if there is somebody who does.
    pub(super) fn follow(&mut self, file: Growing) -> Option<SyncSender<Grown>> {
        match self {
            Self::On(early) => Some(early.follow(file)),
            Self::Off | Self::Little(..) => None,
        }
    }
    /// There is much: now it is worth a thread.
    pub(super) fn begin(&mut self) {
        if let Self::Little(upper, before) = self {
            let before = std::mem::take(before);
            *self = match Early::begin(upper) {
                Ok(mut early) => {
                    early.take(before);
                    Self::On(early)
                }
                // It is hashed afterwards, and what is wrong is told then.
                Err(_) => Self::Off,
            };
        }
    }
}
