//! One service.
//!
//! In: a canonical service. Out: [`Service`]. Imports: `base`, `model`, `tree`.

use std::time::Duration;

use indexmap::IndexMap;

use super::build::hosts;
use super::limits::said;
use super::privileges::cgroup;
use super::{
    Binder, duration, flag, integer, labels, sorted_of, spanned, spanned_texts, text, texts,
};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::base::scalar::Signal;
use crate::base::span::Spanned;
use crate::compose::model::{CredentialSpec, ModelGrant, Provider, Service};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    pub(super) fn service(&mut self, name: &str, node: &Node) -> Service {
        let service = self.process(name, node);
        let service = self.surroundings(node, service);
        self.around(node, service)
    }

    /// What runs: image, process, life.
    fn process(&mut self, name: &str, node: &Node) -> Service {
        let words = |key: &str| {
            let items = node.get(key)?.items()?;
            Some(
                items
                    .iter()
                    .filter_map(Node::scalar)
                    .collect::<Vec<String>>(),
            )
        };
        let environment = node.get("environment").and_then(Node::entries);
        let signal = "a signal; write SIGTERM or a number";
        let (restart, restart_pace) = self.restart(node);
        let own = self.own(node);
        Service {
            name: ServiceName::from(name),
            span: node.key,
            profiles: texts(node, "profiles"),
            image: spanned(node, "image"),
            build: node
                .get("build")
                .map(|build| self.under("build", |binder| binder.build(build))),
            pull_policy: self.pull_policy(node),
            platform: spanned(node, "platform"),
            command: words("command"),
            entrypoint: words("entrypoint"),
            working_dir: self.working_dir(node),
            user: text(node, "user"),
            group_add: texts(node, "group_add"),
            environment: environment
                .into_iter()
                .flatten()
                .map(|(name, value)| {
                    let spanned = value.scalar().map(|text| Spanned::new(text, value.span));
                    (name.clone(), spanned)
                })
                .collect(),
            init: flag(node, "init"),
            stdin_open: flag(node, "stdin_open"),
            tty: flag(node, "tty"),
            hostname: text(node, "hostname"),
            domainname: text(node, "domainname"),
            container_name: spanned(node, "container_name"),
            labels: labels(node, "labels"),
            annotations: labels(node, "annotations"),
            scale: self.scale(node),
            attach: !matches!(
                node.get("attach").map(|n| &n.value),
                Some(Value::Bool(false))
            ),
            restart,
            restart_pace,
            stop_signal: self.parse(node, "stop_signal", signal, Signal::parse),
            stop_grace_period: grace(node),
            depends_on: self.depends_on(node),
            healthcheck: self.healthcheck(node),
            logging: self.logging(node),
            trust_host_ca: own.trust_host_ca,
            ready: own.ready,
            on_unhealthy: own.on_unhealthy,
            ..Service::default()
        }
    }

    /// What it sees and may: networks, files, rights, limits.
    fn surroundings(&mut self, node: &Node, service: Service) -> Service {
        Service {
            networks: self.attachments(node),
            network_mode: self.network_mode(node),
            ports: self.items(node, "ports", Self::port),
            expose: texts(node, "expose"),
            dns: self.items(node, "dns", Self::address),
            dns_search: spanned_texts(node, "dns_search"),
            dns_opt: spanned_texts(node, "dns_opt"),
            extra_hosts: hosts(node),
            links: texts(node, "links")
                .iter()
                .map(|link| split_link(link))
                .collect(),
            mac_address: spanned(node, "mac_address"),
            volumes: self.items(node, "volumes", Self::mount),
            tmpfs: self.items(node, "tmpfs", Self::tmpfs),
            volumes_from: self.items(node, "volumes_from", Self::volumes_from),
            read_only: flag(node, "read_only"),
            shm_size: said(node, "shm_size"),
            configs: self.items(node, "configs", |binder, item| binder.grant(item, "/")),
            secrets: self.items(node, "secrets", |binder, item| {
                binder.grant(item, "/run/secrets/")
            }),
            privileged: flag(node, "privileged"),
            cap_add: self.capabilities(node, "cap_add"),
            cap_drop: self.capabilities(node, "cap_drop"),
            security_opt: self.items(node, "security_opt", |_, item| {
                Some(Spanned::new(item.scalar()?, item.span))
            }),
            userns_mode: self.user_namespace(node),
            pid: self.process_namespace(node),
            ipc: self.ipc_namespace(node),
            uts_host: self.host_names(node),
            cgroup: cgroup(node),
            cgroup_parent: spanned(node, "cgroup_parent").filter(|path| !path.value.is_empty()),
            devices: self.items(node, "devices", Self::device),
            device_cgroup_rules: self.items(node, "device_cgroup_rules", |_, item| {
                Some(Spanned::new(item.scalar()?, item.span))
            }),
            sysctls: self.sysctls(node),
            ulimits: self.limits(node),
            oom_score_adj: integer(node, "oom_score_adj").and_then(|n| i32::try_from(n).ok()),
            resources: self.resources(node),
            ..service
        }
    }

    /// What happens around its containers, and what only other platforms have.
    fn around(&mut self, node: &Node, service: Service) -> Service {
        let under = |key: &str| node.get(key);
        let gpus = under("gpus").and_then(Node::items).unwrap_or_default();
        Service {
            gpus: gpus
                .iter()
                .filter_map(|gpu| self.device_request(gpu))
                .collect(),
            deploy: under("deploy")
                .map(|deploy| self.under("deploy", |binder| binder.deploy(deploy))),
            develop: under("develop")
                .map(|develop| self.under("develop", |binder| binder.develop(develop))),
            pre_start: self.init_containers(node),
            post_start: self.hooks(node, "post_start"),
            pre_stop: self.hooks(node, "pre_stop"),
            provider: under("provider").map(provider),
            models: models(node),
            external_links: spanned_texts(node, "external_links")
                .into_iter()
                .map(|link| {
                    let text = &link.value;
                    let (name, alias) = text.split_once(':').unwrap_or((text, text));
                    Spanned::new((name.to_owned(), alias.to_owned()), link.span)
                })
                .collect(),
            runtime: spanned(node, "runtime"),
            isolation: spanned(node, "isolation"),
            credential_spec: under("credential_spec").map(|spec| {
                let part = |key: &str| text(spec, key);
                let (config, file, registry) = (part("config"), part("file"), part("registry"));
                let found = CredentialSpec {
                    config,
                    file,
                    registry,
                };
                Spanned::new(found, spec.span)
            }),
            pull_refresh_after: spanned(node, "pull_refresh_after"),
            use_api_socket: flag(node, "use_api_socket"),
            ..service
        }
    }

    fn working_dir(&mut self, node: &Node) -> Option<String> {
        let place = node.get("working_dir")?;
        let text = place.as_text()?.to_owned();
        if text.is_empty() || text.starts_with('/') {
            return Some(text);
        }
        self.under("working_dir", |binder| {
            binder.fault(
                place,
                format!("the working directory `{text}` must be an absolute path"),
            );
        });
        None
    }

    /// `scale` or `deploy.replicas`, 1 when neither is said, and with the modes that mean one a machine.
    fn scale(&mut self, node: &Node) -> u32 {
        let deploy = node.get("deploy");
        let replicas = || integer(deploy?, "replicas");
        let Some(wanted) = integer(node, "scale").or_else(replicas) else {
            return 1;
        };
        let mode = deploy.and_then(|deploy| deploy.get("mode"));
        if let Some((mode, word @ ("global" | "global-job"))) =
            mode.and_then(|mode| Some((mode, mode.as_text()?)))
            && wanted != 1
        {
            let text = format!("`mode: {word}` means one container a machine, not {wanted}");
            let place = mode.place();
            self.session.diags.push(
                Diagnostic::warning(text)
                    .at(place)
                    .hint("leave out `replicas`"),
            );
            return 1;
        }
        match u32::try_from(wanted) {
            Ok(wanted) => wanted,
            Err(_) => {
                self.fault(node, format!("the number of containers can't be {wanted}"));
                1
            }
        }
    }

    pub(super) fn address(&mut self, node: &Node) -> Option<std::net::IpAddr> {
        let text = node.as_text()?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(node, format!("`{text}` is not an IP address"));
        }
        parsed
    }
}

