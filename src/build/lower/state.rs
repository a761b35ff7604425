//! What a stage has said so far: configuration, variables, arguments.
//!
//! Imports: `image::config`, `lint`.

use std::cell::RefCell;
use std::rc::Rc;

use indexmap::{IndexMap, IndexSet};

use crate::build::lint::stage::Once;
use crate::image::config::ImageConfig;

/// Set where an image says no other. Source: containerd and BuildKit, `DefaultPathEnvUnix`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments that every build has: they reach `RUN` and leave no trace.
const PREDEFINED: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Whether an argument is one of the proxy settings, in either case.
pub(super) fn is_predefined(name: &str) -> bool {
    PREDEFINED
        .iter()
        .any(|known| name == *known || name == known.to_lowercase())
}

/// Names of the proxy settings in both cases.
pub(super) fn predefined() -> impl Iterator<Item = (&'static str, String)> {
    PREDEFINED
        .into_iter()
        .map(|name| (name, name.to_lowercase()))
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// An instruction that changes no file.
    Setting(String),
    /// A step, by its place among the stage's steps.
    Step(usize, String),
}

/// What a stage has said so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) config: ImageConfig,
    /// Variables of `RUN` and of expansion: the environment, and arguments since they were declared.
    pub(super) scope: IndexMap<String, String>,
    /// Declared arguments that have a value.
    pub(super) args: IndexMap<String, String>,
    /// Whether this stage has said `CMD`.
    pub(super) cmd_said: bool,
    pub(super) past: Vec<Past>,
    /// Every argument that was declared, also those without a value.
    pub(super) declared: IndexSet<String>,
    /// Variables that words of the current instruction needed and nobody has set; one for all copies of the state.
    pub(super) missed: Rc<RefCell<Vec<String>>>,
    /// Whether this stage, or one it stands on, has said `WORKDIR`.
    pub(super) workdir_said: bool,
    /// Which instructions that count once were said.
    pub(super) once: Once,
}

impl State {
    /// The state after `FROM`.
    pub(super) fn new(mut config: ImageConfig) -> Self {
        let env = &mut config.config.env;
        if !env.iter().any(|pair| pair.starts_with("PATH=")) {
            env.push(format!("PATH={PATH}"));
        }
        let pairs = env.iter().filter_map(|pair| pair.split_once('='));
        let scope = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            config,
            scope,
            args: IndexMap::new(),
            cmd_said: false,
            past: Vec::new(),
            declared: IndexSet::new(),
            missed: Rc::default(),
            workdir_said: false,
            once: Once::default(),
        }
    }
    /// The state of a stage that begins from this one.
    pub(super) fn child(&self) -> Self {
        Self {
            cmd_said: false,
            past: Vec::new(),
            once: Once::default(),
            ..self.clone()
        }
    }
    /// Sets a variable of the image.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let prefix = format!("{name}=");
        let env = &mut self.config.config.env;
        match env.iter_mut().find(|known| known.starts_with(&prefix)) {
            Some(known) => *known = pair,
            None => env.push(pair),
        }
        self.scope.insert(name.to_owned(), value.to_owned());
    }
    /// A path made absolute with the working directory, cleaned.
    pub(super) fn absolute(&self, path: &str) -> String {
        let base = std::path::Path::new("/")
            .join(&self.config.config.working_dir)
            .join(path);
        crate::sys::fs::clean(&base).to_string_lossy().into_owned()
    }
    /// The shell of shell-form instructions.
    pub(super) fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        self.config
            .config
            .shell
            .clone()
            .filter(|shell| !shell.is_empty())
            .unwrap_or_else(default)
    }
    /// The value of a variable that a word of the current instruction needs; a missing one is noted, once for each word.
    pub(super) fn value(&self, name: &str, word: &mut Vec<String>) -> Option<String> {
        let value = self.scope.get(name).cloned();
        if value.is_none() && !name.is_empty() && !word.iter().any(|known| known == name) {
            word.push(name.to_owned());
            self.missed.borrow_mut().push(name.to_owned());
        }
        value
    }
    /// Notes an instruction that changes no file.
    pub(super) fn note(&mut self, text: String) {
        self.past.push(Past::Setting(text));
    }
}
