//! Volumes and what lies behind them: how long it lasts, what a part of one is, and what is refused before anything runs.

use std::path::{Path, PathBuf};

use crate::harness::{ENGINE, Sandbox, eventually, process};

crate::cases!(ENGINE;
    a_volume_with_the_option_bind_is_a_directory_of_the_host,
    a_volume_in_memory_lives_as_long_as_a_container_uses_it,
    a_volume_in_memory_is_gone_after_down_whatever_was_killed,
    a_server_that_does_not_answer_is_an_error_that_names_it,
    volumes_that_can_not_be_made_are_told_with_their_place_and_nothing_starts,
    a_volume_keeps_its_name_labels_and_data,
    a_volume_that_has_changed_keeps_its_data_unless_it_is_made_anew,
    an_external_volume_is_found_by_either_form_of_its_name,
    a_volume_that_others_use_stays_and_down_goes_on,
    labels_of_an_anonymous_volume_are_its_own,
    a_subpath_is_a_part_of_a_volume_and_nothing_else,
    an_image_can_be_mounted_whole_or_in_part,
    a_volume_without_copy_stays_empty,
    volumes_of_a_service_are_shared_with_another,
    volumes_of_a_container_of_another_project_are_shared,
    memory_has_the_options_asked_for,
);

/// Mounts of the host below a sandbox.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy().into_owned();
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    let lines = table.lines().filter(|line| line.contains(&dir));
    lines.map(str::to_owned).collect()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn a_volume_with_the_option_bind_is_a_directory_of_the_host() {
    let hoist = Sandbox::new();
    let dir = hoist.dir().join("data");
    let volume = |o: &str| {
        format!(
            "services:\n  a: {{SLEEP, volumes: ['vv:/seed']}}\nvolumes:\n  vv:\n    driver: local\n    \
             driver_opts: {{type: none, o: '{o}', device: {}}}\n",
            dir.display()
        )
    };
    hoist.compose(&volume("bind"));
    let done = hoist.run("up -d");
    done.code(1)
        .says("compose.yaml:6:")
        .says("does not exist")
        .says("mkdir -p");
    assert!(hoist.ps().is_empty() && hoist.volumes().is_empty());
    std::fs::create_dir(&dir).expect("the project is writable");
    hoist.ok("up -d");
    // As any empty volume, it gets what the image has there.
    assert_eq!(read(dir.join("grain")), "from the image\n");
    hoist.sh("a", "echo inside > /seed/new");
    assert_eq!(read(dir.join("new")), "inside\n");
    hoist.ok("down -v -t 0");
    assert!(hoist.volumes().is_empty());
    assert_eq!(read(dir.join("new")), "inside\n", "the host's files stay");
    hoist.compose(&volume("bind,ro,noexec"));
    hoist.ok("up -d");
    hoist.exec("a", "touch /seed/x").code(1).says("ead-only");
    let line = hoist.sh("a", "grep ' /seed ' /proc/mounts");
    assert!(line.contains("ro,") && line.contains("noexec"), "{line}");
}

fn a_volume_in_memory_lives_as_long_as_a_container_uses_it() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['mm:/seed']}\n  b: {SLEEP, volumes: ['mm:/m:ro']}\nvolumes:\n  mm:\n    driver_opts: \
         {type: tmpfs, device: tmpfs, o: 'size=1m,uid=1000,mode=0750,noexec'}\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "stat -c '%u %a' /seed; ls /seed"), "1000 750");
    assert_eq!(hoist.sh("a", "df -k /seed | awk 'END{print $2}'"), "1024");
    let line = hoist.sh("a", "grep ' /seed ' /proc/mounts");
    assert!(
        line.starts_with("tmpfs ") && line.contains("noexec"),
        "{line}"
    );
    hoist.sh("a", "echo shared > /seed/f");
    assert_eq!(hoist.sh("b", "cat /m/f"), "shared");
    hoist.exec("b", "touch /m/x").code(1).says("ead-only");
    hoist.ok("stop -t 0 a");
    assert_eq!(hoist.sh("b", "cat /m/f"), "shared");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /seed/f"), "shared");
    hoist.ok("stop -t 0");
    eventually("the memory is given back", || {
        mounts_below(&hoist.data()).is_empty().then_some(())
    });
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "ls /seed"), "", "it begins anew");
    hoist.ok("down -t 0");
    assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
}

