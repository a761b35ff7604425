//! Beside others that set rules for packets: Docker's engine, and rulesets that drop what they do not know.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::outside::Outside;
use crate::harness::process::{Done, finish};
use crate::harness::{Need, Sandbox, eventually, http, peer, ports};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program("ip"), Need::Program("unshare"), Need::Program("nft"), Need::Peer];
    dockers_containers_and_ours_are_reached_side_by_side,
    a_port_that_docker_has_is_told_with_its_containers_name,
);

/// Docker's engine with a project of its own, which goes with it.
struct Docker {
    dir: PathBuf,
}

impl Docker {
    /// Starts a project of the engine.
    fn up(hoist: &Sandbox, file: &str) -> Self {
        let (docker, done) = Self::try_up(hoist, file);
        done.ok();
        docker
    }
    /// Starts a project of the engine, and tells how it went.
    fn try_up(hoist: &Sandbox, file: &str) -> (Self, Done) {
        let name = format!("hsd-{}-{}", std::process::id(), hoist.name);
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&dir).expect("the temporary directory is writable");
        let text = format!("name: {name}\n{file}");
        std::fs::write(dir.join("compose.yaml"), text).expect("it is writable");
        let docker = Self { dir };
        let done = docker.run("docker compose up -d");
        (docker, done)
    }
    /// Runs a line beside the engine.
    fn run(&self, line: &str) -> Done {
        let mut command = Command::new(peer());
        command.current_dir(&self.dir).args(["run", line]);
        finish(command, None, Duration::from_secs(120))
    }
    /// Rules of iptables that name a device, and policies and chains: others may work beside this.
    fn rules(&self, device: &str) -> Vec<String> {
        let save = "iptables -S; iptables -t nat -S; iptables -t raw -S; ip6tables -S; ip6tables -t nat -S";
        let text = self.run(save).ok().out;
        let wanted =
            |line: &&str| line.contains(device) || line.starts_with("-P") || line.starts_with("-N");
        text.lines().filter(wanted).map(str::to_owned).collect()
    }
    /// The bridge of its default network.
    fn bridge(&self) -> String {
        let line = "docker network inspect -f '{{.Id}}' $(basename $PWD)_default";
        let id = self.run(line).ok().out;
        format!("br-{}", id.get(..12).expect("an id"))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.run("docker compose down -v -t 0"));
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Waits until an address answers with a text.
fn says(who: &dyn Fn() -> Option<String>, want: &str, what: &str) {
    eventually(what, || (who()?.trim() == want).then_some(()));
}

fn get(address: SocketAddr) -> Option<String> {
    Some(http::get(address, "/i").ok()?.text())
}

fn web(image: &str, name: &str) -> String {
    format!(
        "image: {image}, stop_signal: SIGKILL, command: sh -c 'mkdir -p /www; echo {name} > /www/i; exec httpd -f -p 80 -h /www'"
    )
}

/// The bridge that the host's end of a cable is in, by the end's number.
fn bridge_of(number: &str) -> String {
    let links = crate::harness::leftovers::children(std::path::Path::new("/sys/class/net"));
    let is = |link: &&PathBuf| {
        std::fs::read_to_string(link.join("ifindex")).is_ok_and(|text| text.trim() == number)
    };
    let link = links.iter().find(is).expect("the cable is there");
    let master = std::fs::read_link(link.join("master")).expect("it is in a bridge");
    let name = master.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

fn dockers_containers_and_ours_are_reached_side_by_side() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let (ours, theirs) = (ports::free(), ports::free());
    let docker = Docker::up(
        &hoist,
        &format!(
            "services:\n  d: {{{}, ports: ['{theirs}:80']}}\n",
            web("busybox", "theirs")
        ),
    );
    let host = outside.host_v4;
    let outside_gets = |port: u16| outside.get((host, port), "/i");
    says(
        &|| outside_gets(theirs),
        "theirs",
        "Docker's from outside, before",
    );
    let before = docker.rules(&docker.bridge());
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{ours}:80']}}\n",
        web("tiny", "ours")
    ));
    hoist.ok("up -d");
    for (port, name) in [(ours, "ours"), (theirs, "theirs")] {
        says(&|| outside_gets(port), name, "from outside");
        says(
            &|| get((host, port).into()),
            name,
            "from the host, by its address",
        );
        says(
            &|| get((Ipv4Addr::LOCALHOST, port).into()),
            name,
            "from the host",
        );
        let line = format!("wget -qO- http://{host}:{port}/i");
        assert_eq!(hoist.sh("w", &line), name, "from our container");
        let there = docker.run(&format!("docker compose exec -T d {line}"));
        assert_eq!(there.ok().out.trim(), name, "from Docker's container");
    }
    // Ours reach the world, whatever Docker's policy is.
    let seen = hoist.sh("w", &format!("wget -qO- http://{}/", outside.v4));
    assert_eq!(seen, host.to_string());
    // Neither reaches what the other has for itself only.
    let inside = |text: String| text.trim().to_owned();
    let of_docker = inside(docker.run("docker compose exec -T d hostname -i").ok().out);
    let of_ours = inside(hoist.sh("w", "hostname -i"));
    let refused = |done: Done| assert_ne!(done.code, 0, "{}", done.story());
    refused(hoist.exec("w", &format!("timeout 2 wget -qO- http://{of_docker}/i")));
    let line = format!("docker compose exec -T d timeout 2 wget -qO- http://{of_ours}/i");
    refused(docker.run(&line));
    // Docker makes another network while ours is there, and takes it away.
    docker.run("docker network create $(basename $PWD)-more && docker network rm $(basename $PWD)-more").ok();
    says(
        &|| outside_gets(ours),
        "ours",
        "from outside, after a change of Docker's",
    );
    let bridge = hoist.sh("w", "cat /sys/class/net/eth0/iflink");
    let bridge = bridge_of(&bridge);
    let set = |rules: &[String]| rules.iter().filter(|rule| rule.contains(&bridge)).count();
    assert_eq!(set(&docker.rules(&bridge)), 2, "{bridge}");
    hoist.ok("down -t 0");
    let after = docker.rules(&bridge);
    assert_eq!(set(&after), 0, "{after:?}");
    let after = docker.rules(&docker.bridge());
    assert_eq!(after, before, "Docker's rules are what they were");
    says(
        &|| outside_gets(theirs),
        "theirs",
        "Docker's from outside, after",
    );
}

fn a_port_that_docker_has_is_told_with_its_containers_name() {
    let hoist = Sandbox::new();
    let port = ports::free();
    let docker = Docker::up(
        &hoist,
        &format!(
            "services:\n  d: {{image: busybox, command: sleep 600, stop_signal: SIGKILL, ports: ['{port}:80']}}\n"
        ),
    );
    let name = docker
        .dir
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    hoist.compose(&format!(
        "services:\n  w: {{SLEEP, ports: ['{port}:80']}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("Docker's container {name}-d-1"));
    // And the other way round.
    drop(docker);
    hoist.ok("up -d");
    let file =
        format!("services:\n  d: {{image: busybox, command: sleep 600, ports: ['{port}:80']}}\n");
    let (_docker, done) = Docker::try_up(&hoist, &file);
    assert_ne!(
        done.code, 0,
        "Docker got a port that a container of ours has"
    );
}
