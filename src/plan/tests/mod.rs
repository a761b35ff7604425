//! Rules of the plan as text. Services are written `name: image, word value, …`, with `|` between.

mod replace;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::desired::{Desired, Facts, Peer, Replica, container_name};
use super::images::{Fetch, ImageFacts, WantedImage};
use super::policy::{DownPolicy, Recreate, Rmi, StopPolicy, UpPolicy};
use super::{Plan, World, cause::Cause, down, hash, reconcile, resources, views};
use crate::base::clock::Timestamp;
use crate::base::diag::Diagnostics;
use crate::base::name::{ContainerId, ProjectName, ServiceName};
use crate::base::span::{SourceMap, Spanned};
use crate::compose::model::*;
use crate::engine::spec::{ContainerSpec, MountSource, NetworkMode};
use crate::engine::state::*;
use crate::image::digest::Digest;

/// A project of services as written above, all on the network `default`. Words: `after NAME
/// [healthy|completed] [restart] [optional]`, `scale N`, `env K=V`, `net NAME` (its network namespace),
/// `volume KEY`, `data` (an anonymous volume), `probe`, `build`, `pre [each]`, `post`, `stop` (hooks), `rolling [first]`
/// (two at a time), `port`.
pub(crate) fn project(text: &str) -> Project {
    let mut project = Project {
        name: ProjectName::new("demo").expect("a valid name"),
        dir: "/demo".into(),
        files: vec!["/demo/compose.yaml".into()],
        env_files: Vec::new(),
        profiles: Vec::new(),
        services: Default::default(),
        others: Default::default(),
        networks: Default::default(),
        volumes: Default::default(),
        configs: Default::default(),
        secrets: Default::default(),
        models: Default::default(),
        jobs: Default::default(),
        document: Default::default(),
        sources: SourceMap::default(),
        warnings: Diagnostics::default(),
        all_resources: false,
        separator: '-',
        remote: Default::default(),
    };
    let mut documents = serde_json::Map::new();
    for part in text
        .split('|')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, rest) = part.split_once(':').expect("name: image");
        let mut words = rest.split(',').map(str::trim);
        let image = words.next().unwrap_or_default();
        let mut document = json!({ "image": image });
        let mut service = Service {
            name: name.into(),
            image: Some(Spanned::bare(image.into())),
            scale: 1,
            command: Some(vec!["run".into()]),
            ..Default::default()
        };
        for word in words {
            apply_word(&mut project, &mut service, &mut document, word);
        }
        if service.network_mode.is_none() {
            service
                .networks
                .insert("default".into(), ServiceNetwork::default());
        }
        documents.insert(name.into(), document);
        project.services.insert(name.into(), service);
    }
    let default = Network {
        key: "default".into(),
        name: "demo_default".into(),
        ..Default::default()
    };
    project.networks.insert("default".into(), default);
    project
        .document
        .insert("services".into(), Value::Object(documents));
    project
}

