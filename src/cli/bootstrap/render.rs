//! Components → the texts of files.
//!
//! Imports: nothing but its neighbours. Sources: Compose Specification; `.dockerignore` reference.

use std::collections::BTreeSet;

use super::databases::Database;
use super::{COMPOSE_NAMES, Component, Draft, Listing, Probe, Rule};

/// What no image needs.
const IGNORED: &str = "\
.git
.github
.idea
.vscode
# passwords and keys stay out of images
.env
.env.*
!.env.example
*.pem
*.key
# these files change how the image is made, not what is in it
Dockerfile*
.dockerignore
compose*.yaml
compose*.yml
docker-compose*.y*ml
";

/// All files of the components.
pub(super) fn draft(listing: &Listing, components: &[Component]) -> Draft {
    let mut draft = Draft {
        files: Vec::new(),
        story: Vec::new(),
        notes: Vec::new(),
    };
    for component in components {
        let place = match component.dir.as_str() {
            "" => "here".to_owned(),
            dir => format!("in {dir}"),
        };
        draft.story.push(format!(
            "{place}: {}, service `{}`",
            component.what, component.service
        ));
        let lines = component.seen.iter().map(|line| format!("  {line}"));
        draft.story.extend(lines);
        draft.notes.extend(component.notes.iter().cloned());
        let path = |name: &str| match component.dir.as_str() {
            "" => name.to_owned(),
            dir => format!("{dir}/{name}"),
        };
        if let Some(text) = &component.dockerfile {
            draft.files.push((path("Dockerfile"), text.clone()));
            match listing.has(&path(".dockerignore")) {
                true => draft.story.push(format!(
                    "  {} is there already and stays as it is",
                    path(".dockerignore")
                )),
                false => draft.files.push((path(".dockerignore"), ignore(component))),
            }
        }
    }
    if listing.has(".env.example") && !listing.has(".env") {
        let text = "`.env.example` is there and `.env` is not: copy it and fill it in";
        draft.notes.push(text.to_owned());
    }
    let name = COMPOSE_NAMES.into_iter().find(|name| listing.has(name));
    let name = name.unwrap_or(COMPOSE_NAMES[0]);
    draft
        .files
        .push((name.to_owned(), compose(listing, components)));
    draft
}

fn ignore(component: &Component) -> String {
    let own: String = component
        .ignore
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    format!("# What stays out of the image, and is no reason to build it anew\n{IGNORED}{own}")
}

fn compose(listing: &Listing, components: &[Component]) -> String {
    let mut text = String::from(
        "# Drafted by `hoist init` from what lies here; yours from now on.\n\
         #   hoist up --watch    builds and starts everything, and follows your edits\n\
         #   hoist down          stops and removes it; data in volumes stays (down -v removes them)\n\nservices:\n",
    );
    for component in components {
        text += &service(listing, component);
        text.push('\n');
    }
    let databases: BTreeSet<Database> = components
        .iter()
        .flat_map(|component| component.databases.iter().copied())
        .collect();
    for database in &databases {
        text += &database.text();
        text.push('\n');
    }
    if databases.is_empty() {
        text.pop();
        return text;
    }
    text += "volumes:\n";
    for database in databases {
        text += &format!("  {}:\n", database.volume());
    }
    text
}

fn service(listing: &Listing, component: &Component) -> String {
    let mut text = format!("  {}:\n", component.service);
    text += &build(component);
    text += "    # a small first process: signals reach the program, so that Ctrl-C and `down` end it at once\n    init: true\n";
    if let Some((user, why)) = &component.user {
        text += &format!("    # {why}\n    user: {}\n", quoted(user));
    }
    if let Some(port) = component.port {
        let variable = component.service.to_ascii_uppercase().replace('-', "_");
        text += &format!(
            "    ports:\n      # only this machine reaches it; {variable}_PORT in .env gives it another port here\n      \
             - \"127.0.0.1:${{{variable}_PORT:-{port}}}:{port}\"\n"
        );
    }
    if listing.has(".env") {
        text +=
            "    # the variables of .env, in the container as well\n    env_file:\n      - .env\n";
    }
    text += &environment(component);
    if let Some((bind, why)) = &component.bind {
        text += &format!("    volumes:\n      # {why}\n      - {}\n", quoted(bind));
    }
    if !component.databases.is_empty() {
        text += "    depends_on:\n";
        for database in &component.databases {
            text += &format!(
                "      {}:\n        condition: service_healthy\n",
                database.service()
            );
        }
    }
    text += &probe(component);
    if !component.watch.is_empty() {
        text += "    # what `hoist watch` and `hoist up --watch` do when files change\n    develop:\n      watch:\n";
        let rules = component.watch.iter();
        text.extend(rules.map(|rule| watch(rule, &component.dir)));
    }
    text
}

fn build(component: &Component) -> String {
    let context = match component.dir.as_str() {
        "" => ".".to_owned(),
        dir => format!("./{dir}"),
    };
    match &component.named {
        None => format!("    build: {}\n", quoted(&context)),
        Some(file) => format!(
            "    build:\n      context: {}\n      dockerfile: {}\n",
            quoted(&context),
            quoted(file)
        ),
    }
}

fn environment(component: &Component) -> String {
    let databases = component.databases.iter().map(|one| one.variable());
    let own = component
        .environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let lines: String = own
        .chain(databases)
        .map(|(name, value)| format!("      {name}: {}\n", in_quotes(value)))
        .collect();
    match lines.is_empty() {
        true => lines,
        false => format!("    environment:\n{lines}"),
    }
}

fn probe(component: &Component) -> String {
    let times = "      interval: 10s\n      timeout: 3s\n      retries: 5\n      start_period: 60s\n      start_interval: 500ms\n";
    match (&component.probe, component.port) {
        (Probe::Command(words), _) => {
            let words: Vec<String> = std::iter::once("CMD".to_owned())
                .chain(words.iter().map(|word| word.replace('$', "$$")))
                .collect();
            let test = super::exec_form(&words);
            format!(
                "    # healthy as soon as it takes connections\n    healthcheck:\n      test: {test}\n{times}"
            )
        }
        (Probe::Outside, Some(port)) => format!(
            "    # hoist asks from outside: nothing is needed in the image\n    x-hoist:\n      ready:\n        tcp: {{port: {port}}}\n        \
             start_period: 60s\n"
        ),
        _ => String::new(),
    }
}

fn watch(rule: &Rule, dir: &str) -> String {
    let path = match (dir, rule.path.as_str()) {
        ("", "") => ".".to_owned(),
        ("", path) => format!("./{path}"),
        (dir, "") => format!("./{dir}"),
        (dir, path) => format!("./{dir}/{path}"),
    };
    let target = rule
        .target
        .map(|target| format!("          target: {target}\n"));
    let ignore = match rule.ignore.is_empty() {
        true => String::new(),
        false => format!("          ignore: {}\n", super::exec_form(&rule.ignore)),
    };
    format!(
        "        # {}\n        - path: {}\n          action: {}\n{}{ignore}",
        rule.why,
        quoted(&path),
        rule.action,
        target.unwrap_or_default(),
    )
}

/// A text as a scalar of YAML that compose takes as it is.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    match text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.')
    {
        true => text.to_owned(),
        // A variable with a default is the one thing that is meant to be replaced.
        false if text.contains("${") => in_quotes(text),
        false => in_quotes(&text.replace('$', "$$")),
    }
}

fn in_quotes(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
