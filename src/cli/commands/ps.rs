//! `ps`: the containers of a project as a table or as JSON, one object a line.
//!
//! Imports: `engine::state`, `plan::labels`, `ui::table`. As Compose: `cmd/compose/ps.go`, `cmd/formatter/container.go`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::containers::{
    ShownPort, cut, id, is_oneoff, label, ports, shown_ports, status, will_print,
};
use super::format;
use super::store::template_failure;
use crate::base::clock::{Timestamp, human_duration};
use crate::cli::app::App;
use crate::cli::args::PsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::{Observed, ObservedContainer, State};
use crate::plan::labels;
use crate::ui::rows::{Fields, Format, LABEL};
use crate::ui::write_out;

/// A command is cut to so many characters. As Docker.
const COMMAND: usize = 20;

/// A mount is cut to so many characters. As Docker.
const MOUNT: usize = 15;

/// What a list of containers can show. Docker Compose prints `<no value>` above columns whose headings it forgot.
const FIELDS: Fields = Fields {
    kind: "*formatter.ContainerContext",
    all: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ExitCode", "EXIT CODE"),
        ("Health", "HEALTH"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Name", "NAME"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Ports", "PORTS"),
        ("Project", "PROJECT"),
        ("Publishers", "PUBLISHERS"),
        ("RunningFor", "CREATED"),
        ("Service", "SERVICE"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    width: 10,
};

/// Columns of the usual table.
const COLUMNS: [&str; 7] = [
    "Name",
    "Image",
    "Command",
    "Service",
    "RunningFor",
    "Status",
    "Ports",
];

pub(super) fn run(app: &App, args: &PsArgs) -> Outcome {
    let states = states(args)?;
    let format = format::rows(app, &args.format).map_err(|fault| template_failure(&fault))?;
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.names)?;
    let world = app.engine()?.observe(&name)?;
    let keep = |c: &ObservedContainer| {
        let service = label(c, "service");
        let state = c.state.as_str();
        let shown = match states.is_empty() {
            false => states.iter().any(|wanted| wanted == state),
            true => args.all || will_print(c),
        };
        let orphan = project
            .as_ref()
            .is_some_and(|p| p.service(service).is_none());
        shown
            && (args.all || !states.is_empty() || !is_oneoff(c))
            && (args.names.is_empty() || args.names.iter().any(|name| name == service))
            && (args.orphans.unwrap_or(true) || !orphan)
    };
    let world = Observed {
        containers: world.containers.into_iter().filter(keep).collect(),
        ..world
    };
    write_out(text(&world, args, &format, Timestamp::now())?)?;
    Ok(0)
}

/// States asked for by `--status` and `--filter`.
fn states(args: &PsArgs) -> Result<Vec<String>, Failure> {
    const KNOWN: [&str; 7] = [
        "created",
        "running",
        "paused",
        "restarting",
        "exited",
        "removing",
        "dead",
    ];
    let mut states = args.status.clone();
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("status", state)) => states.push(state.to_owned()),
            Some((other, _)) => {
                let text = format!("unknown filter {other}");
                return Err(Failure::new(text).hint("the one filter is status=STATE"));
            }
            None => {
                let text = "arguments to --filter should be in form KEY=VAL";
                return Err(Failure::new(text).hint("the one filter is status=STATE"));
            }
        }
    }
    match states.iter().find(|state| !KNOWN.contains(&state.as_str())) {
        Some(state) => Err(Failure::new(format!("unknown state `{state}`")).hint(
            "the states are created, running, paused, restarting, exited, removing and dead",
        )),
        None => Ok(states),
    }
}

/// What is printed.
fn text(
    world: &Observed,
    args: &PsArgs,
    format: &Format,
    now: Timestamp,
) -> Result<String, Failure> {
    if args.quiet {
        let ids = world.containers.iter().map(|c| id(&c.id, true));
        return Ok(ids.map(|id| format!("{id}\n")).collect());
    }
    if args.services {
        let mut seen = BTreeSet::new();
        let names = world.containers.iter().map(|c| label(c, "service"));
        let names = names.filter(|name| seen.insert(*name));
        return Ok(names.map(|name| format!("{name}\n")).collect());
    }
    let rows: Vec<_> = world
        .containers
        .iter()
        .map(|c| row(c, args.no_trunc, now))
        .collect();
    format
        .text(&FIELDS, &COLUMNS, &rows)
        .map_err(|fault| template_failure(&fault))
}

