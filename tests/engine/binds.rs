//! Bind mounts: whose a missing source becomes, what of the mounts below is shown, how later ones spread, whose files they are.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_missing_source_belongs_to_the_user_of_the_service,
    mounts_below_are_shown_and_read_only_as_asked,
    later_mounts_spread_as_the_propagation_says,
    a_propagation_that_can_not_be_is_told,
    a_socket_and_a_device_can_be_bound,
    hints_of_a_mount_change_nothing_here,
    users_are_mapped_to_those_of_the_host,
    a_file_system_whose_users_can_not_be_mapped_is_named,
);

/// Mounts of the host that end with a case.
struct Host(Vec<PathBuf>);

impl Host {
    fn mount(&mut self, what: &str, kind: Option<&str>, at: &Path, flags: MsFlags) {
        let done = mount(Some(what), at, kind, flags, None::<&str>);
        done.unwrap_or_else(|errno| panic!("mount {what} on {}: {errno}", at.display()));
        self.0.push(at.to_owned());
    }
    /// A directory that is a mount by itself, shared with nobody or with peers.
    fn own(&mut self, dir: &Path, spread: MsFlags) {
        std::fs::create_dir_all(dir).expect("the project is writable");
        self.mount(&dir.to_string_lossy(), None, dir, MsFlags::MS_BIND);
        mount(None::<&str>, dir, None::<&str>, spread, None::<&str>)
            .expect("a mount can be shared");
    }
    fn tmpfs(&mut self, at: &Path) {
        std::fs::create_dir_all(at).expect("the project is writable");
        self.mount("tmpfs", Some("tmpfs"), at, MsFlags::empty());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for at in self.0.iter().rev() {
            // The check for what is left tells of one that stays.
            let _ = umount2(at, MntFlags::MNT_DETACH);
        }
    }
}

fn a_missing_source_belongs_to_the_user_of_the_service() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nUSER app\n");
    hoist.compose(
        "services:\n  a: {SLEEP, user: app, volumes: ['./new/deep:/d']}\n  b: {SLEEP, user: '77:78', volumes: ['./number:/d']}\n  c: {SLEEP, volumes: \
         ['./root:/d']}\n  d: {build: ., command: sleep 3600, stop_signal: SIGKILL, volumes: ['./image:/d']}\n",
    );
    hoist.ok("up -d --build");
    let owner = |path: &str| {
        let meta = hoist.dir().join(path).metadata().expect("it was made");
        (meta.uid(), meta.gid(), meta.permissions().mode() & 0o777)
    };
    assert_eq!(owner("new"), (1000, 1000, 0o755));
    assert_eq!(owner("new/deep"), (1000, 1000, 0o755));
    assert_eq!(owner("number"), (77, 78, 0o755));
    assert_eq!(owner("root"), (0, 0, 0o755));
    assert_eq!(owner("image"), (1000, 1000, 0o755));
    for service in ["a", "b", "c", "d"] {
        hoist.sh(service, "touch /d/written");
    }
    let there = hoist.dir().metadata().expect("it is there").uid();
    assert_eq!(there, 0, "what was there keeps its owner");
}

fn mounts_below_are_shown_and_read_only_as_asked() {
    let hoist = Sandbox::new();
    let mut host = Host(Vec::new());
    let dir = hoist.dir().join("d");
    host.own(&dir, MsFlags::MS_PRIVATE);
    host.tmpfs(&dir.join("below"));
    std::fs::write(dir.join("below/f"), "below\n").expect("it is writable");
    let bind = |at: &str, recursive: &str, read_only: bool| {
        format!(
            "{{type: bind, source: ./d, target: {at}, read_only: {read_only}, bind: {{recursive: {recursive}}}}}"
        )
    };
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, volumes: [{}, {}, {}, {}, {}]}}\n",
        bind("/rw", "enabled", false),
        bind("/ro", "enabled", true),
        bind("/alone", "disabled", false),
        bind("/half", "writable", true),
        bind("/forced", "readonly", true),
    ));
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "cat /rw/below/f /ro/below/f /half/below/f /forced/below/f"
        ),
        "below\nbelow\nbelow\nbelow"
    );
    assert_eq!(hoist.sh("a", "ls /alone/below"), "");
    hoist.sh("a", "touch /rw/x /rw/below/x /alone/x /half/below/y");
    for place in ["/ro", "/ro/below", "/half", "/forced", "/forced/below"] {
        hoist
            .exec("a", &format!("touch {place}/z"))
            .code(1)
            .says("ead-only");
    }
    hoist.ok("down -t 0");
}

