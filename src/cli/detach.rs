//! Keys that take this command off a container: `ctrl-p,ctrl-q`.
//!
//! In: the keys as users write them, then what is typed. Out: what is typed without them, and whether they were all
//! there. Imports: nothing of ours. As Docker: moby/term `ascii.go`, `proxy.go`.

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    wanted: Vec<u8>,
    /// So many of them were typed just now, and are held back.
    seen: usize,
}

impl Keys {
    /// The usual ones.
    pub fn usual() -> Self {
        Self {
            wanted: vec![16, 17],
            seen: 0,
        }
    }

    /// Reads `ctrl-x,y`: letters, `ctrl-` with a letter or one of `@[\]^_`.
    ///
    /// # Errors
    /// The part that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let one = |part: &str| -> Result<u8, String> {
            let wrong = || format!("Unknown character: '{part}'");
            match (
                part.as_bytes(),
                part.strip_prefix("ctrl-").map(str::as_bytes),
            ) {
                ([byte], _) => Ok(*byte),
                (_, Some([letter @ b'a'..=b'z'])) => Ok(letter - b'a' + 1),
                (_, Some([sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Ok(sign - b'@'),
                _ => Err(wrong()),
            }
        };
        let wanted = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { wanted, seen: 0 })
    }

    /// Takes what was typed; gives what goes to the container, and whether all keys have come.
    pub fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.seen);
        for byte in typed {
            if self.wanted.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.wanted.len() {
                    self.seen = 0;
                    return (passed, true);
                }
                continue;
            }
            // They were meant for the container after all.
            passed.extend(self.wanted.iter().take(self.seen));
            self.seen = usize::from(self.wanted.first() == Some(byte));
            if self.seen == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_control_characters() {
        let of = |text: &str| Keys::parse(text).map(|keys| keys.wanted);
        assert_eq!(of("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(of("ctrl-@,a,ctrl-["), Ok(vec![0, b'a', 27]));
        assert_eq!(of("bogus"), Err("Unknown character: 'bogus'".to_owned()));
        assert!(of("").is_err());
        assert!(of("ctrl-P").is_err());
    }

    #[test]
    fn only_all_of_them_in_a_row_end_it_and_a_part_is_passed_on() {
        let mut keys = Keys::usual();
        assert_eq!(keys.take(b"ls\x10"), (b"ls".to_vec(), false));
        assert_eq!(keys.take(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.take(b"\x11rest"), (Vec::new(), true));
    }
}
