//! The text classifier: a Dockerfile in the classic shape, and an API that tells what is wrong with a request.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Example, NEEDS, PYTHON, json as json_of};
use crate::harness::{Sandbox, http};

crate::cases!(NEEDS;
    the_text_classifier_is_built_and_tells_messages_apart,
);

fn the_text_classifier_is_built_and_tells_messages_apart() {
    let example = Example::new("text-classifier", &[PYTHON]);
    let hoist = &example.sandbox;
    let api = example.port("API_PORT");
    example.up();
    assert_eq!(hoist.field("api", "Health"), "healthy");
    messages_are_told_apart(api);
    what_cannot_be_used_is_told(api);
    only_what_it_needs_is_in_the_image(hoist);
    a_change_of_the_api_trains_nothing(&example, api);
    example.end();
}

fn predict(api: SocketAddr, body: &Value) -> http::Answer {
    let body = body.to_string();
    http::post(api, "/predict", "application/json", body.as_bytes()).expect("the API answers")
}

fn messages_are_told_apart(api: SocketAddr) {
    let messages = [
        ("Where is my parcel?", "delivery"),
        ("I was charged twice", "billing"),
        (
            "The shoes are too small, I want to send them back",
            "returns",
        ),
        ("I forgot my password", "account"),
    ];
    let texts = messages.map(|(text, _)| text);
    let answer = json_of(&predict(api, &json!({"texts": texts})), 200);
    let predictions = answer["predictions"].as_array().expect("a list");
    assert_eq!(predictions.len(), messages.len(), "{answer}");
    for (prediction, (text, label)) in predictions.iter().zip(messages) {
        assert_eq!(prediction["label"], label, "{text}: {prediction}");
        let shares = prediction["probabilities"]
            .as_object()
            .expect("one a label");
        assert_eq!(shares.len(), 4, "{prediction}");
        let sum: f64 = shares.values().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 0.001, "{prediction}");
        assert_eq!(shares[label], prediction["probability"], "{prediction}");
        assert!(
            prediction["probability"].as_f64() > Some(0.5),
            "{prediction}"
        );
    }
}

fn what_cannot_be_used_is_told(api: SocketAddr) {
    let bad = [
        (json!({"texts": []}), json!(["body", "texts"])),
        (
            json!({"texts": ["fine", "  "]}),
            json!(["body", "texts", 1]),
        ),
        (json!({"texts": [5]}), json!(["body", "texts", 0])),
        (
            json!({"text": ["a misspelt key"]}),
            json!(["body", "texts"]),
        ),
    ];
    for (body, place) in bad {
        let answer = json_of(&predict(api, &body), 422);
        assert_eq!(answer["detail"][0]["loc"], place, "{body}: {answer}");
        assert!(answer["detail"][0]["msg"].is_string(), "{body}: {answer}");
    }
    let text = http::post(api, "/predict", "text/plain", b"Where is my parcel?");
    json_of(&text.expect("the API answers"), 415);
}

fn only_what_it_needs_is_in_the_image(hoist: &Sandbox) {
    assert_eq!(hoist.sh("api", "id -un"), "app");
    // Purged in the step that installed it.
    hoist.exec("api", "gcc --version").code(127);
    assert_eq!(hoist.sh("api", "ls /var/lib/apt/lists"), "");
}

/// The daily work on an example: the API changes, and neither packages nor model are made again.
fn a_change_of_the_api_trains_nothing(example: &Example, api: SocketAddr) {
    let file = example.sandbox.dir().join("app.py");
    let text = std::fs::read_to_string(&file).expect("a file of the example");
    let changed = text.replace("\"status\": \"ok\"", "\"status\": \"changed\"");
    assert_ne!(changed, text);
    example.sandbox.file("app.py", changed);
    let output = example.build();
    for (step, cached) in [
        ("RUN apt-get update", true),
        ("RUN python train.py", true),
        ("COPY app.py", false),
    ] {
        assert_eq!(is_cached(&output, step), cached, "{step}\n{output}");
    }
    example.up();
    let answer = json_of(&http::get(api, "/healthz").expect("the API answers"), 200);
    assert_eq!(answer["status"], "changed", "{answer}");
}

/// Whether a step is said to be taken from the cache: `#7 [7/9] RUN …`, then `#7 CACHED`.
fn is_cached(output: &str, step: &str) -> bool {
    let line = output.lines().find(|line| line.contains(step));
    let line = line.unwrap_or_else(|| panic!("no step {step:?} in\n{output}"));
    let number = line.split(' ').next().unwrap_or_default();
    let cached = format!("{number} CACHED");
    output.lines().any(|line| line == cached)
}
