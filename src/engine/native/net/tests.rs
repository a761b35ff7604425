//! Networks made for real, each test on a host of its own: a network namespace that ends with it.
//!
//! They need root and say so when they have not got it. `lab` is used by the name server's tests too.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::*;
use crate::base::name::ContainerId;
use crate::engine::EngineError;
use crate::engine::spec::{PortMapping, Protocol};
use crate::sys::netlink::netns;
use crate::sys::netlink::route::{self, Route};
use crate::sys::nft::{Batch, Hook, Nft, Table};

pub(in crate::engine::native) mod lab {
    use std::io::{self, Read as _, Write as _};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::*;
    use crate::base::name::ContainerId;
    use crate::engine::Roots;
    use crate::engine::spec::{Endpoint, NetworkSpec};
    use crate::sys::netlink::netns;
    use crate::sys::netlink::route::{self, Route, VethEnds};

    pub(in crate::engine::native) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    pub(in crate::engine::native) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    /// A host: the calling thread's network namespace, with somebody outside, and a data directory.
    pub(in crate::engine::native) struct Lab {
        pub(in crate::engine::native) networks: Networks,
        pub(in crate::engine::native) outside: OwnedFd,
        pub(in crate::engine::native) dir: PathBuf,
    }

    pub(in crate::engine::native) struct Container {
        pub(in crate::engine::native) id: ContainerId,
        pub(in crate::engine::native) netns: OwnedFd,
        pub(in crate::engine::native) lease: Lease,
    }

    /// Runs a test on a host of its own.
    pub(in crate::engine::native) fn on_own_host(test: impl FnOnce(&Lab) + Send) {
        static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hoist-net-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let roots = Roots {
            data: dir.clone(),
            run: dir.clone(),
        };
        netns::create(|| {
            Route::open()?.run(vec![route::up("lo")])?;
            let networks = Networks::open(&roots).unwrap();
            test(&Lab {
                networks,
                outside: uplink()?,
                dir: dir.clone(),
            });
            Ok(())
        })
        .unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// A cable from the host to somebody outside, who knows no way to the containers.
    fn uplink() -> io::Result<OwnedFd> {
        let outside = new_netns(None).unwrap();
        let mut route = Route::open()?;
        route.run(vec![route::bridge("up0", 1400, [2, 0, 0, 0, 0, 1])])?;
        let bridge = route.link("up0")?.unwrap().index;
        route.run(vec![
            route::address(bridge, net(HOST.into(), 24)),
            route::veth(&VethEnds {
                name: "up1",
                bridge,
                peer: "eth0",
                netns: outside.as_fd(),
                mac: [2, 0, 0, 0, 0, 2],
                mtu: 1400,
            }),
            route::default_route(OUTSIDE.into()),
        ])?;
        netns::within(outside.as_fd(), || {
            let mut route = Route::open()?;
            let index = route.link("eth0")?.unwrap().index;
            route.run(vec![
                route::address(index, net(OUTSIDE.into(), 24)),
                route::up("eth0"),
            ])
        })?;
        while !(route.link("up1")?.unwrap().ready && route.link("up0")?.unwrap().ready) {
            std::thread::yield_now();
        }
        Ok(outside)
    }

    pub(in crate::engine::native) fn spec(name: &str) -> NetworkSpec {
        NetworkSpec {
            name: name.to_owned(),
            project: None,
            driver: "bridge".to_owned(),
            options: Default::default(),
            subnets: Vec::new(),
            internal: false,
            ipv4: true,
            ipv6: false,
            labels: Default::default(),
        }
    }

    pub(in crate::engine::native) fn net(address: std::net::IpAddr, prefix: u8) -> ipnet::IpNet {
        ipnet::IpNet::new(address, prefix).unwrap()
    }

    pub(in crate::engine::native) fn endpoint(network: &str, aliases: &[&str]) -> Endpoint {
        Endpoint {
            network: network.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            ..Endpoint::default()
        }
    }

    impl Lab {
        /// Makes a container on a network.
        pub(in crate::engine::native) fn container(&self, name: &str, network: &str) -> Container {
            let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            let id = ContainerId::from(format!("{digits:0<64}"));
            let netns = new_netns(None).unwrap();
            let endpoint = endpoint(network, &[name]);
            let full = format!("demo-{name}-1");
            let request = LeaseRequest {
                container: &id,
                name: &full,
                endpoint: &endpoint,
            };
            let lease = self.networks.lease(network, &request).unwrap();
            let record = self.networks.get(network).unwrap().unwrap();
            let link = Link {
                record: &record,
                lease: &lease,
                endpoint: &endpoint,
                default4: true,
                default6: true,
            };
            connect(netns.as_fd(), &id, &[link]).unwrap();
            Container { id, netns, lease }
        }
    }

    /// Serves a port in a namespace: each caller is told the address it was seen with.
    pub(in crate::engine::native) fn serve(netns: &OwnedFd, port: u16) {
        let listener =
            netns::within(netns.as_fd(), || TcpListener::bind(("0.0.0.0", port))).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _ = write!(stream, "{}", from.ip());
            }
        });
    }

    /// Calls an address and gives what it says; from a namespace, or from the host.
    pub(in crate::engine::native) fn call(
        from: Option<&OwnedFd>,
        to: Ipv4Addr,
        port: u16,
    ) -> Option<String> {
        let work = || {
            let to = SocketAddr::from((to, port));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(400))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        match from {
            Some(netns) => netns::within(netns.as_fd(), work).ok(),
            None => work().ok(),
        }
    }
}

