//! What to write instead: the words `check` gives to keys and values that don't fit.
//!
//! In: a key path, a rule, a value. Out: labels and hints, with text to paste where it is known. It decides nothing.
//! Imports: `base`, `schema`, `tree`, `yaml` (quotes).

use super::schema::{BUILD, DEPLOY, HEALTHCHECK, PROJECT, Rule, SERVICE, Shape, Short};
use super::tree::{Entries, Node, Value};
use super::yaml::quoted;
use crate::base::diag::nearest;
use crate::base::key::{Key, KeyPath};

/// Keys that people write for others; the section or `build` and such in front where it differs.
const MEANT: &[(&str, &str)] = &[
    ("args", "build.args"),
    ("autorestart", "restart"),
    ("cmd", "command"),
    ("container", "container_name"),
    ("context", "build.context"),
    ("cpu", "cpus"),
    ("cpu_limit", "cpus"),
    ("dependencies", "depends_on"),
    ("depends", "depends_on"),
    ("dockerfile", "build.dockerfile"),
    ("env", "environment"),
    ("env_var", "environment"),
    ("env_vars", "environment"),
    ("envfile", "env_file"),
    ("envs", "environment"),
    ("health_check", "healthcheck"),
    ("hosts", "extra_hosts"),
    ("mem", "mem_limit"),
    ("memory", "mem_limit"),
    ("memory_limit", "mem_limit"),
    ("mounts", "volumes"),
    ("name", "container_name"),
    ("replicas", "deploy.replicas"),
    ("requires", "depends_on"),
    ("resources", "deploy.resources"),
    ("restart_policy", "restart"),
    ("target", "build.target"),
    ("variables", "environment"),
    ("workdir", "working_dir"),
];

/// What the mapping at a path is: `a service`, `healthcheck`.
pub(super) fn noun(path: &KeyPath) -> String {
    let name = |key: &Key| match key {
        Key::Name(name) => Some(name.clone()),
        Key::Index(_) => None,
    };
    match path.0.as_slice() {
        [] => "the top level".to_owned(),
        [Key::Name(section), Key::Name(_)] => match section.as_str() {
            "services" => "a service".to_owned(),
            section => format!("a {}", section.trim_end_matches('s')),
        },
        [.., last, Key::Index(_)] => match name(last) {
            Some(last) => format!("an entry of `{last}`"),
            None => "an entry".to_owned(),
        },
        [Key::Name(_), Key::Name(_), rest @ .., last] => {
            match (rest.last().and_then(name), name(last)) {
                (Some(outer), Some(_)) if matches!(outer.as_str(), "networks" | "depends_on") => {
                    format!("an entry of `{outer}`")
                }
                (_, Some(last)) => format!("`{last}`"),
                _ => "this mapping".to_owned(),
            }
        }
        _ => "this mapping".to_owned(),
    }
}

/// What to do about an unknown key of the mapping at `path`.
pub(super) fn unknown_key(path: &KeyPath, shape: &Shape, key: &str, entry: &Node) -> String {
    let names = || shape.names();
    let odd = |c: char| c != ' ' && (c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}'));
    if let Some(odd) = key.chars().find(|c| odd(*c)) {
        return format!(
            "the key holds a blank that is no space (U+{:04X}), as text copied from a web page may: write spaces",
            u32::from(odd)
        );
    }
    let same = key.to_lowercase().replace('-', "_");
    if let Some(known) = names().find(|known| *known == same) {
        return format!("write `{known}`");
    }
    if let Some(hint) = place_of(path, &same, entry) {
        return hint;
    }
    match nearest(key, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it; keys of your own must start with `x-`".to_owned(),
    }
}

/// Where a key belongs that stands in the wrong mapping.
fn place_of(path: &KeyPath, key: &str, entry: &Node) -> Option<String> {
    let depth = path.0.len();
    if depth == 0 {
        let alike = ["image", "build"]
            .iter()
            .any(|key| entry.get(key).is_some());
        let stray = nearest(key, PROJECT.names()).is_none();
        if alike || entry.is_null() && stray && SERVICE.rule(key).is_none() {
            return Some(format!(
                "if `{key}` is a service, indent it below `services:`"
            ));
        }
        return (SERVICE.rule(key).is_some() && nearest(key, ["services"]).is_none()).then(|| {
            format!("`{key}` belongs to a service: write it below the service's name, as `services.NAME.{key}`")
        });
    }
    let in_service = matches!(path.0.first(), Some(Key::Name(section)) if section == "services");
    if !in_service {
        return None;
    }
    if depth == 2 {
        let meant = MEANT.iter().find(|(word, _)| *word == key);
        if let Some((_, meant)) = meant {
            return Some(match meant.split_once('.') {
                Some((outer, inner)) => {
                    format!("`{inner}` belongs below `{outer}:` of the service")
                }
                None => format!("did you mean `{meant}`?"),
            });
        }
        if nearest(key, SERVICE.names()).is_some() {
            return None;
        }
        for (outer, shape) in [
            ("build", &BUILD),
            ("healthcheck", &HEALTHCHECK),
            ("deploy", &DEPLOY),
        ] {
            if shape.rule(key).is_some() {
                return Some(format!("`{key}` belongs below `{outer}:` of the service"));
            }
        }
        return PROJECT.rule(key).is_some().then(|| {
            format!("`{key}` belongs to the top level: start its line in the first column")
        });
    }
    let stray = depth == 3 && SERVICE.rule(key).is_some();
    stray.then(|| {
        let inner = path.0.last().map(|last| match last {
            Key::Name(name) => name.clone(),
            Key::Index(at) => at.to_string(),
        });
        let inner = inner.unwrap_or_default();
        format!("`{key}` belongs to the service: indent it as `{inner}` is")
    })
}