/// The command in quotes, cut where it is long.
pub(super) fn command(container: &ObservedContainer, whole: bool) -> String {
    // As Docker: a word with a blank in it is shown in quotes.
    let quoted = |word: &String| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    };
    let joined = container
        .command
        .iter()
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ");
    let clean: String = joined
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("\"{}\"", if whole { clean } else { cut(&clean, COMMAND) })
}

/// One container with docker compose's fields.
fn row(c: &ObservedContainer, whole: bool, now: Timestamp) -> Map<String, Value> {
    // The wanted state is hoist's own record, kilobytes that nobody filters by.
    let shown = c.labels.iter().filter(|(key, _)| *key != labels::SPEC);
    let labels: Vec<String> = shown
        .clone()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let by_name: Map<String, Value> = shown
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    let networks: Vec<&str> = c.networks.iter().map(|n| n.network.as_str()).collect();
    let publisher = |port: ShownPort| {
        let address = port.address.map(|address| address.to_string());
        json!({
            "URL": address.unwrap_or_default(), "TargetPort": port.container,
            "PublishedPort": port.host, "Protocol": port.protocol.as_str(),
        })
    };
    let publishers: Vec<Value> = shown_ports(c).into_iter().map(publisher).collect();
    let mount = |mount: &String| {
        if whole {
            mount.clone()
        } else {
            cut(mount, MOUNT)
        }
    };
    let mounts: Vec<String> = c.mounts.iter().map(mount).collect();
    // As Compose: of one that does not run nothing is known of its health, of one that has not ended no code.
    let health = c.health.as_ref();
    let health = health.filter(|_| matches!(c.state, State::Running { .. }));
    let code = match c.state {
        State::Exited { exit } => exit.code(),
        _ => 0,
    };
    let fields = [
        ("Command", Value::from(command(c, whole))),
        ("CreatedAt", Value::from(created_at(c.created))),
        ("ExitCode", Value::from(code)),
        (
            "Health",
            Value::from(health.map_or("", |health| health.status.as_str())),
        ),
        ("ID", Value::from(id(&c.id, whole))),
        ("Image", Value::from(c.image.as_str())),
        (LABEL, Value::Object(by_name)),
        ("Labels", Value::from(labels.join(","))),
        ("LocalVolumes", Value::from(c.volumes.len().to_string())),
        ("Mounts", Value::from(mounts.join(","))),
        ("Name", Value::from(c.name.as_str())),
        ("Names", Value::from(c.name.as_str())),
        ("Networks", Value::from(networks.join(","))),
        ("Ports", Value::from(ports(c))),
        ("Project", Value::from(c.project.as_str())),
        ("Publishers", Value::Array(publishers)),
        (
            "RunningFor",
            Value::from(format!("{} ago", human_duration(c.created.until(now)))),
        ),
        ("Service", Value::from(label(c, "service"))),
        ("Size", Value::from("0B")),
        ("State", Value::from(c.state.as_str())),
        ("Status", Value::from(status(c, now))),
    ];
    let fields = fields.into_iter();
    fields.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `2026-11-22 00:47:06 +0000 UTC`.
pub(super) fn created_at(time: Timestamp) -> String {
    let text = time.rfc3339();
    let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} +0000 UTC", clock.get(..8).unwrap_or("00:00:00"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::container;
    use super::*;
    use crate::engine::spec::Protocol;
    use crate::engine::state::{Exit, Health, HealthStatus, PublishedPort, State};

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn world() -> Observed {
        let mut web = container(
            "web",
            &["sh", "-c", "echo hello; echo err >&2; sleep 300"],
            State::Running { since: at(1) },
        );
        web.health = Some(Health {
            status: HealthStatus::Healthy,
            failing_streak: 0,
            retries: 3,
            log: vec![],
        });
        let port = |ip: &str, host, container, protocol| PublishedPort {
            host_ip: ip
                .parse()
                .unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            host,
            container,
            protocol,
        };
        web.ports = vec![
            port("0.0.0.0", 18080, 80, Protocol::Tcp),
            port("::", 18080, 80, Protocol::Tcp),
            port("127.0.0.1", 18081, 81, Protocol::Udp),
        ];
        web.exposed = vec![
            (80, Protocol::Tcp),
            (9000, Protocol::Tcp),
            (9001, Protocol::Tcp),
        ];
        web.volumes = vec![("cref_data".into(), false)];
        web.mounts = vec!["cref_data".into(), "/tmp/cref".into()];
        let exit = Exit {
            code: Some(3),
            oom: false,
            at: at(1),
        };
        let job = container("job", &["sh", "-c", "exit 3"], State::Exited { exit });
        Observed {
            containers: vec![job, web],
            ..Observed::default()
        }
    }

    fn shown(world: &Observed, args: &PsArgs) -> String {
        let format = Format::parse(&args.format).expect("a format");
        text(world, args, &format, at(3)).unwrap_or_else(|_| "a fault".to_owned())
    }

    #[test]
    fn the_table_is_that_of_docker_compose() {
        let want = concat!(
            "NAME         IMAGE     COMMAND                  SERVICE   CREATED         STATUS                     PORTS\n",
            "cref-job-1   busybox   \"sh -c 'exit 3'\"         job       3 seconds ago   Exited (3) 2 seconds ago   \n",
            "cref-web-1   busybox   \"sh -c 'echo hello; …\"   web       3 seconds ago   Up 2 seconds (healthy)     ",
            "9000-9001/tcp, 0.0.0.0:18080->80/tcp, [::]:18080->80/tcp, 127.0.0.1:18081->81/udp\n",
        );
        assert_eq!(shown(&world(), &PsArgs::default()), want);
        let empty = "NAME      IMAGE     COMMAND   SERVICE   CREATED   STATUS    PORTS\n";
        assert_eq!(shown(&Observed::default(), &PsArgs::default()), empty);
    }

    #[test]
    fn json_has_the_keys_of_docker_compose_one_object_a_line() {
        let json = PsArgs {
            format: "json".into(),
            ..PsArgs::default()
        };
        let shown = shown(&world(), &json);
        let line = shown.lines().nth(1).unwrap_or_default();
        let want = concat!(
            r#"{"Command":"\"sh -c 'echo hello; …\"","CreatedAt":"1970-01-01 00:00:00 +0000 UTC","ExitCode":0,"#,
            r#""Health":"healthy","ID":"d44bedf50714","Image":"busybox","#,
            r#""Labels":"com.docker.compose.container-number=1,com.docker.compose.oneoff=False,"#,
            r#"com.docker.compose.project=cref,com.docker.compose.service=web","LocalVolumes":"1","#,
            r#""Mounts":"cref_data,/tmp/cref","Name":"cref-web-1","Names":"cref-web-1","Networks":"cref_default","#,
            r#""Ports":"9000-9001/tcp, 0.0.0.0:18080-\u003e80/tcp, [::]:18080-\u003e80/tcp, 127.0.0.1:18081-\u003e81/udp","Project":"cref","#,
            r#""Publishers":[{"URL":"0.0.0.0","TargetPort":80,"PublishedPort":18080,"Protocol":"tcp"},"#,
            r#"{"URL":"::","TargetPort":80,"PublishedPort":18080,"Protocol":"tcp"},"#,
            r#"{"URL":"127.0.0.1","TargetPort":81,"PublishedPort":18081,"Protocol":"udp"},"#,
            r#"{"URL":"","TargetPort":9000,"PublishedPort":0,"Protocol":"tcp"},"#,
            r#"{"URL":"","TargetPort":9001,"PublishedPort":0,"Protocol":"tcp"}],"#,
            r#""RunningFor":"3 seconds ago","Service":"web","Size":"0B","State":"running","#,
            r#""Status":"Up 2 seconds (healthy)"}"#,
        );
        assert_eq!(line, want);
        assert_eq!(shown.lines().count(), 2);
    }

    #[test]
    fn templates_see_every_field_and_labels_by_name() {
        let by = |format: &str| {
            let args = PsArgs {
                format: format.into(),
                ..PsArgs::default()
            };
            shown(&world(), &args)
        };
        assert_eq!(
            by(r#"table {{.Service}}\t{{.ExitCode}}\t{{.Label "com.docker.compose.oneoff"}}"#),
            "SERVICE   EXIT CODE   oneoff\njob       3           False\nweb       0           False\n"
        );
        assert_eq!(by("{{.Label \"no\"}}{{.Health}}"), "\nhealthy\n");
        assert!(!by("{{json .}}").contains("\"Label\""));
        assert_eq!(by("{{.Nope}}"), "a fault");
    }

    #[test]
    fn ids_and_services_come_one_a_line() {
        let services = PsArgs {
            services: true,
            ..PsArgs::default()
        };
        assert_eq!(shown(&world(), &services), "job\nweb\n");
        let quiet = PsArgs {
            quiet: true,
            ..PsArgs::default()
        };
        assert!(shown(&world(), &quiet).starts_with("d44bedf50714e5d5"));
        assert!(
            states(&PsArgs {
                status: vec!["ill".into()],
                ..PsArgs::default()
            })
            .is_err()
        );
    }
}
