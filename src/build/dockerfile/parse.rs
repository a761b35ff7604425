//! Lines → [`Dockerfile`]. Every fault of the file is found in one go.
//!
//! Imports: `base`, the siblings. Rules: Dockerfile reference; checks and words as BuildKit.

use super::ast::{
    ArgDecl, CommandLine, Definition, Dockerfile, FromWords, Instruction, Kind, Run, RunNetwork,
    StageDecl,
};
use super::directives;
use super::lex::{Line, Written, lex};
use super::mounts;
use super::transfer::{self, Verb};
use super::words::{
    Fault, Parsed, Takes, json_list, one, pairs, plain_words, quoted_words, read_flags,
    split_flags, split_name,
};
use crate::base::diag::{Diagnostic, Diagnostics, Severity, nearest};
use crate::base::scalar::parse_duration;
use crate::base::span::{SourceId, Span};
use crate::image::config::HealthConfig;

/// Every instruction there is.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Shortest time a health check may name.
const SHORTEST: std::time::Duration = std::time::Duration::from_millis(1);

/// Parses a whole file.
///
/// # Errors
/// All faults of the file.
pub fn parse(text: &str, source: SourceId) -> Result<Dockerfile, Diagnostics> {
    let (file, found) = read(text, source, None);
    found.or_value(file).map(|(file, _)| file)
}

/// Parses a whole file as far as it can be, with its faults. `syntax` is asked for in place of the file's own directive.
pub fn read(text: &str, source: SourceId, syntax: Option<&str>) -> (Dockerfile, Diagnostics) {
    let mut found = Diagnostics::default();
    let lexed = lex(text, source, &mut found);
    let mut file = Dockerfile {
        escape: lexed.escape,
        globals: Vec::new(),
        stages: Vec::new(),
        directives: lexed.directives,
        gaps: lexed.gaps,
        definitions: Vec::new(),
    };
    if text.trim_start_matches('\u{feff}').is_empty() {
        found.push(Diagnostic::error("the Dockerfile cannot be empty").at(Span::new(source, 0, 0)));
        return (file, found);
    }
    let named = file.directives.syntax.as_ref();
    let asked = syntax
        .map(|image| (image, None))
        .or_else(|| named.map(|(image, span)| (image.as_str(), Some(*span))));
    if let Some((image, place)) = asked.filter(|(image, _)| !directives::is_built_in(image)) {
        // The file is in a language of its own: what is wrong with it in this one says nothing.
        let item = directives::foreign(image, place);
        return (file, item.into());
    }
    let any = !lexed.lines.is_empty();
    for line in &lexed.lines {
        place(line, &mut file, text, &mut found);
    }
    if !found.has_errors() && file.stages.is_empty() {
        let what = if any {
            "dockerfile contains no stages to build"
        } else {
            "file with no instructions"
        };
        let hint = "begin with FROM and an image, or FROM scratch";
        found.push(
            Diagnostic::error(what)
                .at(Span::new(source, 0, 0))
                .hint(hint),
        );
    }
    (file, found)
}

/// Parses the instructions that an image asks for when something is built on it.
///
/// # Errors
/// All faults of the text.
pub fn parse_triggers(
    text: &str,
    source: SourceId,
    escape: char,
) -> Result<Vec<Instruction>, Diagnostics> {
    let mut found = Diagnostics::default();
    let lexed = lex(text, source, &mut found);
    let mut done = Vec::new();
    for line in &lexed.lines {
        match instruction(line, escape) {
            Ok(Some(instruction)) => done.push(instruction),
            Ok(None) => found
                .push(Diagnostic::error("FROM isn't allowed as an ONBUILD trigger").at(line.span)),
            Err(fault) => found.push(diagnose(fault, line, text)),
        }
    }
    found.or_value(done).map(|(done, _)| done)
}