fn apply_word(project: &mut Project, service: &mut Service, document: &mut Value, word: &str) {
    let mut parts = word.split_whitespace();
    let (verb, rest): (&str, Vec<&str>) = (parts.next().unwrap_or_default(), parts.collect());
    match verb {
        "after" | "net" => {
            let condition = match &rest[1..] {
                words if words.contains(&"healthy") => Condition::Healthy,
                words if words.contains(&"completed") => Condition::Completed,
                _ => Condition::Started,
            };
            let need = Dependency {
                condition,
                restart: rest.contains(&"restart"),
                required: !rest.contains(&"optional"),
                span: None,
            };
            service.depends_on.insert(rest[0].into(), need);
            if verb == "net" {
                service.network_mode =
                    Some(Spanned::bare(NetworkModeSpec::Service(rest[0].into())));
            }
        }
        "scale" => service.scale = rest[0].parse().expect("a number"),
        "env" => {
            let (key, value) = rest[0].split_once('=').expect("K=V");
            document["environment"][key] = json!(value);
            service
                .environment
                .insert(key.into(), Some(Spanned::bare(value.into())));
        }
        "volume" => {
            let name = format!("demo_{}", rest[0]);
            let volume = Volume {
                key: rest[0].into(),
                name,
                ..Default::default()
            };
            project.volumes.insert(rest[0].into(), volume);
            service
                .volumes
                .push(Spanned::bare(mount(Some(rest[0].into()), "/named")));
        }
        "data" => service.volumes.push(Spanned::bare(mount(None, "/data"))),
        "probe" => {
            let test = Some(vec!["CMD".into(), "true".into()]);
            service.healthcheck = Some(HealthcheckSpec {
                test,
                ..Default::default()
            });
        }
        "build" => service.build = Some(BuildSpec::default()),
        "pre" => {
            let mut init = InitContainer {
                per_replica: rest.contains(&"each"),
                ..InitContainer::default()
            };
            init.run.command.push("init".into());
            service.pre_start.push(Spanned::bare(init));
        }
        "post" => service.post_start.push(Spanned::bare(Hook::default())),
        "stop" => service.pre_stop.push(Spanned::bare(Hook::default())),
        "rolling" => {
            let update = Rollout {
                order: rest.contains(&"first").then_some(RolloutOrder::StartFirst),
                parallelism: Some(2),
                ..Rollout::default()
            };
            let update = Some(update);
            service.deploy = Some(Deploy {
                update,
                ..Deploy::default()
            });
        }
        "port" => service.ports.push(Spanned::bare(Port {
            host_ip: None,
            published: Some((80, 80)),
            target: 80,
            protocol: crate::base::term::Protocol::Tcp,
            mode: None,
            name: None,
            app_protocol: None,
        })),
        other => panic!("unknown word {other}"),
    }
}

fn mount(key: Option<String>, target: &str) -> VolumeMount {
    let source = VolumeSource::Volume {
        key,
        nocopy: false,
        subpath: None,
        labels: BTreeMap::new(),
    };
    VolumeMount {
        target: target.into(),
        source,
        read_only: false,
        consistency: None,
    }
}

/// An image whose id is the digest of its name.
pub(crate) fn image(name: &str) -> ImageFacts {
    ImageFacts {
        id: Some(Digest::of(name.as_bytes())),
        ..Default::default()
    }
}

/// The project with all images here.
pub(crate) fn desired(text: &str) -> Desired {
    let project = project(text);
    let facts = Facts::default();
    let images = project.services.values().map(|service| {
        let name = project.image_of(service);
        let fetch = service
            .build
            .as_ref()
            .map(|_| (Fetch::Build { pull_first: false }, Cause::BuildAsked));
        (
            service.name.clone(),
            WantedImage {
                here: Some(image(&name)),
                name,
                platform: None,
                fetch,
            },
        )
    });
    let hashes = project.services.values().map(|service| {
        (
            service.name.clone(),
            hash::of_service(&project, service, &facts),
        )
    });
    Desired {
        images: images.collect(),
        hashes: hashes.collect(),
        project: project.clone(),
        facts,
        unread: Diagnostics::default(),
    }
}

