//! `RUN --mount=type=…`: one mount of a step.
//!
//! In: the flag's text. Out: [`Mount`]. Imports: `base`.
//! Rules: Dockerfile reference, "RUN --mount"; words as BuildKit.

use crate::base::diag::nearest;
use crate::base::scalar::parse_size;

/// One mount, all variables worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What it shows.
    pub kind: MountKind,
    /// Where; relative to the working directory, which is meant by an empty one. `None` where it is not said.
    pub target: Option<String>,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind {
        /// A stage, image or named context; the build context when `None`.
        from: Option<String>,
        /// Path in it.
        source: String,
        /// Writes are allowed, and dropped.
        writable: bool,
    },
    /// A directory kept between builds.
    Cache {
        /// Its name; the target when `None`.
        id: Option<String>,
        /// What it starts with.
        from: Option<String>,
        /// Path in `from`.
        source: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Writes are refused.
        read_only: bool,
        /// Mode, owner and group of a new directory, if any of them is said.
        own: Option<(u32, u32, u32)>,
    },
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
        /// Writes are refused.
        read_only: bool,
    },
    /// An ssh agent of the caller's.
    Ssh {
        /// Its name.
        id: String,
        /// A missing one is an error.
        required: bool,
        /// Permission bits of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
    /// A secret of the build.
    Secret {
        /// Its name.
        id: String,
        /// A missing one is an error.
        required: bool,
        /// The variable that holds it, instead of or beside a file.
        env: Option<String>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All steps.
    #[default]
    Shared,
    /// A step that finds it taken gets another one.
    Private,
    /// A step waits until it is free.
    Locked,
}

/// The kinds by name.
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// Fields as they are read.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    values: std::collections::BTreeMap<&'static str, String>,
    /// Whether writes are refused, as far as it was said.
    read_only: Option<bool>,
}

/// Parses the flag's value; `expand` works variables out. A field that a kind has no use for is let pass where BuildKit
/// does.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Mount, String> {
    let fields = read(text, expand)?;
    let kind = fields.kind.as_deref().unwrap_or("bind");
    if !KINDS.contains(&kind) {
        let hint = nearest(kind, KINDS)
            .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        return Err(format!("unsupported mount type {kind:?}{hint}"));
    }
    fields.check(kind)?;
    let target = fields.text("target");
    let kind = match kind {
        "ssh" => MountKind::Ssh {
            id: fields.text("id").unwrap_or_else(|| "default".to_owned()),
            required: fields.flag("required", false)?,
            mode: fields.octal("mode", 0o600)?,
            uid: fields.number("uid")?,
            gid: fields.number("gid")?,
        },
        "secret" => secret(&fields, target.as_deref())?,
        "bind" => MountKind::Bind {
            from: fields.text("from"),
            source: fields.text("source").unwrap_or_default(),
            writable: fields.read_only == Some(false),
        },
        "cache" => cache(&fields)?,
        _ => MountKind::Tmpfs {
            size: match fields.values.get("size") {
                Some(size) => Some(
                    parse_size(size)
                        .map_err(|_| format!("invalid value for size: {size}"))?
                        .0,
                ),
                None => None,
            },
            read_only: fields.read_only == Some(true),
        },
    };
    Ok(Mount { kind, target })
}

fn cache(fields: &Fields) -> Result<MountKind, String> {
    let sharing = match fields
        .values
        .get("sharing")
        .map(|text| text.to_ascii_lowercase())
        .as_deref()
    {
        None | Some("shared") => Sharing::Shared,
        Some("private") => Sharing::Private,
        Some("locked") => Sharing::Locked,
        Some(other) => {
            return Err(format!(
                "unsupported sharing value {other:?}; the values are shared, private, locked"
            ));
        }
    };
    let said = ["mode", "uid", "gid"];
    let said = said.iter().any(|key| fields.values.contains_key(key));
    let own = (
        fields.octal("mode", 0o755)?,
        fields.number("uid")?,
        fields.number("gid")?,
    );
    Ok(MountKind::Cache {
        id: fields.text("id"),
        from: fields.text("from"),
        source: fields.text("source").unwrap_or_default(),
        sharing,
        read_only: fields.read_only == Some(true),
        own: said.then_some(own),
    })
}

