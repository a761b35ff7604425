//! What servers and libraries say when something fails, made fit to be shown.
//!
//! Imports: nothing. Source: OCI distribution spec 1.1, "Error Codes".

/// Most characters of a registry's own words that are shown.
const LONGEST: usize = 200;

/// A refusal in a registry's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Words {
    /// `: CODE: message`, or nothing.
    pub(super) fn shown(&self) -> String {
        let parts = [&self.code, &self.message].into_iter().flatten();
        parts.map(|part| format!(": {part}")).collect()
    }
}

/// What a registry says in the body of a refusal, if it speaks as the specification asks.
pub(super) fn words(body: &[u8]) -> Words {
    let Ok(envelope) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Words::default();
    };
    let said = |key: &str| {
        let text = envelope.pointer(&format!("/errors/0/{key}"))?.as_str()?;
        let shown = text.chars().filter(|c| !c.is_control()).take(LONGEST);
        Some(shown.collect::<String>())
    };
    Words {
        code: said("code"),
        message: said("message"),
    }
}

/// The innermost causes of an error, which say most; the outer ones repeat the address.
pub(in crate::image) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    let text = texts.last().cloned().unwrap_or_default();
    if texts.iter().any(|text| text == "dns error") {
        return format!("its name is not known to the name servers: {text}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_shown_if_they_are_the_specifications() {
        let said = words(b"{\"errors\": [{\"code\": \"DENIED\", \"message\": \"no\\u0007\"}]}");
        assert_eq!(said.shown(), ": DENIED: no");
        for other in ["", "x", "{}", "{\"errors\": []}", "[1]"] {
            assert_eq!(words(other.as_bytes()).shown(), "");
        }
    }
}