fn place(line: &Line, file: &mut Dockerfile, text: &str, found: &mut Diagnostics) {
    let (name, _) = split_name(&line.written.text);
    if name.eq_ignore_ascii_case("FROM") {
        match from(line) {
            Ok(stage) => {
                let name = stage.words.name.iter().map(|(_, name)| name.to_lowercase());
                file.definitions
                    .extend(definition("FROM", name.collect(), line));
                file.stages.push(stage);
            }
            Err(fault) => found.push(diagnose(fault, line, text)),
        }
        return;
    }
    let read = instruction(line, file.escape);
    if let Ok(Some(Instruction {
        kind: Kind::Arg(args),
        ..
    })) = &read
    {
        let names = args.iter().map(|arg| arg.name.clone());
        file.definitions
            .extend(definition("ARG", names.collect(), line));
    }
    if let Ok(Some(Instruction {
        kind: Kind::Onbuild(_),
        ..
    })) = &read
        && let Some(fault) = bad_trigger(line, file.escape)
    {
        let mut item = diagnose(fault, line, text);
        item.severity = Severity::Warning;
        found.push(item);
    }
    match read {
        Err(fault) => found.push(diagnose(fault, line, text)),
        Ok(None) => {}
        Ok(Some(instruction)) => match (file.stages.last_mut(), instruction) {
            (Some(stage), instruction) => stage.body.push(instruction),
            (
                None,
                Instruction {
                    kind: Kind::Arg(args),
                    span,
                    ..
                },
            ) => file.globals.push((args, span)),
            (None, _) if found.has_errors() => {}
            (None, _) => {
                let fault = Fault::new("no build stage in current context")
                    .at(name)
                    .hint("only ARG may stand before the first FROM");
                found.push(diagnose(fault, line, text));
            }
        },
    }
}

/// What the comment above an instruction says of the names it defines.
fn definition(keyword: &'static str, names: Vec<String>, line: &Line) -> Option<Definition> {
    let comment = line.comments.last().filter(|_| !names.is_empty())?;
    Some(Definition {
        keyword,
        names,
        comment: comment.clone(),
        span: line.span,
    })
}

/// What the comments above an instruction say of a name: `# name what it is for`.
fn description(line: &Line, name: &str) -> Option<String> {
    let said = line.comments.iter().find_map(|comment| {
        let rest = comment.strip_prefix(name)?;
        rest.strip_prefix(' ')
    });
    said.filter(|_| !name.is_empty()).map(str::to_owned)
}

/// A fault with its place: the word at fault if the line holds it, else the first row of the line.
fn diagnose(fault: Fault, line: &Line, text: &str) -> Diagnostic {
    let (start, end) = (line.span.start as usize, line.span.end as usize);
    let place = fault
        .token
        .as_deref()
        .and_then(|token| line.written.find(token, line.span.source));
    let place = place.unwrap_or_else(|| {
        let first = text.get(start..end).and_then(|text| text.lines().next());
        Span::new(
            line.span.source,
            start,
            start + first.unwrap_or_default().len(),
        )
    });
    let mut item = Diagnostic::error(fault.message).at(place);
    if let Some(hint) = fault.hint {
        item = item.hint(hint);
    }
    item
}

fn from(line: &Line) -> Parsed<StageDecl> {
    let (keyword, rest) = split_name(&line.written.text);
    let (flags, rest) = split_flags(rest);
    let words = plain_words(rest);
    let mut flags = read_flags(&flags, &[("platform", Takes::Value)])?;
    let platform = flags.remove("platform").and_then(|mut values| values.pop());
    let platform = platform.filter(|platform| !platform.is_empty());
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => {
            (base, Some(name.to_ascii_lowercase()))
        }
        _ => {
            return Err(Fault::new("FROM requires either one or three arguments")
                .hint("write FROM image AS name"));
        }
    };
    if let Some(name) = &name {
        let tail =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(tail) {
            return Err(Fault::new(format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            ))
            .at(words[2].clone()));
        }
    }
    let as_name = words.get(1).cloned().zip(words.get(2).cloned());
    Ok(StageDecl {
        base: base.clone(),
        description: name.as_deref().and_then(|name| description(line, name)),
        name,
        platform,
        span: line.span,
        written: line.written.clone(),
        words: FromWords {
            from: keyword.to_owned(),
            name: as_name,
        },
        body: Vec::new(),
    })
}

/// One instruction; `None` for `FROM`.
fn instruction(line: &Line, escape: char) -> Parsed<Option<Instruction>> {
    let (written, rest) = split_name(&line.written.text);
    let name = written.to_ascii_uppercase();
    let (flags, args) = split_flags(rest);
    let kind = match name.as_str() {
        "FROM" => return Ok(None),
        "RUN" => run(line, &flags, args)?,
        "COPY" => Kind::Copy(transfer::parse(Verb::Copy, &flags, args, &line.heredocs)?),
        "ADD" => Kind::Add(transfer::parse(Verb::Add, &flags, args, &line.heredocs)?),
        "HEALTHCHECK" => healthcheck(&flags, args)?,
        name if NAMES.contains(&name) => {
            read_flags(&flags, &[])?;
            plain(name, args, line, escape)?
        }
        _ => {
            let fault = Fault::new(format!("unknown instruction: {written}")).at(written);
            return Err(match nearest(&name, NAMES) {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => {
                    fault.hint("a line that goes on needs a \\ at the end of the line before it")
                }
            });
        }
    };
    // The old form has its first `=`, if any, behind the first word.
    let pairs = matches!(kind, Kind::Env(_) | Kind::Label(_));
    let legacy = pairs
        && quoted_words(args, escape)
            .first()
            .is_some_and(|word| !word.contains('='));
    let text = if rest.is_empty() {
        name
    } else {
        format!("{name} {rest}")
    };
    Ok(Some(Instruction {
        kind,
        name: written.to_owned(),
        written: line.written.clone(),
        legacy,
        span: line.span,
        text,
    }))
}

