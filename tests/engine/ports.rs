//! Published ports, seen from the host, from another machine, and from inside.

use crate::harness::outside::{BIG, Outside};
use crate::harness::{Need, http};

crate::cases!(&[Need::Root, Need::Program("ip"), Need::Program("unshare"), Need::Program("dig")];
    the_other_machine_serves_and_asks,
);

fn the_other_machine_serves_and_asks() {
    let outside = Outside::new();
    let seen = http::get(outside.web(), "/").expect("it answers").text();
    assert_eq!(seen.trim(), outside.host_v4.to_string());
    if let (Some(v6), Some(host)) = (outside.v6, outside.host_v6) {
        let seen = http::get((v6, 80).into(), "/").expect("it answers").text();
        assert_eq!(seen.trim(), host.to_string());
    }
    let itself = outside.get((outside.v4, 80), "/");
    assert_eq!(itself, Some(outside.v4.to_string()));
    let dig = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        outside.run("dig", &words).ok().out
    };
    let at = format!("@{}", outside.v4);
    let address = dig(&format!("{at} +short www.outside.test"));
    assert_eq!(address.trim(), outside.v4.to_string());
    let many = dig(&format!("{at} +short +noedns big.outside.test"));
    assert_eq!(many.lines().count(), usize::from(BIG), "over TCP: {many}");
    let cut = dig(&format!("{at} +notcp +ignore +noedns big.outside.test"));
    assert!(cut.contains(" tc "), "{cut}");
    let missing = dig(&format!("{at} no.outside.test"));
    assert!(missing.contains("NXDOMAIN"), "{missing}");
}
