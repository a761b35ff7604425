//! Random inputs for what reads files: nothing of them may panic, hang, or give two answers.
//!
//! In: the seeds of `seeds`, changed by `mutate`. Out: the first input that breaks a rule of its target, shown and
//! written to a file. In a test run each target gets a fixed number of inputs from a fixed seed. By hand:
//!
//! ```text
//! HOIST_FUZZ_SECONDS=3600 cargo test --test main fuzz::     longer, from a random seed, which is printed
//! HOIST_FUZZ_SEED=7                                         from this one
//! HOIST_FUZZ_INPUT=FILE                                     only this input
//! ```
//!
//! Imports: `hoist::base`, `hoist::compose`, `hoist::image`, `hoist::build`, `hoist::ui`: a process an input would be too slow.

mod dockerfile_seeds;
mod dockerfiles;
mod images;
mod mutate;
mod random;
mod seeds;
mod targets;
mod trees;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use random::Random;

crate::cases!(&[];
    interpolation_of_any_text_ends_in_a_text_or_a_fault,
    env_files_of_any_text_end_in_variables_or_a_fault,
    yaml_of_any_kind_ends_in_a_document_or_findings,
    compose_files_of_any_kind_end_in_a_project_or_findings,
    dockerfiles_of_any_kind_end_in_stages_or_findings,
    words_of_dockerfiles_end_in_a_text_or_a_fault,
    ignore_files_take_nothing_in_that_no_rule_takes_in,
    archives_of_any_kind_change_nothing_outside,
    names_of_images_read_back_as_they_are_written,
    documents_about_images_are_read_or_refused,
    layers_of_any_kind_are_made_again_of_their_files,
    archives_of_images_are_loaded_whole_or_not_at_all,
);

/// The time an input may take; a thousand times what one takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is fed.
struct Target {
    /// Its name, also of the file of a failing input.
    name: &'static str,
    /// Texts to start from.
    seeds: &'static [&'static str],
    /// Pieces that mean something in its grammar.
    tokens: &'static [&'static str],
    /// Panics where a rule is broken.
    check: fn(&str),
    /// Inputs of a test run.
    count: usize,
}

fn interpolation_of_any_text_ends_in_a_text_or_a_fault() {
    fuzz(&Target {
        name: "template",
        seeds: seeds::TEMPLATES,
        tokens: seeds::TEMPLATE_TOKENS,
        check: targets::template,
        count: 4_000,
    });
}

fn env_files_of_any_text_end_in_variables_or_a_fault() {
    fuzz(&Target {
        name: "dotenv",
        seeds: seeds::ENV_FILES,
        tokens: seeds::ENV_TOKENS,
        check: targets::dotenv,
        count: 10_000,
    });
}

fn yaml_of_any_kind_ends_in_a_document_or_findings() {
    fuzz(&Target {
        name: "yaml",
        seeds: seeds::YAML,
        tokens: seeds::YAML_TOKENS,
        check: targets::load,
        count: 1_500,
    });
}

fn compose_files_of_any_kind_end_in_a_project_or_findings() {
    fuzz(&Target {
        name: "compose",
        seeds: seeds::COMPOSE,
        tokens: seeds::COMPOSE_TOKENS,
        check: targets::load,
        count: 1_000,
    });
}

fn dockerfiles_of_any_kind_end_in_stages_or_findings() {
    fuzz(&Target {
        name: "dockerfile",
        seeds: dockerfile_seeds::FILES,
        tokens: dockerfile_seeds::FILE_TOKENS,
        check: dockerfiles::file,
        count: 500,
    });
    dockerfiles::clean_up();
}

fn words_of_dockerfiles_end_in_a_text_or_a_fault() {
    fuzz(&Target {
        name: "words",
        seeds: dockerfile_seeds::WORDS,
        tokens: dockerfile_seeds::WORD_TOKENS,
        check: dockerfiles::words,
        count: 6_000,
    });
}

fn ignore_files_take_nothing_in_that_no_rule_takes_in() {
    fuzz(&Target {
        name: "ignore",
        seeds: trees::IGNORES,
        tokens: trees::IGNORE_TOKENS,
        check: trees::ignore,
        count: 6_000,
    });
}

fn archives_of_any_kind_change_nothing_outside() {
    fuzz(&Target {
        name: "archive",
        seeds: trees::ARCHIVES,
        tokens: trees::ARCHIVE_TOKENS,
        check: trees::unpacked,
        count: 2_000,
    });
    trees::clean_up();
}