use lab::{HOST, OUTSIDE, call, on_own_host, serve, spec};

fn tcp(host: (u16, u16), container: u16) -> PortMapping {
    PortMapping {
        host_ip: None,
        host,
        container,
        protocol: Protocol::Tcp,
    }
}

#[test]
fn neighbours_reach_each_other_and_the_outside_but_no_other_network() {
    on_own_host(|lab| {
        lab.networks.create(&spec("one")).unwrap();
        lab.networks.create(&spec("two")).unwrap();
        let (a, b) = (lab.container("a", "one"), lab.container("b", "one"));
        let c = lab.container("c", "two");
        for netns in [&a.netns, &lab.outside] {
            serve(netns, 80);
        }
        let target = a.lease.ipv4().unwrap();
        let own = b.lease.ipv4().unwrap().to_string();
        assert_eq!(call(Some(&b.netns), target, 80), Some(own));
        assert_eq!(call(Some(&c.netns), target, 80), None);
        assert_eq!(call(Some(&c.netns), OUTSIDE, 80), Some(HOST.to_string()));
        assert_eq!(
            call(None, target, 80),
            a.lease.gateway4().map(|gateway| gateway.to_string())
        );
        // Somebody outside who knows the way is kept out all the same.
        let way = || Route::open()?.run(vec![route::default_route(HOST.into())]);
        netns::within(lab.outside.as_fd(), way).unwrap();
        assert_eq!(call(Some(&lab.outside), target, 80), None);
    });
}

