//! Makes an image of a root file system's archive.
//!
//! Imports: `layer`, `config`, `manifest`. Rules: as `docker import` (moby `daemon/images/image_import.go`).

use std::io::Read;

use super::{Image, Store, StoreError};
use crate::base::clock::Timestamp;
use crate::image::config::{History, ImageConfig, RootFs, RunConfig};
use crate::image::manifest::Platform;
use crate::image::reference::Reference;

/// What an imported image is given beside its files.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its names.
    pub names: Vec<Reference>,
    /// How containers of it run.
    pub run: RunConfig,
    /// Comment of its history.
    pub message: String,
    /// Its platform; the host's when `None`.
    pub platform: Option<Platform>,
}

impl Store {
    /// Makes an image of one layer from an archive of a root file system, which may be compressed. Also gives remarks on what could not be unpacked here.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn import_rootfs(
        &self,
        input: impl Read,
        how: &Import,
    ) -> Result<(Image, Vec<String>), StoreError> {
        // Nobody takes the layer for a leftover before the image names it.
        let _kept = self.layers().staging()?;
        let (layer, unpacked) = self.layers().import_any(input)?;
        let created = Some(Timestamp::now().rfc3339());
        let platform = how.platform.clone().unwrap_or_else(Platform::host);
        let comment = Some(how.message.clone()).filter(|text| !text.is_empty());
        let config = ImageConfig {
            created: created.clone(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config: how.run.clone(),
            rootfs: RootFs {
                diff_ids: vec![layer],
                ..RootFs::default()
            },
            history: vec![History {
                created,
                comment,
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        Ok((self.put(&config, &how.names)?, unpacked.notes))
    }
}