/// A grace period below zero does not end, as Docker has it.
fn grace(node: &Node) -> Option<Duration> {
    let text = node.text_of("stop_grace_period")?;
    match text.starts_with('-') {
        true => Some(Duration::MAX),
        false => duration(node, "stop_grace_period"),
    }
}

/// `service[:alias]`; the alias is the service's name when none is said.
fn split_link(text: &str) -> (ServiceName, String) {
    let (service, alias) = text.split_once(':').unwrap_or((text, text));
    (ServiceName::from(service), alias.to_owned())
}

fn provider(node: &Node) -> Spanned<Provider> {
    let options = node.get("options").and_then(Node::entries);
    let option = |(name, value): (&String, &Node)| {
        let values = value.items().unwrap_or_default();
        (
            name.clone(),
            values.iter().filter_map(Node::scalar).collect(),
        )
    };
    let provider = Provider {
        kind: text(node, "type").unwrap_or_default(),
        options: options.into_iter().flatten().map(option).collect(),
    };
    Spanned::new(provider, node.span)
}

fn models(node: &Node) -> IndexMap<String, Spanned<ModelGrant>> {
    let Some(models) = node.get("models") else {
        return IndexMap::new();
    };
    let grant = |(name, node): (&String, &Node)| {
        let grant = ModelGrant {
            endpoint_var: text(node, "endpoint_var"),
            model_var: text(node, "model_var"),
        };
        (name.clone(), Spanned::new(grant, node.key_place()))
    };
    sorted_of(models).into_iter().map(grant).collect()
}