/// A container as an engine would show it.
pub(crate) fn seen(spec: &ContainerSpec, state: State) -> ObservedContainer {
    let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume {
            name, anonymous, ..
        } => Some((mount.target.clone(), name.clone(), *anonymous)),
        _ => None,
    });
    let volumes: Vec<_> = volumes.collect();
    let networks = match &spec.network {
        NetworkMode::Networks(all) => all
            .iter()
            .map(|e| Attachment {
                network: e.network.clone(),
                addresses: Vec::new(),
                aliases: e.aliases.clone(),
            })
            .collect(),
        _ => Vec::new(),
    };
    ObservedContainer {
        id: spec.id.clone(),
        name: spec.name.clone(),
        project: spec.project.clone(),
        labels: spec.labels.clone(),
        image: spec.image.name.clone(),
        image_id: spec.image.id,
        command: spec.process.args.clone(),
        created: Timestamp(0),
        state,
        health: spec.healthcheck.as_ref().map(|_| Health {
            status: HealthStatus::Healthy,
            failing_streak: 0,
            retries: 3,
            log: Vec::new(),
        }),
        joins: match &spec.network {
            NetworkMode::Container(id) => vec![id.clone()],
            _ => Vec::new(),
        },
        networks,
        ports: Vec::new(),
        exposed: Vec::new(),
        volumes: volumes
            .iter()
            .map(|(_, name, anonymous)| (name.clone(), *anonymous))
            .collect(),
        anonymous: volumes
            .iter()
            .filter(|v| v.2)
            .map(|(t, name, _)| (t.clone(), name.clone()))
            .collect(),
        mounts: Vec::new(),
        tty: false,
        restarts: 0,
        pid: None,
    }
}

/// The world in which all of a project runs.
fn running(text: &str) -> World {
    let desired = desired(text);
    let mut world = World::default();
    for service in desired.project.services.values() {
        for number in 1..=service.scale {
            let name = container_name(&desired.project, service, number);
            let none = BTreeMap::new();
            let peer = |name: &str| {
                let other = desired.project.services.get(name)?;
                let name = container_name(&desired.project, other, 1);
                Some(Peer {
                    id: Some(ContainerId::new(format!(
                        "{:0<64}",
                        Digest::of(name.as_bytes()).hex()
                    ))),
                    ..Peer::default()
                })
            };
            let image_name = desired.images[&service.name].name.clone();
            let replica = Replica {
                number,
                id: ContainerId::new(format!("{:0<64}", Digest::of(name.as_bytes()).hex())),
                name,
                image: &image(&image_name),
                mount_images: &BTreeMap::new(),
                anonymous: &none,
                peer: &peer,
                slug: None,
            };
            let spec = desired.container_spec(service, &replica, &mut Diagnostics::default());
            world.observed.containers.push(seen(
                &spec,
                State::Running {
                    since: Timestamp(0),
                },
            ));
        }
    }
    for network in desired.project.networks.values() {
        let spec = resources::network_spec(&desired.project, network);
        world.observed.networks.push(ObservedNetwork {
            name: spec.name,
            project: spec.project,
            labels: spec.labels,
            driver: spec.driver,
            subnets: Vec::new(),
            users: world
                .observed
                .containers
                .iter()
                .map(|c| c.id.clone())
                .collect(),
        });
    }
    for volume in desired.project.volumes.values() {
        let spec = resources::volume_spec(&desired.project, volume);
        world.observed.volumes.push(ObservedVolume {
            name: spec.name,
            project: spec.project,
            labels: spec.labels,
            driver: spec.driver,
            users: Vec::new(),
        });
    }
    world
}

fn up() -> UpPolicy {
    UpPolicy::default()
}

fn plan(text: &str, world: &World, policy: &UpPolicy) -> Plan {
    reconcile::reconcile(desired(text), world, policy).expect("no faults")
}

fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    lines.join("\n")
}

#[track_caller]
fn shows(plan: &Plan, want: &str) {
    assert_eq!(lines(&plan.text()), lines(want), "\n{}", plan.text());
}