fn names_of_images_read_back_as_they_are_written() {
    fuzz(&Target {
        name: "reference",
        seeds: images::REFERENCES,
        tokens: images::REFERENCE_TOKENS,
        check: images::reference,
        count: 10_000,
    });
}

fn documents_about_images_are_read_or_refused() {
    fuzz(&Target {
        name: "document",
        seeds: images::DOCUMENTS,
        tokens: images::DOCUMENT_TOKENS,
        check: images::document,
        count: 3_000,
    });
}

fn layers_of_any_kind_are_made_again_of_their_files() {
    fuzz(&Target {
        name: "layer",
        seeds: trees::ARCHIVES,
        tokens: trees::ARCHIVE_TOKENS,
        check: images::layer,
        count: 600,
    });
    images::clean_up("layer");
}

fn archives_of_images_are_loaded_whole_or_not_at_all() {
    fuzz(&Target {
        name: "images",
        seeds: images::ARCHIVES,
        tokens: images::ARCHIVE_TOKENS,
        check: images::archive,
        count: 300,
    });
    images::clean_up("images");
}

/// Feeds a target as the environment asks.
#[expect(clippy::print_stdout, reason = "a run by hand says what it did")]
fn fuzz(target: &Target) {
    let set = |name: &str| std::env::var(name).ok();
    if let Some(file) = set("HOIST_FUZZ_INPUT") {
        let bytes = std::fs::read(&file).expect("the file of HOIST_FUZZ_INPUT");
        return (target.check)(&String::from_utf8_lossy(&bytes));
    }
    let number = |name| set(name).map(|text| text.parse::<u64>().expect("a whole number"));
    let seconds = number("HOIST_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("HOIST_FUZZ_SEED").unwrap_or_else(|| match seconds {
        Some(_) => random::from_system(),
        None => 1,
    });
    let begun = Instant::now();
    let mut inputs = 0;
    let mut slowest = Duration::ZERO;
    let more = |inputs: usize| match seconds {
        Some(seconds) => begun.elapsed() < seconds,
        None => inputs < target.count,
    };
    let mut corpus: Vec<String> = target.seeds.iter().map(|seed| (*seed).to_owned()).collect();
    let mut random = Random::new(seed);
    while more(inputs) {
        let input = mutate::mutated(&mut random, &corpus, target.tokens);
        let current = seconds.map(|_| write(target, "current", &input));
        let took = run(target, seed, inputs, &input);
        if took > slowest && current.is_some() {
            write(target, "slowest", &input);
        }
        slowest = slowest.max(took);
        inputs += 1;
        // What was found keeps growing new inputs; the first seeds stay.
        if random.one_in(20) && corpus.len() < 500 {
            corpus.push(input);
        } else if random.one_in(200) && corpus.len() > target.seeds.len() {
            let gone = target.seeds.len() + random.below(corpus.len() - target.seeds.len());
            corpus.swap_remove(gone);
        }
    }
    if seconds.is_some() {
        let rate = inputs as f64 / begun.elapsed().as_secs_f64();
        println!(
            "{}: seed {seed}, {inputs} inputs, {rate:.0} a second, the slowest took {slowest:?}",
            target.name
        );
    }
}

/// Checks one input and gives the time it took.
///
/// # Panics
/// When a rule is broken; the message names the file the input was written to.
fn run(target: &Target, seed: u64, number: usize, input: &str) -> Duration {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    let took = begun.elapsed();
    let fault = match result {
        Err(payload) => payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| {
                payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
            })
            .unwrap_or_default(),
        Ok(()) if took > PATIENCE => format!("it took {took:?}"),
        Ok(()) => return took,
    };
    let file = write(target, &format!("{seed}-{number}"), input);
    let shown: String = input.chars().take(2000).collect();
    panic!(
        "{fault}\nseed {seed}, input {number}, {} bytes, written to {}:\n{shown}",
        input.len(),
        file.display()
    );
}

/// Writes an input where `HOIST_FUZZ_INPUT` finds it.
fn write(target: &Target, name: &str, input: &str) -> PathBuf {
    let file = format!("hoist-fuzz-{}-{}-{name}", target.name, std::process::id());
    let file = std::env::temp_dir().join(file);
    std::fs::write(&file, input).expect("a temporary file");
    file
}