#[test]
fn an_internal_network_has_no_way_out_and_none_in() {
    on_own_host(|lab| {
        lab.networks.create(&lab::spec("open")).unwrap();
        let mut internal = spec("inner");
        internal.internal = true;
        lab.networks.create(&internal).unwrap();
        let (a, b) = (lab.container("a", "inner"), lab.container("b", "inner"));
        let c = lab.container("c", "open");
        serve(&a.netns, 80);
        serve(&lab.outside, 80);
        let target = a.lease.ipv4().unwrap();
        assert!(call(Some(&b.netns), target, 80).is_some());
        assert_eq!(call(Some(&c.netns), target, 80), None);
        assert_eq!(call(Some(&a.netns), OUTSIDE, 80), None);
        // Not even with a route of its own making.
        let gateway = a.lease.gateway4().unwrap();
        let way = || Route::open()?.run(vec![route::default_route(gateway.into())]);
        netns::within(a.netns.as_fd(), way).unwrap();
        assert_eq!(call(Some(&a.netns), OUTSIDE, 80), None);
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere_until_it_is_withdrawn() {
    on_own_host(|lab| {
        lab.networks.create(&spec("one")).unwrap();
        lab.networks.create(&spec("two")).unwrap();
        let (a, b) = (lab.container("a", "one"), lab.container("b", "one"));
        let c = lab.container("c", "two");
        serve(&a.netns, 80);
        let network = lab.networks.get("one").unwrap().unwrap();
        let target = a.lease.ipv4().unwrap();
        let local = PortMapping {
            host_ip: Some([127, 0, 0, 1].into()),
            ..tcp((8081, 8081), 80)
        };
        let request = PublishRequest {
            container: &a.id,
            name: "demo-a-1",
            ports: &[tcp((8080, 8080), 80), local, tcp((0, 0), 80)],
            ways: &[Way {
                network: &network,
                target: target.into(),
            }],
        };
        let published = publish(&request).unwrap();
        assert_eq!(published.doors.len(), 5);
        assert_ne!(published.ports[3].host, 0);
        // From outside the caller's own address is seen.
        assert_eq!(
            call(Some(&lab.outside), HOST, 8080),
            Some(OUTSIDE.to_string())
        );
        assert!(
            call(None, Ipv4Addr::LOCALHOST, 8080).is_some(),
            "host, loopback"
        );
        assert!(call(None, HOST, 8080).is_some(), "host, own address");
        assert!(call(None, Ipv4Addr::LOCALHOST, published.ports[3].host).is_some());
        assert!(call(Some(&b.netns), HOST, 8080).is_some(), "neighbour");
        assert!(call(Some(&a.netns), HOST, 8080).is_some(), "itself");
        assert!(call(Some(&c.netns), HOST, 8080).is_some(), "other network");
        assert!(
            call(None, Ipv4Addr::LOCALHOST, 8081).is_some(),
            "loopback only"
        );
        assert_eq!(call(Some(&lab.outside), HOST, 8081), None);

        let again = PublishRequest {
            container: &b.id,
            ports: &[tcp((8080, 8080), 80)],
            ..request
        };
        match publish(&again) {
            Err(EngineError::PortTaken { address, holder }) => {
                assert_eq!(address, "0.0.0.0:8080/tcp");
                assert!(
                    holder.ends_with(&format!("(pid {})", std::process::id())),
                    "{holder}"
                );
            }
            other => panic!("{other:?}"),
        }
        let range = PublishRequest {
            ports: &[tcp((8080, 8085), 80)],
            ..again
        };
        assert_eq!(publish(&range).unwrap().ports[0].host, 8082);

        drop(published);
        unpublish(&a.id).unwrap();
        unpublish(&b.id).unwrap();
        unpublish(&c.id).unwrap();
        assert_eq!(call(None, Ipv4Addr::LOCALHOST, 8080), None);
        assert_eq!(Nft::open().unwrap().tables("hoist-p-").unwrap(), Vec::new());
    });
}

#[test]
fn packets_to_a_published_port_follow_it_to_another_container() {
    on_own_host(|lab| {
        lab.networks.create(&spec("one")).unwrap();
        let network = lab.networks.get("one").unwrap().unwrap();
        let caller = netns::within(lab.outside.as_fd(), || {
            let socket = UdpSocket::bind((OUTSIDE, 0))?;
            socket.connect((HOST, 5353))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket)
        })
        .unwrap();
        let mut kept = Vec::new();
        for name in ["a", "b"] {
            let container = lab.container(name, "one");
            let target = container.lease.ipv4().unwrap();
            let server =
                netns::within(container.netns.as_fd(), || UdpSocket::bind((target, 53))).unwrap();
            let port = PortMapping {
                protocol: Protocol::Udp,
                ..tcp((5353, 5353), 53)
            };
            let published = publish(&PublishRequest {
                container: &container.id,
                name,
                ports: &[port],
                ways: &[Way {
                    network: &network,
                    target: target.into(),
                }],
            })
            .unwrap();
            caller.send(b"?").unwrap();
            server
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
            server.send_to(name.as_bytes(), from).unwrap();
            let mut answer = [0; 1];
            caller.recv(&mut answer).unwrap();
            assert_eq!(answer, name.as_bytes());
            drop(published);
            unpublish(&container.id).unwrap();
            // Its socket stays: were the port's former way known still, it would be asked again.
            kept.push(server);
        }
    });
}

#[test]
fn a_bridge_keeps_its_hardware_address_and_takes_no_name_of_others() {
    on_own_host(|lab| {
        let mut taken = spec("bad");
        taken
            .options
            .insert("com.docker.network.bridge.name".into(), "up0".into());
        let error = lab.networks.create(&taken).unwrap_err().to_string();
        assert!(error.contains("`up0` exists already"), "{error}");
        assert!(Route::open().unwrap().link("up0").unwrap().is_some());
        let mut own = spec("one");
        own.options
            .insert("com.docker.network.bridge.name".into(), "mine0".into());
        lab.networks.create(&own).unwrap();
        let mac = || Route::open().unwrap().link("mine0").unwrap().unwrap().mac;
        let before = mac();
        let _containers = [lab.container("a", "one"), lab.container("b", "one")];
        assert_eq!(mac(), before);
        for name in ["a", "b"] {
            let found = lab.networks.leases("one").unwrap();
            let container = &found
                .iter()
                .find(|l| l.aliases == [name])
                .unwrap()
                .container;
            lab.networks.release("one", container).unwrap();
        }
        lab.networks.remove("one", &|_| true).unwrap();
        assert!(Route::open().unwrap().link("mine0").unwrap().is_none());
    });
}

#[test]
fn a_container_cannot_reach_what_the_host_has_on_loopback() {
    on_own_host(|lab| {
        lab.networks.create(&spec("one")).unwrap();
        let a = lab.container("a", "one");
        let own = netns::current().unwrap();
        serve(&own, 5432);
        assert!(call(None, Ipv4Addr::LOCALHOST, 5432).is_some());
        // A container that may change its network sends packets for 127.0.0.1 to the host.
        netns::within(a.netns.as_fd(), || {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1")?;
            let mut batch = Batch::default();
            let table = Table::ip("t");
            batch.table(table);
            batch.chain(table, "output", Hook::NatOutput);
            let rule = crate::sys::nft::Rule::new()
                .to(std::net::IpAddr::V4(OUTSIDE))
                .port(crate::sys::nft::Transport::Tcp, 5432)
                .translate_to([127, 0, 0, 2].into(), 5432);
            batch.append(table, "output", &rule);
            Nft::open()?.commit(batch)?;
            Route::open()?.run(vec![route::delete("lo")]).or(Ok(()))
        })
        .unwrap();
        assert_eq!(call(Some(&a.netns), OUTSIDE, 5432), None);
    });
}

#[test]
fn removing_a_network_leaves_nothing_and_is_refused_while_it_is_used() {
    on_own_host(|lab| {
        // What Docker has: its chains, with a rule of somebody else in each.
        let mut nft = Nft::open().unwrap();
        let mut docker = Batch::default();
        let filter = Table::ip("filter");
        docker.table(filter);
        for chain in ["FORWARD", "DOCKER-USER"] {
            docker.chain(filter, chain, Hook::Forward);
            let rule = crate::sys::nft::Rule::new().counted().accept();
            docker.append(filter, chain, &rule);
        }
        nft.commit(docker).unwrap();
        let names = || -> Vec<String> {
            Route::open()
                .unwrap()
                .links()
                .unwrap()
                .into_iter()
                .map(|link| link.name)
                .collect()
        };
        let before = names();

        lab.networks.create(&spec("one")).unwrap();
        let mut rules = |chain| nft.rules(filter, Some(chain)).unwrap().len();
        assert_eq!([rules("FORWARD"), rules("DOCKER-USER")], [2, 2]);
        assert!(matches!(
            lab.networks.create(&spec("one")),
            Err(EngineError::NameInUse { .. })
        ));
        let a = lab.container("a", "one");
        match lab.networks.remove("one", &|id| *id == a.id) {
            Err(EngineError::InUse { users, .. }) => assert_eq!(users, ["demo-a-1"]),
            other => panic!("{other:?}"),
        }
        lab.networks.release("one", &a.id).unwrap();
        disconnect(&a.id).unwrap();
        disconnect(&a.id).unwrap();
        lab.networks.remove("one", &|_| true).unwrap();
        lab.networks.remove("one", &|_| true).unwrap();
        assert_eq!(names(), before);
        assert_eq!(nft.tables("hoist-").unwrap(), Vec::new());
        let mut rules = |chain| nft.rules(filter, Some(chain)).unwrap().len();
        assert_eq!([rules("FORWARD"), rules("DOCKER-USER")], [1, 1]);
        assert_eq!(lab.networks.list().unwrap(), Vec::new());
    });
}

#[test]
fn connecting_makes_the_bridge_and_the_rules_again_after_a_reboot() {
    on_own_host(|lab| {
        lab.networks.create(&spec("one")).unwrap();
        let record = lab.networks.get("one").unwrap().unwrap();
        Route::open()
            .unwrap()
            .run(vec![route::delete(&record.bridge)])
            .unwrap();
        let table = record.table();
        assert!(
            Nft::open()
                .unwrap()
                .delete_table(Table::inet(&table))
                .unwrap()
        );
        let (a, b) = (lab.container("a", "one"), lab.container("b", "one"));
        serve(&a.netns, 80);
        serve(&lab.outside, 80);
        assert!(call(Some(&b.netns), a.lease.ipv4().unwrap(), 80).is_some());
        assert_eq!(call(Some(&b.netns), OUTSIDE, 80), Some(HOST.to_string()));
        assert_eq!(record.mtu, 1400);
    });
}

#[test]
fn subnets_avoid_the_hosts_and_other_networks_and_addresses_are_kept() {
    on_own_host(|lab| {
        let index = Route::open().unwrap().link("up0").unwrap().unwrap().index;
        let address = route::address(index, lab::net([172, 17, 0, 200].into(), 23));
        Route::open().unwrap().run(vec![address]).unwrap();
        // As VPNs do it: a table of their own, and halves of the world in place of a default route.
        let add = |route: &str| {
            let mut ip = std::process::Command::new("ip");
            let words = route.split(' ');
            let done = ip
                .args(["route", "add"])
                .args(words)
                .args(["dev", "up0"])
                .status();
            done.is_ok_and(|status| status.success())
        };
        add("0.0.0.0/1");
        add("128.0.0.0/1");
        let policy = add("172.17.3.0/24 table 777");
        for name in ["one", "two"] {
            lab.networks.create(&spec(name)).unwrap();
        }
        let subnet = |name: &str| {
            lab.networks.get(name).unwrap().unwrap().subnets[0]
                .subnet
                .to_string()
        };
        assert_eq!(subnet("one"), "172.17.2.0/24");
        let second = if policy {
            "172.17.4.0/24"
        } else {
            "172.17.3.0/24"
        };
        assert_eq!(subnet("two"), second);
        let lease = |id: &str, ipv4| {
            let endpoint = crate::engine::spec::Endpoint {
                ipv4,
                ..lab::endpoint("one", &[])
            };
            let container = ContainerId::from(id);
            let request = LeaseRequest {
                container: &container,
                name: id,
                endpoint: &endpoint,
            };
            lab.networks.lease("one", &request)
        };
        let first = lease("a", None).unwrap();
        assert_eq!(first.ipv4(), Some(Ipv4Addr::new(172, 17, 2, 2)));
        assert_eq!(lease("a", None).unwrap(), first);
        assert_eq!(
            lease("b", None).unwrap().ipv4(),
            Some(Ipv4Addr::new(172, 17, 2, 3))
        );
        assert!(
            lease("c", first.ipv4())
                .unwrap_err()
                .to_string()
                .ends_with("in use by container a")
        );
        lab.networks
            .release("one", &ContainerId::from("a"))
            .unwrap();
        assert_eq!(lease("d", None).unwrap().ipv4(), first.ipv4());
        let mut unknown = spec("three");
        unknown.driver = "macvlam".to_owned();
        let error = lab.networks.create(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("no network driver `macvlam`; did you mean `macvlan`?"),
            "{error}"
        );
    });
}

#[test]
fn a_pinned_namespace_outlives_its_maker_until_it_is_let_go() {
    on_own_host(|lab| {
        let pin = lab.dir.join("netns");
        drop(new_netns(Some(&pin)).unwrap());
        let found = std::fs::File::open(&pin).unwrap();
        netns::within(found.as_fd(), || {
            assert!(Route::open()?.link("lo")?.is_some());
            std::net::TcpListener::bind(("127.0.0.1", 0)).map(drop)
        })
        .unwrap();
        unpin(&pin).unwrap();
        unpin(&pin).unwrap();
        assert!(!pin.exists());
    });
}

#[test]
fn build_steps_share_a_network_that_goes_with_the_last_of_them() {
    on_own_host(|lab| {
        serve(&lab.outside, 80);
        let (one, two) = (new_netns(None).unwrap(), new_netns(None).unwrap());
        let first = lab.networks.outside("aaaaaaaaaaaa", one.as_fd()).unwrap();
        let second = lab.networks.outside("bbbbbbbbbbbb", two.as_fd()).unwrap();
        assert_ne!(first.lease.ipv4(), second.lease.ipv4());
        assert!(first.resolv_conf.starts_with("nameserver 127.0.0.11\n"));
        assert_eq!(call(Some(&one), OUTSIDE, 80), Some(HOST.to_string()));
        lab.networks.leave_outside("aaaaaaaaaaaa").unwrap();
        assert_eq!(call(Some(&two), OUTSIDE, 80), Some(HOST.to_string()));
        lab.networks.leave_outside("bbbbbbbbbbbb").unwrap();
        assert_eq!(lab.networks.list().unwrap(), Vec::new());
    });
}