#[test]
fn a_new_project_gets_its_network_then_containers_then_starts_in_order() {
    shows(
        &plan(
            "db: pg, probe, volume data | web: app, after db healthy",
            &World::default(),
            &up(),
        ),
        "
        #1 create network demo_default  missing
        #2 create volume demo_data      missing
        #3 create db/1                  missing          after #1 #2
        #4 create web/1                 missing          after #1
        #5 start  db/1                  new              after #3
        #6 wait   db/1                  needed by `web`  after #5
        #7 start  web/1                 new              after #4 #6",
    );
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let text = "db: pg, probe, volume data, data | web: app, after db healthy, scale 2 | side: app, net db";
    let plan = plan(text, &running(text), &up());
    shows(&plan, "");
    assert_eq!(plan.unchanged.len(), 4);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn a_new_database_image_restarts_only_dependents_that_ask() {
    shows(
        &plan(
            "db: pg:17 | web: app, after db restart | job: app, after db",
            &running("db: pg:16 | web: app, after db restart | job: app, after db"),
            &up(),
        ),
        "
        #1 stop    web/1  `db` is replaced
        #2 replace db/1   image changed: pg:16 → pg:17  after #1
        #3 start   db/1   new                           after #2
        #4 start   web/1  `db` is replaced              after #3",
    );
}

#[test]
fn a_changed_variable_is_named_with_old_and_new() {
    let plan = plan(
        "a: app, env V=2 | b: app",
        &running("a: app, env V=1 | b: app"),
        &up(),
    );
    shows(
        &plan,
        "
        #1 replace a/1  environment.V changed: 1 → 2
        #2 start   a/1  new                           after #1",
    );
    assert_eq!(
        plan.unchanged
            .iter()
            .map(|who| who.name.as_str())
            .collect::<Vec<_>>(),
        ["demo-b-1"]
    );
}

#[test]
fn who_shares_a_namespace_with_a_replaced_container_is_replaced_too() {
    shows(
        &plan(
            "a: app, env V=2 | side: app, net a",
            &running("a: app, env V=1 | side: app, net a"),
            &up(),
        ),
        "
        #1 replace a/1     environment.V changed: 1 → 2
        #2 replace side/1  `a` is replaced               after #1
        #3 start   a/1     new                           after #1
        #4 start   side/1  new                           after #2 #3",
    );
}

#[test]
fn a_build_decides_later_whether_its_container_is_replaced() {
    let text = "a: app, build | b: other, after a restart";
    let plan = plan(text, &running(text), &up());
    shows(
        &plan,
        "
        #1 build   image app  build asked for
        #2 stop    b/1        `a` is replaced, if the image of `a` changes  after #1
        #3 replace a/1        image is new, if the image of `a` changes     after #2
        #4 start   a/1        new, if the image of `a` changes              after #3
        #5 start   b/1        `a` is replaced, if the image of `a` changes  after #4",
    );
    let replace = plan
        .steps
        .nodes()
        .find(|(_, s)| s.action.verb() == "replace")
        .expect("planned")
        .1;
    let known = |name: &str| BTreeMap::from([(ServiceName::new("a"), Digest::of(name.as_bytes()))]);
    assert!(!super::settle::needed(replace, &known("app")));
    assert!(super::settle::needed(replace, &known("newer")));
}

#[test]
fn scale_adds_the_missing_and_removes_the_highest() {
    shows(
        &plan("a: app, scale 1", &running("a: app, scale 3"), &up()),
        "
        #1 stop   a/2  scale is 1
        #2 remove a/2  scale is 1  after #1
        #3 stop   a/3  scale is 1
        #4 remove a/3  scale is 1  after #3",
    );
    shows(
        &plan("a: app, scale 2", &running("a: app, scale 1"), &up()),
        "
        #1 create a/2  missing
        #2 start  a/2  new      after #1",
    );
}

#[test]
fn orphans_are_warned_about_or_removed_and_ended_one_offs_only_removed() {
    let mut world = running("a: app | old: app");
    let warned = plan("a: app", &world, &up());
    shows(&warned, "");
    assert!(
        warned.warnings[0].contains("orphan containers ([demo-old-1])"),
        "{:?}",
        warned.warnings
    );
    for container in &mut world.observed.containers {
        if container.name == "demo-old-1" {
            container
                .labels
                .insert(super::labels::ONEOFF.into(), "True".into());
        }
    }
    assert!(plan("a: app", &world, &up()).warnings.is_empty());
    let remove = UpPolicy {
        remove_orphans: true,
        ..up()
    };
    shows(&plan("a: app", &world, &remove), "");
    shows(
        &plan("a: app", &running("a: app | old: app"), &remove),
        "
        #1 stop   old/1  orphan
        #2 remove old/1  orphan  after #1",
    );
}

#[test]
fn a_selection_takes_nothing_for_an_orphan_unless_it_knows_all_services() {
    let world = running("a: app | b: app | old: app");
    let remove = UpPolicy {
        services: vec!["a".into()],
        remove_orphans: true,
        ..up()
    };
    shows(&plan("a: app", &world, &remove), "");
    let declared = vec!["a".into(), "b".into()];
    shows(
        &plan("a: app", &world, &UpPolicy { declared, ..remove }),
        "
        #1 stop   old/1  orphan
        #2 remove old/1  orphan  after #1",
    );
}

#[test]
fn a_stopped_container_is_started_and_its_dependents_are_not_touched() {
    let mut world = running("db: pg | web: app, after db");
    let exit = Exit {
        code: Some(3),
        oom: false,
        at: Timestamp(0),
    };
    world.observed.containers[0].state = State::Exited { exit };
    shows(
        &plan("db: pg | web: app, after db", &world, &up()),
        "#1 start db/1  exited (3)",
    );
}

#[test]
fn force_is_for_named_services_and_never_wins_over_everything() {
    let text = "db: pg | web: app, after db";
    let named = UpPolicy {
        services: vec!["web".into()],
        recreate: Recreate::Force,
        ..up()
    };
    shows(
        &plan(text, &running(text), &named),
        "
        #1 replace web/1  asked for anew
        #2 start   web/1  new             after #1",
    );
    let never = UpPolicy {
        recreate: Recreate::Never,
        ..up()
    };
    shows(
        &plan("db: pg:2 | web: app, after db", &running(text), &never),
        "",
    );
}

#[test]
fn a_changed_network_is_made_anew_under_its_containers() {
    let mut wanted = desired("a: app, data");
    if let Some(network) = wanted.project.networks.get_mut("default") {
        network.internal = true;
    }
    let plan = reconcile::reconcile(wanted, &running("a: app, data"), &up()).expect("no faults");
    shows(
        &plan,
        "
        #1 stop   a/1                   `demo_default` changed
        #2 remove a/1                   `demo_default` changed  after #1
        #3 remove network demo_default  `demo_default` changed  after #2
        #4 create network demo_default  `demo_default` changed  after #3
        #5 create a/1                   `demo_default` changed  after #4
        #6 start  a/1                   new                     after #5",
    );
}

#[test]
fn a_missing_external_network_is_a_fault() {
    let mut wanted = desired("a: app");
    if let Some(network) = wanted.project.networks.get_mut("default") {
        network.external = true;
        network.name = "shared".into();
    }
    let error = reconcile::reconcile(wanted, &World::default(), &up()).expect_err("it is missing");
    assert_eq!(
        error.to_string(),
        "network shared declared as external, but could not be found"
    );
}

#[test]
fn who_joined_a_container_that_is_there_no_more_is_made_anew() {
    let text = "db: pg | side: app, net db";
    let mut world = running(text);
    let db = world.observed.containers.iter_mut();
    for container in db.filter(|container| container.name == "demo-db-1") {
        container.id = ContainerId::new("another");
    }
    shows(
        &plan(text, &world, &up()),
        "
        #1 replace side/1  `db` is replaced
        #2 start   side/1  new               after #1",
    );
}

#[test]
fn what_an_interrupted_replacement_left_is_cleared_away() {
    let mut world = running("a: app, env V=1");
    let new = running("a: app, env V=2").observed.containers.remove(0);
    let passing = ObservedContainer {
        id: ContainerId::new("new"),
        name: "0123456789ab_demo-a-1".into(),
        state: State::Created,
        ..new
    };
    world.observed.containers.push(passing);
    shows(
        &plan("a: app, env V=2", &world, &up()),
        "
        #1 stop   a/1  left over
        #2 remove a/1  left over  after #1
        #3 rename a/1  left over  after #2
        #4 start  a/1  created    after #3",
    );
}

#[test]
fn wait_adds_a_wait_for_what_is_started() {
    let policy = UpPolicy { wait: true, ..up() };
    shows(
        &plan("a: app", &World::default(), &policy),
        "
        #1 create network demo_default  missing
        #2 create a/1                   missing    after #1
        #3 start  a/1                   new        after #2
        #4 wait   a/1                   asked for  after #3",
    );
    shows(&plan("a: app", &running("a: app"), &policy), "");
}

#[test]
fn health_of_what_has_no_probe_is_not_waited_for() {
    let error = reconcile::reconcile(
        desired("db: pg | web: app, after db healthy"),
        &World::default(),
        &up(),
    );
    let text = error.expect_err("db has no probe").to_string();
    assert_eq!(
        text,
        "service `web` waits for `db` to be healthy, but that has no healthcheck"
    );
}

#[test]
fn down_stops_dependents_first_and_removes_networks_last() {
    let text = "db: pg, volume data | web: app, after db";
    let world = running(text);
    let policy = DownPolicy {
        volumes: true,
        ..DownPolicy::default()
    };
    let want = "
        #1 stop   web/1                 asked for
        #2 remove web/1                 asked for  after #1
        #3 stop   db/1                  asked for  after #1
        #4 remove db/1                  asked for  after #3
        #5 remove network demo_default  asked for  after #2 #4
        #6 remove volume demo_data      asked for  after #2 #4";
    let name = ProjectName::new("demo").expect("a valid name");
    shows(
        &down::down(&name, Some(&project(text)), &world, &policy),
        want,
    );
    // From labels alone.
    shows(&down::down(&name, None, &world, &policy), want);
}

#[test]
fn down_removes_the_images_that_are_asked_for_and_says_when_there_is_nothing() {
    let name = ProjectName::new("demo").expect("a valid name");
    let all = DownPolicy {
        rmi: Some(Rmi::All),
        ..DownPolicy::default()
    };
    let text = down::down(&name, None, &running("a: app"), &all).text();
    assert!(text.contains("remove image app:latest"), "{text}");
    let local = DownPolicy {
        rmi: Some(Rmi::Local),
        ..DownPolicy::default()
    };
    assert!(
        !down::down(&name, None, &running("a: app"), &local)
            .text()
            .contains("image")
    );
    let nothing = down::down(&name, None, &World::default(), &DownPolicy::default());
    assert_eq!(
        nothing.warnings,
        ["No resource found to remove for project \"demo\"."]
    );
}

#[test]
fn restart_takes_dependents_along_that_ask_for_it() {
    let text = "db: pg | web: app, after db restart | job: app, after db";
    let policy = StopPolicy {
        services: vec!["db".into()],
        ..StopPolicy::default()
    };
    let name = ProjectName::new("demo").expect("a valid name");
    let plan = views::restart(&name, Some(&project(text)), &running(text), &policy).expect("known");
    shows(
        &plan,
        "
        #1 stop  web/1  asked for
        #2 stop  db/1   asked for  after #1
        #3 start db/1   asked for  after #2
        #4 start web/1  asked for  after #3",
    );
}

#[test]
fn an_unknown_service_is_refused_with_the_nearest_name() {
    let name = ProjectName::new("demo").expect("a valid name");
    let project = project("database: pg");
    let error = views::stop(
        &name,
        Some(&project),
        &World::default(),
        &StopPolicy {
            services: vec!["databas".into()],
            ..StopPolicy::default()
        },
    );
    assert_eq!(
        error.expect_err("unknown").to_string(),
        "no such service: databas; did you mean `database`?"
    );
}

#[test]
fn the_json_of_a_plan_says_what_its_text_says() {
    let plan = plan("a: app", &World::default(), &up());
    assert_eq!(
        plan.json()["actions"][1],
        json!({"id": 2, "action": "create", "kind": "container", "name": "demo-a-1",
               "cause": "missing", "conditional": false, "after": [1]})
    );
}
