//! The sink that shows events on standard error, or on standard output if that is asked for, in one of four ways.
//!
//! In: events from any thread. Out: text. Imports: `base`.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;

use super::build::raw::Raw;
use super::build::trace::Trace;
use super::live::Live;
use super::plain::Plain;
use super::{Mode, Screen, events, json, render};
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventSink, Kind};

/// Time between two drawings of the live list.
const FRAME: Duration = Duration::from_millis(100);

/// `Container demo-api-1`: what a resource is called in every mode.
pub fn resource_id(kind: Kind, name: &str) -> String {
    let kind = match kind {
        Kind::Image => "Image",
        Kind::Network => "Network",
        Kind::Volume => "Volume",
        Kind::Container => "Container",
        Kind::Provider => "Provider",
        Kind::Model => "Model",
        Kind::Artifact => "Artifact",
    };
    format!("{kind} {name}")
}

/// Shows events while a command works. [`Progress::finish`] leaves the last picture standing.
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    inner: Mutex<Inner>,
    stop: Condvar,
}

struct Inner {
    view: View,
    out: Box<dyn Write + Send>,
    /// How large the window is that `out` leads to.
    term: Term,
    /// The widths of the lines of the live list that stand on the screen.
    drawn: Vec<usize>,
    finished: bool,
    /// What builds print and do is not shown.
    hides_builds: bool,
    trace: Option<Trace>,
}

enum View {
    Live(Live),
    Plain(Plain),
    Json { dry_run: bool, raw: Raw },
    Quiet { colour: bool },
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// A sink on the stream that progress goes to.
    pub fn new(mode: Mode, screen: Screen, dry_run: bool) -> Self {
        // What is said in spite of `quiet` is no progress.
        let to_out = screen.status_out && mode != Mode::Quiet;
        let (colour, redraw) = match to_out {
            true => (screen.out_colour, screen.out_redraw),
            false => (screen.err_colour, screen.err_redraw),
        };
        let view = match mode {
            Mode::Tty => View::Live(Live::new(colour, dry_run, Instant::now())),
            // A list can't be redrawn without control sequences.
            Mode::Auto if redraw => View::Live(Live::new(colour, dry_run, Instant::now())),
            Mode::Auto | Mode::Plain => View::Plain(Plain::new(dry_run, colour)),
            Mode::Json => View::Json {
                dry_run,
                raw: Raw::default(),
            },
            Mode::Quiet => View::Quiet { colour },
        };
        match to_out {
            true => Self::on(view, Box::new(std::io::stdout()), Term::stdout()),
            false => Self::on(view, Box::new(std::io::stderr()), Term::stderr()),
        }
    }

    /// A line an event, on any writer.
    pub fn plain_on(screen: Screen, out: Box<dyn Write + Send>) -> Self {
        let colour = match screen.status_out {
            true => screen.out_colour,
            false => screen.err_colour,
        };
        Self::on(View::Plain(Plain::new(false, colour)), out, Term::stderr())
    }

    fn on(view: View, out: Box<dyn Write + Send>, term: Term) -> Self {
        let inner = Mutex::new(Inner {
            view,
            out,
            term,
            drawn: Vec::new(),
            finished: false,
            hides_builds: false,
            trace: None,
        });
        Self {
            shared: Arc::new(Shared {
                inner,
                stop: Condvar::new(),
            }),
            ticker: Mutex::new(None),
        }
    }

    /// Shows nothing of builds from now on; a timeline has them all the same.
    pub fn hide_builds(&self) {
        lock(&self.shared.inner).hides_builds = true;
    }

    /// Keeps a timeline from now on.
    pub fn start_trace(&self) {
        let trace = Trace::new(Instant::now(), Timestamp::now());
        lock(&self.shared.inner).trace = Some(trace);
    }

    /// The timeline up to now, if one is kept: one JSON object.
    pub fn trace(&self) -> Option<String> {
        let inner = lock(&self.shared.inner);
        inner.trace.as_ref().map(|trace| trace.json(Instant::now()))
    }

    /// Writes bytes above the live list, or just writes them. `write` gets them onto their stream.
    pub fn above(&self, write: impl FnOnce()) {
        let mut inner = lock(&self.shared.inner);
        inner.erase();
        write();
        inner.draw();
    }

    /// Draws the last picture and ends; later events are dropped. May be called more than once.
    pub fn finish(&self) {
        {
            let mut inner = lock(&self.shared.inner);
            if !inner.finished {
                inner.last();
                inner.finished = true;
            }
        }
        self.shared.stop.notify_all();
        let ticker = lock(&self.ticker).take();
        if let Some(ticker) = ticker {
            // A ticker that panicked has nothing left to draw.
            let _ = ticker.join();
        }
    }

