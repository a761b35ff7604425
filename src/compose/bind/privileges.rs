//! What a service's containers share with the host and with each other, and what they may do.
//!
//! In: canonical values. Out: their typed form. Everything that Linux would refuse later is refused here, where the file
//! can be shown. Imports: `base`, `model`, `tree`. Rules: compose-spec; accepted values as Docker (`HostConfig`).

use std::collections::BTreeMap;

use super::build::ulimits;
use super::{Binder, labels, text, texts};
use crate::base::diag::nearest;
use crate::base::kernel::{
    CAPABILITIES, Scope, ULIMITS, capability, parameter_path, parameter_scope,
};
use crate::base::name::ServiceName;
use crate::base::span::Spanned;
use crate::compose::model::{CgroupSpec, ShareSpec};
use crate::compose::tree::{Node, Value};

/// `service:NAME` and `container:NAME`.
fn other(text: &str) -> Option<ShareSpec> {
    match text.split_once(':')? {
        ("service", name) if !name.is_empty() => Some(ShareSpec::Service(ServiceName::from(name))),
        ("container", name) if !name.is_empty() => Some(ShareSpec::Container(name.to_owned())),
        _ => None,
    }
}

/// `cgroup`; other words are refused by the schema.
pub(super) fn cgroup(node: &Node) -> Option<CgroupSpec> {
    Some(match node.text_of("cgroup")? {
        "host" => CgroupSpec::Host,
        _ => CgroupSpec::Private,
    })
}

impl Binder<'_, '_> {
    fn share(
        &mut self,
        node: &Node,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Option<ShareSpec>,
    ) -> Option<Spanned<ShareSpec>> {
        let span = node.get(key)?.span;
        let share = self.parse(node, key, expected, |text| {
            parse(text).or_else(|| other(text))
        })?;
        Some(Spanned::new(share, span))
    }

    pub(super) fn process_namespace(&mut self, node: &Node) -> Option<Spanned<ShareSpec>> {
        let expected = "a process namespace; write host, private, service:NAME or container:NAME";
        self.share(node, "pid", expected, |text| match text {
            "host" => Some(ShareSpec::Host),
            "private" => Some(ShareSpec::Private),
            _ => None,
        })
    }

    pub(super) fn ipc_namespace(&mut self, node: &Node) -> Option<Spanned<ShareSpec>> {
        let expected = "an IPC namespace; write host, private, shareable, none, service:NAME or \
                        container:NAME";
        self.share(node, "ipc", expected, |text| match text {
            "host" => Some(ShareSpec::Host),
            "private" => Some(ShareSpec::Private),
            "shareable" => Some(ShareSpec::Shareable),
            "none" => Some(ShareSpec::None),
            _ => None,
        })
    }

    /// Whether `uts` is the host's; then the container has no name of its own.
    pub(super) fn host_names(&mut self, node: &Node) -> bool {
        let host = |text: &str| match text {
            "" | "private" => Some(false),
            "host" => Some(true),
            _ => None,
        };
        let expected = "a UTS namespace; write host";
        let shared = self.parse(node, "uts", expected, host).unwrap_or(false);
        for key in ["hostname", "domainname"] {
            if let Some(value) = node.get(key).filter(|_| shared) {
                self.under(key, |binder| {
                    let text = format!("{key} and `uts: host` exclude each other");
                    let fault = binder.faulty(value, text);
                    let hint = "the name would be the host's: leave one of the two out";
                    binder.session.diags.push(fault.hint(hint));
                });
            }
        }
        shared
    }

    /// `userns_mode`: there is the host's only.
    pub(super) fn user_namespace(&mut self, node: &Node) -> Option<String> {
        let known = |text: &str| matches!(text, "" | "host").then(|| text.to_owned());
        let expected = "a user namespace that can be chosen; write host";
        self.parse(node, "userns_mode", expected, known);
        text(node, "userns_mode")
    }

    /// `cap_add`, `cap_drop`: as written, each of them known.
    pub(super) fn capabilities(&mut self, node: &Node, key: &str) -> Vec<String> {
        self.items(node, key, |binder, item| {
            let text = item.scalar()?;
            if capability(&text).is_none() {
                let upper = text.to_ascii_uppercase();
                let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
                let fault = binder.faulty(item, format!("`{text}` is not a capability of Linux"));
                let fault = fault.label("expected a name of capabilities(7) or ALL");
                binder
                    .session
                    .diags
                    .push(match nearest(plain, CAPABILITIES) {
                        Some(near) => fault.hint(format!("did you mean `{near}`?")),
                        None => fault,
                    });
            }
            Some(text)
        });
        texts(node, key)
    }

    /// `sysctls`: only what belongs to a namespace that is not the host's.
    pub(super) fn sysctls(&mut self, node: &Node) -> BTreeMap<String, String> {
        let on_host = |key: &str| node.text_of(key) == Some("host");
        let places = node.get("sysctls");
        let place = |name: &str| match places.map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.get(name),
            _ => None,
        };
        let found = labels(node, "sysctls");
        for name in found.keys() {
            let (key, whose) = match parameter_scope(&parameter_path(name)) {
                None => (
                    "",
                    "the whole machine's: no container can have it for itself",
                ),
                Some(Scope::Network) => ("network_mode", "the network's"),
                Some(Scope::Ipc) => ("ipc", "the IPC namespace's"),
                Some(Scope::Uts) => ("uts", "the UTS namespace's"),
            };
            if !key.is_empty() && !on_host(key) {
                continue;
            }
            let (text, hint) = if key.is_empty() {
                let text = format!("the kernel parameter `{name}` is {whose}");
                (
                    text,
                    "allowed are net.*, fs.mqueue.*, and kernel.msg*, sem, shm*, domainname",
                )
            } else {
                let text = format!(
                    "the kernel parameter `{name}` is {whose}, which `{key}: host` shares with the host"
                );
                (
                    text,
                    "set it on the host with sysctl, or give the container its own",
                )
            };
            let Some(at) = place(name).or(places) else {
                continue;
            };
            self.under("sysctls", |binder| {
                binder.under(name, |binder| {
                    let fault = binder.faulty(at, text).hint(hint);
                    binder.session.diags.push(fault);
                });
            });
        }
        found
    }

    /// `ulimits`: known ones, the soft limit not above the hard one.
    pub(super) fn limits(&mut self, node: &Node) -> BTreeMap<String, (i64, i64)> {
        let found = ulimits(node);
        for (name, node) in node
            .get("ulimits")
            .and_then(Node::entries)
            .into_iter()
            .flatten()
        {
            let fault = if !ULIMITS.contains(&name.as_str()) {
                let near = nearest(name, ULIMITS);
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let known = || format!("known are: {}", ULIMITS.join(", "));
                let text = format!("`{name}` is not a resource limit of Linux");
                Some((text, hint.unwrap_or_else(known)))
            } else {
                let above =
                    |(soft, hard): &&(i64, i64)| *hard != -1 && (*soft == -1 || soft > hard);
                found.get(name).filter(above).map(|(soft, hard)| {
                    let text =
                        format!("the soft limit {soft} of `{name}` is above its hard limit {hard}");
                    (
                        text,
                        "a soft limit can't be above the hard one; -1 is unlimited".to_owned(),
                    )
                })
            };
            let Some((text, hint)) = fault else { continue };
            self.under("ulimits", |binder| {
                binder.under(name, |binder| {
                    let fault = binder.faulty(node, text).hint(hint);
                    binder.session.diags.push(fault);
                });
            });
        }
        found
    }
}
