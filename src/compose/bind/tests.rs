//! What the typed project says of keys that nothing acts on yet.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::env::Env;
use crate::base::scalar::ByteSize;
use crate::compose::model::*;
use crate::compose::{LoadRequest, load};

fn project(text: &str) -> Project {
    let request = LoadRequest {
        files: vec!["-".into()],
        stdin: Some(text.to_owned()),
        project_dir: Some("/p".into()),
        project_name: Some("p".into()),
        ..LoadRequest::default()
    };
    match load(&request, &Env::default()) {
        Ok(project) => project,
        Err(error) => panic!("{error}"),
    }
}

fn service(body: &str) -> Service {
    let project = project(&format!("services:\n  a:\n    image: x\n{body}"));
    project.services["a"].clone()
}

#[test]
fn deploy_is_kept_in_full_beside_what_one_host_makes_of_it() {
    let a = service(
        "    deploy:
      mode: global
      endpoint_mode: dnsrr
      replicas: 3
      labels: [tier=web]
      resources:
        limits: {cpus: '1.5', memory: 64m, pids: 10}
        reservations:
          cpus: 0.5
          memory: 8m
          devices: [{capabilities: [gpu], count: all, options: {a: 1}}]
          generic_resources: [{discrete_resource_spec: {kind: ssd, value: 2}}]
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 4, window: 2m}
      update_config: {parallelism: 0, delay: 1s, failure_action: rollback, monitor: 3s, max_failure_ratio: 0.3, order: start-first}
      rollback_config: {order: stop-first}
      placement: {constraints: [node.role==manager], preferences: [{spread: zone}], max_replicas_per_node: 2}
",
    );
    let deploy = a.deploy.expect("a deploy");
    assert_eq!(
        deploy.mode.map(|mode| mode.value).as_deref(),
        Some("global")
    );
    // One machine, so one container.
    assert_eq!((a.scale, deploy.replicas), (1, Some(3)));
    assert_eq!(deploy.labels["tier"], "web");
    let limits = Limits {
        cpus: Some(1.5),
        memory: Some(ByteSize(64 << 20)),
        pids: Some(10),
    };
    assert_eq!(deploy.limits, limits);
    assert_eq!(a.resources.cpus.as_ref().map(|cpus| cpus.value), Some(1.5));
    let devices = &deploy.reservations.devices[0];
    assert_eq!(devices.count, Some(DeviceCount::All));
    assert_eq!(devices.capabilities, ["gpu"]);
    assert_eq!(deploy.reservations.generic[0].value.value, 2);
    let restart = deploy.restart_policy.expect("a policy");
    assert_eq!(restart.delay, Some(Duration::from_secs(5)));
    assert_eq!(restart.max_attempts, Some(4));
    let update = deploy.update.expect("an update");
    assert_eq!(update.parallelism, Some(0));
    assert_eq!(update.max_failure_ratio, Some(0.3));
    assert_eq!(update.order, Some(RolloutOrder::StartFirst));
    let back = deploy.rollback.and_then(|rollback| rollback.order);
    assert_eq!(back, Some(RolloutOrder::StopFirst));
    assert_eq!(deploy.placement.spread, ["zone"]);
    assert_eq!(deploy.placement.max_replicas_per_node, Some(2));
}

#[test]
fn what_runs_around_a_container_is_typed() {
    let a = service(
        "    pre_start: [{image: init, command: do it, per_replica: true}]
    post_start: [{command: [run], user: u, environment: {A: 1}, privileged: true}]
    pre_stop: [{command: stop, working_dir: /w}]
    develop:
      watch:
        - {path: ./src, action: sync+exec, target: /src, ignore: [x], include: y, initial_sync: true, exec: {command: make}}
        - {path: ., action: rebuild}
",
    );
    let init = &a.pre_start[0];
    assert_eq!(
        init.image.as_ref().map(|image| image.value.as_str()),
        Some("init")
    );
    assert!(init.per_replica && init.run.command == ["do", "it"]);
    let hook = &a.post_start[0];
    assert!(hook.privileged && hook.user.as_deref() == Some("u"));
    assert_eq!(hook.environment["A"].as_deref(), Some("1"));
    assert_eq!(a.pre_stop[0].working_dir.as_deref(), Some("/w"));
    let watch = &a.develop.expect("a develop").watch;
    assert_eq!(watch[0].path, PathBuf::from("/p/src"));
    assert_eq!(watch[0].action, WatchAction::SyncExec);
    assert_eq!(
        (&watch[0].ignore[..], &watch[0].include[..]),
        (&["x".into()][..], &["y".into()][..])
    );
    assert_eq!(
        watch[0].exec.as_ref().map(|exec| exec.command.len()),
        Some(1)
    );
    assert!(watch[0].initial_sync && watch[1].exec.is_none());
}

