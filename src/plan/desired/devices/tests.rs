//! Requests for devices against what a machine has.

use std::path::PathBuf;

use super::*;

fn machine(names: &[&str]) -> Facts {
    let devices = names
        .iter()
        .map(|name| (DeviceName::parse(name).unwrap(), None))
        .collect();
    let dirs = vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")];
    Facts {
        devices: Some(DeviceCatalog {
            devices,
            dirs,
            ..DeviceCatalog::default()
        }),
        ..Facts::default()
    }
}

/// Names with spaces between, or the faults with their hints.
fn got(service: &Service, facts: &Facts, env: &[&str]) -> String {
    let mut found = Diagnostics::default();
    let env: Vec<String> = env.iter().map(|entry| (*entry).to_owned()).collect();
    let names = named(service, facts, &env, &mut found).names;
    if !found.is_empty() {
        let each = found
            .iter()
            .map(|f| format!("{} | {}", f.message, f.hints.join("; ")));
        return each.collect::<Vec<_>>().join("\n");
    }
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn gpus(request: DeviceRequest) -> Service {
    Service {
        gpus: vec![Spanned::bare(request)],
        ..Service::default()
    }
}

fn ids(driver: &str, ids: &[&str]) -> Service {
    gpus(DeviceRequest {
        driver: (!driver.is_empty()).then(|| driver.to_owned()),
        device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..DeviceRequest::default()
    })
}

fn count(count: DeviceCount) -> Service {
    gpus(DeviceRequest {
        count: Some(count),
        ..DeviceRequest::default()
    })
}

const CARDS: [&str; 5] = [
    "nvidia.com/gpu=0",
    "nvidia.com/gpu=1",
    "nvidia.com/gpu=GPU-aa",
    "nvidia.com/gpu=all",
    "v.com/c=x",
];

#[test]
fn counts_and_ids_are_names_of_the_machines_devices() {
    let facts = machine(&CARDS);
    assert_eq!(
        got(&count(DeviceCount::All), &facts, &[]),
        "nvidia.com/gpu=all"
    );
    assert_eq!(
        got(&count(DeviceCount::Number(2)), &facts, &[]),
        "nvidia.com/gpu=0 nvidia.com/gpu=1"
    );
    assert_eq!(got(&count(DeviceCount::Number(0)), &facts, &[]), "");
    assert_eq!(
        got(&ids("nvidia", &["1", "GPU-aa", "1"]), &facts, &[]),
        "nvidia.com/gpu=1 nvidia.com/gpu=GPU-aa"
    );
    assert_eq!(got(&ids("cdi", &["v.com/c=x"]), &facts, &[]), "v.com/c=x");
    assert_eq!(got(&ids("", &["v.com/c=x"]), &facts, &[]), "v.com/c=x");
    let three = got(&count(DeviceCount::Number(3)), &facts, &[]);
    assert!(
        three.starts_with("3 devices of `nvidia.com/gpu` are asked for, but this machine has 2"),
        "{three}"
    );
    let amd = machine(&["amd.com/gpu=a", "amd.com/gpu=b"]);
    assert_eq!(
        got(&count(DeviceCount::All), &amd, &[]),
        "amd.com/gpu=a amd.com/gpu=b"
    );
    assert_eq!(
        got(&count(DeviceCount::Number(1)), &amd, &[]),
        "amd.com/gpu=a"
    );
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let facts = machine(&CARDS);
    let told = got(&ids("", &["7"]), &facts, &[]);
    assert!(
        told.starts_with("this machine has no device `nvidia.com/gpu=7` | did you mean"),
        "{told}"
    );
    assert!(told.contains("nvidia.com/gpu=GPU-aa"), "{told}");
    let mut none = machine(&[]);
    let told = got(&count(DeviceCount::All), &none, &[]);
    assert!(
        told.contains("no file in /etc/cdi or /var/run/cdi describes the device `nvidia.com/gpu`"),
        "{told}"
    );
    assert!(
        told.contains("shows no /dev/nvidia*") && told.contains(DESCRIBE),
        "{told}"
    );
    none.devices.as_mut().unwrap().nvidia = vec!["/dev/nvidia0".into(), "/dev/nvidiactl".into()];
    let told = got(&count(DeviceCount::All), &none, &[]);
    assert!(
        told.contains("this machine has /dev/nvidia0, /dev/nvidiactl"),
        "{told}"
    );
    let service = |driver: &str, ability: &str| {
        gpus(DeviceRequest {
            driver: Some(driver.into()),
            capabilities: vec![ability.into()],
            ..DeviceRequest::default()
        })
    };
    let driver = got(&service("tpu", "gpu"), &facts, &[]);
    assert!(
        driver.starts_with("could not select device driver \"tpu\" with capabilities: [gpu, gpu]"),
        "{driver}"
    );
    assert!(got(&service("", "tpu"), &facts, &[]).starts_with("could not select device driver"));
    assert!(
        got(&service("cdi", "gpu"), &facts, &[]).starts_with("driver `cdi` takes devices by name")
    );
    assert!(got(&ids("cdi", &["0"]), &facts, &[]).contains("full name"));
    assert!(got(&ids("", &["../x=y"]), &facts, &[]).starts_with("device `../x=y`:"));
}

#[test]
fn an_image_chooses_among_gpus_only_where_the_user_lets_it() {
    let facts = machine(&CARDS);
    let runtime = |name: &str| Service {
        runtime: Some(Spanned::bare(name.to_owned())),
        ..Service::default()
    };
    let nvidia = runtime("nvidia");
    assert_eq!(
        got(&nvidia, &facts, &["NVIDIA_VISIBLE_DEVICES=0,GPU-aa"]),
        "nvidia.com/gpu=0 nvidia.com/gpu=GPU-aa"
    );
    assert_eq!(
        got(&nvidia, &facts, &["NVIDIA_VISIBLE_DEVICES=all"]),
        "nvidia.com/gpu=all"
    );
    for none in ["", "void", "none"] {
        assert_eq!(
            got(
                &nvidia,
                &facts,
                &[&format!("NVIDIA_VISIBLE_DEVICES={none}")]
            ),
            ""
        );
    }
    assert_eq!(got(&nvidia, &facts, &[]), "");
    assert_eq!(
        got(&runtime("runc"), &facts, &["NVIDIA_VISIBLE_DEVICES=all"]),
        ""
    );
    let told = got(&nvidia, &facts, &["NVIDIA_VISIBLE_DEVICES=v.com/c=x"]);
    assert!(
        told.starts_with("NVIDIA_VISIBLE_DEVICES: the name `v.com/c=x` must"),
        "{told}"
    );
}

#[test]
fn names_with_a_colon_survive_the_short_form() {
    let device = |source: &str, target: &str| DeviceSpec {
        source: source.into(),
        target: target.into(),
        permissions: "rwm".into(),
    };
    assert_eq!(
        full_name(&device("nvidia.com/gpu=0", "1")),
        Some("nvidia.com/gpu=0:1".into())
    );
    assert_eq!(
        full_name(&device("v.com/c=x", "v.com/c=x")),
        Some("v.com/c=x".into())
    );
    assert_eq!(full_name(&device("/dev/a=b", "/dev/a=b")), None);
}

#[test]
fn bad_entries_and_rules_are_faults() {
    let device = |source: &str, target: &str, permissions: &str| {
        Spanned::bare(DeviceSpec {
            source: source.into(),
            target: target.into(),
            permissions: permissions.into(),
        })
    };
    let service = Service {
        devices: vec![
            device("/dev/null", "/dev/x", "rw"),
            device("dev/null", "/dev/x", "rw"),
            device("/dev/null", "x", "rw"),
            device("/dev/null", "/dev/x", "q"),
            device("/dev/null", "/dev/x", ""),
            device("/dev/gone", "/dev/x", "r"),
        ],
        device_cgroup_rules: ["c 1:3 mr", "c 1:3", "x 1:3 r"]
            .map(|r| Spanned::bare(r.to_owned()))
            .to_vec(),
        ..Service::default()
    };
    let mut facts = Facts::default();
    facts
        .absent
        .insert("/dev/gone".into(), "this machine has no such device".into());
    let mut found = Diagnostics::default();
    assert_eq!(nodes(&service, &facts, &mut found).len(), 1);
    assert_eq!(found.iter().count(), 5);
    rules(&service, &mut found);
    assert_eq!(found.iter().count(), 7);
}

#[test]
fn other_runtimes_sockets_and_quotas_are_refused() {
    let mut found = Diagnostics::default();
    let mut service = Service {
        runtime: Some(Spanned::bare("runsc".to_owned())),
        use_api_socket: true,
        ..Service::default()
    };
    service.resources.storage.insert("size".into(), "1G".into());
    refusals(&service, &mut found);
    let told: Vec<_> = found.iter().map(|f| f.message.clone()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "unknown or invalid runtime name: runsc");
    for usual in USUAL {
        let mut found = Diagnostics::default();
        let runtime = Some(Spanned::bare(usual.to_owned()));
        refusals(
            &Service {
                runtime,
                ..Service::default()
            },
            &mut found,
        );
        assert!(found.is_empty(), "{usual}");
    }
}
