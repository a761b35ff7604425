//! Bytes of a Dockerfile → text.
//!
//! Comments may be in any encoding, as with BuildKit; what is built from is UTF-8. Imports: `base::diag`.

use crate::base::diag::Diagnostic;

/// The text of a file called `name`.
///
/// # Errors
/// When a byte outside of comments belongs to no UTF-8 text; it says in which row.
pub(super) fn decode(name: &str, bytes: Vec<u8>) -> Result<String, Box<Diagnostic>> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    // A row that looks like a comment may be a file's content where there are heredocs.
    let plain = !bytes.windows(2).any(|pair| pair == b"<<");
    let comment = |row: &[u8]| plain && row.trim_ascii_start().starts_with(b"#");
    let rows = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    let wrong = |(_, row): &(u32, &[u8])| std::str::from_utf8(row).is_err() && !comment(row);
    match rows.into_iter().find(wrong) {
        None => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Some((row, text)) => {
            let byte = std::str::from_utf8(text).err();
            let byte = byte.and_then(|error| text.get(error.valid_up_to()));
            let byte = byte.map(|byte| format!(": byte 0x{byte:02x}"));
            let what = format!(
                "{name}:{row}: it is not UTF-8 text{}",
                byte.unwrap_or_default()
            );
            Err(Box::new(
                Diagnostic::error(what).hint("save the file as UTF-8"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_in_any_encoding_and_the_rest_is_utf_8() {
        let read = |bytes: &[u8]| decode("D", bytes.to_vec());
        assert_eq!(
            read("FROM a\n# café\n".as_bytes()).unwrap(),
            "FROM a\n# café\n"
        );
        assert_eq!(
            read(b"FROM a\n  # caf\xe9\nRUN x\n").unwrap(),
            "FROM a\n  # caf\u{fffd}\nRUN x\n"
        );
        for (bytes, place) in [
            (
                b"FROM a\nRUN \xe9\n".as_slice(),
                "D:2: it is not UTF-8 text: byte 0xe9",
            ),
            (
                b"FROM a\nCOPY <<f /f\n# \xe9\nf\n",
                "D:3: it is not UTF-8 text: byte 0xe9",
            ),
        ] {
            assert_eq!(read(bytes).unwrap_err().message, place);
        }
    }
}
