//! `develop`, hooks and init containers.
//!
//! In: canonical entries. Out: their typed form. Imports: `base`, `model`, `tree`.

use std::path::PathBuf;

use super::{Binder, flag, spanned, text, texts};
use crate::base::span::Spanned;
use crate::compose::model::{Develop, Hook, InitContainer, WatchAction, WatchRule};
use crate::compose::tree::Node;

impl Binder<'_, '_> {
    pub(super) fn develop(&mut self, node: &Node) -> Develop {
        Develop {
            watch: self.items(node, "watch", |_, item| {
                Some(Spanned::new(watch(item)?, item.span))
            }),
        }
    }

    /// `post_start`, `pre_stop`.
    pub(super) fn hooks(&mut self, node: &Node, key: &str) -> Vec<Spanned<Hook>> {
        self.items(node, key, |_, item| {
            Some(Spanned::new(hook(item), item.span))
        })
    }

    pub(super) fn init_containers(&mut self, node: &Node) -> Vec<Spanned<InitContainer>> {
        self.items(node, "pre_start", |_, item| {
            let container = InitContainer {
                image: spanned(item, "image"),
                per_replica: flag(item, "per_replica"),
                run: hook(item),
            };
            Some(Spanned::new(container, item.span))
        })
    }
}

fn watch(node: &Node) -> Option<WatchRule> {
    let action = match node.text_of("action")? {
        "rebuild" => WatchAction::Rebuild,
        "sync" => WatchAction::Sync,
        "restart" => WatchAction::Restart,
        "sync+restart" => WatchAction::SyncRestart,
        "sync+exec" => WatchAction::SyncExec,
        _ => return None,
    };
    // The canonical form has an `exec` without a command where none is said.
    let exec = node.get("exec");
    let exec = exec.filter(|exec| {
        exec.get("command")
            .is_some_and(|command| !command.is_null())
    });
    Some(WatchRule {
        path: PathBuf::from(text(node, "path")?),
        action,
        target: text(node, "target"),
        ignore: texts(node, "ignore"),
        include: texts(node, "include"),
        exec: exec.map(hook),
        initial_sync: flag(node, "initial_sync"),
    })
}

fn hook(node: &Node) -> Hook {
    let environment = node.get("environment").and_then(Node::entries);
    Hook {
        command: texts(node, "command"),
        user: text(node, "user"),
        privileged: flag(node, "privileged"),
        working_dir: text(node, "working_dir"),
        environment: environment
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.scalar()))
            .collect(),
    }
}