/// The instructions without flags.
fn plain(name: &str, args: &str, line: &Line, escape: char) -> Parsed<Kind> {
    let at_least_one = || Fault::new(format!("{name} requires at least one argument"));
    Ok(match name {
        "ARG" => Kind::Arg(arg(args, line, escape)?),
        "CMD" => Kind::Cmd(command(args)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(args)?),
        "ENV" => Kind::Env(pairs(args, name, escape)?),
        "LABEL" => Kind::Label(pairs(args, name, escape)?),
        "EXPOSE" if args.is_empty() => return Err(at_least_one()),
        "EXPOSE" => Kind::Expose(plain_words(args)),
        "MAINTAINER" => Kind::Maintainer(one(args, name)?),
        "ONBUILD" => onbuild(args, line)?,
        "SHELL" => match json_list(args)? {
            Some(words) if words.is_empty() => return Err(at_least_one()),
            Some(words) => Kind::Shell(words),
            None => {
                return Err(
                    Fault::new("SHELL requires the arguments to be in JSON form")
                        .at(args)
                        .hint("write SHELL [\"/bin/sh\", \"-c\"]"),
                );
            }
        },
        "STOPSIGNAL" => Kind::StopSignal(one(args, name)?),
        "USER" => Kind::User(one(args, name)?),
        "VOLUME" => {
            let paths = json_list(args)?.unwrap_or_else(|| plain_words(args));
            if paths.is_empty() {
                return Err(at_least_one());
            }
            if paths.iter().any(|path| path.trim().is_empty()) {
                return Err(Fault::new("VOLUME specified can not be an empty string"));
            }
            Kind::Volume(paths)
        }
        _ => Kind::Workdir(one(args, name)?),
    })
}

fn command(args: &str) -> Parsed<CommandLine> {
    Ok(json_list(args)?.map_or_else(|| CommandLine::Shell(args.to_owned()), CommandLine::Exec))
}

fn arg(args: &str, line: &Line, escape: char) -> Parsed<Vec<ArgDecl>> {
    let words = quoted_words(args, escape);
    if words.is_empty() {
        return Err(Fault::new("ARG requires at least one argument"));
    }
    let decl = |word: &String| {
        let (name, default) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
        if name.is_empty() {
            return Err(Fault::new("ARG names can not be blank").at(word.clone()));
        }
        Ok(ArgDecl {
            name: name.to_owned(),
            default: default.map(str::to_owned),
            description: description(line, name),
        })
    };
    words.iter().map(decl).collect()
}

/// Why an instruction for builds upon the image will fail in each of them; the image itself can be made.
fn bad_trigger(line: &Line, escape: char) -> Option<Fault> {
    let (_, args) = split_name(&line.written.text);
    let inner = Line {
        written: Written::bare(args),
        span: line.span,
        heredocs: line.heredocs.clone(),
        comments: Vec::new(),
    };
    let mut fault = instruction(&inner, escape).err()?;
    fault.message = format!(
        "this fails in every build upon the image: {}",
        fault.message
    );
    Some(fault)
}

fn onbuild(args: &str, line: &Line) -> Parsed<Kind> {
    let (name, _) = split_name(args);
    match name.to_ascii_uppercase().as_str() {
        "" => return Err(Fault::new("ONBUILD requires at least one argument")),
        "ONBUILD" => {
            return Err(
                Fault::new("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed").at(name),
            );
        }
        "FROM" | "MAINTAINER" => {
            let name = name.to_ascii_uppercase();
            return Err(Fault::new(format!(
                "{name} isn't allowed as an ONBUILD trigger"
            )));
        }
        _ => {}
    }
    let mut text = args.to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(Kind::Onbuild(text))
}

