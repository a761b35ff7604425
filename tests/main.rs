//! End-to-end tests of hoist: one binary, every case but those of `fuzz` drives the real program from outside.
//!
//! Cases that start containers need root and a static busybox; where something is missing they are counted as
//! ignored, with the reason. `HOIST_TEST_STRICT=1` makes each skip a failure, `HOIST_TEST_KEEP=1` keeps the
//! directories of the cases, and `HOIST_TEST_ALONE=1`, for a machine where nothing else runs and with one
//! thread, compares the whole host before and after each. Cases observe state, wait for conditions, and leave nothing behind, which each checks.

#![expect(unreachable_pub, reason = "a program has nobody who could reach in")]

mod attacks;
mod bad_input;
mod commands;
mod dockerfile;
mod effects;
mod engine;
mod examples;
mod faults;
mod fuzz;
mod harness;
mod images;
mod model;
mod repo;
mod screens;
mod trouble;
mod variables;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let [_, word, port] = &std::env::args().collect::<Vec<_>>()[..]
        && word == harness::ports::ECHO
    {
        harness::ports::echo(port.parse().expect("a port number"));
    }
    if let [_, word, rest @ ..] = &std::env::args().collect::<Vec<_>>()[..]
        && word == harness::outside::SERVE
    {
        harness::outside::serve(rest);
        return ExitCode::SUCCESS;
    }
    harness::collect_panics();
    harness::leftovers::begin();
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = cases().map(harness::Case::trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    harness::image::clean_up();
    examples::clean_up();
    let left = harness::leftovers::of_the_run();
    if left.is_empty() {
        return conclusion.exit_code();
    }
    harness::complain(&format!(
        "the host is not as it was before:\n  {}",
        left.join("\n  ")
    ));
    ExitCode::FAILURE
}

/// All cases.
fn cases() -> impl Iterator<Item = harness::Case> {
    let lists: &[&[harness::Case]] = &[
        repo::CASES,
        effects::CASES,
        commands::CASES,
        trouble::CASES,
        variables::CASES,
        variables::CONTAINERS,
        dockerfile::CASES,
        model::config::CASES,
        screens::CASES,
        model::errors::CASES,
        model::explain::CASES,
        model::graph::CASES,
        model::init::CASES,
        model::remote::CASES,
        model::viz::CASES,
        model::shells::CASES,
        model::shells::SHELLS,
        model::spec::own::CASES,
        model::spec::whole::CASES,
        images::store::CASES,
        images::accounts::CASES,
        images::unpacking::CASES,
        images::archives::CASES,
        images::archives::JUDGED,
        images::archives::PEER,
        images::build::CASES,
        images::checks::CASES,
        images::copies::CASES,
        images::steps::CASES,
        images::steps::AGENTS,
        images::project::CASES,
        images::bake::CASES,
        images::bake::PEER,
        images::project::PUSHES,
        images::cache::CASES,
        images::cache::registry::CASES,
        images::progress::CASES,
        images::lock::CASES,
        images::publish::CASES,
        images::outputs::CASES,
        images::outputs::PUSHES,
        images::attest::CASES,
        images::attest::PUSHES,
        images::pull::CASES,
        images::transfers::CASES,
        images::sources::CASES,
        images::platforms::CASES,
        images::emulated::CASES,
        images::edges::CASES,
        images::reproducible::CASES,
        engine::lifecycle::CASES,
        engine::dependencies::CASES,
        engine::hooks::CASES,
        engine::replace::CASES,
        engine::boot::CASES,
        engine::bridge::CASES,
        engine::boot::judged::CASES,
        engine::snapshots::CASES,
        engine::checkouts::CASES,
        engine::stops::CASES,
        engine::commands_at_once::CASES,
        engine::attached::CASES,
        engine::menu::CASES,
        engine::live::CASES,
        engine::exec::CASES,
        engine::commit::CASES,
        engine::control::CASES,
        engine::cp::CASES,
        engine::watch::CASES,
        engine::plan::CASES,
        engine::dry_run::CASES,
        engine::events::CASES,
        engine::files::CASES,
        engine::volumes::CASES,
        engine::binds::CASES,
        engine::copy_up::CASES,
        engine::volume_devices::CASES,
        engine::secrets::CASES,
        engine::leaks::CASES,
        engine::damage::CASES,
        engine::damage::tools::CASES,
        engine::networks::CASES,
        engine::networks::silent::CASES,
        engine::names::CASES,
        engine::names::both::CASES,
        engine::resolvers::CASES,
        engine::addresses::CASES,
        engine::ports::CASES,
        engine::ports::asked::CASES,
        engine::ports::tracked::CASES,
        engine::ports::six::CASES,
        engine::firewalls::CASES,
        engine::walls::CASES,
        engine::identity::CASES,
        engine::isolation::CASES,
        engine::apparmor::CASES,
        engine::resources::CASES,
        engine::doctor::CASES,
        engine::devices::CASES,
        engine::provided::CASES,
        engine::read::CASES,
        engine::flags::CASES,
        engine::process::CASES,
        engine::supervisor::CASES,
        faults::kill::CASES,
        faults::errors::CASES,
        faults::state::CASES,
        faults::store::CASES,
        faults::disk::CASES,
        attacks::artifacts::CASES,
        attacks::binary::CASES,
        attacks::builds::CASES,
        attacks::calls::CASES,
        attacks::contexts::CASES,
        attacks::copy::CASES,
        attacks::descriptors::CASES,
        attacks::layers::CASES,
        attacks::logs::CASES,
        attacks::networks::CASES,
        attacks::networks::OUTSIDE,
        attacks::paths::CASES,
        attacks::rights::CASES,
        attacks::signals::CASES,
        attacks::sources::CASES,
        attacks::users::CASES,
        attacks::volumes::CASES,
        engine::logging::CASES,
        engine::health::CASES,
        engine::dossier::CASES,
        engine::drivers::CASES,
        engine::drivers::OUTSIDE,
        engine::drivers::DEVICES,
        engine::restart::CASES,
        engine::log_targets::CASES,
        bad_input::CASES,
        fuzz::CASES,
        bad_input::files::CASES,
        examples::drafted::CASES,
        examples::ml_workspace::CASES,
        examples::text_classifier::CASES,
        examples::image_classifier::CASES,
        vm::CASES,
    ];
    lists.iter().copied().flatten().copied()
}