/// What a rule asks for, for messages.
pub(super) fn expected(rule: &Rule) -> &'static str {
    match rule {
        Rule::Any | Rule::Own(_) => "anything",
        Rule::Text | Rule::Choice(_) => "a string",
        Rule::TextOrNumber => "a string or number",
        Rule::TextOrBool => "a string or a boolean",
        Rule::Bool | Rule::Flag => "a boolean",
        Rule::Int | Rule::Natural | Rule::Count => "an integer",
        Rule::Float | Rule::Number => "a number",
        Rule::Bytes | Rule::WholeBytes => "a byte size such as 512m",
        Rule::BytesText => "a byte size with its unit such as 512m",
        Rule::Duration | Rule::Period => "a duration such as 10s",
        Rule::Mode | Rule::Bits => "a file mode such as 0440",
        Rule::Texts | Rule::Set | Rule::Unique | Rule::Exposed | Rule::Groups | Rule::List(_) => {
            "a list"
        }
        Rule::TextOrSet | Rule::TextOrUnique | Rule::OneOrList(_) => "a string or a list",
        Rule::AllOrList(_) => "`all` or a list",
        Rule::Labels | Rule::Contexts | Rule::Vars | Rule::Hosts => "a mapping or a list",
        Rule::Strict(rule) => expected(rule),
        Rule::Command | Rule::Test => "a string or a list of strings",
        Rule::Ulimit => "a number or a mapping with soft and hard",
        Rule::External => "a boolean",
        Rule::DeviceCount => "a number or `all`",
        Rule::Options
        | Rule::LogOptions
        | Rule::TextMap
        | Rule::ProviderOptions
        | Rule::Object(_)
        | Rule::Each(_) => "a mapping",
        Rule::Nullable(rule) => expected(rule),
        Rule::Short(Short::Port, _) => "a number, a string or a mapping",
        Rule::Short(..) => "a string or a mapping",
        Rule::Named(..) => "a list of names or a mapping",
    }
}

/// What a rule asks for, shown beside the caret.
pub(super) fn label(rule: &Rule, path: &KeyPath) -> String {
    let key = last_name(path);
    let example = match rule {
        Rule::Nullable(rule) => return label(rule, path),
        Rule::List(Rule::Short(Short::Port, _)) => "a list of ports such as `- \"8080:80\"`",
        Rule::List(Rule::Short(Short::Volume, _)) => "a list of mounts such as `- ./data:/data`",
        Rule::List(Rule::Short(Short::Device, _)) => "a list of devices such as `- /dev/fuse`",
        Rule::List(Rule::Short(Short::Grant, _)) => "a list of names such as `- password`",
        Rule::Bool | Rule::Flag | Rule::External => "true or false",
        Rule::Vars => "lines `NAME: value`, or a list of `- NAME=value`",
        Rule::Labels | Rule::Contexts => "lines `key: value`, or a list of `- key=value`",
        Rule::Hosts => "lines `name: address`, or a list of `- name=address`",
        Rule::Each(_) if path.0.len() == 1 => match key {
            "services" => "the names of services, each with its keys below",
            _ => "names, each with its keys below",
        },
        Rule::Object(_) if path.0.len() == 2 => {
            return format!("expected the keys of {}", noun(path));
        }
        Rule::Object(_) => return format!("expected the keys of `{key}` below it"),
        _ => expected(rule),
    };
    format!("expected {example}")
}