fn run(line: &Line, flags: &[String], args: &str) -> Parsed<Kind> {
    let known = [
        ("mount", Takes::Values),
        ("network", Takes::Value),
        ("security", Takes::Value),
        ("device", Takes::Values),
    ];
    let mut flags = read_flags(flags, &known)?;
    let network = match flags
        .get("network")
        .and_then(|values| values.first())
        .map(String::as_str)
    {
        None => None,
        Some("default") => Some(RunNetwork::Default),
        Some("none") => Some(RunNetwork::None),
        Some("host") => Some(RunNetwork::Host),
        Some(other) => {
            return Err(Fault::new(format!("invalid network mode {other:?}"))
                .at(other)
                .hint("the modes are default, none and host"));
        }
    };
    let insecure = match flags
        .get("security")
        .and_then(|values| values.first())
        .map(String::as_str)
    {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => return Err(Fault::new(format!("security {other:?} is not valid")).at(other)),
    };
    let devices = flags.remove("device").unwrap_or_default();
    let mounts = flags.remove("mount").unwrap_or_default();
    for mount in mounts.iter().filter(|mount| !mount.contains('$')) {
        mounts::parse(mount, &|text| Ok(text.to_owned()))
            .map_err(|message| Fault::new(message).at(mount.clone()))?;
    }
    let command = command(args)?;
    if command == CommandLine::Exec(Vec::new()) {
        let fault = Fault::new("RUN requires at least one argument in JSON form").at(args);
        return Err(fault.hint("write RUN [\"program\", \"argument\"]"));
    }
    Ok(Kind::Run(Run {
        command,
        heredocs: line.heredocs.clone(),
        mounts,
        network,
        insecure,
        devices,
    }))
}

