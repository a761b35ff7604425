//! The same input gives the same image, byte for byte, wherever and whenever it is built.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    the_same_input_gives_the_same_id_manifest_and_archive,
);

/// What a build gives: its id, and all that is written of it.
fn built(hoist: &Sandbox, flags: &str) -> Vec<Vec<u8>> {
    let outputs = "--load -o type=oci,dest=../o.tar -o type=tar,dest=../files.tar";
    hoist.ok(&format!(
        "image build {flags} {outputs} --metadata-file ../id -t made ."
    ));
    hoist.ok("image save -o ../saved.tar made");
    let read = |name: &str| std::fs::read(hoist.dir().join("..").join(name)).expect(name);
    ["id", "o.tar", "files.tar", "saved.tar"].map(read).to_vec()
}

/// A context whose files were made in this order, so long ago.
fn context(hoist: &Sandbox, order: &[&str], age: u64) {
    for path in order {
        let path = hoist.file(path, path);
        let file = std::fs::File::options().append(true).open(path);
        let time = SystemTime::now() - Duration::from_secs(age);
        file.expect("ours").set_modified(time).expect("ours");
    }
    let first = Path::new("d/a");
    std::fs::hard_link(hoist.dir().join(first), hoist.dir().join("d/second")).expect("new");
    hoist.file(
        "Dockerfile",
        "FROM tiny AS one\nWORKDIR /w\nCOPY d /o\nCOPY --link d /l\nRUN mkdir /r; echo x > /r/x; ln /r/x /r/y\nLABEL z=1 a=2\n\
         ARG V=1\nENV W=$V\nFROM scratch\nCOPY --from=one / /\nCOPY <<h /h\nx\nh\nADD --chown=1:2 d/a /a\nEXPOSE 2 1\nVOLUME /b /a\n",
    );
}

fn the_same_input_gives_the_same_id_manifest_and_archive() {
    let base = Sandbox::new();
    base.ok("image save -o base.tar tiny");
    let base = base.dir().join("base.tar");
    let mut all = BTreeSet::new();
    let paths = ["d/a", "d/b", "d/c/x"];
    for (order, age) in [([0, 1, 2], 10), ([2, 1, 0], 5000)] {
        let hoist = Sandbox::empty();
        context(&hoist, &order.map(|at| paths[at]), age);
        hoist
            .global(&["image", "load", "-i", &base.to_string_lossy()])
            .ok();
        let arg = "--build-arg SOURCE_DATE_EPOCH=1500000000";
        if age == 10 {
            all.insert(built(&hoist, arg));
        } else {
            hoist.set("SOURCE_DATE_EPOCH", "1500000000");
            all.insert(built(&hoist, ""));
            // Later, and with every step done again.
            all.insert(built(&hoist, "--no-cache"));
        }
    }
    let lengths: Vec<Vec<usize>> = all
        .iter()
        .map(|one| one.iter().map(Vec::len).collect())
        .collect();
    assert_eq!(all.len(), 1, "ids, archives and files differ: {lengths:?}");
}
