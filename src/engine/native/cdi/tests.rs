//! Directories of descriptions: what is found, what wins, what is refused.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Directories that go with the value.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-cdi-{name}-{}", std::process::id()));
        for part in ["etc", "run"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        Self(dir)
    }
    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.join(path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
    fn dirs(&self) -> Vec<PathBuf> {
        vec![self.0.join("etc"), self.0.join("run"), self.0.join("gone")]
    }
    fn names(&self) -> Vec<String> {
        let all = catalog(&self.dirs()).devices;
        all.iter()
            .map(|(name, fault)| format!("{name}{}", if fault.is_some() { "!" } else { "" }))
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn names(text: &str) -> Vec<DeviceName> {
    text.split(' ')
        .map(|name| DeviceName::parse(name).unwrap())
        .collect()
}

fn spec(kind: &str, device: &str, value: &str) -> String {
    format!(
        "cdiVersion: 0.6.0\nkind: {kind}\ncontainerEdits: {{env: [ALL={value}]}}\ndevices:\n- name: {device}\n  containerEdits:\n    \
         env: [ONE={value}]\n"
    )
}

#[test]
fn the_later_directory_wins_and_two_files_of_one_are_a_conflict() {
    let bench = Bench::new("wins");
    bench.file("etc/a.yaml", &spec("v.com/c", "x", "etc"));
    bench.file("run/b.json", r#"{"cdiVersion":"1.0.0","kind":"v.com/c","devices":[{"name":"x","containerEdits":{"env":["ONE=run"]}}]}"#);
    bench.file("etc/c.yaml", &spec("v.com/d", "x", "c"));
    bench.file("etc/d.yaml", &spec("v.com/d", "x", "d"));
    bench.file("etc/e.yml", &spec("v.com/yml", "x", "e"));
    assert_eq!(bench.names(), ["v.com/c=x", "v.com/d=x!"]);
    assert_eq!(
        resolve(&bench.dirs(), &names("v.com/c=x")).unwrap().env,
        ["ONE=run"]
    );
    let told = resolve(&bench.dirs(), &names("v.com/d=x"))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("c.yaml and") && told.contains("describe it"),
        "{told}"
    );
    // Where a later directory describes it, the conflict is settled.
    bench.file("run/d.yaml", &spec("v.com/d", "x", "run"));
    assert_eq!(bench.names(), ["v.com/c=x", "v.com/d=x"]);
}

#[test]
fn edits_of_the_file_come_once_and_before_those_of_its_devices() {
    let bench = Bench::new("once");
    bench.file(
        "etc/a.yaml",
        "cdiVersion: 0.7.0\nkind: v.com/c\ncontainerEdits:\n  env: [S=1]\n  additionalGids: [0, 44]\n  mounts: [{hostPath: /a, \
         containerPath: /x/y}]\ndevices:\n- {name: a, containerEdits: {env: [A=1], mounts: [{hostPath: /b, containerPath: /x}]}}\n- {name: b, \
         containerEdits: {mounts: [{hostPath: /c, containerPath: /x/y, options: [ro]}], deviceNodes: [{path: /dev/null, permissions: none}]}}\n",
    );
    let got = resolve(&bench.dirs(), &names("v.com/c=a v.com/c=b")).unwrap();
    assert_eq!(
        (got.env, got.groups),
        (vec!["S=1".to_owned(), "A=1".into()], vec![44])
    );
    let mounts: Vec<_> = got
        .mounts
        .iter()
        .map(|m| (m.host_path.to_str().unwrap(), m.container_path.as_str()))
        .collect();
    assert_eq!(mounts, [("/b", "/x"), ("/c", "/x/y")]);
    let told = resolve(&bench.dirs(), &names("v.com/c=z"))
        .unwrap_err()
        .to_string();
    assert!(told.contains("`v.com/c=z` is not described in"), "{told}");
}

#[test]
fn a_file_that_is_wrong_is_left_out_and_told() {
    let bench = Bench::new("wrong");
    let edits = "containerEdits: {env: [A=1]}";
    for (at, (text, told)) in [
        ("cdiVersion: 9.9.9\nkind: v.com/c\ndevices: [{name: x, containerEdits: {env: [A=1]}}]", "`9.9.9` is not known"),
        ("kind: v.com/c\ndevices: []", "missing field `cdiVersion`"),
        ("cdiVersion: 0.3.0\nkind: c\ndevices: []", "not like `vendor.com/class`"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: []", "describes no device"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x}]", "containerEdits are empty"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: -x, EDITS}]", "must start and end"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, EDITS}, {name: x, EDITS}]", "there twice"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\nfoo: 1\ndevices: [{name: x, EDITS}]", "unknown field `foo`"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {env: [=a]}}]", "not like NAME=value"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {deviceNodes: [{path: a}]}}]", "absolute"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {deviceNodes: [{path: /a, type: q}]}}]", "none of b, c, u, p"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {deviceNodes: [{path: /a, major: -1}]}}]", "-1"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {hooks: [{hookName: never, path: /a}]}}]", "never"),
        ("cdiVersion: 0.3.0\nkind: v.com/c\ndevices: [{name: x, containerEdits: {hooks: [{hookName: poststop, path: a}]}}]", "absolute"),
        ("[1", "line"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = bench.file(&format!("etc/{at}.yaml"), &text.replace("EDITS", edits));
        let found = catalog(&bench.dirs());
        assert!(found.devices.is_empty(), "{text}");
        assert!(found.faults.iter().any(|fault| fault.contains(told)), "{text}: {:?}", found.faults);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_file_or_directory_that_others_may_change_is_not_used() {
    let bench = Bench::new("guard");
    let path = bench.file("etc/a.yaml", &spec("v.com/c", "x", "1"));
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(bench.names(), ["v.com/c=x"]);
    mode(&path, 0o666);
    assert!(bench.names().is_empty());
    mode(&path, 0o644);
    mode(&bench.0.join("etc"), 0o777);
    assert!(bench.names().is_empty());
    assert!(catalog(&bench.dirs()).faults[0].contains("chmod go-w"));
    mode(&bench.0.join("etc"), 0o755);
    nix::unistd::mkfifo(
        &bench.0.join("etc/pipe.yaml"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    assert_eq!(bench.names(), ["v.com/c=x"]);
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(bench.names().is_empty());
    }
}

#[test]
fn what_cannot_be_set_up_is_known_before_the_start() {
    let bench = Bench::new("rdt");
    bench.file(
        "etc/a.yaml",
        "cdiVersion: 1.1.0\nkind: v.com/c\ndevices:\n- {name: x, containerEdits: {intelRdt: {closID: a}}}\n- {name: y, containerEdits: \
         {netDevices: [{hostInterfaceName: a, name: b}]}}\n- {name: z, containerEdits: {env: [A=1]}}\n",
    );
    assert_eq!(bench.names(), ["v.com/c=x!", "v.com/c=y!", "v.com/c=z"]);
    assert!(
        resolve(&bench.dirs(), &names("v.com/c=x"))
            .unwrap_err()
            .to_string()
            .contains("intelRdt")
    );
}
