//! Steps as a list that is redrawn in place.
//!
//! In: [`Steps`], the time, the room there is. Out: lines that fit. When there is no room for all, parts of steps that
//! have ended give way first, then such steps themselves, then output, and the steps that began first.
//! Imports: `base`. As BuildKit: `util/progress/progressui/display.go`.

use std::time::{Duration, Instant};

use super::{Standing, Step, Steps, coloured, measure, seconds};
use crate::ui::paint;

/// Title and time keep at least so many columns between the edges.
const NARROWEST: usize = 20;
/// Parts that took less are not shown any more when they have ended, unless there is more to say of them.
const SHORT: Duration = Duration::from_millis(50);
/// Reasons shown below a step.
const REASONS: usize = 3;

/// How much a line is needed when there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A part, or the reason, of a step that has ended.
    Past,
    /// A step that has ended.
    Ended,
    /// Output, parts, reasons of a step at work.
    Output,
    /// A step at work.
    Running,
    /// A step that failed.
    Failed,
}

/// Where and how it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Columns.
    pub width: usize,
    /// Rows, the head's included; `usize::MAX` for the last picture.
    pub height: usize,
    /// Whether colours are allowed.
    pub colour: bool,
}

/// What is to be seen now; nothing without steps.
pub fn lines(steps: &Steps, now: Instant, room: Room) -> Vec<String> {
    if steps.is_empty() {
        return Vec::new();
    }
    let mut ranked: Vec<(Rank, String)> = Vec::new();
    for step in steps.started() {
        block(step, now, room, &mut ranked);
    }
    let left = room.height.saturating_sub(1).max(1);
    let mut over = ranked.len().saturating_sub(left);
    for rank in [Rank::Past, Rank::Ended, Rank::Output, Rank::Running] {
        ranked.retain(|(is, _)| {
            let drop = over > 0 && *is == rank;
            over -= usize::from(drop);
            !drop
        });
    }
    let mut lines = vec![head(steps, now, room)];
    lines.extend(ranked.into_iter().map(|(_, line)| line).take(left));
    lines
}

/// `[+] Building 3.2s (5/9)`.
fn head(steps: &Steps, now: Instant, room: Room) -> String {
    let (ended, all) = steps.count();
    let finished = if ended == all { " FINISHED" } else { "" };
    let time = seconds(steps.elapsed(now));
    let text = format!("[+] Building {time} ({ended}/{all}){finished}");
    console::truncate_str(&text, room.width, "…").into_owned()
}

/// The lines of one step.
fn block(step: &Step, now: Instant, room: Room, lines: &mut Vec<(Rank, String)>) {
    let (mark, code, rank) = match &step.standing {
        Standing::Failed(_) => ("ERROR ", "31", Rank::Failed),
        Standing::Cancelled => ("CANCELED ", "33", Rank::Ended),
        Standing::Cached => ("CACHED ", "34", Rank::Ended),
        Standing::Done => ("", "34", Rank::Ended),
        Standing::Planned | Standing::Running => ("", "", Rank::Running),
    };
    let title = format!(" => {mark}{}", step.title.replace('\n', " "));
    let time = seconds(step.elapsed(now));
    let reasons = reasons(&step.because).map(|reasons| format!("not cached: {reasons}"));
    let behind = reasons.as_ref().map(|reasons| format!(" ({reasons})"));
    let behind = behind.filter(|text| {
        let width = console::measure_text_width(&title) + console::measure_text_width(text);
        width + time.len() + 2 < room.width
    });
    let below_it = reasons.filter(|_| behind.is_none());
    let line = spread(&title, behind.as_deref(), &time, room);
    lines.push((rank, paint(room.colour && !code.is_empty(), code, &line)));
    let below = match step.has_ended() {
        true => Rank::Past,
        false => Rank::Output,
    };
    let dim = |text: &str| paint(room.colour, "2", &fit(text, room));
    if let Some(reasons) = below_it {
        lines.push((below, dim(&format!(" => => {reasons}"))));
    }
    for (part, begun, ended) in step.parts.values() {
        let time = ended.unwrap_or(now).saturating_duration_since(*begun);
        // What took no time and has no measure was only worth a look while it lasted.
        if ended.is_some() && *ended != Some(*begun) && time < SHORT && measure(part).is_empty() {
            continue;
        }
        let text = format!(" => => {} {}", part.id, measure(part));
        let line = spread(text.trim_end(), None, &seconds(time), room);
        let colour = room.colour && ended.is_some();
        lines.push((below, paint(colour, "34", &line)));
    }
    if step.has_ended() {
        return;
    }
    if let Some(what) = &step.waiting {
        lines.push((below, dim(&format!(" => => waiting for {what}"))));
    }
    for line in step.last.iter().chain(&step.partial) {
        let text = coloured(&line.replace('\t', "    "), room.colour);
        lines.push((below, dim(&format!(" => => # {text}"))));
    }
}