    /// Starts the thread that keeps clocks going and shows what has waited, once there is something to show.
    fn tick(&self) {
        let mut ticker = lock(&self.ticker);
        if ticker.is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        *ticker = Some(std::thread::spawn(move || {
            let mut inner = lock(&shared.inner);
            while !inner.finished {
                inner.tick();
                inner = shared
                    .stop
                    .wait_timeout(inner, FRAME)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl EventSink for Progress {
    fn send(&self, event: Event) {
        let live = {
            let mut inner = lock(&self.shared.inner);
            if inner.finished {
                return;
            }
            inner.take(&event);
            matches!(inner.view, View::Live(_) | View::Plain(_))
        };
        if live {
            self.tick();
        }
    }
}

impl Inner {
    fn take(&mut self, event: &Event) {
        let now = Instant::now();
        if let Some(trace) = &mut self.trace {
            trace.take(event, now);
        }
        if self.hides_builds && matches!(event, Event::Build { .. }) {
            return;
        }
        let text = match &mut self.view {
            View::Live(live) => live.take(event, now),
            View::Plain(plain) => Some(plain.lines(event, now)),
            View::Json { dry_run, raw } => {
                let value = match event {
                    Event::Build { target, step, what } => {
                        raw.take(target, *step, what, Timestamp::now())
                    }
                    other => json::object(other, *dry_run),
                };
                value.map(|value| format!("{}\n", events::complete(event, value, *dry_run)))
            }
            View::Quiet { colour } => match event {
                Event::Warn(text) => Some(render::warning(text, *colour)),
                Event::SlowStop(report) => Some(render::slow_stop(report, *colour)),
                _ => None,
            },
        };
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        let redraw = !self.drawn.is_empty();
        self.erase();
        self.put(&text);
        if redraw {
            self.draw();
        }
    }

    fn tick(&mut self) {
        match &mut self.view {
            View::Plain(plain) => {
                let text = plain.tick(Instant::now());
                if !text.is_empty() {
                    self.put(&text);
                }
            }
            _ => self.draw(),
        }
    }

    /// The last picture, however long, and what belongs below it.
    fn last(&mut self) {
        let now = Instant::now();
        let end = match &mut self.view {
            View::Live(live) => live.warnings(),
            View::Plain(plain) => plain.end(now),
            // As docker: what the checks find is no part of what is asked for.
            View::Quiet { .. } | View::Json { .. } => String::new(),
        };
        self.draw_in(usize::MAX);
        // What is written from now on comes below it.
        self.drawn.clear();
        if !end.is_empty() {
            self.put(&end);
        }
    }

    fn put(&mut self, text: &str) {
        // Progress that can't be shown must not stop the work it tells of.
        let _ = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
    }

    fn erase(&mut self) {
        let text = self.erasure();
        if !text.is_empty() {
            self.put(&text);
        }
    }

    /// What takes the list off the screen; from then on it counts as gone. Lines that the terminal broke, since it is
    /// narrower than it was, are as many rows.
    fn erasure(&mut self) -> String {
        let columns = usize::from(self.term.size().1).max(1);
        let drawn = std::mem::take(&mut self.drawn);
        match drawn
            .iter()
            .map(|width| width.div_ceil(columns).max(1))
            .sum()
        {
            0 => String::new(),
            // The rest is cleared from the second row on: a terminal multiplexer keeps what is cleared from its first one.
            rows => {
                let rows = usize::min(rows, usize::from(u16::MAX));
                format!("\x1b[{rows}A\r\x1b[2K\x1b[1B\x1b[J\x1b[1A")
            }
        }
    }

    /// Puts the list, as it is now, where it was. One write, so that nothing flickers.
    fn draw(&mut self) {
        let rows = self.term.size().0;
        self.draw_in(usize::from(rows).saturating_sub(1));
    }

    fn draw_in(&mut self, height: usize) {
        let View::Live(live) = &self.view else { return };
        if live.is_empty() || self.finished {
            return;
        }
        let columns = usize::from(self.term.size().1);
        let lines = live.lines(Instant::now(), columns, height);
        let widths = lines.iter().map(|line| console::measure_text_width(line));
        let widths = widths.collect();
        let text = self.erasure() + &lines.join("\n") + "\n";
        self.drawn = widths;
        self.put(&text);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Status;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(view: View) -> String {
        let sink = Sink::default();
        let progress = Progress::on(view, Box::new(sink.clone()), Term::stderr());
        progress.send(Event::Resource {
            kind: Kind::Network,
            name: "demo_default".into(),
            status: Status::Done("Created"),
            detail: None,
        });
        progress.send(Event::Warn("look".into()));
        progress.finish();
        progress.above(|| ());
        progress.send(Event::Warn("too late".into()));
        let bytes = lock(&sink.0).clone();
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn plain_and_json_print_a_line_an_event_and_quiet_only_warnings() {
        let plain = shown(View::Plain(Plain::new(false, false)));
        assert_eq!(plain, " Network demo_default  Created\nwarning: look\n");
        let json = shown(View::Json {
            dry_run: false,
            raw: Raw::default(),
        });
        let want = "{\"id\":\"Network demo_default\",\"status\":\"Created\",\"event\":\"resource\",\"kind\":\"network\",\
                    \"name\":\"demo_default\",\"state\":\"done\"}\n\
                    {\"status\":\"Warning\",\"text\":\"look\",\"event\":\"warning\"}\n";
        assert_eq!(json, want);
        assert_eq!(shown(View::Quiet { colour: false }), "warning: look\n");
    }

    #[test]
    fn the_live_list_is_left_standing_at_the_end() {
        let live = shown(View::Live(Live::new(false, false, Instant::now())));
        let last = live.rsplit("\x1b[J").next().unwrap_or_default();
        assert!(
            last.contains("[+] Running 1/1\n ✔ Network demo_default  Created"),
            "{live:?}"
        );
    }
}
