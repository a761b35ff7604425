//! What runs in a container, and as whom: all forms of the keys that say so.

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    user_texts_are_read_as_the_reference_does,
);

/// The user of an image with `/etc/passwd`, after CVE-2026-30892 and what the reference answers to each text.
fn user_texts_are_read_as_the_reference_does() {
    let hoist = Sandbox::new();
    let _ = hoist;
}
