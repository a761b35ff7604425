//! Attacks through rights that a process keeps, or finds beside it.

use super::Canary;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    no_capability_is_inheritable_for_whom_it_could_be_passed_on,
    nothing_of_ours_listens_where_a_container_on_the_hosts_network_could_connect,
    files_that_tell_of_other_processes_are_masked,
);

/// CVE-2022-24769, CVE-2022-29162 (moby, runc): inheritable capabilities gave files with capabilities more than meant.
fn no_capability_is_inheritable_for_whom_it_could_be_passed_on() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN grep -E '^Cap(Inh|Amb)' /proc/self/status > /built\n",
    );
    let probe = "grep -E '^Cap(Inh|Amb)' /proc/self/status > /tmp/probed";
    hoist.compose(&format!(
        "services:\n  a: {{build: ., command: sleep 3600, stop_signal: SIGKILL, init: true, healthcheck: {{test: \"{probe}\", interval: 1s, \
         start_interval: 100ms, start_period: 60s}}}}\n  c: {{SLEEP, cap_add: [ALL]}}\n  p: {{SLEEP, privileged: true}}\n  \
         u: {{SLEEP, user: app, cap_add: [NET_ADMIN]}}\n"
    ));
    hoist.ok("up -d --build");
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000";
    for service in ["a", "c", "p", "u"] {
        for process in ["1", "self"] {
            let line = format!("grep -E '^Cap(Inh|Amb)' /proc/{process}/status");
            assert_eq!(hoist.sh(service, &line), none, "{service} {process}");
        }
        let raised = hoist.ok(&format!(
            "exec -T --privileged {service} grep -E '^Cap(Inh|Amb)' /proc/self/status"
        ));
        assert_eq!(raised.out.trim(), none, "exec --privileged in {service}");
    }
    assert_eq!(hoist.sh("a", "cat /built"), none, "of a build step");
    eventually("a probe has run", || {
        (hoist.exec("a", "cat /tmp/probed").out.trim() == none).then_some(())
    });
}

/// CVE-2020-15257 (containerd): an abstract socket of the runtime was open to every container on the host's network.
fn nothing_of_ours_listens_where_a_container_on_the_hosts_network_could_connect() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let sockets = || std::fs::read_to_string("/proc/net/unix").expect("there is one");
    let ports = || -> Vec<String> {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        let text = ["tcp", "tcp6", "udp", "udp6"].map(read).join("");
        let field = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
        let listens =
            |line: &&str| field(line, 3).is_some_and(|state| state == "0A" || state == "07");
        text.lines()
            .filter(listens)
            .filter_map(|line| field(line, 1))
            .collect()
    };
    let before = ports();
    hoist.compose("services:\n  h: {SLEEP, network_mode: host}\n  a: {SLEEP}\n  t: {SLEEP, tty: true, init: true}\n");
    hoist.ok("up -d");
    let seen = hoist.sh("h", "cat /proc/net/unix");
    let root = hoist.run_root();
    let root = root.parent().expect("the sandbox").to_string_lossy();
    let abstracts = |text: &str| -> Vec<String> {
        let names = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(7));
        names
            .filter(|name| name.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    for name in abstracts(&seen) {
        assert!(
            !name.contains("hoist") && !name.contains(&*root),
            "{name} is open to a container"
        );
    }
    // Those with a path are there for the host only: no container can reach the path.
    for line in sockets().lines().filter(|line| line.contains(&*root)) {
        let path = line.split_whitespace().nth(7).unwrap_or_default();
        assert_ne!(
            hoist.exec("h", &format!("test -e {path}")).code,
            0,
            "{path}"
        );
    }
    let new: Vec<_> = ports()
        .into_iter()
        .filter(|port| !before.contains(port))
        .collect();
    // The name server of a network is on the network's own address, not on all.
    let open = |port: &&String| {
        port.starts_with("00000000:") || port.starts_with("00000000000000000000000000000000:")
    };
    assert_eq!(new.iter().filter(open).count(), 0, "{new:?}");
    canary.sings();
}

/// GHSA-6fw5-f8r9-fgfm, GHSA-jq35-85cj-fj4p (moby): interrupts, heat and power tell what others compute.
fn files_that_tell_of_other_processes_are_masked() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP}\n  u: {SLEEP, security_opt: ['systempaths=unconfined']}\n",
    );
    hoist.ok("up -d");
    let files = "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi \
                 /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware /sys/devices/system/cpu/cpu*/thermal_throttle";
    let read = format!(
        "for f in {files}; do if [ -d $f ]; then ls -A $f; elif [ -e $f ]; then timeout 5 head -c 64 $f; fi; done"
    );
    assert_eq!(hoist.sh("a", &read), "");
    assert_ne!(
        hoist.exec("u", &read).out,
        "",
        "nothing is there to be hidden"
    );
    let write = "for f in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger; do [ -e $f ] || continue; \
                 grep -q \" $f .* ro,\" /proc/self/mountinfo || grep -q \" $f ro,\" /proc/self/mountinfo || echo $f is not read-only; done";
    assert_eq!(hoist.sh("a", write), "");
    // What covers them can't be taken away: that needs a right that is not there.
    for path in ["/proc/keys", "/sys/firmware", "/proc/sys"] {
        assert_ne!(hoist.exec("a", &format!("umount {path}")).code, 0, "{path}");
    }
}