fn a_volume_in_memory_is_gone_after_down_whatever_was_killed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['mm:/m']}\n  b: {SLEEP, volumes: ['mm:/m']}\nvolumes: {mm: {driver_opts: {type: tmpfs, device: \
         tmpfs}}}\n",
    );
    hoist.ok("up -d");
    let (supervisor, init) = (hoist.supervisor("a"), hoist.init("a"));
    process::kill_and_wait(supervisor);
    hoist.sh("b", "echo still > /m/f");
    // The next command finds it another supervisor, which lets go at the end.
    assert_eq!(hoist.sh("a", "cat /m/f"), "still");
    let supervisor = hoist.supervisor("a");
    process::kill_and_wait(supervisor);
    process::kill_and_wait(init);
    let supervisor = hoist.supervisor("b");
    process::kill_and_wait(supervisor);
    assert_eq!(mounts_below(&hoist.data()).len(), 1);
    hoist.ok("down -v -t 0");
    assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
    hoist.is_gone();
}

fn a_server_that_does_not_answer_is_an_error_that_names_it() {
    let hoist = Sandbox::new();
    // Nobody listens there: it was just free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    for (kind, device, o) in [
        ("nfs", ":/share", format!("addr=127.0.0.1,port={port},soft")),
        ("nfs4", "localhost:/share", format!("port={port}")),
        ("cifs", "//127.0.0.1/share", format!("port={port},user=x")),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, volumes: ['far:/far']}}\nvolumes: {{far: {{driver_opts: {{type: {kind}, device: '{device}', o: '{o}'}}}}}}\n"
        ));
        let begun = std::time::Instant::now();
        let done = hoist.run("up -d");
        done.code(1)
            .says(&format!("{}_far", hoist.name))
            .says(device)
            .says("server ")
            .says("compose.yaml:3:")
            .says("nothing listens at 127.0.0.1");
        assert!(begun.elapsed().as_secs() < 30);
        assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
        hoist.ok("down -v");
        hoist.is_gone();
    }
}

fn volumes_that_can_not_be_made_are_told_with_their_place_and_nothing_starts() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    volumes: ['vv:/v', 'ww:/w', 'xx:/x', 'yy:/y', 'zz:/z', {type: volume, source: vv, target: /s, \
         volume: {subpath: ../etc}}, {type: bind, source: ./gone, target: /g, bind: {create_host_path: false}}, {type: bind, source: ., \
         target: /r, bind: {recursive: readonly}}]\n    tmpfs: '/t:colour=red'\nvolumes:\n  vv:\n    driver: flocker\n  ww:\n    driver_opts:\n      \
         type: none\n      devise: /srv\n  xx:\n    driver_opts:\n      type: tmpfs\n      device: tmpfs\n      o: colour=red\n  yy:\n    name: \
         ../../y\n  zz:\n    driver_opts:\n      type: none\n      o: bind\n      device: here\n",
    );
    let done = hoist.run("up -d");
    done.code(1)
        .says("compose.yaml:8:13")
        .says("asks for driver `flocker`, but there is only `local`")
        .says("compose.yaml:12:15")
        .says("has the option `devise`, which is not known")
        .says("compose.yaml:17:10")
        .says("has `colour` in `o`, which tmpfs does not know")
        .says("has a name that no volume can have")
        .says("compose.yaml:24:15")
        .says("needs an absolute path as `device`, not `here`")
        .says("the subpath `../etc` must be relative")
        .says("bind source path does not exist")
        .says("`recursive: readonly` is for mounts that are read-only")
        .says("`colour=red` is not an option of a tmpfs");
    hoist.is_gone();
}

