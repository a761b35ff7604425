//! What is listed of a project that lies in a directory which stands for what was fetched.

use std::sync::Arc;

use super::*;
use crate::base::env::Env;
use crate::compose::remote::{Fetch, FetchError, Fetched, RemoteRef};
use crate::compose::{LoadRequest, load};

#[derive(Debug)]
struct At(PathBuf);

impl Fetch for At {
    fn fetch(&self, _: &RemoteRef) -> Result<Fetched, FetchError> {
        Ok(Fetched {
            root: self.0.clone(),
            entry: String::new(),
            pin: "1b2c".to_owned(),
            name: "there#1b2c".to_owned(),
        })
    }
}

/// The list for a remote file, and a local one that includes it.
fn listed(name: &str, remote: &str, local: &str) -> Vec<String> {
    let dir = std::env::temp_dir().join(format!("hoist-risk-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let (there, here) = (dir.join("there"), dir.join("here"));
    for dir in [&there, &here] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::os::unix::fs::symlink("/etc", there.join("etc")).unwrap();
    std::fs::write(there.join("compose.yaml"), remote).unwrap();
    std::fs::write(here.join("compose.yaml"), local).unwrap();
    let request = LoadRequest {
        remote: Some(Arc::new(At(there.clone()))),
        ..LoadRequest::default()
    };
    let env = Env {
        cwd: here,
        ..Env::default()
    };
    let project = load(&request, &env).unwrap_or_else(|error| panic!("{error}"));
    let there = there.display().to_string();
    let found = risks(&project);
    std::fs::remove_dir_all(&dir).unwrap();
    found
        .iter()
        .map(|item| item.replace(&there, "THERE"))
        .collect()
}

#[test]
fn what_reaches_the_host_is_listed() {
    let remote = "services:
  a:
    image: x
    privileged: true
    cap_add: [SYS_ADMIN]
    security_opt: ['seccomp:unconfined']
    network_mode: host
    pid: host
    ipc: host
    uts: host
    cgroup: host
    userns_mode: host
    devices: ['/dev/kvm']
    volumes: ['/etc:/e', './etc:/link:ro', './data:/d', './ro:/ro:ro', '/run/docker.sock:/s', vol:/v]
    configs: [c]
    secrets: [s]
    post_start: [{command: id}]
  b:
    build: {context: /usr/src, network: host}
    provider: {type: anything}
    volumes_from: ['container:other']
    ports: ['80:80', '127.0.0.1:81:81', '9000']
volumes:
  vol: {driver_opts: {type: none, o: bind, device: /root}}
  old: {external: true}
networks:
  n: {external: true}
configs:
  c: {file: /etc/passwd}
secrets:
  s: {environment: TOKEN}
  t: {x-hoist: {command: [curl, 'http://h/']}}
";
    let found = listed("all", remote, "include: ['git://h/r']\n");
    assert_eq!(
        found,
        [
            "a: privileged: all rights over this machine",
            "a: capabilities SYS_ADMIN",
            "a: security option seccomp:unconfined",
            "a: this machine's uts namespace",
            "a: this machine's cgroup namespace",
            "a: this machine's user namespace",
            "a: this machine's network",
            "a: this machine's process namespace",
            "a: this machine's ipc namespace",
            "a: bind mount of /etc (writable)",
            "a: bind mount of THERE/etc (read-only)",
            "a: may change what was fetched: THERE/data",
            "a: the engine's socket /run/docker.sock: all rights over this machine",
            "a: device /dev/kvm",
            "a: runs hooks (post_start)",
            "b: the volumes of container other",
            "b: port 80 of all addresses",
            "b: builds from /usr/src",
            "b: builds in this machine's network",
            "b: runs the program anything on this machine",
            "config c: the file /etc/passwd",
            "secret s: the variable TOKEN of your environment",
            "secret t: runs `curl http://h/` on this machine",
            "volume old: the existing volume old",
            "volume vol: mount of /root",
            "network n: the existing network n",
        ]
    );
}

#[test]
fn what_a_local_file_says_is_its_owners_own() {
    let remote = "services: {a: {image: x, volumes: ['./ro:/ro:ro']}}\n";
    let local = "include: ['git://h/r']\nservices: {mine: {image: y, volumes: ['/etc:/e'], ports: ['80:80']}}\n";
    assert!(listed("own", remote, local).is_empty());
}