fn secret(fields: &Fields, target: Option<&str>) -> Result<MountKind, String> {
    let (id, source) = (fields.text("id"), fields.text("source"));
    if id.is_some() && source.is_some() {
        return Err("a secret mount can't have both source and id".to_owned());
    }
    let base = || Some(target?.rsplit('/').next()?.to_owned());
    let Some(id) = source.or(id).or_else(base).filter(|id| !id.is_empty()) else {
        return Err("invalid secret mount: one of id, target is required".to_owned());
    };
    Ok(MountKind::Secret {
        id,
        required: fields.flag("required", false)?,
        env: fields.text("env"),
        mode: fields.octal("mode", 0o400)?,
        uid: fields.number("uid")?,
        gid: fields.number("gid")?,
    })
}

impl Fields {
    /// Refuses what makes no sense for a kind. As BuildKit.
    fn check(&self, kind: &str) -> Result<(), String> {
        let only =
            |key: &str, kinds: &[&str]| self.values.contains_key(key) && !kinds.contains(&kind);
        for key in ["mode", "uid", "gid"] {
            if only(key, &["secret", "ssh", "cache"]) {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
        for (key, kinds) in [("size", &["tmpfs"][..]), ("required", &["secret", "ssh"])] {
            if only(key, kinds) {
                return Err(format!("unexpected key '{key}' for mount type '{kind}'"));
            }
        }
        if only("sharing", &["cache"]) {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        if kind == "secret" && self.values.contains_key("from") {
            return Err("secret mount should not have a from".to_owned());
        }
        if kind == "ssh" && self.values.contains_key("source") {
            return Err("ssh does not support source".to_owned());
        }
        Ok(())
    }
    fn text(&self, key: &str) -> Option<String> {
        self.values
            .get(key)
            .filter(|value| !value.is_empty())
            .cloned()
    }
    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self
            .values
            .get(key)
            .map(|value| value.to_ascii_lowercase())
            .as_deref()
        {
            None => Ok(default),
            Some(value) => truth(key, value),
        }
    }
    fn number(&self, key: &str) -> Result<u32, String> {
        let parse = |value: &String| {
            value
                .parse()
                .map_err(|_| format!("invalid value for '{key}': {value}"))
        };
        self.values.get(key).map_or(Ok(0), parse)
    }
    fn octal(&self, key: &str, default: u32) -> Result<u32, String> {
        let parse = |value: &String| {
            let mode = u32::from_str_radix(value, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            mode.ok_or_else(|| {
                format!("invalid value for '{key}': {value}; write an octal mode such as 0640")
            })
        };
        self.values.get(key).map_or(Ok(default), parse)
    }
}

/// As Go's `strconv.ParseBool`; a key without a value is true.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

fn read(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Fields, String> {
    const ALIASES: [(&str, &str); 6] = [
        ("dst", "target"),
        ("destination", "target"),
        ("src", "source"),
        ("readonly", "ro"),
        ("readwrite", "rw"),
        ("type", "type"),
    ];
    const NAMES: [&str; 13] = [
        "target", "source", "from", "rw", "ro", "id", "sharing", "mode", "uid", "gid", "size",
        "required", "env",
    ];
    let mut fields = Fields::default();
    for field in csv(text) {
        let (key, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(k, v)| (k, Some(v)));
        let key = key.trim().to_ascii_lowercase();
        let key = ALIASES
            .iter()
            .find(|(alias, _)| *alias == key)
            .map_or(key.as_str(), |(_, name)| name);
        if key == "from" && value.is_some_and(|value| value.contains('$')) {
            return Err(
                "'from' doesn't support variable expansion, define an alias stage instead"
                    .to_owned(),
            );
        }
        let value = value.map(expand).transpose()?;
        if key == "type" {
            fields.kind = value.map(|value| value.to_ascii_lowercase());
            continue;
        }
        let Some(name) = NAMES.iter().find(|name| **name == key) else {
            let hint = nearest(key, NAMES)
                .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            return Err(format!("unexpected key '{key}' in '{field}'{hint}"));
        };
        if value.is_none() && !matches!(*name, "ro" | "rw" | "required") {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        if let "ro" | "rw" = *name {
            let said = truth(name, value.as_deref().unwrap_or_default())?;
            fields.read_only = Some(said == (*name == "ro"));
            continue;
        }
        fields.values.insert(name, value.unwrap_or_default());
    }
    Ok(fields)
}

/// Fields between commas; a field may stand in double quotes, with `""` for a quote.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        let field = fields.last_mut().expect("one field is always there");
        match ch {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            ch => field.push(ch),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mount, String> {
        parse(text, &|value| Ok(value.replace("$X", "/x")))
    }

    #[test]
    fn every_kind_reads_its_options() {
        assert_eq!(
            read("type=bind,from=s,src=a,dst=$X,rw").unwrap(),
            Mount {
                kind: MountKind::Bind {
                    from: Some("s".into()),
                    source: "a".into(),
                    writable: true
                },
                target: Some("/x".into())
            }
        );
        let MountKind::Cache {
            sharing,
            read_only,
            own,
            id,
            ..
        } = read("type=cache,id=i,target=/c,uid=10,mode=0750,ro,sharing=locked")
            .unwrap()
            .kind
        else {
            panic!("a cache")
        };
        assert_eq!(
            (sharing, read_only, own, id.as_deref()),
            (Sharing::Locked, true, Some((0o750, 10, 0)), Some("i"))
        );
        assert_eq!(
            read("type=tmpfs,target=/t,size=1m").unwrap().kind,
            MountKind::Tmpfs {
                size: Some(1 << 20),
                read_only: false,
            }
        );
        let MountKind::Secret {
            id, required, mode, ..
        } = read("type=secret,target=/a/tok,required").unwrap().kind
        else {
            panic!("a secret")
        };
        assert_eq!((id.as_str(), required, mode), ("tok", true, 0o400));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let writable = |text: &str| match read(text).unwrap().kind {
            MountKind::Bind { writable, .. } => writable,
            kind => panic!("{kind:?}"),
        };
        assert!(!writable("type=bind,source=a,target=/a"));
        assert!(!writable("source=a,target=/a,readonly"));
        assert!(!writable("source=a,target=/a,rw,ro"));
        assert!(writable("source=a,target=/a,ro=false,id=unused"));
        assert_eq!(read("type=bind").unwrap().target, None);
        let MountKind::Ssh { id, mode, .. } = read("type=ssh").unwrap().kind else {
            panic!("an agent")
        };
        assert_eq!((id.as_str(), mode), ("default", 0o600));
        let MountKind::Secret { id, .. } = read("type=secret,source=k,target=/a").unwrap().kind
        else {
            panic!("a secret")
        };
        assert_eq!(id, "k");
    }

    #[test]
    fn faults_are_named() {
        for text in [
            "type=foo,target=/x",
            "type=bind,target=/x,nope=1",
            "type=bind,target=/x,bind-propagation=shared",
            "type=bind,target=/x,uid=1",
            "type=bind,target=/x,size=1",
            "type=bind,target=/x,required",
            "type=bind,target=/x,sharing=shared",
            "type=bind,target=/x,ro=maybe",
            "type=secret,id=a,source=b",
            "type=secret,id=a,from=b",
            "type=ssh,source=b",
            "type=tmpfs,target=/x,size=abc",
            "type=secret",
            "type=cache,target=/x,sharing=all",
            "type=cache,target=/x,mode=9",
            "type=ssh,nope=1",
            "type=bind,target",
            "type=bind,target=/a,from=$X",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(
            read("type=bind,taget=/x")
                .unwrap_err()
                .contains("did you mean target?")
        );
    }
}
