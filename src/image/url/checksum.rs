//! Checksums as `--checksum` takes them: `sha256:…`, `sha384:…`, `sha512:…`.
//!
//! In: text, or a file. Out: a checksum. Imports: nothing of ours. Rules: OCI image spec, `descriptor.md`, "Digests";
//! sha384 as BuildKit's parser, which takes it too.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use sha2::{Sha256, Sha384, Sha512};

/// Why a text is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// No `algorithm:digits`.
    #[error("invalid checksum `{0}`: write sha256: and 64 hex digits")]
    Form(String),
    /// Another algorithm.
    #[error("unsupported algorithm `{0}` of a checksum: write sha256, sha384 or sha512")]
    Algorithm(String),
    /// Too many or too few digits.
    #[error("invalid checksum: {algorithm} has {wanted} hex digits, not {found}")]
    Length {
        /// The algorithm.
        algorithm: &'static str,
        /// What it has.
        wanted: usize,
        /// What was written.
        found: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// What content must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl Checksum {
    /// Parses `sha256:…`.
    ///
    /// # Errors
    /// [`ChecksumError`].
    pub fn parse(text: &str) -> Result<Self, ChecksumError> {
        let form = || ChecksumError::Form(text.to_owned());
        let (name, hex) = text.split_once(':').ok_or_else(form)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            other => return Err(ChecksumError::Algorithm(other.to_owned())),
        };
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !hex.bytes().all(digit) {
            return Err(form());
        }
        if hex.len() != algorithm.digits() {
            return Err(ChecksumError::Length {
                algorithm: algorithm.name(),
                wanted: algorithm.digits(),
                found: hex.len(),
            });
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
    /// The checksum of a file's content by the same algorithm.
    ///
    /// # Errors
    /// The system's.
    pub fn like(&self, file: &File) -> io::Result<Self> {
        let hex = match self.algorithm {
            Algorithm::Sha256 => sum::<Sha256>(file)?,
            Algorithm::Sha384 => sum::<Sha384>(file)?,
            Algorithm::Sha512 => sum::<Sha512>(file)?,
        };
        Ok(Self {
            algorithm: self.algorithm,
            hex,
        })
    }
}

fn sum<H: sha2::Digest>(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = H::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_has_an_algorithm_and_as_many_digits_as_that_has() {
        let zeros = |count: usize| "0".repeat(count);
        for (name, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let text = format!("{name}:{}", zeros(digits));
            assert_eq!(Checksum::parse(&text).unwrap().to_string(), text);
        }
        let said = |text: &str| Checksum::parse(text).unwrap_err().to_string();
        assert_eq!(
            said("sha256:00"),
            "invalid checksum: sha256 has 64 hex digits, not 2"
        );
        assert!(said(&format!("md5:{}", zeros(32))).starts_with("unsupported algorithm `md5`"));
        assert!(said(&zeros(64)).starts_with("invalid checksum"));
        assert!(said(&format!("sha256:{}", "A".repeat(64))).starts_with("invalid checksum"));
    }
}
