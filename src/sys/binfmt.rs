//! Interpreters for programs of other processors, as the kernel has them registered.
//!
//! In: an architecture as images name it. Out: the interpreter that would run its programs, if any. It registers
//! nothing. Imports: nothing of ours. Sources: Documentation/admin-guide/binfmt-misc.rst; elf(5), `e_machine`.

use std::path::{Path, PathBuf};

/// Where the kernel shows what is registered.
const DIR: &str = "/proc/sys/fs/binfmt_misc";

/// An interpreter of foreign programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// The program of the host.
    pub interpreter: PathBuf,
    /// The kernel holds it open (flag `F`), so that it need not be visible where the program is.
    pub fixed: bool,
}

/// Whether programs of an architecture run on this processor without help.
pub fn is_native(architecture: &str) -> bool {
    let own = match std::env::consts::ARCH {
        "x86_64" => ["amd64", "386"],
        "aarch64" => ["arm64", "arm"],
        "x86" => ["386", "386"],
        "powerpc64" => ["ppc64le", "ppc64le"],
        "loongarch64" => ["loong64", "loong64"],
        other => [other, other],
    };
    own.contains(&architecture)
}

/// The interpreter that is registered for an architecture and switched on.
pub fn handler(architecture: &str) -> Option<Handler> {
    handler_in(Path::new(DIR), architecture)
}

fn handler_in(dir: &Path, architecture: &str) -> Option<Handler> {
    let head = head(architecture)?;
    let status = std::fs::read_to_string(dir.join("status")).ok()?;
    if status.trim() != "enabled" {
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .filter_map(|item| Some(item.ok()?.path()))
        .collect();
    files.sort();
    let texts = files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok());
    texts.filter_map(|text| rule(&text, &head)).next()
}

/// What one entry says, if it is switched on and takes programs that begin so.
fn rule(text: &str, head: &[u8]) -> Option<Handler> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "enabled" {
        return None;
    }
    let (mut interpreter, mut fixed, mut offset) = (None, false, 0usize);
    let (mut magic, mut mask) = (None, None);
    for line in lines {
        match line.split_once([' ', ':']) {
            Some(("interpreter", path)) => interpreter = Some(PathBuf::from(path)),
            Some(("flags", flags)) => fixed = flags.contains('F'),
            Some(("offset", number)) => offset = number.trim().parse().ok()?,
            Some(("magic", hex)) => magic = Some(bytes(hex)?),
            Some(("mask", hex)) => mask = Some(bytes(hex)?),
            _ => {}
        }
    }
    let magic = magic?;
    let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
    let found = head.get(offset..offset + magic.len())?;
    let fits = found
        .iter()
        .zip(magic.iter().zip(&mask))
        .all(|(found, (magic, mask))| found & mask == magic & mask);
    fits.then_some(())?;
    Some(Handler {
        interpreter: interpreter?,
        fixed,
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let hex = hex.trim().as_bytes();
    let pairs = hex.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}

/// How a program of an architecture begins: 64 bytes of its ELF header.
fn head(architecture: &str) -> Option<[u8; 64]> {
    // Class (1 is 32 bits), byte order (1 is little), machine.
    let (class, order, machine): (u8, u8, u16) = match architecture {
        "amd64" => (2, 1, 62),
        "386" => (1, 1, 3),
        "arm64" => (2, 1, 183),
        "arm" => (1, 1, 40),
        "ppc64le" => (2, 1, 21),
        "ppc64" => (2, 2, 21),
        "s390x" => (2, 2, 22),
        "riscv64" => (2, 1, 243),
        "loong64" => (2, 1, 258),
        "mips64le" => (2, 1, 8),
        "mips64" => (2, 2, 8),
        "mipsle" => (1, 1, 8),
        "mips" => (1, 2, 8),
        _ => return None,
    };
    let number = |value: u16| match order {
        1 => value.to_le_bytes(),
        _ => value.to_be_bytes(),
    };
    let mut head = [0; 64];
    head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    head[16..18].copy_from_slice(&number(2));
    head[18..20].copy_from_slice(&number(machine));
    head[20] = u8::from(order == 1);
    head[23] = u8::from(order == 2);
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-static registers it.
    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                         magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_counts_when_it_is_on_and_takes_programs_of_the_architecture() {
        let dir = std::env::temp_dir().join(format!("hoist-binfmt-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("status"), "enabled\n").unwrap();
        std::fs::write(dir.join("qemu-aarch64"), ARM64).unwrap();
        std::fs::write(
            dir.join("python3"),
            "enabled\ninterpreter /usr/bin/python3\nextension .py\n",
        )
        .unwrap();
        let found = handler_in(&dir, "arm64").unwrap();
        assert!(found.fixed);
        assert_eq!(
            found.interpreter,
            Path::new("/usr/libexec/qemu-binfmt/aarch64-binfmt-P")
        );
        for other in ["amd64", "arm", "s390x", "riscv64", "unknown"] {
            assert_eq!(handler_in(&dir, other), None, "{other}");
        }
        std::fs::write(
            dir.join("qemu-aarch64"),
            ARM64.replace("flags: POCF", "flags: OC"),
        )
        .unwrap();
        assert!(!handler_in(&dir, "arm64").unwrap().fixed);
        std::fs::write(
            dir.join("qemu-aarch64"),
            ARM64.replacen("enabled", "disabled", 1),
        )
        .unwrap();
        assert_eq!(handler_in(&dir, "arm64"), None);
        std::fs::write(dir.join("qemu-aarch64"), ARM64).unwrap();
        std::fs::write(dir.join("status"), "disabled\n").unwrap();
        assert_eq!(handler_in(&dir, "arm64"), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
