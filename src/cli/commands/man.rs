//! `man`: the pages of all commands, made from what `--help` is made from.
//!
//! In: the grammar and its examples. Out: roff. Imports: `help`, `examples`. Source: man-pages(7).

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::args::ManArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{examples, help};
use crate::ui::write_out;

pub(super) fn run(args: &ManArgs) -> Outcome {
    let cannot = |error: io::Error| Failure::new(format!("cannot write the pages: {error}"));
    let pages = pages().map_err(cannot)?;
    match &args.dir {
        None => {
            if let Some((_, page)) = pages.first() {
                write_out(page)?;
            }
        }
        Some(dir) => {
            let write = || -> io::Result<()> {
                fs::create_dir_all(dir)?;
                pages
                    .iter()
                    .try_for_each(|(name, page)| put(dir, name, page))
            };
            write().map_err(|error| {
                Failure::new(format!("cannot write pages to {}: {error}", dir.display()))
            })?;
        }
    }
    Ok(0)
}

/// Writes a page beside its place first, so that none is ever half there.
fn put(dir: &Path, name: &str, page: &[u8]) -> io::Result<()> {
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    fs::write(&beside, page)?;
    fs::rename(&beside, dir.join(name))
}

/// All pages by their file names, that of hoist itself first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = help::plain();
    root.build();
    let mut pages = Vec::new();
    of_command(&root, "", &mut pages)?;
    Ok(pages)
}

fn of_command(command: &Command, path: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = match path {
        "" => command.get_name().to_owned(),
        path => format!("hoist-{}", path.replace(' ', "-")),
    };
    pages.push((format!("{name}.1"), page(command.clone(), &name, path)?));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name());
        of_command(sub, path.trim_start(), pages)?;
    }
    Ok(())
}

fn page(command: Command, name: &str, path: &str) -> io::Result<Vec<u8>> {
    let has_options = command.get_arguments().any(|arg| !arg.is_hide_set());
    let has_commands = command.has_subcommands();
    let man = Man::new(command.display_name(name))
        .title(name.to_uppercase())
        .source(concat!("hoist ", env!("CARGO_PKG_VERSION")))
        .manual("hoist manual");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if has_options {
        man.render_options_section(&mut out)?;
    }
    if has_commands {
        man.render_subcommands_section(&mut out)?;
    }
    let examples = examples::of(path);
    if !examples.is_empty() {
        let mut section = Roff::new();
        section.control("SH", ["EXAMPLES"]);
        for (line, what) in examples {
            section.control("TP", []);
            section.text([bold(*line)]);
            section.text([roman(*what)]);
        }
        section.to_writer(&mut out)?;
    }
    if !path.is_empty() {
        writeln!(out, ".SH \"SEE ALSO\"\n.BR hoist (1)")?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let pages = pages().expect("made");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.first(), Some(&"hoist.1"));
        for name in ["hoist-up.1", "hoist-image-import.1", "hoist-man.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        let up = pages.iter().find(|(name, _)| name == "hoist-up.1");
        let up = String::from_utf8_lossy(&up.expect("there").1).replace('\\', "");
        for text in [".TH HOIST-UP 1", "--detach", ".SH EXAMPLES", "hoist up -d"] {
            assert!(up.contains(text), "{text}: {up}");
        }
    }
}
