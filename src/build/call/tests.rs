//! Answers on files with everything in them. What the reference says of them: `docker build --call`.

use super::*;
use crate::build::tests::World;

const FILE: &str = "\
# FOO this is foo
ARG FOO=1
ARG BAR
ARG BAZ=${FOO}x
ARG IMG=base

# one does things
FROM $IMG AS one
ARG SRC=abc
# X is the x
ARG X
RUN --mount=type=secret,id=tok --mount=type=ssh,id=k,required --mount=type=cache,target=/c say hi
RUN --mount=type=secret,id=tok2,required,env=A --mount=type=ssh say ho

# out is the last
FROM one AS out
ARG BAZ
ARG TARGETPLATFORM
FROM base
";

#[test]
fn an_outline_shows_what_a_target_takes() {
    let Some(world) = World::new("call-outline") else {
        return;
    };
    let mut request = world.request(FILE);
    request.target = Some("out".into());
    let answer = world.ask(Call::Outline, &request).expect("an answer");
    assert_eq!(
        answer.text,
        "TARGET:      out\nDESCRIPTION: is the last\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nFOO         1       this is foo\nBAZ         1x      \nIMG         base    \nSRC         abc     \nX                   is the x\n\n\
         SECRET   REQUIRED\ntok      \ntok2     true\n\n\
         SSH       REQUIRED\nk         true\ndefault   \n\n"
    );
    let json = &answer.json;
    assert_eq!(
        (json["name"].as_str(), json["args"][0]["name"].as_str()),
        (Some("out"), Some("FOO"))
    );
    assert_eq!(json["args"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(json["secrets"][1]["required"], true);
    assert!(json["secrets"][0].get("required").is_none());
    // The last stage takes nothing and has no name.
    request.target = None;
    assert_eq!(
        world.ask(Call::Outline, &request).expect("an answer").text,
        ""
    );
}

#[test]
fn the_targets_of_a_file_are_its_stages() {
    let Some(world) = World::new("call-targets") else {
        return;
    };
    let answer = world
        .ask(Call::Targets, &world.request(FILE))
        .expect("an answer");
    assert_eq!(
        answer.text,
        "TARGET    DESCRIPTION\none       does things\nout       is the last\n(default) \n"
    );
    let list = &answer.json["targets"];
    assert_eq!(list[0]["base"], "$IMG");
    assert_eq!(
        (list[1]["name"].as_str(), list[1].get("default")),
        (Some("out"), None)
    );
    assert_eq!(
        (list[2].get("name"), list[2]["default"].as_bool()),
        (None, Some(true))
    );
    assert!(world.ask(Call::Targets, &world.request("FORM x")).is_err());
}

#[test]
fn the_questions_themselves_are_listed() {
    let Some(world) = World::new("call-describe") else {
        return;
    };
    let answer = world
        .ask(Call::Describe, &world.request(""))
        .expect("an answer");
    assert_eq!(
        answer.text,
        "NAME                 VERSION DESCRIPTION\n\
         outline              1.0.0   List all parameters current build target supports\n\
         targets              1.0.0   List all targets current build supports\n\
         subrequests.describe 1.0.0   List available subrequest types\n"
    );
    assert_eq!(answer.json[0]["name"], "frontend.outline");
    assert_eq!(answer.json[0]["opts"][0]["name"], "target");
}