#[test]
fn requests_for_devices_and_limits_of_devices_are_typed() {
    let a = service(
        "    gpus: all
    blkio_config:
      weight_device: [{path: /dev/a, weight: 300}]
      device_read_bps: [{path: /dev/a, rate: 1m}]
      device_write_iops: [{path: /dev/b, rate: '7'}]
    cpu_rt_period: 1000
    cpu_rt_runtime: '500'
    storage_opt: {size: 1G}
",
    );
    assert_eq!(a.gpus[0].count, Some(DeviceCount::All));
    let blkio = &a.resources.blkio;
    let limit = |path: &str, value| BlkioLimit {
        path: path.into(),
        value,
    };
    assert_eq!(blkio.weights[0].value, limit("/dev/a", 300));
    assert_eq!(blkio.read_bytes[0].value, limit("/dev/a", 1 << 20));
    assert_eq!(blkio.writes[0].value, limit("/dev/b", 7));
    let number =
        |limit: &Option<crate::base::span::Spanned<i64>>| limit.as_ref().map(|limit| limit.value);
    assert_eq!(number(&a.resources.cpu_rt_period), Some(1000));
    assert_eq!(number(&a.resources.cpu_rt_runtime), Some(500));
    assert_eq!(a.resources.storage["size"], "1G");
    let ids = service("    gpus: [{device_ids: ['0', 'GPU-1'], driver: nvidia}]\n");
    assert_eq!((ids.gpus[0].count, ids.gpus[0].device_ids.len()), (None, 2));
}

#[test]
fn providers_models_and_builds_have_all_their_keys() {
    let project = project(
        "services:
  a:
    provider: {type: cloud, options: {size: 5, zones: [x, y]}}
    models: {llm: {endpoint_var: URL}, other: }
  b:
    models: [llm]
    build:
      context: .
      ssh: [default, id=/k]
      provenance: mode=max
      sbom: true
      cache_to: ['type=local,dest=c']
      entitlements: [network.host]
      no_cache_filter: stage
      secrets: [{source: s, target: t, uid: '5', mode: 0400}]
secrets: {s: {environment: S, labels: {a: b}, driver_opts: {o: 1}}}
models: {llm: {model: ai/llm, context_size: 4096, runtime_flags: [-v]}, other: {model: ai/o, name: short}}
networks: {default: {attachable: true, enable_ipv4: false, ipam: {driver: d, options: {k: v}}}}
",
    );
    let a = &project.services["a"];
    let provider = a.provider.as_ref().expect("a provider");
    assert_eq!(provider.kind, "cloud");
    assert_eq!(provider.options["size"], ["5"]);
    assert_eq!(provider.options["zones"], ["x", "y"]);
    assert_eq!(a.models["llm"].endpoint_var.as_deref(), Some("URL"));
    assert_eq!(a.models["other"].value, ModelGrant::default());
    assert_eq!(project.models["llm"].context_size, Some(4096));
    assert_eq!(project.models["other"].name, "short");
    let build = project.services["b"].build.as_ref().expect("a build");
    assert_eq!(build.ssh["default"].value, None);
    assert_eq!(build.ssh["id"].as_deref(), Some("/k"));
    let attested = build.provenance.as_ref().map(|said| &said.value);
    assert_eq!(attested, Some(&Attestation::With("mode=max".into())));
    assert_eq!(
        build.sbom.as_ref().map(|said| &said.value),
        Some(&Attestation::On)
    );
    assert_eq!(build.no_cache_filter, ["stage"]);
    assert_eq!(
        (build.secrets[0].uid.as_deref(), build.secrets[0].mode),
        (Some("5"), Some(0o400))
    );
    assert_eq!(project.secrets["s"].labels["a"], "b");
    let network = &project.networks["default"];
    assert_eq!(
        (network.attachable, network.enable_ipv4),
        (true, Some(false))
    );
    assert_eq!(network.ipam_options["k"], "v");
    // Compose's document has no place for these.
    assert!(
        project.document["networks"]["default"]["ipam"]
            .get("options")
            .is_none()
    );
}