fn a_volume_keeps_its_name_labels_and_data() {
    let hoist = Sandbox::new();
    let file = |extra: &str| {
        format!(
            "services:\n  a: {{SLEEP, volumes: ['vv:/v']}}\nvolumes: {{vv: {{name: {}-own, labels: {{colour: red}}{extra}}}}}\n",
            hoist.name
        )
    };
    hoist.compose(&file(""));
    hoist.ok("up -d");
    hoist.sh("a", "echo kept > /v/f");
    let dir = hoist.data().join(format!("volumes/{}-own", hoist.name));
    assert_eq!(read(dir.join("_data/f")), "kept\n");
    assert!(read(dir.join("volume.json")).contains("\"colour\":\"red\""));
    hoist.ok("down -t 0");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /v/f"), "kept");
    hoist.ok("down -v -t 0");
    assert!(!dir.exists());
}

fn a_volume_that_has_changed_keeps_its_data_unless_it_is_made_anew() {
    let hoist = Sandbox::new();
    let file = |colour: &str| {
        format!(
            "services:\n  a: {{SLEEP, volumes: ['vv:/v']}}\nvolumes: {{vv: {{labels: {{colour: {colour}}}}}}}\n"
        )
    };
    hoist.compose(&file("red"));
    hoist.ok("up -d");
    hoist.sh("a", "echo kept > /v/f");
    let id = hoist.id("a");
    hoist.compose(&file("blue"));
    hoist
        .ok("up -d")
        .says("exists but doesn't match configuration");
    assert_eq!(hoist.sh("a", "cat /v/f"), "kept");
    assert_eq!(hoist.id("a"), id);
    // Who answers every question with yes has it made anew.
    hoist.ok("up -d -y");
    assert_eq!(hoist.sh("a", "ls /v"), "");
    assert_ne!(hoist.id("a"), id);
    let file = hoist
        .data()
        .join(format!("volumes/{}_vv/volume.json", hoist.name));
    assert!(read(file).contains("blue"));
    let id = hoist.id("a");
    hoist.ok("up -d -y");
    assert_eq!(hoist.id("a"), id);
}

fn an_external_volume_is_found_by_either_form_of_its_name() {
    let hoist = Sandbox::new();
    hoist.file(
        "owner/compose.yaml",
        format!(
            "name: {0}own\nservices:\n  a: {{image: tiny, command: 'true', volumes: ['vol:/v']}}\nvolumes: {{vol: {{name: {0}-shared}}}}\n",
            hoist.name
        ),
    );
    let owner = |words: &[&str]| hoist.global(&[&["-f", "owner/compose.yaml"], words].concat());
    owner(&["create"]).ok();
    let name = format!("{}-shared", hoist.name);
    for external in [
        format!("{{external: true, name: {name}}}"),
        format!("{{external: {{name: {name}}}}}"),
    ] {
        hoist.compose(&format!(
            "services:\n  b: {{SLEEP, volumes: ['vol:/v']}}\nvolumes: {{vol: {external}}}\n"
        ));
        hoist.ok("up -d");
        hoist.sh("b", "echo x >> /v/f");
        hoist.ok("down -v -t 0");
    }
    let file = hoist.data().join(format!("volumes/{name}/_data/f"));
    assert_eq!(read(file), "x\nx\n");
    owner(&["down", "-v"]).ok();
    hoist.compose(
        "services:\n  b: {SLEEP, volumes: ['vol:/v']}\nvolumes: {vol: {external: true}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:3:")
        .says("declared as external, but could not be found");
}

fn a_volume_that_others_use_stays_and_down_goes_on() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['busy:/b', 'free:/f']}\nvolumes: {busy: , free: }\n",
    );
    hoist.ok("up -d");
    hoist.file(
        "other/compose.yaml",
        format!(
            "name: {0}other\nservices:\n  o: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, volumes: ['bb:/b']}}\nvolumes: {{bb: \
             {{external: true, name: {0}_busy}}}}\n",
            hoist.name
        ),
    );
    hoist.global(&["-f", "other/compose.yaml", "up", "-d"]).ok();
    let done = hoist.run("down -v -t 0");
    done.says("busy").says("in use");
    let left: Vec<PathBuf> = hoist.volumes();
    let busy = hoist.data().join(format!("volumes/{}_busy", hoist.name));
    assert_eq!(left, [busy]);
    hoist
        .global(&["-f", "other/compose.yaml", "down", "-t", "0"])
        .ok();
    hoist.ok("down -v -t 0");
    assert!(hoist.volumes().is_empty());
}

