//! What `init` drafts for a Python program is built, started and answers; an edit of the source answers in the next request.

use super::{BUILD, NEEDS, PYTHON, lend};
use crate::harness::{Sandbox, eventually, http, ports};

crate::cases!(NEEDS;
    a_drafted_python_project_is_built_answers_and_follows_edits,
);

const PROGRAM: &str = "import http.server\n\n\nclass Answer(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
                       self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b\"first\")\n\n\n\
                       http.server.HTTPServer((\"0.0.0.0\", 8000), Answer).serve_forever()\n";

fn a_drafted_python_project_is_built_answers_and_follows_edits() {
    let mut hoist = Sandbox::empty();
    hoist.limit(BUILD);
    lend("text-classifier", &[PYTHON], &hoist);
    hoist.file("main.py", PROGRAM);
    hoist.file(".python-version", "3.11\n");
    hoist.ok("init --yes");
    let port = ports::free();
    hoist.set("APP_PORT", &port.to_string());
    hoist.ok("up --wait");
    assert_eq!(hoist.field("app", "Health"), "healthy");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answers = |want: &str| {
        eventually(&format!("the answer {want}"), || {
            let answer = http::get(address, "/").ok()?;
            (answer.text() == want).then_some(())
        });
    };
    answers("first");
    assert_eq!(hoist.sh("app", "id -u"), "1000");
    let watch = hoist.start("watch --no-up");
    watch.says("Watch");
    hoist.file("main.py", PROGRAM.replace("first", "second"));
    answers("second");
    watch.signal(nix::sys::signal::Signal::SIGINT);
    watch.end();
    // It ends at once, though nothing in it handles the signal.
    let done = hoist.ok("down");
    assert!(!done.err.contains("was killed"), "{}", done.story());
}
