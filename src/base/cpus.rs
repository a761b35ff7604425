//! Sets of CPUs as the kernel and users write them: `0-2,4`.
//!
//! Imports: nothing. Source: cpuset(7), "List format"; which texts are refused as Docker (`pkg/parsers`,
//! `ParseUintListMaximum`).

use std::collections::BTreeSet;
use std::fmt;

/// Highest number that a text may name, so that `0-99999999999` costs nothing. As Docker.
const HIGHEST: u32 = 8192;

/// A set of CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus(BTreeSet<u32>);

impl Cpus {
    /// Reads a list of numbers and ranges; an empty text is the empty set.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut found = BTreeSet::new();
        if text.is_empty() {
            return Some(Self(found));
        }
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u32>().ok();
            number.filter(|number| digits && *number <= HIGHEST)
        };
        for part in text.split(',') {
            match part.split_once('-') {
                None => drop(found.insert(number(part)?)),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    (first <= last).then(|| found.extend(first..=last))?;
                }
            }
        }
        Some(Self(found))
    }
    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Those that another set does not have.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl fmt::Display for Cpus {
    /// The shortest list: `0-2,4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_shortest() {
        for (text, want) in [
            ("", ""),
            ("0", "0"),
            ("0-1\n", "0-1"),
            ("4,0,1,2", "0-2,4"),
            ("3-3,1", "1,3"),
        ] {
            assert_eq!(Cpus::parse(text).unwrap().to_string(), want, "{text}");
        }
        for text in [
            "x",
            "0,",
            "1-0",
            "-1",
            "1-",
            "+1",
            "0-8193",
            "0 1",
            "99999999999",
        ] {
            assert_eq!(Cpus::parse(text), None, "{text}");
        }
        let (all, some) = (Cpus::parse("0-3"), Cpus::parse("1,5"));
        let (all, some) = (all.unwrap(), some.unwrap());
        assert_eq!(some.without(&all).to_string(), "5");
        assert_eq!(all.count(), 4);
    }
}
