//! `kill -9` of what changes the image store, at calls that change something: afterwards every image is whole, the next command
//! goes on, and nothing is left of what was removed.

use super::trace::{self, Fault};
use super::world::{Report, caught, points};
use crate::harness::{Need, Sandbox, image};

const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Tracing];

crate::cases!(NEEDS;
    an_image_rm_killed_at_any_point_leaves_the_store_whole,
    an_image_tag_killed_at_any_point_leaves_the_store_whole,
    an_image_load_killed_at_any_point_leaves_the_store_whole,
    an_image_prune_killed_at_any_point_leaves_the_store_whole,
    a_system_prune_killed_at_any_point_leaves_the_store_whole,
);

/// Runs a command that is killed, then the same again; `prepare` brings the store into its state before.
fn at_each_point(words: &[&str], some: usize, prepare: impl Fn(&Sandbox)) {
    let hoist = Sandbox::new();
    let archive = hoist.dir().join("saved.tar").to_string_lossy().into_owned();
    hoist
        .global(&["image", "save", "tiny", "-o", &archive])
        .ok();
    let words: Vec<&str> = words
        .iter()
        .map(|word| {
            if *word == "ARCHIVE" {
                archive.as_str()
            } else {
                *word
            }
        })
        .collect();
    let scratch = hoist.dir();
    let trace = |at| trace::run(&hoist.command(&words), at, &[], &scratch);
    prepare(&hoist);
    let plain = trace(None);
    assert_eq!(plain.code, 0, "{}", plain.story());
    assert!(plain.calls.len() > 5, "few calls: {:?}", plain.calls);
    let mut report = Report::default();
    for at in points(plain.calls.len(), some) {
        prepare(&hoist);
        let killed = trace(Some((at, Fault::KillAll)));
        let outcome = caught(|| {
            whole(&hoist)?;
            let again = hoist.global(&words);
            if again.code != 0 && !again.err.contains("no such image") {
                return Err(format!("the next fails: {}", again.story()));
            }
            whole(&hoist)?;
            let all = hoist.global(&["system", "prune", "-af"]);
            if all.code != 0 {
                return Err(format!("the prune fails: {}", all.story()));
            }
            empty(&hoist)
        });
        report.add(&format!("point {at}"), &killed, outcome);
    }
    report.end();
}

fn whole(hoist: &Sandbox) -> Result<(), String> {
    let check = hoist.global(&["system", "check", "--deep"]);
    match check.code {
        0 => Ok(()),
        _ => Err(format!("the store is damaged: {}", check.story())),
    }
}

/// No layer and no blob is there.
fn empty(hoist: &Sandbox) -> Result<(), String> {
    for dir in [
        "layers",
        "images/blobs/sha256",
        "images/held",
        "layers/.staging",
    ] {
        let entries = std::fs::read_dir(hoist.data().join(dir))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // A part of a blob may be somebody's who writes it just now: it goes later.
        let left: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        if !left.is_empty() {
            return Err(format!("left in {dir}: {left:?}"));
        }
    }
    Ok(())
}

fn tiny(hoist: &Sandbox) {
    let archive = image::archive().to_string_lossy().into_owned();
    hoist.global(&["image", "import", &archive, "tiny"]).ok();
    hoist.global(&["image", "tag", "tiny", "other:1"]).ok();
}

fn an_image_rm_killed_at_any_point_leaves_the_store_whole() {
    at_each_point(&["image", "rm", "tiny", "other:1"], 8, tiny);
}

fn an_image_tag_killed_at_any_point_leaves_the_store_whole() {
    at_each_point(&["image", "tag", "tiny", "new:2"], 5, tiny);
}

fn an_image_load_killed_at_any_point_leaves_the_store_whole() {
    at_each_point(&["image", "load", "-i", "ARCHIVE"], 8, |_| {});
}

fn an_image_prune_killed_at_any_point_leaves_the_store_whole() {
    at_each_point(&["image", "prune", "-af"], 6, tiny);
}

fn a_system_prune_killed_at_any_point_leaves_the_store_whole() {
    at_each_point(&["system", "prune", "-af", "--volumes"], 8, tiny);
}
