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
pub(super) use parts::{HEALTHCHECK, ULIMIT};
pub(super) use project::{EXTERNAL, PROJECT};
pub(super) use service::SERVICE;

/// What a value may be, and by that what its canonical form is.
#[derive(Debug)]
pub(super) enum Rule {
    /// Anything; kept as it is.
    Any,
    /// Text; left out when empty.
    Text,
    /// Text or a number; canonical as text.
    TextOrNumber,
    /// A boolean, or text that says one; left out when false.
    Bool,
    /// As `Bool`, but false is kept: it differs from nothing.
    Flag,
    /// An integer, or text that says one; left out when zero.
    Int,
    /// As `Int`, but zero is kept.
    Count,
    /// A number, or text that says one; left out when zero.
    Float,
    /// A byte size; canonical as text with the number of bytes.
    Bytes,
    /// A duration; canonical as Go prints it.
    Duration,
    /// A file mode; canonical as octal text.
    Mode,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of texts or numbers, each once; canonical as texts.
    Set,
    /// One text or a list of them, each once.
    TextOrSet,
    /// `key: value` or a list of `key=value`; nothing stands for empty text.
    Labels,
    /// As `Labels`, but a bare name takes its value from the environment.
    Vars,
    /// A mapping to texts, numbers or nothing.
    Options,
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
