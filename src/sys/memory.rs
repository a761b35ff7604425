//! How much memory the machine has left, and whether something waits for it.
//!
//! In: nothing. Out: bytes, percent. What the kernel does not tell is `None`. Imports: nothing of ours.
//! Rules: proc(5), `/proc/meminfo`; the kernel's `accounting/psi.rst`.

/// The machine's memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What a new process could use without anything being swapped.
    pub available: u64,
}

/// What `/proc/meminfo` says.
pub fn memory() -> Option<Memory> {
    read_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// Percent of the last ten seconds in which a process waited for memory; `None` on kernels that do not count it.
pub fn pressure() -> Option<f64> {
    read_pressure(&std::fs::read_to_string("/proc/pressure/memory").ok()?)
}

fn read_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.strip_prefix(':')?.split_whitespace().next()?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory {
        total: field("MemTotal")?,
        available: field("MemAvailable")?,
    })
}

fn read_pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut fields = some.split_whitespace();
    fields
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let text = "MemTotal:        8000 kB\nMemFree:  1 kB\nMemAvailable:    2000 kB\n";
        let memory = read_memory(text).unwrap();
        assert_eq!((memory.total, memory.available), (8_192_000, 2_048_000));
        assert!(read_memory("MemTotal: 1 kB\n").is_none());
        let text = "some avg10=12.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=1.00 avg60=0.00\n";
        assert_eq!(read_pressure(text), Some(12.5));
        assert_eq!(read_pressure("nothing"), None);
    }
}