fn later_mounts_spread_as_the_propagation_says() {
    let hoist = Sandbox::new();
    let mut host = Host(Vec::new());
    let dir = hoist.dir().join("d");
    host.own(&dir, MsFlags::MS_SHARED);
    let kinds = [
        "private", "rprivate", "shared", "rshared", "slave", "rslave",
    ];
    let services: String = kinds
        .iter()
        .map(|kind| {
            format!(
                "  {kind}: {{SLEEP, cap_add: [SYS_ADMIN], security_opt: ['apparmor=unconfined'], volumes: [{{type: bind, source: ./d, target: /d, \
                 bind: {{propagation: {kind}}}}}]}}\n"
            )
        })
        .collect();
    hoist.compose(&format!(
        "services:\n{services}  short: {{SLEEP, volumes: ['./d:/d:rslave']}}\n  none: {{SLEEP, volumes: ['./d:/d']}}\n"
    ));
    for kind in kinds {
        std::fs::create_dir(dir.join(kind)).expect("it is writable");
    }
    hoist.ok("up -d");
    host.tmpfs(&dir.join("later"));
    std::fs::write(dir.join("later/f"), "spread").expect("it is writable");
    let sees = |service: &str| hoist.exec(service, "cat /d/later/f").code == 0;
    for (service, wanted) in [
        ("private", false),
        ("rprivate", false),
        ("shared", true),
        ("rshared", true),
        ("slave", true),
        ("rslave", true),
        ("short", true),
        ("none", false),
    ] {
        assert_eq!(
            sees(service),
            wanted,
            "{service} sees a later mount of the host"
        );
    }
    // And the other way: what a container mounts comes out only where it is shared.
    for kind in kinds {
        hoist.sh(
            kind,
            &format!("mount -t tmpfs tmpfs /d/{kind}; touch /d/{kind}/made"),
        );
        let came_out = dir.join(kind).join("made").exists();
        assert_eq!(came_out, kind.ends_with("shared"), "{kind}");
        if came_out {
            host.0.push(dir.join(kind));
        }
    }
    hoist.ok("down -t 0");
    drop(host);
    eventually("nothing is mounted any more", || {
        super::volumes::mounts_below(&dir).is_empty().then_some(())
    });
}

fn a_propagation_that_can_not_be_is_told() {
    let hoist = Sandbox::new();
    let mut host = Host(Vec::new());
    let dir = hoist.dir().join("d");
    host.own(&dir, MsFlags::MS_PRIVATE);
    for (kind, word) in [
        ("rshared", "shared"),
        ("shared", "shared"),
        ("slave", "slave"),
        ("rslave", "slave"),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, volumes: ['./d:/d:{kind}']}}\n"
        ));
        hoist
            .run("up -d")
            .code(1)
            .says(&format!("is to be {word}"))
            .says("not shared")
            .says(&format!(
                "mount --make-shared {}",
                dir.canonicalize().expect("it is there").display()
            ));
    }
    hoist.compose("services:\n  a: {SLEEP, volumes: [{type: bind, source: ./d, target: /d, bind: {propagation: sideways}}]}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says("propagation");
}

fn a_socket_and_a_device_can_be_bound() {
    let hoist = Sandbox::new();
    let socket = hoist.dir().join("s.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("the path is short");
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['./s.sock:/run/s.sock', '/dev/null:/run/null']}\n",
    );
    hoist.ok("up -d");
    hoist.sh(
        "a",
        "test -S /run/s.sock && test -c /run/null && echo x > /run/null",
    );
}

