//! Networks: bridges, the kernel's rules, forwarding.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::{is_root, number};
use crate::engine::host::{Row, Standing};
use crate::sys::netlink::route::{self, Route};
use crate::sys::netlink::{netns, traffic};
use crate::sys::nft::{Batch, Nft, Table};

pub(super) fn rows() -> Vec<Row> {
    vec![bridges(), nftables(), guard(), forwarding(), connections()]
}

/// A row of something that root can try in a network namespace that goes away.
fn tried(
    name: &'static str,
    found: &str,
    means: &str,
    mend: &str,
    attempt: impl FnOnce() -> io::Result<()> + Send,
) -> Row {
    tried_for(
        Row::ok(name, found, means).needed(),
        Standing::Missing,
        mend,
        attempt,
    )
}

/// As [`tried`], with what a refusal makes of the row.
fn tried_for(
    row: Row,
    without: Standing,
    mend: &str,
    attempt: impl FnOnce() -> io::Result<()> + Send,
) -> Row {
    if !is_root() {
        let found = "only root can try it".to_owned();
        return Row { found, ..row }.stands(Standing::Unknown);
    }
    match netns::create(attempt) {
        Ok(_) => row,
        Err(error) => Row {
            found: format!("the kernel refuses: {error}"),
            ..row
        }
        .stands(without)
        .mend(mend),
    }
}

fn bridges() -> Row {
    let make = || {
        let mut route = Route::open()?;
        route.run(vec![route::bridge("probe", 1500, [2, 66, 0, 0, 0, 1])])?;
        let bridge = route.link("probe")?.ok_or(Errno::ENODEV)?.index;
        let netns = netns::current()?;
        let ends = route::VethEnds {
            name: "probe0",
            peer: "probe1",
            mtu: 1500,
            mac: [2, 66, 0, 0, 0, 2],
            bridge,
            netns: std::os::fd::AsFd::as_fd(&netns),
        };
        route.run(vec![route::veth(&ends)])
    };
    let means = "`networks` are bridges of the host, with a cable to each container";
    tried(
        "bridge and veth",
        "the kernel makes them",
        means,
        "modprobe bridge && modprobe veth",
        make,
    )
}

fn nftables() -> Row {
    let make = || {
        let mut batch = Batch::default();
        batch.new_table(Table::inet("probe"));
        Nft::open()?.commit(batch)
    };
    let means = "`ports` are published and networks kept apart by rules in the kernel; no program `nft` is needed";
    tried(
        "nftables",
        "the kernel takes rules",
        means,
        "modprobe nf_tables && modprobe nft_nat",
        make,
    )
}

fn guard() -> Row {
    let make = || {
        let mut route = Route::open()?;
        let index = route.link("lo")?.ok_or(Errno::ENODEV)?.index;
        let mut program = traffic::Program::new();
        program.pass();
        route.run(traffic::filter(index, &program).into())
    };
    let means = "containers can't send with others' addresses; without it they can, as with Docker";
    tried_for(
        Row::ok("guard of addresses", "the kernel filters by device", means),
        Standing::Degraded,
        "modprobe sch_ingress && modprobe cls_bpf",
        make,
    )
}

fn forwarding() -> Row {
    let on = number("/proc/sys/net/ipv4/ip_forward") == Some(1);
    let row = Row::ok("IP forwarding", "on", "containers reach the outside");
    match (on, Path::new("/proc/sys/net/ipv4/ip_forward").exists()) {
        (true, _) => row,
        (false, true) => Row {
            found: "off".to_owned(),
            means: "hoist switches it on with its first network; a `sysctl.d` file may switch it off again".to_owned(),
            ..row
        }
        .mend("sysctl -w net.ipv4.ip_forward=1"),
        (false, false) => row.stands(Standing::Unknown),
    }
}

fn connections() -> Row {
    let dir = Path::new("/proc/sys/net/netfilter");
    let (used, most) = (
        number(dir.join("nf_conntrack_count")),
        number(dir.join("nf_conntrack_max")),
    );
    let means = "connections to published ports and to the outside are tracked";
    match (used, most) {
        (Some(used), Some(most)) if used.saturating_mul(10) >= most.saturating_mul(9) => {
            let means =
                "new connections to published ports and to the outside are dropped when it is full";
            Row::ok("conntrack", format!("{used} of {most} connections"), means)
                .stands(Standing::Degraded)
                .mend(format!(
                    "sysctl -w net.netfilter.nf_conntrack_max={}",
                    most.saturating_mul(2)
                ))
        }
        (Some(used), Some(most)) => {
            Row::ok("conntrack", format!("{used} of {most} connections"), means)
        }
        // The first rule that needs it loads it.
        _ => Row::ok("conntrack", "not in use yet", means),
    }
}
