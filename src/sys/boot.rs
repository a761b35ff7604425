//! Which boot of the machine this is.
//!
//! Imports: nothing of ours. Source: random(4), `boot_id`.

/// An id that no other boot has; empty where the kernel does not tell.
pub fn id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