#[test]
fn jobs_are_typed_and_named_in_a_warning_but_what_lasts_is_none_of_theirs() {
    let project = project(
        "services: {}
jobs:
  backup: {image: b, command: do it, volumes: ['data:/data'], triggers: {schedule: '0 3 * * *', manual: false}}
  by-hand: {image: b}
volumes: {data: }
",
    );
    let backup = &project.jobs["backup"];
    assert_eq!(
        backup.container.command.as_deref(),
        Some(&["do".to_owned(), "it".to_owned()][..])
    );
    assert_eq!(
        backup.schedule.as_ref().map(|line| line.value.as_str()),
        Some("0 3 * * *")
    );
    assert!(!backup.manual && project.jobs["by-hand"].manual);
    let warned = project
        .warnings
        .iter()
        .any(|warning| warning.message.contains("`jobs`"));
    assert!(warned, "{:?}", project.warnings);
    assert_eq!(
        project.document["jobs"]["backup"]["triggers"]["manual"],
        false
    );

    let request = LoadRequest {
        files: vec!["-".into()],
        stdin: Some("services: {}\njobs: {a: {image: b, restart: always}}\n".into()),
        project_dir: Some("/p".into()),
        ..LoadRequest::default()
    };
    let error = load(&request, &Env::default()).expect_err("a job ends");
    assert!(error.to_string().contains("jobs.a"), "{error}");
}

#[test]
fn services_that_are_off_are_not_held_to_what_others_are() {
    let errors = |text: &str, profiles: &[&str]| -> Vec<String> {
        let request = LoadRequest {
            files: vec!["-".into()],
            stdin: Some(text.into()),
            project_dir: Some("/p".into()),
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
            ..LoadRequest::default()
        };
        let error = load(&request, &Env::default()).err();
        error.map_or_else(Vec::new, |error| {
            error.to_string().lines().map(str::to_owned).collect()
        })
    };
    let round = "services:
  a: {image: x, depends_on: [b], networks: [n]}
  b: {image: x, profiles: [p], depends_on: {a: {condition: service_started, required: false}}, networks: [m]}
networks: {n: }
";
    assert_eq!(errors(round, &[]), Vec::<String>::new());
    assert_eq!(
        errors(round, &["p"]),
        [
            "<stdin>:2:30: services.a.depends_on: services depend on each other: a -> b -> a",
            "<stdin>:3:107: services.b.networks: the network `m` is not defined",
        ]
    );
    let names = "services:
  a: {image: x, container_name: one}
  b: {image: x, container_name: one, profiles: [p]}
";
    assert_eq!(errors(names, &[]), Vec::<String>::new());
    assert_eq!(
        errors(names, &["p"]),
        [
            "<stdin>:3:33: services.b.container_name: the containers of `a` and `b` have one name: one"
        ]
    );
    let context = "services:
  a: {build: {context: ., additional_contexts: {c: 'service:b'}}}
  b: {image: x}
";
    let found = errors(context, &[]);
    assert!(
        found[0].contains("the service `b` is not built"),
        "{found:?}"
    );
    let off = context.replace("  a: {", "  a: {profiles: [p], ");
    assert_eq!(errors(&off, &[]), Vec::<String>::new());
    assert_eq!(errors(&off, &["p"]).len(), 1);
}
