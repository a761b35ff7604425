//! Limits on hosts that lack some.

use std::path::PathBuf;

use super::*;
use crate::compose::model::{BlkioLimit, ResourceLimits};
use crate::engine::host::{BlockDevice, Lack};
use crate::engine::spec::{DeviceLimit, DeviceRate};

fn number(value: i64) -> Option<Spanned<i64>> {
    Some(Spanned::bare(value))
}

/// A service that asks for all there is, but for what excludes another.
fn everything() -> Service {
    let limit = |value| {
        vec![Spanned::bare(BlkioLimit {
            path: "/dev/x".into(),
            value,
        })]
    };
    let mut limits = ResourceLimits {
        cpu_quota: number(5000),
        cpu_shares: number(512),
        cpu_rt_runtime: number(1000),
        cpuset: Some(Spanned::bare("0-1".to_owned())),
        memory: number(64 << 20),
        memory_reservation: number(32 << 20),
        swappiness: number(10),
        oom_kill_disable: Spanned::bare(true),
        pids: number(9),
        blkio_weight: number(300),
        ..ResourceLimits::default()
    };
    limits.blkio.weights = limit(200);
    limits.blkio.reads = limit(7);
    Service {
        resources: limits,
        ..Service::default()
    }
}

fn decided(service: &Service, offers: Offers) -> (Resources, Vec<String>) {
    let facts = Facts {
        offers,
        ..Facts::default()
    };
    let mut found = Diagnostics::default();
    let made = resources(service, &facts, &mut found);
    let texts = found.iter().map(|item| {
        let kind = format!("{:?}", item.severity).to_lowercase();
        format!("{kind}: {}", item.message)
    });
    (made, texts.collect())
}

fn lacking(limits: &[Limit]) -> Offers {
    let lack = Lack {
        what: "it is gone".into(),
        mend: "bring it back".into(),
    };
    Offers {
        lacking: limits.iter().map(|limit| (*limit, lack.clone())).collect(),
        ..Offers::default()
    }
}

#[test]
fn a_host_that_has_all_gives_all() {
    let (made, found) = decided(&everything(), Offers::default());
    assert_eq!(found, Vec::<String>::new());
    let device = |what, value| DeviceLimit {
        what,
        device: PathBuf::from("/dev/x"),
        value,
    };
    let want = Resources {
        cpu_shares: Some(512),
        cpu_quota: Some(5000),
        cpu_rt_runtime: Some(1000),
        cpuset: Some("0-1".into()),
        memory: Some(64 << 20),
        memory_reservation: Some(32 << 20),
        // Twice the memory, as nothing else is said.
        memory_swap: Some(128 << 20),
        swappiness: Some(10),
        oom_kill_disable: true,
        pids: Some(9),
        blkio_weight: Some(300),
        devices: vec![
            device(DeviceRate::Weight, 200),
            device(DeviceRate::Reads, 7),
        ],
        ..Resources::default()
    };
    assert_eq!(made, want);
}

#[test]
fn what_a_host_lacks_is_an_error_where_docker_refuses_and_else_a_warning() {
    let (made, found) = decided(&everything(), lacking(&Limit::ALL));
    assert_eq!(made, Resources::default());
    let errors: Vec<&String> = found
        .iter()
        .filter(|text| text.starts_with("error"))
        .collect();
    let error = |key: &str| format!("error: service ``: this host can't give `{key}`: it is gone");
    assert_eq!(errors, [&error("cpu_quota"), &error("cpu_rt_runtime")]);
    for words in [
        "CPU shares",
        "cpuset",
        "memory limit capabilities",
        "memory soft limit",
        "memory swappiness",
        "OomKillDisable",
        "PIDs limit",
        "Block I/O weight or",
        "Block I/O weight_device",
        "IOPS Block read limit",
    ] {
        let told = |text: &&String| {
            text.starts_with("warning")
                && text.contains(words)
                && text.contains("(it is gone; bring it back)")
        };
        assert!(found.iter().any(|text| told(&text)), "{words}: {found:?}");
    }
    assert_eq!(found.len(), 12, "{found:?}");
}

#[test]
fn without_swap_accounting_memory_is_limited_alone() {
    let service = Service {
        resources: ResourceLimits {
            memory: number(64 << 20),
            ..ResourceLimits::default()
        },
        ..Service::default()
    };
    let (made, found) = decided(&service, lacking(&[Limit::Swap]));
    assert_eq!((made.memory, made.memory_swap), (Some(64 << 20), None));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("Memory limited without swap"),
        "{found:?}"
    );
}

#[test]
fn a_host_that_could_not_be_asked_for_its_cpus_bounds_none() {
    let service = |cpus| Service {
        resources: ResourceLimits {
            cpus: Some(Spanned::bare(cpus)),
            ..ResourceLimits::default()
        },
        ..Service::default()
    };
    assert_eq!(
        decided(&service(64.0), Offers::default()).0.cpu_quota,
        Some(6_400_000)
    );
    for cpus in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.009] {
        let (made, found) = decided(&service(cpus), Offers::default());
        assert_eq!((made.cpu_quota, found.len()), (None, 1), "{cpus}");
    }
}

#[test]
fn a_disk_that_knows_no_weights_is_warned_of_and_keeps_its_rates() {
    let lack = lacking(&[Limit::Pids]).lacking.remove(&Limit::Pids);
    let offers = Offers {
        devices: [(PathBuf::from("/dev/x"), BlockDevice::Disk(lack))].into(),
        ..Offers::default()
    };
    let (made, found) = decided(&everything(), offers);
    assert_eq!(made.devices.len(), 1);
    assert_eq!(made.devices[0].what, DeviceRate::Reads);
    assert!(
        found.len() == 1 && found[0].contains("Weight-device discarded"),
        "{found:?}"
    );
}

#[test]
fn only_a_service_with_limits_asks_the_host() {
    assert!(!asks_the_host(&Service::default()));
    assert!(asks_the_host(&everything()));
    let windows = ResourceLimits {
        cpu_percent: Some(5),
        ..ResourceLimits::default()
    };
    assert!(!asks_the_host(&Service {
        resources: windows,
        ..Service::default()
    }));
}
