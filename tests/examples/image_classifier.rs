//! The image classifier: an upload form in Python and a report in R, with a volume between them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{DEBIAN, Example, NEEDS, PYTHON, form, json as json_of};
use crate::harness::{Sandbox, http};

crate::cases!(NEEDS;
    the_image_classifier_is_built_predicts_and_reports_in_r,
);

fn the_image_classifier_is_built_predicts_and_reports_in_r() {
    let example = Example::new("image-classifier", &[DEBIAN, PYTHON]);
    let hoist = &example.sandbox;
    let classifier = example.port("CLASSIFIER_PORT");
    let report = example.port("REPORT_PORT");
    example.up();
    for service in ["classifier", "report"] {
        assert_eq!(hoist.field(service, "Health"), "healthy", "{service}");
    }
    assert_eq!(counts(report), [0; 10]);
    uploads_are_classified(classifier);
    what_is_no_image_is_told(classifier);
    the_report_counts_them(report);
    each_has_only_what_it_needs(hoist);

    let before = counts(report);
    hoist.ok("down");
    example.up();
    assert_eq!(counts(report), before, "down lost predictions");
    example.end();
}

/// An image of a digit that the model has not seen.
fn sample(classifier: SocketAddr, digit: u8) -> Vec<u8> {
    let answer = http::get(classifier, &format!("/samples/{digit}.png"));
    let answer = answer.expect("the classifier answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.starts_with(b"\x89PNG"), "no PNG");
    answer.body
}

/// Sends a file as the form does.
fn upload(classifier: SocketAddr, path: &str, file: &[u8]) -> http::Answer {
    let (kind, body) = form("image", file);
    http::post(classifier, path, &kind, &body).expect("the classifier answers")
}

fn uploads_are_classified(classifier: SocketAddr) {
    let page = http::get(classifier, "/").expect("the classifier answers");
    assert_eq!(page.status, 200);
    let field = "<input type=\"file\" name=\"image\"";
    assert!(page.text().contains(field), "{}", page.text());

    let page = upload(classifier, "/", &sample(classifier, 7));
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("id=\"digit\">7<"), "{}", page.text());

    let image = sample(classifier, 3);
    let in_body = http::post(classifier, "/api/predict", "image/png", &image);
    for answer in [
        upload(classifier, "/api/predict", &image),
        in_body.expect("the classifier answers"),
    ] {
        let prediction = json_of(&answer, 200);
        assert_eq!(prediction["digit"], 3, "{prediction}");
        assert!(
            prediction["confidence"].as_f64() > Some(0.5),
            "{prediction}"
        );
    }
}

fn what_is_no_image_is_told(classifier: SocketAddr) {
    let page = upload(classifier, "/", b"this is no image");
    assert_eq!(page.status, 400);
    assert!(page.text().contains("not an image"), "{}", page.text());
    let answer = json_of(&upload(classifier, "/api/predict", b"nor is this"), 400);
    assert!(answer["error"].is_string(), "{answer}");
}

fn ask(report: SocketAddr) -> Value {
    json_of(&http::get(report, "/report").expect("R answers"), 200)
}

/// How often each digit was predicted, as R counts it.
fn counts(report: SocketAddr) -> [u64; 10] {
    let answer = ask(report);
    std::array::from_fn(|digit| {
        answer["digits"][digit]["count"]
            .as_u64()
            .unwrap_or_else(|| panic!("no count of {digit} in {answer}"))
    })
}

fn the_report_counts_them(report: SocketAddr) {
    assert_eq!(counts(report), [0, 0, 0, 2, 0, 0, 0, 1, 0, 0]);
    let answer = ask(report);
    assert_eq!(answer["predictions"], 3, "{answer}");
    let (three, four) = (&answer["digits"][3], &answer["digits"][4]);
    assert!(three["mean_confidence"].as_f64() > Some(0.5), "{answer}");
    assert_eq!(four["mean_confidence"], json!(null), "{answer}");
    let plot = http::get(report, "/report.svg").expect("R answers");
    assert!(plot.text().contains("<svg"), "{}", plot.text());
    let page = http::get(report, "/").expect("R answers");
    assert!(page.text().contains("3 so far"), "{}", page.text());
}

fn each_has_only_what_it_needs(hoist: &Sandbox) {
    // The stage that trains is not the image that runs.
    hoist.ok("exec -T classifier python -c 'import onnxruntime'");
    hoist
        .run("exec -T classifier python -c 'import sklearn'")
        .code(1);
    // The volume of the one is a book to read for the other.
    hoist.exec("report", "touch /data/new").code(1);
    assert_eq!(hoist.sh("report", "wc -l < /data/predictions.jsonl"), "3");
}
