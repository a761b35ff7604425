//! Small values of instructions: ports, signals.
//!
//! Imports: `base`. Rules: Dockerfile reference; Docker's `nat` port grammar.

use crate::base::scalar::Signal;

/// Ports of one `EXPOSE` word: `80`, `53/udp`, `8000-8002`, `127.0.0.1:90:91` (the container's counts).
///
/// # Errors
/// What is wrong with it.
pub(super) fn ports(word: &str) -> Result<Vec<String>, String> {
    let bad = |why: &str| format!("invalid port: {word:?}: {why}");
    let (numbers, proto) = word.split_once('/').unwrap_or((word, "tcp"));
    let proto = match proto {
        "" => "tcp".to_owned(),
        proto => proto.to_ascii_lowercase(),
    };
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad(&format!("invalid proto: {proto}")));
    }
    let own = numbers.rsplit(':').next().unwrap_or_default();
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| bad(&format!("invalid port number {text:?}")))
    };
    let (first, last) = match own.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(own)?, number(own)?),
    };
    if last < first {
        return Err(bad("the range ends before it begins"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{proto}"))
        .collect())
}

/// Whether a text is a signal as `STOPSIGNAL` takes it.
pub(super) fn is_signal(text: &str) -> bool {
    // Any number but 0 is taken, as the reference does.
    text.parse::<i32>()
        .map_or_else(|_| Signal::parse(text).is_some(), |number| number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_ranges_protocols_and_a_container_side() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("80-82/UDP").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        assert_eq!(ports("127.0.0.1:90:91").unwrap(), ["91/tcp"]);
        for bad in ["80/foo", "x", "", "70000", "9-8", "80-", "+80"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