/// `consistency` is for hosts of another kind, `selinux` for those that have it on.
fn hints_of_a_mount_change_nothing_here() {
    let hoist = Sandbox::new();
    hoist.file("d/f", "same\n");
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['./d:/a:z', './d:/b:Z,ro', './d:/c:cached', {type: bind, source: ./d, target: /d, consistency: delegated, \
         bind: {selinux: z}}]}\n",
    );
    let done = hoist.ok("up -d");
    let guarded = Path::new("/sys/fs/selinux/enforce").exists();
    assert_eq!(
        done.all().contains("relabelled"),
        guarded,
        "{}",
        done.story()
    );
    assert_eq!(
        hoist.sh("a", "cat /a/f /b/f /c/f /d/f"),
        "same\nsame\nsame\nsame"
    );
    hoist.exec("a", "touch /b/x").code(1).says("ead-only");
}

fn users_are_mapped_to_those_of_the_host() {
    let hoist = Sandbox::new();
    let dir = hoist.dir().join("d");
    std::fs::create_dir(&dir).expect("the project is writable");
    std::fs::write(dir.join("theirs"), "x").expect("it is writable");
    std::fs::write(dir.join("roots"), "x").expect("it is writable");
    for path in [&dir, &dir.join("theirs")] {
        std::os::unix::fs::chown(path, Some(4321), Some(4322)).expect("root may");
    }
    let service = |user: &str, map: &str| {
        format!(
            "{{SLEEP, user: '{user}', volumes: [{{type: bind, source: ./d, target: /d, x-hoist: {{idmap: '{map}'}}}}]}}"
        )
    };
    hoist.compose(&format!(
        "services:\n  a: {}\n  r: {}\n  n: {}\n  made: {{SLEEP, user: app, volumes: [{{type: bind, source: ./d/new, target: /n, bind: {{create_host_path: \
         true}}, x-hoist: {{idmap: host-user}}}}]}}\n",
        service("app", "host-user"),
        service("0", "host-user"),
        service("app", "55:56"),
    ));
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "stat -c '%u %g' /d /d/theirs /d/roots; id -u; touch /d/by-app"
        ),
        "1000 1000\n1000 1000\n0 0\n1000"
    );
    hoist.sh("r", "touch /d/by-root");
    hoist.sh("made", "touch /n/f");
    let owner = |name: &str| {
        let meta = dir.join(name).metadata().expect("it was made");
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner("by-app"), (4321, 4322));
    assert_eq!(owner("by-root"), (4321, 4322));
    assert_eq!(owner("roots"), (0, 0));
    assert_eq!(owner("new"), (4321, 4322));
    assert_eq!(owner("new/f"), (4321, 4322));
    // To the user of another number the directory is a stranger's.
    assert_eq!(hoist.sh("n", "stat -c '%u %g' /d"), "4321 4322");
    hoist.exec("n", "touch /d/by-another").code(1);
    hoist.compose("services:\n  a: {SLEEP, volumes: [{type: tmpfs, target: /d, x-hoist: {idmap: host-user}}]}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says("is for mounts of type `bind`");
    for (map, why) in [("nobody", "compose.yaml:2:"), ("1:2:3", "compose.yaml:2:")] {
        hoist.compose(&format!("services:\n  a: {}\n", service("app", map)));
        hoist.run("up -d").code(1).says(why).says("host-user");
    }
}

fn a_file_system_whose_users_can_not_be_mapped_is_named() {
    let hoist = Sandbox::new();
    // No kernel maps the users of /proc.
    hoist.compose(
        "services:\n  a: {SLEEP, user: app, volumes: [{type: bind, source: /proc/sys/kernel, target: /d, x-hoist: {idmap: host-user}}]}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("x-hoist.idmap of /proc/sys/kernel")
        .says("(proc)");
}
