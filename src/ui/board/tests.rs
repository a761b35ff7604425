//! The live view as text, and what its keys ask for.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::*;

fn row(name: &str) -> Row {
    Row {
        name: format!("{name}-1"),
        service: name.to_owned(),
        status: "Up 3 minutes".to_owned(),
        mood: Mood::Good,
        health: String::new(),
        missing: None,
        used: Some(Use {
            cpu: 12.34,
            memory: 64 << 20,
            limit: 1 << 30,
            received: 1500,
            sent: 20,
            read: 0,
            written: 4_000_000,
            pids: 7,
        }),
        image: "demo:1".to_owned(),
        ports: String::new(),
        up: true,
        paused: false,
    }
}

fn board() -> Board {
    let mut board = Board::new("shop", true);
    let db = Row {
        mood: Mood::Waiting,
        health: "starting".to_owned(),
        missing: Some("probe 3 of 10: connection refused".to_owned()),
        ..row("db")
    };
    let old = Row {
        status: "Exited (1) 2 hours ago".to_owned(),
        mood: Mood::Bad,
        used: None,
        up: false,
        ..row("old")
    };
    let web = Row {
        ports: "0.0.0.0:8080->80/tcp".to_owned(),
        ..row("web")
    };
    board.rows(vec![db, old, web]);
    for at in 1..=20 {
        let line = format!("line {at}\n");
        board.printed("web-1", false, Timestamp(at), line.as_bytes());
    }
    board.printed("db-1", true, Timestamp(19), b"\x1b[31mslow\x1b[0m\x1b[2J\n");
    board
}

fn drawn(board: &mut Board, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| board.draw(frame)).unwrap();
    terminal
}

fn lines(board: &mut Board, width: u16, height: u16) -> Vec<String> {
    let terminal = drawn(board, width, height);
    let cells = terminal.backend().buffer().content();
    let rows = cells.chunks(usize::from(width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn a_narrow_screen_has_what_matters_most() {
    assert_eq!(
        lines(&mut board(), 80, 13),
        [
            " shop   2 of 3 up   cpu 24.7 %   memory 128MiB   in 3kB/s out 40B/s",
            "NAME   STATUS                  HEALTH     CPU %    MEMORY     IN/S    OUT/S",
            "db-1   Up 3 minutes            starting    12.3     64MiB    1.5kB      20B",
            "old-1  Exited (1) 2 hours ago",
            "web-1  Up 3 minutes                        12.3     64MiB    1.5kB      20B",
            "─ db-1 · probe 3 of 10: connection refused · 7 tasks, memory of 1GiB · demo:1 ──",
            "web-1 | line 16",
            "web-1 | line 17",
            "web-1 | line 18",
            "web-1 | line 19",
            "db-1  | slow",
            "web-1 | line 20",
            "↑↓ choose  ⏎ lines  r restart  s stop  p pause  / filter  PgUp older  q quit",
        ]
    );
}

#[test]
fn a_wide_screen_has_all_columns() {
    let lines = lines(&mut board(), 200, 13);
    assert_eq!(
        lines.get(1..3).unwrap_or_default(),
        [
            "NAME   STATUS                  HEALTH     CPU %    MEMORY     IN/S    OUT/S   MEM %   READ/S  WRITE/S",
            "db-1   Up 3 minutes            starting    12.3     64MiB    1.5kB      20B     6.2       0B      4MB",
        ]
    );
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(1, 1), (10, 3), (40, 5), (300, 100)] {
        drawn(&mut board(), width, height);
        drawn(&mut Board::new("shop", false), width, height);
    }
    let empty = lines(&mut Board::new("shop", false), 80, 5);
    assert!(
        empty.iter().any(|line| line.contains("`hoist up -d`")),
        "{empty:?}"
    );
}

#[test]
fn colours_are_the_terminals_own_or_none() {
    let mut board = board();
    let coloured = drawn(&mut board, 80, 13);
    let cell = |terminal: &Terminal<TestBackend>, x, y| {
        let cell = terminal.backend().buffer().cell((x, y)).unwrap();
        (cell.fg, cell.modifier)
    };
    assert_eq!(cell(&coloured, 7, 3), (Color::Red, Modifier::empty()));
    assert_eq!(cell(&coloured, 0, 2).1, Modifier::REVERSED);
    board.colour = false;
    let plain = drawn(&mut board, 80, 13);
    let cells = plain.backend().buffer().content();
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn keys_choose_act_and_leave() {
    let mut board = board();
    assert_eq!(
        board.typed(b"rs\x1b[Bs\x1b[B\x1b[Bp"),
        [
            Wish::Act(Act::Restart, "db".into()),
            Wish::Act(Act::Stop, "db".into()),
            Wish::Act(Act::Start, "old".into()),
            Wish::Act(Act::Pause, "web".into()),
        ]
    );
    let mut frozen = row("web");
    frozen.paused = true;
    board.rows(vec![row("a"), frozen]);
    // The chosen container stays chosen, wherever it stands now.
    assert_eq!(board.typed(b"p"), [Wish::Act(Act::Unpause, "web".into())]);
    board.rows(vec![row("a")]);
    assert_eq!(board.typed(b"r"), [Wish::Act(Act::Restart, "a".into())]);
    board.rows(Vec::new());
    assert_eq!(
        board.typed(b"rq\x03\x1a\x0c"),
        [Wish::Quit, Wish::Interrupt, Wish::Suspend, Wish::Again]
    );
}

#[test]
fn lines_are_filtered_scrolled_and_those_of_one_container_alone() {
    let mut board = board();
    let text = |board: &mut Board| lines(board, 80, 13).get(6..12).unwrap_or_default().to_vec();
    assert!(board.typed(b"/line 1").is_empty());
    let foot = lines(&mut board, 80, 13);
    assert_eq!(
        foot.last().map(String::as_str),
        Some("show only lines with (empty: all): line 1")
    );
    board.typed(b"\r");
    assert_eq!(
        text(&mut board).last().map(String::as_str),
        Some("web-1 | line 19")
    );
    board.typed(b"\x1b");
    text(&mut board);
    board.typed(b"\x1b[5~");
    let before = text(&mut board);
    assert_eq!(before.last().map(String::as_str), Some("web-1 | line 16"));
    board.printed("web-1", false, Timestamp(90), b"new\n");
    assert_eq!(text(&mut board), before);
    board.typed(&b"\x1b[5~".repeat(50));
    assert_eq!(
        text(&mut board).first().map(String::as_str),
        Some("web-1 | line 1")
    );
    board.typed(b"\x1b[F");
    assert_eq!(
        text(&mut board).last().map(String::as_str),
        Some("web-1 | new")
    );
    board.typed(b"\r");
    let alone = lines(&mut board, 80, 13);
    assert_eq!(alone.get(2).map(String::as_str), Some("slow"), "{alone:?}");
    board.typed(b"j\x1b[B");
    let alone = lines(&mut board, 80, 13);
    assert_eq!(alone.get(11).map(String::as_str), Some("new"), "{alone:?}");
}

#[test]
fn long_lines_are_wrapped() {
    let mut board = board();
    let long = format!("{}end\n", "ä".repeat(90));
    board.printed("web-1", false, Timestamp(90), long.as_bytes());
    let lines = lines(&mut board, 80, 13);
    assert_eq!(lines.get(10), Some(&format!("web-1 | {}", "ä".repeat(72))));
    assert_eq!(
        lines.get(11),
        Some(&format!("      | {}end", "ä".repeat(18)))
    );
}
