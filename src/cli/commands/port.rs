//! `port`: where on the host a container's port is reached.
//!
//! Imports: `engine::state`.

use super::containers::of_service;
use crate::cli::app::App;
use crate::cli::args::PortArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::ui::{write_err, write_out};

pub(super) fn run(app: &App, args: &PortArgs) -> Outcome {
    if args.env {
        return super::port_env::run(app, args);
    }
    let (number, protocol) = match args.private_port.split_once('/') {
        Some((number, protocol)) => (number, protocol),
        None => (args.private_port.as_str(), args.protocol.as_str()),
    };
    let protocol = protocol.to_lowercase();
    let number: u16 = number
        .parse()
        .map_err(|_| Failure::new(format!("invalid port `{}`", args.private_port)))?;
    let container = of_service(app, app.engine()?.as_ref(), &args.service, args.index)?;
    let found = container
        .ports
        .iter()
        .find(|p| p.container == number && p.protocol.as_str() == protocol);
    let Some(port) = found else {
        let exposed = &container.exposed;
        if exposed
            .iter()
            .any(|(port, of)| *port == number && of.as_str() == protocol)
        {
            write_err(format!(
                "warning: {number}/{protocol} is exposed to other containers, and published nowhere on the host\n"
            ));
            // As Compose: the port is known, and has no address.
            write_out(":0\n")?;
            return Ok(0);
        }
        let text = format!(
            "no port {number}/{protocol} for container {}",
            container.name
        );
        let all = super::containers::ports(&container);
        let hint = if all.is_empty() {
            "it publishes no port".to_owned()
        } else {
            format!("it publishes {all}")
        };
        return Err(Failure::new(text).hint(hint));
    };
    write_out(format!(
        "{}\n",
        std::net::SocketAddr::new(port.host_ip, port.host)
    ))?;
    Ok(0)
}
