//! The tag of log lines: text with fields of the container in it, `{{.Name}}/{{.ID}}`.
//!
//! Imports: `base`, `engine::spec`. Source: moby `daemon/logger/loginfo.go` and `loggerutils/log_tag.go`; of Go's
//! templates only fields are known.

use crate::base::name::ContainerId;
use crate::engine::spec::{ImageRef, Labels};

/// A container, as far as its log lines tell of it.
pub(super) struct About<'a> {
    pub(super) id: &'a ContainerId,
    pub(super) name: &'a str,
    pub(super) image: &'a ImageRef,
    pub(super) labels: &'a Labels,
    pub(super) env: &'a [String],
    pub(super) args: &'a [String],
}

/// Length of a short image id: Docker counts `sha256:` in.
const SHORT: usize = 12;

/// How to get a field.
type Get = fn(&About<'_>) -> String;

/// Fields and how to get them.
pub(super) const KNOWN: [(&str, Get); 8] = [
    ("ID", |about| about.id.short().to_owned()),
    ("FullID", |about| about.id.to_string()),
    ("Name", |about| about.name.to_owned()),
    ("ImageID", |about| {
        let id = about.image.id.to_string();
        id.get(..SHORT).unwrap_or(&id).to_owned()
    }),
    ("ImageFullID", |about| about.image.id.to_string()),
    ("ImageName", |about| about.image.name.clone()),
    ("DaemonName", |_| "hoist".to_owned()),
    ("Command", |about| about.args.join(" ")),
];

/// Older names of the same.
const ALIASES: [(&str, &str); 4] = [
    ("ContainerID", "FullID"),
    ("ContainerName", "Name"),
    ("ContainerImageID", "ImageFullID"),
    ("ContainerImageName", "ImageName"),
];

/// Puts the fields in; an error says what is wrong with the text.
pub(super) fn expand(text: &str, about: &About<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (field, behind) = behind.split_once("}}").ok_or("has a `{{` without `}}`")?;
        let (before_trimmed, field) = match field.strip_prefix("- ") {
            Some(field) => (before.trim_end(), field),
            None => (before, field),
        };
        let (field, behind) = match field.strip_suffix(" -") {
            Some(field) => (field, behind.trim_start()),
            None => (field, behind),
        };
        out.push_str(before_trimmed);
        out.push_str(&value(field.trim(), about)?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn value(field: &str, about: &About<'_>) -> Result<String, String> {
    let name = field.strip_prefix('.').unwrap_or_default();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| name);
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let (_, get) = known.ok_or_else(|| format!("holds `{{{{{field}}}}}`, which is not known"))?;
    Ok(get(about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn fields_are_put_in_and_others_are_refused() {
        let image = ImageRef {
            name: "busybox:1".into(),
            id: Digest::of(b""),
            layers: Vec::new(),
        };
        let about = About {
            id: &ContainerId::new("0123456789abcdef"),
            name: "demo-a-1",
            image: &image,
            labels: &Labels::new(),
            env: &[],
            args: &["sh".into(), "-c".into()],
        };
        let tag = |text| expand(text, &about);
        assert_eq!(
            tag("{{.Name}}/{{ .ID }}").as_deref(),
            Ok("demo-a-1/0123456789ab")
        );
        assert_eq!(tag("x {{- .ImageName -}} y").as_deref(), Ok("xbusybox:1y"));
        assert_eq!(
            tag("{{.ImageID}} {{.Command}}").as_deref(),
            Ok("sha256:e3b0c sh -c")
        );
        assert_eq!(tag("}} plain").as_deref(), Ok("}} plain"));
        assert!(tag("{{.Nope}}").is_err_and(|why| why.contains("{{.Nope}}")));
        assert!(tag("{{.Name").is_err());
        assert!(tag("{{json .}}").is_err());
    }
}
