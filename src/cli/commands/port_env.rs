//! `port --env`: where all published ports of a project are, for shells and programs.
//!
//! Imports: `engine::state`.

use serde_json::json;

use super::containers::{is_oneoff, label};
use super::format;
use crate::cli::app::App;
use crate::cli::args::PortArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::spec::Protocol;
use crate::engine::state::{ObservedContainer, PublishedPort};
use crate::ui::write_out;

/// A published port of one container of a service.
struct Row<'a> {
    service: &'a str,
    number: &'a str,
    port: &'a PublishedPort,
}

pub(super) fn run(app: &App, args: &PortArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    let wanted = Some(args.service.clone()).filter(|service| !service.is_empty());
    let wanted: Vec<String> = wanted.into_iter().collect();
    app.known(project.as_ref(), &wanted)?;
    let world = app.engine()?.observe(&name)?;
    let rows = rows(&world.containers, wanted.first().map(String::as_str));
    if rows.is_empty() {
        return Err(
            Failure::new(format!("project {name} publishes no port now"))
                .hint("`hoist up -d` starts it"),
        );
    }
    let text = match args.format.as_str() {
        "env" | "dotenv" => rows
            .iter()
            .map(|row| format!("{}={}\n", row.variable(), row.address()))
            .collect(),
        "json" => {
            let all: Vec<_> = rows.iter().map(Row::object).collect();
            format!("{}\n", serde_json::Value::Array(all))
        }
        other => {
            return Err(format::unknown(other, &["env", "dotenv", "json"]));
        }
    };
    write_out(text)?;
    Ok(0)
}

/// One row a port: where it is published on several addresses, the one that this machine reaches best.
fn rows<'a>(containers: &'a [ObservedContainer], service: Option<&str>) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let meant = |c: &&ObservedContainer| {
        !is_oneoff(c) && service.is_none_or(|service| label(c, "service") == service)
    };
    for container in containers.iter().filter(meant) {
        for port in &container.ports {
            rows.push(Row {
                service: label(container, "service"),
                number: label(container, "container-number"),
                port,
            });
        }
    }
    rows.sort_by_key(|row| {
        let number: u32 = row.number.parse().unwrap_or(0);
        let port = row.port;
        (
            row.service,
            number,
            port.container,
            port.protocol.as_str(),
            port.host_ip.is_ipv6(),
            port.host,
        )
    });
    rows.dedup_by(|a, b| a.variable() == b.variable());
    rows
}

impl Row<'_> {
    /// `DB_PORT_5432`; `DB_2_PORT_5432` of the second container, `DNS_PORT_53_UDP` of another protocol than TCP.
    fn variable(&self) -> String {
        let plain = |c: char| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9') => c,
            _ => '_',
        };
        let service: String = self.service.chars().map(plain).collect();
        // A shell's variable can't begin with a digit.
        let lead = match service.starts_with(|c: char| c.is_ascii_digit()) {
            true => "_",
            false => "",
        };
        let number = match self.number {
            "" | "1" => String::new(),
            number => format!("_{number}"),
        };
        let protocol = match self.port.protocol {
            Protocol::Tcp => String::new(),
            other => format!("_{}", other.as_str().to_ascii_uppercase()),
        };
        let port = self.port.container;
        format!("{lead}{service}{number}_PORT_{port}{protocol}")
    }

    /// Where it is reached from here; what is published on all addresses is so on this machine's own.
    fn address(&self) -> std::net::SocketAddr {
        let ip = match self.port.host_ip {
            std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        std::net::SocketAddr::new(ip, self.port.host)
    }

    fn object(&self) -> serde_json::Value {
        let address = self.address();
        json!({
            "Service": self.service,
            "Index": self.number.parse::<u32>().unwrap_or(1),
            "TargetPort": self.port.container,
            "Protocol": self.port.protocol.as_str(),
            "Address": address.ip().to_string(),
            "PublishedPort": address.port(),
            "Variable": self.variable(),
        })
    }
}