fn labels_of_an_anonymous_volume_are_its_own() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: [{type: volume, target: /seed, volume: {labels: {colour: red}}}]}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /seed/grain"), "from the image");
    let [dir] = &hoist.volumes()[..] else {
        panic!("one volume");
    };
    let record: serde_json::Value =
        serde_json::from_str(&read(dir.join("volume.json"))).expect("it is JSON");
    assert!(
        record.to_string().contains("\"colour\":\"red\""),
        "{record}"
    );
    hoist.ok("rm -f -s -v");
    assert!(hoist.volumes().is_empty());
}

fn a_subpath_is_a_part_of_a_volume_and_nothing_else() {
    let hoist = Sandbox::new();
    let part = |path: &str| {
        hoist.compose(&format!(
            "services:\n  w: {{SLEEP, volumes: ['vol:/v']}}\n  s: {{SLEEP, profiles: [x], volumes: [{{type: volume, source: vol, target: /s, \
             volume: {{subpath: '{path}'}}}}]}}\nvolumes: {{vol: }}\n"
        ));
    };
    part("a/b");
    hoist.ok("up -d");
    hoist.sh(
        "w",
        "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s b /v/a/near; ln -s /etc /v/out; ln -s ../../../../etc /v/up",
    );
    for (path, line, text) in [
        ("a/b", "cat /s/f; ls /s", "deep\nf"),
        ("a/near", "cat /s/f", "deep"),
        ("a/b/f", "cat /s", "deep"),
    ] {
        part(path);
        hoist.ok("up -d s");
        assert_eq!(hoist.sh("s", line), text, "{path}");
        hoist.ok("rm -f -s s");
    }
    for (path, why) in [
        ("a/missing", "has no `a/missing` to mount: make it first"),
        ("out", "leads out of volume"),
        ("up", "leads out of volume"),
        ("../x", "must be relative and without `..`"),
        ("/a", "must be relative and without `..`"),
    ] {
        part(path);
        hoist.run("up -d s").code(1).says(why);
        hoist.ok("rm -f -s s");
    }
    hoist.exec("w", "ls /v/a/missing").code(1);
}

fn an_image_can_be_mounted_whole_or_in_part() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: [{type: image, source: tiny, target: /whole}, {type: image, source: tiny, target: /part, image: \
         {subpath: seed}}, {type: image, source: tiny, target: /one, image: {subpath: seed/grain}, read_only: true}]}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "cat /whole/seed/grain /part/grain /one; stat -c %u /part/grain"
        ),
        "from the image\nfrom the image\nfrom the image\n1000"
    );
    hoist.exec("a", "echo x > /one").code(1).says("ead-only");
    // What is written to the others is the container's own, and gone with it.
    let before = hoist.sh("a", "cat /seed/grain");
    let _ = hoist.exec("a", "echo x > /part/grain");
    assert_eq!(hoist.sh("a", "cat /seed/grain"), before);
    hoist.compose("services:\n  a: {SLEEP, volumes: [{type: image, source: tiny, target: /x, image: {subpath: gone}}]}\n");
    hoist.run("up -d").code(1).says("gone");
}

fn a_volume_without_copy_stays_empty() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['vv:/seed:nocopy']}\n  b: {SLEEP, volumes: [{type: volume, source: ww, target: /seed, volume: {nocopy: \
         true}}]}\n  c: {SLEEP, volumes: ['xx:/seed']}\nvolumes: {vv: , ww: , xx: }\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "ls /seed"), "");
    assert_eq!(hoist.sh("b", "ls /seed"), "");
    assert_eq!(hoist.sh("c", "ls /seed"), "grain");
}

