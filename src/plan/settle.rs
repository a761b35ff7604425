//! Answers what a plan had to leave open: whether an image that was pulled or built is another one.
//!
//! Pure. Imports: `action`, `image::digest`.

use std::collections::BTreeMap;

use super::action::Step;
use crate::base::name::ServiceName;
use crate::image::digest::Digest;

/// Whether a step has to be done, now that the images it asks about are known. An image that is still
/// not known counts as changed.
pub fn needed(step: &Step, images: &BTreeMap<ServiceName, Digest>) -> bool {
    step.only_if.is_empty()
        || step
            .only_if
            .iter()
            .any(|change| images.get(&change.service) != Some(&change.was))
}
