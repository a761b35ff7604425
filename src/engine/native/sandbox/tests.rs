//! A step without the process between. They need root and a static busybox.

use super::*;
use crate::engine::sandbox::{SandboxMount, SandboxSource};
use crate::engine::spec::{HostAddr, Process};
use crate::image::digest::Digest;
use crate::sys::clone::in_fork;
use std::fs;
use std::path::Path;

fn spec(dir: &Path, script: &str) -> SandboxSpec {
    let args = ["/bin/busybox", "sh", "-c", script]
        .map(str::to_owned)
        .to_vec();
    SandboxSpec {
        id: format!("{:012x}", std::process::id()),
        layers: vec![Digest::of(b"layer")],
        upper: dir.join("upper"),
        work: dir.join("work"),
        process: Process {
            args,
            ..Process::default()
        },
        network: SandboxNetwork::None,
        mounts: vec![SandboxMount {
            target: "/run/secrets/key".into(),
            source: SandboxSource::Bytes {
                content: b"s3cret\n".to_vec(),
                uid: 0,
                gid: 0,
                mode: 0o400,
            },
            read_only: true,
        }],
        hostname: "step".into(),
        extra_hosts: vec![("there".into(), HostAddr::Ip(IpAddr::from([1, 2, 3, 4])))],
        shm_size: None,
        limits: Resources::default(),
        ulimits: Default::default(),
        insecure: false,
        devices: Vec::new(),
        device_dirs: Vec::new(),
    }
}

/// What [`main`] does, without the process between.
fn run(dir: &Path, spec: SandboxSpec) -> Result<i32> {
    let (data, run) = (dir.to_owned(), dir.to_owned());
    let parent = nix::unistd::getppid().as_raw();
    let order = Order {
        spec,
        data,
        run,
        parent,
    };
    let signals = SignalFd::new(&SigSet::empty()).unwrap();
    let roots = Roots {
        data: dir.to_owned(),
        run: dir.to_owned(),
    };
    let network = connect(&roots, &order.spec)?;
    let id = format!("step-test-{}", std::process::id());
    let spec = container(&order.spec);
    let cgroup = make_cgroup(&id, &order.spec, &spec, None)?;
    let run = Run {
        order: &order,
        spec: &spec,
        edits: None,
        cgroup: &cgroup,
        signals: &signals,
    };
    let ended = run.step(network);
    end(&cgroup).and_then(|()| cgroup.remove())?;
    ended.map(|ended| ended.code)
}

#[test]
fn a_step_leaves_only_what_it_wrote_itself() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/busybox").exists() {
        eprintln!("skipped: needs root and /usr/bin/busybox");
        return;
    }
    let dir = std::env::temp_dir().join(format!("hoist-step-{}", std::process::id()));
    let layer = dir.join("layers").join(Digest::of(b"layer").hex());
    for part in [
        layer.join("bin"),
        layer.join("etc"),
        dir.join("upper"),
        dir.join("work"),
    ] {
        fs::create_dir_all(part).unwrap();
    }
    fs::copy("/usr/bin/busybox", layer.join("bin/busybox")).unwrap();
    let code = in_fork(|| {
        let script = "b=/bin/busybox; [ $($b cat /run/secrets/key) = s3cret ] || exit 1; \
             $b grep -q 1.2.3.4 /etc/hosts || exit 2; echo made > /file; exit 7";
        assert_eq!(run(&dir, spec(&dir, script)).unwrap(), 7);
        let mut left: Vec<_> = fs::read_dir(dir.join("upper"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["file"]);
        let script = "/bin/busybox touch /etc/mine; /bin/busybox rm -rf /run/secrets; \
             /bin/busybox mkdir /run/kept; exit 0";
        assert_eq!(run(&dir, spec(&dir, script)).unwrap(), 0);
        assert!(dir.join("upper/etc/mine").exists());
        assert!(!dir.join("upper/etc/hosts").exists());
        assert!(dir.join("upper/run/kept").exists());
        let mut missing = spec(&dir, "");
        missing.process.args = vec!["nope".into()];
        assert!(matches!(
            run(&dir, missing),
            Err(EngineError::CannotRun { code: 127, .. })
        ));
        0
    });
    let _ = fs::remove_dir_all(&dir);
    assert_eq!(code, 0, "see the output above");
}