fn volumes_of_a_service_are_shared_with_another() {
    let hoist = Sandbox::new();
    hoist.file("d/f", "bound\n");
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['vv:/v', './d:/d:ro', /seed, {type: tmpfs, target: /t}]}\n  b: {SLEEP, volumes_from: [a], volumes: \
         ['own:/d']}\n  c: {SLEEP, volumes_from: ['a:ro']}\n  d: {SLEEP, volumes_from: ['a:rw']}\nvolumes: {vv: , own: }\n",
    );
    hoist.ok("up -d");
    hoist.sh("a", "echo named > /v/f; echo anonymous > /seed/f");
    assert_eq!(
        hoist.sh("b", "cat /v/f /seed/f /seed/grain; ls /d"),
        "named\nanonymous\nfrom the image"
    );
    // As Compose: what a service gives is as writable as it is there.
    assert_eq!(
        hoist.sh("c", "cat /d/f; echo more >> /v/f; cat /v/f"),
        "bound\nnamed\nmore"
    );
    hoist.exec("c", "touch /d/x").code(1).says("ead-only");
    hoist.sh("d", "touch /seed/x");
    hoist.exec("d", "ls /t").code(1);
    hoist.ok("down -v -t 0");
    assert!(hoist.volumes().is_empty());
}

fn volumes_of_a_container_of_another_project_are_shared() {
    let hoist = Sandbox::new();
    let giver = format!("{}giver-a-1", hoist.name);
    hoist.compose(&format!(
        "services:\n  b: {{SLEEP, volumes_from: ['container:{giver}']}}\n  c: {{SLEEP, volumes_from: ['container:{giver}:ro']}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("container `{giver}`"))
        .says("compose.yaml:2:");
    hoist.file("giver/d/f", "bound\n");
    hoist.file(
        "giver/compose.yaml",
        format!(
            "name: {}giver\nservices:\n  a: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, volumes: ['vv:/v', './d:/d', /seed], tmpfs: /t}}\n\
             volumes: {{vv: }}\n",
            hoist.name
        ),
    );
    let with = |words: &[&str]| hoist.global(&[&["-f", "giver/compose.yaml"], words].concat());
    with(&["up", "-d"]).ok();
    with(&["exec", "-T", "a", "sh", "-c", "echo given > /v/f"]).ok();
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("b", "cat /v/f /d/f /seed/grain; touch /d/new /seed/new"),
        "given\nbound\nfrom the image"
    );
    assert!(hoist.dir().join("giver/d/new").exists());
    assert_eq!(hoist.sh("c", "cat /v/f; ls /seed"), "given\ngrain\nnew");
    hoist.exec("c", "touch /v/x").code(1).says("ead-only");
    hoist.exec("b", "ls /t").code(1);
    // The volumes are the giver's, and stay when those who share them go.
    hoist.ok("down -v -t 0");
    with(&["exec", "-T", "a", "cat", "/v/f", "/seed/new"]).ok();
    with(&["down", "-v", "-t", "0"]).ok();
    assert!(hoist.volumes().is_empty());
}

fn memory_has_the_options_asked_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, tmpfs: ['/plain', '/run:size=10m,uid=1000,gid=1001,mode=0711,exec', '/seed/part:ro'], volumes: [{type: tmpfs, \
         target: /t, tmpfs: {size: 65536, mode: 0700}}]}\n",
    );
    hoist.ok("up -d");
    let options = |at: &str| hoist.sh("a", &format!("grep ' {at} ' /proc/mounts"));
    for word in ["rw", "nosuid", "nodev", "noexec"] {
        assert!(options("/plain").contains(word), "{}", options("/plain"));
    }
    assert!(!options("/run").contains("noexec"), "{}", options("/run"));
    assert_eq!(
        hoist.sh("a", "stat -c '%u %g %a' /plain /run /t"),
        "0 0 1777\n1000 1001 711\n0 0 700"
    );
    assert_eq!(
        hoist.sh("a", "df -k /run /t | awk 'NR>1{print $2}'"),
        "10240\n64"
    );
    hoist
        .exec("a", "touch /seed/part/x")
        .code(1)
        .says("ead-only");
    hoist.sh("a", "cp /bin/busybox /run/busybox; /run/busybox true");
    hoist
        .exec("a", "cp /bin/busybox /plain/busybox; /plain/busybox true")
        .code(126);
    hoist
        .exec("a", "dd if=/dev/zero of=/t/big bs=1k count=100")
        .code(1);
}
