//! The AppArmor profile of containers, where the kernel has AppArmor: who gets which, and what the default one denies.

use crate::attacks::probe;
use crate::harness::{Need, Sandbox, leftovers::children, with_input};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program("cc"), Need::AppArmor];
    the_default_profile_holds_every_process_and_denies_what_dockers_does,
    a_service_names_another_profile_or_none,
);

/// The label of a process of a service.
fn label(hoist: &Sandbox, service: &str, process: &str) -> String {
    hoist.sh(
        service,
        &format!("cat /proc/{process}/attr/apparmor/current"),
    )
}

/// How often the default profile is loaded.
fn loaded() -> usize {
    let profiles = std::path::Path::new("/sys/kernel/security/apparmor/policy/profiles");
    let names = children(profiles);
    names
        .iter()
        .filter(|path| path.to_string_lossy().contains("/hoist-default."))
        .count()
}

const DEFAULT: &str = "hoist-default (enforce)";

fn the_default_profile_holds_every_process_and_denies_what_dockers_does() {
    let hoist = Sandbox::new();
    probe(&hoist);
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN cat /proc/self/attr/apparmor/current > /built\n",
    );
    hoist.compose(
        "services:\n  d: {build: ., command: sleep 3600, stop_signal: SIGKILL, volumes: ['./probe:/probe:ro'], healthcheck: {test: \
         'cat /proc/self/attr/apparmor/current > /probed', interval: 1s, start_period: 600s, start_interval: 200ms}}\n  \
         i: {SLEEP, init: true, security_opt: [no-new-privileges, apparmor=docker-default]}\n  admin: {SLEEP, cap_add: [ALL]}\n",
    );
    hoist.ok("up -d --build --wait");
    assert_eq!(loaded(), 1);
    for service in ["d", "i", "admin"] {
        assert_eq!(label(&hoist, service, "1"), DEFAULT, "{service}");
        assert_eq!(label(&hoist, service, "self"), DEFAULT, "exec in {service}");
    }
    assert_eq!(hoist.sh("d", "cat /probed"), DEFAULT, "of a probe");
    assert_eq!(hoist.sh("d", "cat /built"), DEFAULT, "of a build step");
    let raised = hoist.ok("exec -T --privileged d cat /proc/self/attr/apparmor/current");
    assert_eq!(raised.out.trim(), DEFAULT, "of exec --privileged");
    // With every capability, the profile is what is left.
    for line in [
        "mkdir -p /m; mount -t tmpfs none /m",
        "mount -o remount,rw /sys",
        "umount /proc/sysrq-trigger; echo h > /proc/sysrq-trigger",
        "umount /proc/sys; echo x > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/vm/drop_caches",
        "umount /proc/kcore; head -c1 /proc/kcore",
        "umount /sys/firmware; ls /sys/firmware/acpi",
        "cat /sys/kernel/security/apparmor/profiles",
        "echo x > /proc/timer_stats_of_nobody",
    ] {
        assert_ne!(hoist.exec("admin", line).code, 0, "{line}");
    }
    for (service, line) in [
        ("admin", "umount /proc/keys"),
        (
            "admin",
            "cat /proc/sys/kernel/shmmax > /proc/sys/kernel/shmmax",
        ),
        (
            "d",
            "echo 0 > /proc/self/oom_score_adj; echo x > /proc/self/comm",
        ),
        ("d", "sleep 100 & kill $!"),
    ] {
        hoist.exec(service, line).ok();
    }
    let call = |call: &str| {
        hoist
            .run(&format!("exec -T d /probe {call}"))
            .out
            .trim()
            .to_owned()
    };
    // socketcall(SYS_SOCKET): the filter leaves it to the profile, which knows families.
    if call("32 20").parse::<i32>().is_ok_and(|pid| pid > 0) {
        assert_eq!(call("32 102 1 :38,5,0"), "-13", "AF_ALG");
        assert_eq!(call("32 102 1 :40,1,0"), "-13", "AF_VSOCK");
        assert!(
            call("32 102 1 :2,1,0")
                .parse::<i32>()
                .is_ok_and(|fd| fd > 2),
            "TCP"
        );
    }
    // One that somebody takes away is loaded again.
    with_input(
        "apparmor_parser",
        &["--remove"],
        b"profile hoist-default {}",
    )
    .ok();
    assert_eq!(loaded(), 0);
    hoist.ok("up -d --force-recreate i");
    assert_eq!(label(&hoist, "i", "1"), DEFAULT);
}

fn a_service_names_another_profile_or_none() {
    /// A profile of the machine, for as long as the case runs.
    struct Profile;
    impl Drop for Profile {
        fn drop(&mut self) {
            drop(with_input(
                "apparmor_parser",
                &["--remove"],
                b"profile hst-other {}",
            ));
        }
    }
    let rules = b"profile hst-other flags=(attach_disconnected) {\n  network, capability, file, umount, mount, signal, ptrace,\n  deny /secret rw,\n}\n";
    with_input("apparmor_parser", &["--skip-cache", "--replace"], rules).ok();
    let _profile = Profile;
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  o: {SLEEP, security_opt: [apparmor=hst-other]}\n  q: {SLEEP, privileged: true, security_opt: ['apparmor:hst-other']}\n  \
         u: {SLEEP, cap_add: [SYS_ADMIN], security_opt: [apparmor=unconfined]}\n  p: {SLEEP, privileged: true}\n",
    );
    hoist.ok("up -d");
    for (service, want) in [
        ("o", "hst-other (enforce)"),
        ("q", "hst-other (enforce)"),
        ("u", "unconfined"),
        ("p", "unconfined"),
    ] {
        assert_eq!(label(&hoist, service, "1"), want, "{service}");
        assert_eq!(label(&hoist, service, "self"), want, "exec in {service}");
    }
    assert_ne!(hoist.exec("o", "echo x > /secret").code, 0);
    hoist.exec("o", "echo x > /public").ok();
    for service in ["u", "p"] {
        hoist.exec(service, "mkdir /m; mount -t tmpfs none /m").ok();
    }
    hoist.compose("services:\n  o: {SLEEP, security_opt: [apparmor=hst-gone]}\n");
    hoist
        .run("up -d --remove-orphans")
        .code(1)
        .says("AppArmor profile `hst-gone` is not loaded");
}
