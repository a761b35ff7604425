//! Plans with hooks, and of replacements under a policy.

use super::*;

#[test]
fn hooks_stand_between_the_start_and_what_waits_for_it() {
    shows(
        &plan(
            "db: pg, probe, pre, pre each, post, scale 2 | web: app, after db healthy",
            &World::default(),
            &up(),
        ),
        "
        #1  create     network demo_default  missing
        #2  create     db/1                  missing          after #1
        #3  create     db/2                  missing          after #1
        #4  create     web/1                 missing          after #1
        #5  pre_start  db/1 [0]              new              after #2 #3
        #6  pre_start  db/1 [1]              new              after #5
        #7  pre_start  db/2 [1]              new              after #5
        #8  start      db/1                  new              after #6
        #9  post_start db/1 [0]              new              after #8
        #10 start      db/2                  new              after #7
        #11 post_start db/2 [0]              new              after #10
        #12 wait       db/1                  needed by `web`  after #9
        #13 wait       db/2                  needed by `web`  after #11
        #14 start      web/1                 new              after #4 #12 #13",
    );
    let text = "a: app, pre, pre each, post, stop";
    shows(&plan(text, &running(text), &up()), "");
    shows(
        &plan(&format!("{text}, scale 2"), &running(text), &up()),
        "
        #1 create     a/2      missing
        #2 pre_start  a/2 [1]  new      after #1
        #3 start      a/2      new      after #2
        #4 post_start a/2 [0]  new      after #3",
    );
    shows(
        &plan(&format!("{text}, scale 0"), &running(text), &up()),
        "
        #1 pre_stop a/1 [0]  scale is 0
        #2 stop     a/1      scale is 0  after #1
        #3 remove   a/1      scale is 0  after #2",
    );
}

#[test]
fn a_policy_groups_replacements_and_concludes_them() {
    let text = |image: &str| format!("a: {image}, rolling first, scale 3 | b: app, after a");
    shows(
        &plan(&text("app:2"), &running(&text("app:1")), &up()),
        "
        #1 replace  a/1 [start-first]  image changed: app:1 → app:2
        #2 replace  a/2 [start-first]  image changed: app:1 → app:2
        #3 replace  a/3 [start-first]  image changed: app:1 → app:2  after #1
        #4 conclude service a          image changed: app:1 → app:2  after #2 #3",
    );
    let text = |image: &str| format!("a: {image}, rolling first, port");
    let plan = plan(&text("app:2"), &running(&text("app:1")), &up());
    shows(
        &plan,
        "
        #1 replace  a/1 [stop-first]  image changed: app:1 → app:2
        #2 conclude service a         image changed: app:1 → app:2  after #1",
    );
    assert!(
        plan.warnings[0].contains("port 80 of the host"),
        "{:?}",
        plan.warnings
    );
}