fn healthcheck(flags: &[String], args: &str) -> Parsed<Kind> {
    let (kind, rest) = split_name(args);
    let mut health = HealthConfig::default();
    match kind.to_ascii_uppercase().as_str() {
        "" => return Err(Fault::new("HEALTHCHECK requires at least one argument")),
        "NONE" if rest.is_empty() => {
            health_times(flags)?;
            health.test = vec!["NONE".to_owned()];
            return Ok(Kind::Healthcheck(health));
        }
        "NONE" => return Err(Fault::new("HEALTHCHECK NONE takes no arguments").at(rest)),
        "CMD" => {}
        _ => {
            return Err(
                Fault::new(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)")).at(kind),
            );
        }
    }
    health.test = match command(rest)? {
        CommandLine::Exec(words) if !words.is_empty() => {
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
        CommandLine::Shell(text) if !text.is_empty() => vec!["CMD-SHELL".to_owned(), text],
        _ => return Err(Fault::new("missing command after HEALTHCHECK CMD")),
    };
    let times = health_times(flags)?;
    Ok(Kind::Healthcheck(HealthConfig {
        test: health.test,
        ..times
    }))
}

/// The flags of a health check.
fn health_times(flags: &[String]) -> Parsed<HealthConfig> {
    let mut health = HealthConfig::default();
    let known = [
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ]
    .map(|n| (n, Takes::Value));
    let flags = read_flags(flags, &known)?;
    let time = |name: &str| -> Parsed<i64> {
        let Some(text) = flags.get(name).and_then(|values| values.first()) else {
            return Ok(0);
        };
        let time = parse_duration(text).ok_or_else(|| {
            Fault::new(format!("invalid duration {text:?} for --{name}"))
                .at(text.clone())
                .hint("write a number and a unit: 30s, 1m30s, 500ms")
        })?;
        if !time.is_zero() && time < SHORTEST {
            return Err(
                Fault::new(format!("interval {name:?} cannot be less than 1ms")).at(text.clone()),
            );
        }
        Ok(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    health.interval = time("interval")?;
    health.timeout = time("timeout")?;
    health.start_period = time("start-period")?;
    health.start_interval = time("start-interval")?;
    if let Some(text) = flags.get("retries").and_then(|values| values.first()) {
        let retries: i32 = text.parse().map_err(|_| {
            Fault::new(format!("--retries wants a number, not {text:?}")).at(text.clone())
        })?;
        if retries < 0 {
            return Err(
                Fault::new(format!("--retries cannot be negative ({retries})")).at(text.clone()),
            );
        }
        health.retries = i64::from(retries);
    }
    Ok(health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;

    fn faults(text: &str) -> Vec<String> {
        let mut sources = SourceMap::default();
        let id = sources.add("Dockerfile", text);
        match parse(text, id) {
            Ok(_) => Vec::new(),
            Err(found) => found
                .sorted()
                .iter()
                .map(|item| match item.hints.first() {
                    Some(hint) => format!("{} | {hint}", item.headline(&sources)),
                    None => item.headline(&sources),
                })
                .collect(),
        }
    }

    #[test]
    fn all_faults_are_found_at_once_with_places_and_hints() {
        let text = "FROM a\nRNU x\nCOPY --chmdo=1 a b\nENV A\nRUN ok\nSHELL /bin/sh\n";
        assert_eq!(
            faults(text),
            [
                "Dockerfile:2:1: unknown instruction: RNU | did you mean RUN?",
                "Dockerfile:3:6: unknown flag: --chmdo | did you mean --chmod?",
                "Dockerfile:4:5: ENV must have two arguments | write ENV A=value",
                "Dockerfile:6:7: SHELL requires the arguments to be in JSON form | write SHELL [\"/bin/sh\", \"-c\"]",
            ]
        );
    }

    #[test]
    fn files_without_a_stage_are_refused() {
        for (text, want) in [
            ("", "the Dockerfile cannot be empty"),
            ("# x\n", "file with no instructions"),
            ("ARG A\n", "dockerfile contains no stages to build"),
            ("RUN x\n", "no build stage in current context"),
        ] {
            assert!(faults(text)[0].contains(want), "{text}: {:?}", faults(text));
        }
    }

    #[test]
    fn single_faults_are_refused() {
        for text in [
            "FROM a AS 1x",
            "FROM a b",
            "FROM",
            "FROM a\nWORKDIR",
            "FROM a\nCOPY [\"a\"]",
            "FROM a\nCOPY a",
            "FROM a\nRUN --network=bogus true",
            "FROM a\nHEALTHCHECK",
            "FROM a\nHEALTHCHECK NONE x",
            "FROM a\nHEALTHCHECK --interval=1 CMD x",
            "FROM a\nHEALTHCHECK CMD",
            "FROM a\nHEALTHCHECK --retries=-1 CMD x",
            "FROM a\nEXPOSE",
            "FROM a\nUSER",
            "FROM a\nONBUILD FROM b",
            "FROM a\nONBUILD ONBUILD RUN x",
            "FROM a\nONBUILD",
            "FROM a\nARG",
            "FROM a\nARG =1",
            "FROM a\nLABEL",
            "FROM a\nENV =1",
            "FROM a\nVOLUME",
            "FROM a\nVOLUME [\"\"]",
            "FROM a\nCMD [1]",
            "FROM a\nCOPY a <<EOF\nEOF\n",
            "FROM a\nRUN --mount=type=foo,target=/x y",
            "# escape=x\nFROM a",
            "# escape=`\n# escape=`\nFROM a",
            "# syntax=me/mine\nFROM a",
            "FROM a\nCOPY --link=x a b",
            "FROM a\nRUN --mount=type=cache,sharing=all x",
        ] {
            assert_eq!(faults(text).len(), 1, "{text}: {:?}", faults(text));
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let text = "from busybox as B\nrun [\"a\", \"b\"]\nRUN [\"a\" b]\nCMD\nENTRYPOINT []\nHEALTHCHECK CMD [\"x\"]\n\
                    # syntax=late\nRUN <<EOF\nx\nEOF\n";
        let mut sources = SourceMap::default();
        let file = parse(text, sources.add("Dockerfile", text)).unwrap();
        let stage = &file.stages[0];
        assert_eq!(stage.name.as_deref(), Some("b"));
        let kinds: Vec<&Kind> = stage
            .body
            .iter()
            .map(|instruction| &instruction.kind)
            .collect();
        let exec =
            |words: &[&str]| CommandLine::Exec(words.iter().map(|w| (*w).to_owned()).collect());
        let Kind::Run(first) = kinds[0] else {
            panic!("RUN")
        };
        assert_eq!(first.command, exec(&["a", "b"]));
        let Kind::Run(second) = kinds[1] else {
            panic!("RUN")
        };
        assert_eq!(second.command, CommandLine::Shell("[\"a\" b]".into()));
        assert_eq!(kinds[2], &Kind::Cmd(CommandLine::Shell(String::new())));
        assert_eq!(kinds[3], &Kind::Entrypoint(exec(&[])));
        let Kind::Healthcheck(health) = kinds[4] else {
            panic!("HEALTHCHECK")
        };
        assert_eq!(health.test, ["CMD", "x"]);
        let Kind::Run(last) = kinds[5] else {
            panic!("RUN")
        };
        assert_eq!(last.heredocs[0].content, "x\n");
        assert_eq!(stage.body[1].text, "RUN [\"a\" b]");
    }
}