/// The first reasons, and how many more there are.
fn reasons(because: &[String]) -> Option<String> {
    let shown: Vec<&str> = because.iter().take(REASONS).map(String::as_str).collect();
    let more = match because.len().saturating_sub(REASONS) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

/// A text cut to the width.
fn fit(text: &str, room: Room) -> String {
    console::truncate_str(text, room.width.saturating_sub(1), "…").into_owned()
}

/// A text at the left edge, a remark behind it, and a time at the right one.
fn spread(text: &str, remark: Option<&str>, time: &str, room: Room) -> String {
    if room.width < NARROWEST {
        return fit(text, room);
    }
    let left = room.width.saturating_sub(time.len() + 2);
    let text = console::truncate_str(text, left, "…");
    let remark = remark.unwrap_or_default();
    let used = console::measure_text_width(&text) + console::measure_text_width(remark);
    let gap = left.saturating_sub(used);
    format!("{text}{remark}{} {time}", " ".repeat(gap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{BuildStep, Part};

    const WIDE: Room = Room {
        width: 50,
        height: 24,
        colour: false,
    };

    fn started(steps: &mut Steps, number: u32, title: &str, now: Instant) {
        steps.take("web", number, &BuildStep::Started(title.into()), now);
    }

    #[test]
    fn a_running_step_shows_its_last_lines_and_folds_when_it_ends() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        started(&mut steps, 1, "[1/2] RUN make", now);
        for n in 0..9 {
            steps.take("web", 1, &BuildStep::Output(format!("line {n}")), now);
        }
        steps.take("web", 1, &BuildStep::Partial("50%".into()), now);
        let shown = lines(&steps, now + Duration::from_millis(1200), WIDE);
        let want = "\
[+] Building 1.2s (0/1)
 => [1/2] RUN make                           1.2s
 => => # line 3
 => => # line 4
 => => # line 5
 => => # line 6
 => => # line 7
 => => # line 8
 => => # 50%";
        assert_eq!(shown.join("\n"), want);
        steps.take("web", 1, &BuildStep::Done(1.2), now);
        started(&mut steps, 2, "[2/2] COPY a b", now);
        steps.take("web", 2, &BuildStep::Cached, now);
        let shown = lines(&steps, now, WIDE).join("\n");
        let want = "\
[+] Building 0.0s (2/2) FINISHED
 => [1/2] RUN make                           0.0s
 => CACHED [2/2] COPY a b                    0.0s";
        assert_eq!(shown, want);
    }

    #[test]
    fn reasons_waits_and_parts_stand_below_their_step() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        started(&mut steps, 1, "[1/1] COPY . .", now);
        let because = ["a changed", "b", "c", "d"].map(str::to_owned).to_vec();
        steps.take("web", 1, &BuildStep::Because(because), now);
        let part = Part {
            id: "reading context:".into(),
            current: 1_500_000,
            total: Some(3_000_000),
            ..Part::default()
        };
        steps.take("web", 1, &BuildStep::Part(part), now);
        let waiting = BuildStep::Waiting(Some("a free slot".into()));
        steps.take("web", 1, &waiting, now);
        let wide = Room { width: 70, ..WIDE };
        let title = lines(&steps, now, wide).swap_remove(1);
        let start = " => [1/1] COPY . . (not cached: a changed, b, c, and 1 more) ";
        assert!(
            title.starts_with(start) && title.ends_with(" 0.0s"),
            "{title}"
        );
        let shown = lines(&steps, now, WIDE).join("\n");
        let want = "\
[+] Building 0.0s (0/1)
 => [1/1] COPY . .                           0.0s
 => => not cached: a changed, b, c, and 1 more
 => => reading context: 1.5MB / 3MB          0.0s
 => => waiting for a free slot";
        assert_eq!(shown, want);
    }

    #[test]
    fn what_ended_gives_way_when_the_terminal_is_too_low_and_no_line_is_too_wide() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        for number in 1..=100 {
            let title = format!("[{number}/100] RUN {}", "名".repeat(60));
            started(&mut steps, number, &title, now);
            if number != 50 && number != 70 {
                steps.take("web", number, &BuildStep::Done(0.1), now);
            }
        }
        steps.take("web", 70, &BuildStep::Failed("exit code: 1".into()), now);
        for width in [1, 10, 30, 80, 200] {
            let room = Room {
                width,
                height: 5,
                colour: false,
            };
            let shown = lines(&steps, now, room);
            assert_eq!(shown.len(), 5, "{shown:?}");
            let widest = shown.iter().map(|line| console::measure_text_width(line));
            assert!(widest.max() <= Some(width), "{shown:?}");
            if width > 20 {
                assert!(shown.iter().any(|line| line.contains("[50/")), "{shown:?}");
                assert!(
                    shown.iter().any(|line| line.contains("ERROR [70/")),
                    "{shown:?}"
                );
            }
        }
        let all = Room {
            height: usize::MAX,
            ..WIDE
        };
        assert_eq!(lines(&steps, now, all).len(), 101);
    }

    #[test]
    fn output_and_titles_steer_nothing_and_have_colours_only_where_allowed() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        started(&mut steps, 1, "[1/1] RUN \x1b]0;title\x07\x1b[2Jx\ny", now);
        let evil = "a\x1b[2J\x1b[31mred\x1b[0m\u{9b}2J\x1b]52;c;aGk=\x07\u{202e}b".to_owned();
        steps.take("web", 1, &BuildStep::Output(evil), now);
        let plain = lines(&steps, now, WIDE).join("\n");
        assert!(!plain.contains('\x1b'), "{plain:?}");
        assert!(plain.contains("[1/1] RUN x y"), "{plain:?}");
        assert!(plain.contains("# ared2J\u{fffd}b"), "{plain:?}");
        let room = Room {
            colour: true,
            ..WIDE
        };
        let coloured = lines(&steps, now, room).join("\n");
        let rest = coloured.replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert_eq!(rest.replace("\x1b[31m", "").matches('\x1b').count(), 0);
    }
}
