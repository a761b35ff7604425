//! Beside firewalls that rule the whole machine: ufw, firewalld, and rules by hand. They are switched on for real.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::leftovers::children;
use crate::harness::outside::Outside;
use crate::harness::process::{Done, finish};
use crate::harness::{Need, Sandbox, eventually, ports};

crate::cases!(&[Need::Root, Need::Busybox, Need::Throwaway, Need::Program("nft"), Need::Program("ufw"), Need::Program("firewall-cmd")];
    one_firewall_after_the_other_lets_published_ports_through,
);

/// They are one machine's, so that their cases come one after the other.
fn one_firewall_after_the_other_lets_published_ports_through() {
    ufw_lets_published_ports_through_and_gets_its_rules_back();
    a_firewall_that_comes_later_is_told_and_mended_by_a_start();
    firewalld_has_the_bridge_in_a_zone_as_long_as_it_is_there();
    a_chain_that_drops_is_opened_by_the_command_that_doctor_names();
}

fn run(line: &str) -> Done {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    finish(command, None, Duration::from_secs(120))
}

/// A line that is run when this ends, however it ends.
struct Finally(&'static str);

impl Drop for Finally {
    fn drop(&mut self) {
        drop(run(self.0));
    }
}

/// One service with a published port, and another machine.
struct Scene {
    hoist: Sandbox,
    outside: Outside,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let (hoist, outside, port) = (Sandbox::new(), Outside::new(), ports::free());
        hoist.compose(&format!(
            "services:\n  w: {{image: tiny, stop_signal: SIGKILL, ports: ['{port}:80'], \
             command: sh -c 'mkdir /www; echo hello > /www/i; exec httpd -f -p 80 -h /www'}}\n"
        ));
        Self {
            hoist,
            outside,
            port,
        }
    }
    fn answers(&self) -> bool {
        let address = (self.outside.host_v4, self.port);
        self.outside.get(address, "/i").as_deref() == Some("hello")
    }
    /// Whether packets go both ways: to the port, and from the container.
    fn is_open(&self, when: &str) {
        eventually(&format!("the port answers {when}"), || {
            self.answers().then_some(())
        });
        let line = format!("wget -qO- http://{}/", self.outside.v4);
        let seen = self.hoist.sh("w", &line);
        assert_eq!(seen, self.outside.host_v4.to_string(), "from inside {when}");
    }
    fn bridge(&self) -> String {
        let links = children(Path::new("/sys/class/net"));
        let names = links.iter().filter_map(|link| link.file_name()?.to_str());
        let mut ours = names.filter(|name| name.starts_with("hst"));
        ours.next().expect("the network's bridge").to_owned()
    }
    fn row(&self, name: &str) -> Option<Value> {
        let done = self.hoist.global(&["doctor", "--format", "json"]);
        let all: Value = serde_json::from_str(&done.out).expect("JSON");
        let rows = all["checks"].as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["name"] == name)
    }
    fn mend(&self, name: &str) -> String {
        let row = self.row(name).unwrap_or_else(|| panic!("no row {name}"));
        assert_eq!(row["status"], "degraded", "{row}");
        row["mend"].as_str().expect("a command").to_owned()
    }
}

/// What is asked first of packets on their way through, and all that names us.
fn forward() -> Vec<String> {
    let rules = run("iptables -S; ip6tables -S").ok().out;
    let wanted = |line: &&str| line.contains("FORWARD") || line.contains("hst");
    rules.lines().filter(wanted).map(str::to_owned).collect()
}

fn ufw_lets_published_ports_through_and_gets_its_rules_back() {
    let scene = Scene::new();
    let _off = Finally("ufw --force disable; iptables -P FORWARD ACCEPT");
    run("ufw --force enable").ok();
    let before = forward();
    scene.hoist.ok("up -d");
    scene.is_open("beside ufw");
    run("ufw reload").ok();
    scene.is_open("after ufw has loaded its rules again");
    let row = scene.row("ufw").expect("ufw is on");
    assert_eq!(row["status"], "ok", "{row}");
    assert_eq!(scene.row("iptables"), None);
    // What it denies to the machine itself stays denied.
    let closed = (scene.outside.host_v4, 22222);
    let _listener = std::net::TcpListener::bind(("0.0.0.0", 22222)).expect("nobody is there");
    let reached = scene.outside.there(|| {
        let limit = Duration::from_secs(1);
        std::net::TcpStream::connect_timeout(&closed.into(), limit).is_ok()
    });
    assert!(!reached, "ufw does nothing here");
    scene.hoist.ok("down -t 0");
    assert_eq!(forward(), before, "ufw's rules are what they were");
}

fn a_firewall_that_comes_later_is_told_and_mended_by_a_start() {
    let scene = Scene::new();
    let _off = Finally("ufw --force disable; iptables -P FORWARD ACCEPT");
    run("iptables -F FORWARD; iptables -P FORWARD ACCEPT").ok();
    scene.hoist.ok("up -d");
    scene.is_open("before ufw");
    run("iptables -P FORWARD DROP").ok();
    if !scene.answers() {
        let mend = scene.mend("iptables");
        assert_eq!(mend, "hoist -p PROJECT restart");
        scene.hoist.ok("restart -t 0");
    }
    scene.is_open("after the mend");
    assert_eq!(scene.row("iptables"), None);
}

fn firewalld_has_the_bridge_in_a_zone_as_long_as_it_is_there() {
    let scene = Scene::new();
    let _off = Finally("firewall-cmd --set-default-zone=public; systemctl stop firewalld");
    run("systemctl start firewalld && firewall-cmd --state").ok();
    // Nothing goes between devices of this zone.
    run("firewall-cmd --set-default-zone=block").ok();
    scene.hoist.ok("up -d");
    let bridge = scene.bridge();
    let zone = format!("firewall-cmd --get-zone-of-interface={bridge}");
    run(&zone).ok().prints("trusted");
    scene.is_open("beside firewalld");
    let row = scene.row("firewalld").expect("firewalld is on");
    assert_eq!(row["status"], "ok", "{row}");
    // When it loads its rules again it forgets the bridge; ports stay open, and the way out is told.
    run("firewall-cmd --reload").ok();
    eventually("the port answers still", || scene.answers().then_some(()));
    let mend = scene.mend("firewalld");
    run(&mend).ok();
    scene.is_open("after the mend");
    run("systemctl restart firewalld && firewall-cmd --state").ok();
    scene.hoist.ok("restart -t 0");
    run(&zone).ok().prints("trusted");
    scene.is_open("after the next start");
    scene.hoist.ok("down -t 0");
    run("firewall-cmd --zone=trusted --list-interfaces")
        .ok()
        .prints("");
}

fn a_chain_that_drops_is_opened_by_the_command_that_doctor_names() {
    let scene = Scene::new();
    let _off = Finally("nft delete table inet walls");
    run("nft add table inet walls && nft add chain inet walls forward '{ type filter hook forward priority 0; policy drop; }'").ok();
    scene.hoist.ok("up -d");
    assert!(!scene.answers(), "it drops");
    let mend = scene.mend("nftables forward");
    run(&mend).ok();
    scene.is_open("after the mend");
}
