//! The vocabulary of the Compose Specification as typed rules: which key may stand where, what it holds, what it means.
//!
//! In: nothing. Out: [`PROJECT`], walked by `check` (is it allowed?), by `canon` (what is its long form?) and by
//! `json_schema` (how do editors learn of it?). It holds no code but lookups. Imports: nothing.
//! Source: Compose Specification (services, build, deploy, develop, networks, volumes, configs, secrets, models).

mod build;
mod deploy;
mod develop;
mod job;
mod parts;
mod project;
mod service;
mod storage;

pub(super) use build::BUILD;
pub(super) use deploy::DEPLOY;
pub(super) use parts::{
    FILE_HOIST, HEALTHCHECK, HOIST, READY, READY_HTTP, READY_TCP, SERVICE_HOIST, ULIMIT,
};
pub(super) use project::{EXTERNAL, PROJECT};
pub(super) use service::SERVICE;
pub(super) use storage::MOUNT_HOIST;

/// What a value may be, and by that what its canonical form is.
#[derive(Debug)]
pub(super) enum Rule {
    /// Anything; kept as it is.
    Any,
    /// Text; left out when empty.
    Text,
    /// Text or a whole number; canonical as text.
    TextOrNumber,
    /// Text or a boolean; canonical as text.
    TextOrBool,
    /// A boolean, or text that says one; left out when false.
    Bool,
    /// As `Bool`, but false is kept: it differs from nothing.
    Flag,
    /// An integer, or text that says one; left out when zero.
    Int,
    /// As `Int`, but not below zero.
    Natural,
    /// As `Natural`, but zero is kept.
    Count,
    /// As `Int`; what a number has behind its point is dropped.
    Number,
    /// A number, or text that says one; left out when zero.
    Float,
    /// A byte size; canonical as text with the number of bytes.
    Bytes,
    /// As `Bytes`, but a number must be whole.
    WholeBytes,
    /// As `Bytes`, but text only.
    BytesText,
    /// A duration; canonical as Go prints it.
    Duration,
    /// As `Duration`, but not empty.
    Period,
    /// A file mode; canonical as octal text.
    Mode,
    /// A file mode; canonical as a number. Text holds octal digits.
    Bits,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of texts, each once: of those with the same words before `=` the last one stays.
    Set,
    /// A list of texts; a repeated one is refused.
    Unique,
    /// A list of texts or whole numbers, each once; canonical as texts.
    Exposed,
    /// A list of texts or numbers; a repeated one is refused; canonical as texts.
    Groups,
    /// One text or a `Set`.
    TextOrSet,
    /// One text or a `Unique`.
    TextOrUnique,
    /// `key: value` or a list of `key=value`; nothing stands for empty text.
    Labels,
    /// As `Labels`, but the values are texts.
    Contexts,
    /// As `Labels`, but a bare name takes its value from the environment.
    Vars,
    /// A mapping to texts or numbers.
    Options,
    /// A mapping to texts, numbers or nothing.
    LogOptions,
    /// A mapping to texts.
    TextMap,
    /// `extra_hosts`.
    Hosts,
    /// A command line as text, list or null.
    Command,
    /// `healthcheck.test`.
    Test,
    /// A number or `{soft, hard}`.
    Ulimit,
    /// `external`: a boolean or the old `{name}`.
    External,
    /// A number of devices or `all`.
    DeviceCount,
    /// A provider's options: scalars or lists of them.
    ProviderOptions,
    /// A mapping with known keys.
    Object(&'static Shape),
    /// What the files may say freely and `bind` holds to the shape: hoist's own `x-` key.
    Own(&'static Shape),
    /// The rule, but text can't stand for its value.
    Strict(&'static Self),
    /// The rule or nothing.
    Nullable(&'static Self),
    /// A mapping from any name to the rule.
    Each(&'static Self),
    /// A list of the rule.
    List(&'static Self),
    /// A short form, or the mapping that it stands for.
    Short(Short, &'static Shape),
    /// A list of names, or a mapping from names to the rule.
    Named(Named, &'static Self),
    /// A text, or a list of the rule.
    OneOrList(&'static Self),
    /// The word `all`, or a list of the rule.
    AllOrList(&'static Self),
}

/// How a scalar is turned into the mapping it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// `build: ./dir`
    Build,
    /// `8080:80/tcp`, or a number
    Port,
    /// `./dir:/data:ro`
    Volume,
    /// `/dev/a:/dev/b:rwm`
    Device,
    /// A secret's or config's name.
    Grant,
    /// A path.
    EnvFile,
    /// A service's name.
    Extends,
    /// A path.
    Include,
}

/// What a bare name in a list stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing.
    Null,
    /// `{condition: service_started, required: true}`.
    Dependency,
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Shape {
    /// What such mappings are called in the JSON schema: the name of the static in small letters.
    pub(super) name: &'static str,
    /// What it describes, one sentence.
    pub(super) about: &'static str,
    /// A shape whose keys may stand here too, but for those named.
    pub(super) also: Option<(&'static Self, &'static [&'static str])>,
    /// Its own keys.
    pub(super) fields: &'static [Field],
    /// Keys that must be there.
    pub(super) required: &'static [&'static str],
}

/// One key of a [`Shape`].
#[derive(Debug)]
pub(super) struct Field {
    /// The key.
    pub(super) name: &'static str,
    /// What it may hold.
    pub(super) rule: Rule,
    /// What it means, one sentence for users.
    pub(super) about: &'static str,
    /// What holds where it is not said: JSON, or else a text; only where it is the same for all images and hosts.
    pub(super) default: Option<&'static str>,
}

impl Shape {
    /// The rule of a key.
    pub(super) fn rule(&self, key: &str) -> Option<&'static Rule> {
        self.field(key).map(|field| &field.rule)
    }
    /// What is known of a key.
    pub(super) fn field(&self, key: &str) -> Option<&'static Field> {
        let own = self.fields.iter().find(|field| field.name == key);
        own.or_else(|| {
            let (shape, without) = self.also?;
            shape.field(key).filter(|_| !without.contains(&key))
        })
    }
    /// All keys: its own, then those of the other shape.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static Field> {
        let (more, without) = match self.also {
            Some((shape, without)) => (shape.fields, without),
            None => (&[][..], &[][..]),
        };
        let more = more.iter().filter(|field| !without.contains(&field.name));
        self.fields.iter().chain(more)
    }
    /// The names of all keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.all().map(|field| field.name)
    }
}

/// Writes a [`Shape`]: each key with its meaning as doc text, its rule, and its default if there is one.
macro_rules! shape {
    (
        $(#[doc = $about:literal])*
        $name:ident $(: $also:expr =>)? {
            $($(#[doc = $doc:literal])* $key:literal: $rule:expr $(=> $default:literal)?),* $(,)?
        }
        $(requires $($need:literal),+)?
    ) => {
        $(#[doc = $about])*
        pub(in crate::compose) static $name: $crate::compose::schema::Shape = $crate::compose::schema::Shape {
            name: stringify!($name),
            about: concat!($($about),*),
            also: $crate::compose::schema::optional!($($also)?),
            fields: &[$($crate::compose::schema::Field {
                name: $key,
                rule: $rule,
                about: concat!($($doc),*),
                default: $crate::compose::schema::optional!($($default)?),
            }),*],
            required: &[$($($need),+)?],
        };
    };
}
/// What stands there, if anything does.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}
use {optional, shape};

/// The rule of `x-*` keys.
pub(super) static EXTENSION: Rule = Rule::Any;

#[cfg(test)]
mod tests {
    use super::*;

    /// The shapes that a rule leads to.
    fn shapes(rule: &'static Rule, all: &mut Vec<&'static Shape>) {
        match rule {
            Rule::Object(shape) | Rule::Short(_, shape) | Rule::Own(shape) => below(shape, all),
            Rule::Nullable(rule)
            | Rule::Each(rule)
            | Rule::List(rule)
            | Rule::Named(_, rule)
            | Rule::OneOrList(rule)
            | Rule::AllOrList(rule) => shapes(rule, all),
            Rule::External => below(&EXTERNAL, all),
            Rule::Ulimit => below(&ULIMIT, all),
            _ => {}
        }
    }

    fn below(shape: &'static Shape, all: &mut Vec<&'static Shape>) {
        if !all.iter().any(|known| std::ptr::eq(*known, shape)) {
            all.push(shape);
            for field in shape.all() {
                shapes(&field.rule, all);
            }
        }
    }

    #[test]
    fn shapes_have_names_of_their_own_each_key_once_and_a_meaning_for_each() {
        let mut all = Vec::new();
        below(&PROJECT, &mut all);
        assert!(all.len() > 45, "only {} shapes", all.len());
        let mut names: Vec<&str> = all.iter().map(|shape| shape.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        for shape in all {
            let mut keys: Vec<&str> = shape.names().collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "{} has a key twice", shape.name);
            for key in shape.required {
                assert!(shape.field(key).is_some(), "{}: no key {key}", shape.name);
            }
            if let Some((other, without)) = shape.also {
                let known = |key: &&&str| other.field(key).is_none();
                assert_eq!(without.iter().find(known), None, "{}", other.name);
            }
            for field in shape.fields {
                let text = field.about.trim();
                assert!(
                    text.ends_with('.') && !text.contains("  "),
                    "{}: {text}",
                    field.name
                );
            }
        }
    }
}