/// What to do about a value of the wrong kind.
pub(super) fn wrong_kind(rule: &Rule, path: &KeyPath, node: &Node) -> Option<String> {
    let scalar = node.scalar();
    match (rule, &node.value) {
        (Rule::Nullable(rule), _) => wrong_kind(rule, path, node),
        (Rule::Object(_) | Rule::Each(_), Value::Null) if node.key.is_some() => {
            let key = last_name(path);
            Some(format!(
                "indent the keys of `{key}` deeper than `{key}` itself, or remove it"
            ))
        }
        (_, Value::Null) => Some("give it a value or remove the key".to_owned()),
        (Rule::BytesText, Value::Int(value)) => Some(format!("write it with a unit: {value}b")),
        (Rule::Duration | Rule::Period, Value::Int(value)) => {
            Some(format!("write it with a unit: {value}s"))
        }
        (Rule::Text | Rule::Choice(_), Value::Time(text)) => {
            Some(format!("put it in quotes: \"{text}\""))
        }
        (Rule::Text, Value::Bool(on)) if last_name(path) == "restart" => Some(match on {
            true => "write `restart: always` or `restart: unless-stopped`".to_owned(),
            false => "write `restart: \"no\"`".to_owned(),
        }),
        (Rule::Text, Value::Map(entries)) => from_mapping(path, entries),
        (Rule::Text | Rule::Choice(_), _) => {
            scalar.map(|text| format!("put it in quotes: {}", quoted(&text)))
        }
        (Rule::Bool | Rule::Flag, Value::Int(value)) => Some(format!("write {}", *value != 0)),
        (Rule::Object(_), Value::Text(_) | Value::Bool(_)) if last_name(path) == "healthcheck" => {
            Some("to have none write `healthcheck: {disable: true}`".to_owned())
        }
        (Rule::Object(shape), Value::Text(text)) => joined_pair(shape, text),
        (Rule::Object(_) | Rule::Each(_), Value::List(_)) => {
            Some("remove the dashes: this is a mapping, not a list".to_owned())
        }
        (_, Value::Text(text)) => as_item(text, path),
        (
            Rule::List(_) | Rule::Texts | Rule::Set | Rule::Unique,
            Value::Int(_) | Value::Float(_),
        ) => scalar.map(|text| format!("write it as a list: `- {}`", quoted(&text))),
        (Rule::List(Rule::Short(..)), Value::Map(entries)) => {
            let (key, value) = entries.first()?;
            let value = value.scalar()?;
            Some(format!(
                "write a list: `- {}`",
                quoted(&format!("{key}:{value}"))
            ))
        }
        (
            Rule::List(_)
            | Rule::Texts
            | Rule::Set
            | Rule::Unique
            | Rule::TextOrSet
            | Rule::TextOrUnique,
            Value::Map(_),
        ) => Some("start each entry with `- `".to_owned()),
        _ => None,
    }
}

/// A list's item that was written without the space behind its dash, or without the dash.
fn as_item(text: &str, path: &KeyPath) -> Option<String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if let Some(rest) = first.strip_prefix('-').filter(|rest| !rest.is_empty()) {
        let item = match rest.starts_with(['"', '\'']) {
            true => rest.to_owned(),
            false => plain(rest),
        };
        return Some(format!("put a space behind the dash: `- {item}`"));
    }
    let item = match last_name(path) {
        "ports" | "expose" => quoted(text),
        _ => plain(text),
    };
    (text.len() < 200 && !text.contains('\n')).then(|| format!("write it as a list: `- {item}`"))
}

/// `image:nginx` where a mapping should be.
fn joined_pair(shape: &Shape, text: &str) -> Option<String> {
    let (key, value) = text.split_once(':')?;
    shape.rule(key)?;
    (!value.is_empty()).then(|| format!("put a space behind the colon: `{key}: {value}`"))
}

/// A text that YAML read as a mapping: `- A: 1` in a list of `A=1`, `{x}`, `- echo: a`.
fn from_mapping(path: &KeyPath, entries: &Entries) -> Option<String> {
    let (key, value) = entries.first().filter(|_| entries.len() == 1)?;
    let listed = path.0.iter().rev().nth(1);
    let pairs = ["environment", "labels", "args", "annotations", "sysctls"];
    let in_pairs = matches!(listed, Some(Key::Name(name)) if pairs.contains(&name.as_str()));
    match value.scalar() {
        Some(value) if in_pairs && !key.contains('=') => Some(format!(
            "write `- {key}={value}`, or remove the dash of each entry"
        )),
        Some(value) => Some(format!(
            "put it in quotes: {}",
            quoted(&format!("{key}: {value}"))
        )),
        None if value.is_null() => Some(format!(
            "put it in quotes: {}",
            quoted(&format!("{{{key}}}"))
        )),
        None => None,
    }
}

/// A value as it may stand in a list, in quotes where YAML would read something else.
fn plain(text: &str) -> String {
    let special = text.starts_with([
        '*', '&', '!', '%', '@', '`', '{', '[', '#', '|', '>', '"', '\'',
    ]) || text.contains(": ")
        || text.contains(" #");
    match special {
        true => quoted(text),
        false => text.to_owned(),
    }
}

fn last_name(path: &KeyPath) -> &str {
    let names = path.0.iter().rev().filter_map(|key| match key {
        Key::Name(name) => Some(name.as_str()),
        Key::Index(_) => None,
    });
    names.into_iter().next().unwrap_or_default()
}

/// A name made of a text that is none: what is not allowed becomes `-`.
pub(super) fn as_name(text: &str) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let name: String = text
        .chars()
        .map(|c| if good(c) { c } else { '-' })
        .collect();
    let name = name
        .trim_start_matches(['-', '_', '.'])
        .trim_end_matches('-');
    (name.len() > 1 && name.len() < 100).then(|| name.to_owned())
}
