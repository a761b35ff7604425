//! The writer and the reader together.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::spool::{Head, Kind, Spool};
use super::{FileLog, LogWriter, Stream, files};
use crate::base::clock::Timestamp;
use crate::engine::native::layout::ContainerDir;
use crate::engine::spec::LogConfig;
use crate::engine::{LogEnd, LogQuery, LogStream as _};

struct Scratch(ContainerDir);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.data);
    }
}

impl Scratch {
    fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("hoist-logs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let run = data.join("run");
        std::fs::create_dir_all(&run).unwrap();
        Self(ContainerDir { run, data })
    }

    fn writer(&self, config: &LogConfig) -> LogWriter {
        LogWriter::open(&self.0, config).unwrap()
    }

    fn lines(&self, query: LogQuery) -> Vec<String> {
        let mut log = FileLog::open(self.0.clone(), query).unwrap();
        std::iter::from_fn(|| log.next(Duration::ZERO).unwrap())
            .map(|record| String::from_utf8(record.line).unwrap())
            .collect()
    }

    fn all(&self) -> Vec<String> {
        self.lines(LogQuery::default())
    }

    fn tail(&self, lines: usize) -> Vec<String> {
        self.lines(LogQuery {
            tail: Some(lines),
            ..LogQuery::default()
        })
    }

    fn segments(&self) -> usize {
        files::list(&self.0.log()).unwrap().len()
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = std::fs::File::options()
            .append(true)
            .open(files::plain(&self.0.log(), 1))
            .unwrap();
        file.write_all(bytes).unwrap();
    }
}

fn rotated(max_size: u64, max_files: u32) -> LogConfig {
    LogConfig {
        max_size: Some(max_size),
        max_files,
        ..LogConfig::default()
    }
}

fn pipe() -> (OwnedFd, std::fs::File) {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    (read, write.into())
}

#[test]
fn lines_come_back_whole_also_when_they_were_written_in_parts() {
    let at = Scratch::new("parts");
    let mut writer = at.writer(&LogConfig::default());
    writer.put(Stream::Out, b"one\ntw", Timestamp(1));
    writer.put(Stream::Err, b"error\n", Timestamp(2));
    writer.put(Stream::Out, b"o\nlast", Timestamp(3));
    writer.flush(Timestamp(4));
    assert_eq!(at.all(), ["one\n", "error\n", "two\n", "last"]);
    assert_eq!(at.tail(1), ["last"]);
    assert_eq!(at.tail(3), ["error\n", "two\n", "last"]);
    assert_eq!(at.tail(9).len(), 4);
    assert_eq!(at.tail(0), Vec::<String>::new());
    let times = |since, until| {
        at.lines(LogQuery {
            since: Some(Timestamp(since)),
            until: Some(Timestamp(until)),
            ..LogQuery::default()
        })
    };
    assert_eq!(times(3, 9), ["two\n", "last"]);
    assert_eq!(times(1, 2), ["one\n", "error\n"]);
}

#[test]
fn a_full_file_is_rotated_and_the_oldest_falls_off() {
    let at = Scratch::new("rotate");
    let mut writer = at.writer(&rotated(200, 3));
    for n in 0..20 {
        writer.put(Stream::Out, format!("line {n}\n").as_bytes(), Timestamp(n));
    }
    let kept = at.all();
    assert_eq!(kept.last().map(String::as_str), Some("line 19\n"));
    assert!(kept.len() < 20 && kept.len() > 3, "{kept:?}");
    assert_eq!(at.segments(), 3);
    assert_eq!(at.tail(2), ["line 18\n", "line 19\n"]);
    assert_eq!(at.tail(99), kept);
    for segment in files::list(&at.0.log()).unwrap() {
        let file = files::plain(&at.0.log(), segment.number);
        assert!(std::fs::metadata(file).unwrap().len() <= 200);
    }
}

#[test]
fn one_large_batch_is_rotated_line_by_line() {
    let at = Scratch::new("batch");
    let mut writer = at.writer(&rotated(1000, 1000));
    let (read, mut write) = pipe();
    let text: String = (0..5000).map(|n| format!("{n}\n")).collect();
    write.write_all(text.as_bytes()).unwrap();
    while !writer.take(read.as_fd(), Stream::Out).is_empty() {}
    assert_eq!(at.all().concat(), text);
    assert!(at.segments() > 300);
    let last: String = (4000..5000).map(|n| format!("{n}\n")).collect();
    assert_eq!(at.tail(1000).concat(), last);
}

#[test]
fn compressed_segments_are_read_as_the_others() {
    let at = Scratch::new("packed");
    let mut writer = at.writer(&rotated(2000, 100));
    let text: String = (0..200).map(|n| format!("{n}\n")).collect();
    writer.put(Stream::Out, text.as_bytes(), Timestamp(1));
    let dir = at.0.log();
    for segment in files::list(&dir).unwrap().iter().rev().skip(1) {
        let args = [dir.clone().into(), segment.number.to_string().into()];
        assert_eq!(super::pack_main(&args), 0);
    }
    assert!(!files::plain(&dir, 1).exists() && files::packed(&dir, 1).exists());
    assert_eq!(at.all().concat(), text);
    let last: String = (50..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(at.tail(150).concat(), last);
    // Cut off: what can be read is, and the rest of the log is too.
    let bytes = std::fs::read(files::packed(&dir, 2)).unwrap();
    std::fs::write(files::packed(&dir, 2), &bytes[..bytes.len() - 12]).unwrap();
    let all = at.all();
    assert!(all.iter().any(|line| line.contains("damaged")), "{all:?}");
    assert_eq!(all.last().map(String::as_str), Some("199\n"));
}

#[test]
fn a_reader_that_follows_survives_rotation_and_compression() {
    let at = Scratch::new("follow");
    let mut writer = at.writer(&rotated(500, 1000));
    let mut log = FileLog::open(
        at.0.clone(),
        LogQuery {
            follow: true,
            ..LogQuery::default()
        },
    )
    .unwrap();
    let (mut got, mut written) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let line = format!("{n}\n");
        writer.put(Stream::Out, line.as_bytes(), Timestamp(n));
        written.push(line);
        if n % 50 == 49 {
            let dir = at.0.log();
            for segment in files::list(&dir).unwrap().iter().rev().skip(1) {
                let _ = super::pack_main(&[dir.clone().into(), segment.number.to_string().into()]);
            }
        }
        if n % 7 == 0 {
            while let Ok(Some(record)) = log.next(Duration::ZERO) {
                got.push(String::from_utf8(record.line).unwrap());
            }
        }
    }
    while let Ok(Some(record)) = log.next(Duration::ZERO) {
        got.push(String::from_utf8(record.line).unwrap());
    }
    assert_eq!(got, written);
}

#[test]
fn a_long_line_comes_in_parts_and_is_one_line_of_the_tail() {
    let at = Scratch::new("long");
    let mut writer = at.writer(&LogConfig::default());
    writer.put(Stream::Out, b"before\n", Timestamp(1));
    let long = "x".repeat(40_000) + "\n";
    writer.put(Stream::Out, long.as_bytes(), Timestamp(1));
    assert_eq!(at.all().len(), 4);
    assert_eq!(at.tail(1).concat(), long);
    assert_eq!(at.tail(2).concat(), format!("before\n{long}"));
}

#[test]
fn what_is_damaged_is_left_out_with_a_word() {
    let at = Scratch::new("damaged");
    let mut writer = at.writer(&LogConfig::default());
    writer.put(Stream::Out, b"a\n", Timestamp(1));
    at.append(b"\0\0\0\0\n{\"log\":\"half\nnonsense\n");
    at.append(&[b'x'; 5 << 20]);
    at.append(b"\n");
    writer.put(Stream::Out, b"b\n", Timestamp(2));
    let word = "hoist: 4 damaged lines of the log were left out\n";
    assert_eq!(at.all(), ["a\n", word, "b\n"]);
    assert_eq!(at.tail(1), [word, "b\n"]);
}

#[test]
fn a_line_that_a_crash_of_the_machine_cut_off_is_removed() {
    let at = Scratch::new("torn");
    at.writer(&LogConfig::default())
        .put(Stream::Out, b"a\n", Timestamp(1));
    std::fs::remove_dir_all(&at.0.run).unwrap();
    std::fs::create_dir_all(&at.0.run).unwrap();
    at.append(b"{\"log\":\"to");
    at.append(&[0; 9000]);
    let mut writer = at.writer(&LogConfig::default());
    writer.put(Stream::Out, b"b\n", Timestamp(2));
    assert_eq!(at.all(), ["a\n", "b\n"]);
}

/// Stops at each byte that may have reached the log when a supervisor is killed, also across a rotation.
#[test]
fn a_successor_completes_exactly_what_a_killed_writer_left() {
    let config = rotated(300, 100);
    let text = b"t two\nthree\nfour\nfive\nsix\nseven\neight\nni";
    let whole = {
        let at = Scratch::new("whole");
        let mut writer = at.writer(&config);
        writer.put(Stream::Out, b"one\nbegun bu", Timestamp(1));
        writer.put(Stream::Err, b"else", Timestamp(1));
        let (read, mut write) = pipe();
        write.write_all(text).unwrap();
        writer.take(read.as_fd(), Stream::Out);
        at.all().concat()
    };
    assert!(whole.contains("begun but two\n"), "{whole}");
    for cut in 0..300 {
        let at = Scratch::new(&format!("cut{cut}"));
        let mut writer = at.writer(&config);
        writer.put(Stream::Out, b"one\nbegun bu", Timestamp(1));
        writer.put(Stream::Err, b"else", Timestamp(1));
        let before = std::fs::metadata(files::plain(&at.0.log(), 1))
            .unwrap()
            .len();
        let (read, mut write) = pipe();
        write.write_all(text).unwrap();
        // The spool as it is in the middle of the batch: the head says where it begins.
        let spool = |name: &str| std::fs::read(at.0.run.join(name)).unwrap();
        writer.take(read.as_fd(), Stream::Out);
        drop(writer);
        let newest = files::list(&at.0.log()).unwrap().len() as u64;
        if newest > 1 {
            // Killed before the rotation: the later segments were not there yet.
            for number in 2..=newest {
                std::fs::remove_file(files::plain(&at.0.log(), number)).unwrap();
            }
        }
        let file = std::fs::File::options()
            .write(true)
            .open(files::plain(&at.0.log(), 1))
            .unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.min(before + cut)).unwrap();
        // Back to the batch's own head.
        let mut restored = Spool::new(&at.0.run);
        let left = restored.left().unwrap();
        let head = Head {
            segment: 1,
            offset: before,
            start: 0,
            ..left.head
        };
        assert_eq!((head.kind, left.bytes.as_slice()), (Kind::Bytes, &text[..]));
        restored
            .redirect(&head, left.begun.each_ref().map(Vec::len))
            .unwrap();
        assert!(!spool("spool0").is_empty());
        let mut successor = at.writer(&config);
        assert_eq!(at.all().concat(), whole, "cut at {cut}");
        // And the begun lines go on.
        successor.put(Stream::Out, b"ne\n", Timestamp(9));
        successor.flush(Timestamp(9));
        assert!(at.all().concat().ends_with("nine\nelse"), "cut at {cut}");
    }
}

#[test]
fn a_successor_with_nothing_to_complete_writes_nothing_twice() {
    let at = Scratch::new("twice");
    let (read, mut write) = pipe();
    for turn in 0..5 {
        let mut writer = at.writer(&rotated(150, 100));
        write
            .write_all(format!("{turn} a\n{turn} b").as_bytes())
            .unwrap();
        writer.take(read.as_fd(), Stream::Out);
    }
    let mut writer = at.writer(&rotated(150, 100));
    writer.flush(Timestamp(1));
    drop(writer);
    drop(at.writer(&LogConfig::default()));
    assert_eq!(
        at.all().concat(),
        "0 a\n0 b1 a\n1 b2 a\n2 b3 a\n3 b4 a\n4 b"
    );
}

#[test]
fn a_log_that_can_not_be_written_makes_the_pipe_wait_and_then_goes_on() {
    let at = Scratch::new("full");
    let mut writer = at.writer(&LogConfig::default());
    let (read, mut write) = pipe();
    // A directory in the file's place fails as a full disk does.
    let place = files::plain(&at.0.log(), 1);
    std::fs::create_dir_all(&place).unwrap();
    write.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(writer.take(read.as_fd(), Stream::Out), b"one\ntwo\n");
    assert!(writer.is_held());
    write.write_all(b"three\n").unwrap();
    assert_eq!(writer.take(read.as_fd(), Stream::Out), b"");
    std::fs::remove_dir(&place).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while writer.take(read.as_fd(), Stream::Out).is_empty() {
        assert!(std::time::Instant::now() < end, "it never goes on");
    }
    assert!(!writer.is_held());
    assert_eq!(at.all(), ["one\n", "two\n", "three\n"]);
}

#[test]
fn a_container_that_need_not_wait_loses_lines_and_the_log_says_so() {
    let at = Scratch::new("impatient");
    let config = LogConfig {
        impatient: true,
        ..LogConfig::default()
    };
    let mut writer = at.writer(&config);
    let (read, mut write) = pipe();
    let place = files::plain(&at.0.log(), 1);
    std::fs::create_dir_all(&place).unwrap();
    write.write_all(b"kept\n").unwrap();
    writer.take(read.as_fd(), Stream::Out);
    // More than two pipes of the greatest size: what is full is emptied.
    let mut lost = 0;
    while lost < 3 << 20 {
        match write.write(&[b"lost\n".repeat(800).as_slice(), b""].concat()) {
            Ok(written) => lost += written,
            Err(_) => {
                writer.take(read.as_fd(), Stream::Out);
            }
        }
    }
    std::fs::remove_dir(&place).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while writer.is_held() {
        assert!(std::time::Instant::now() < end, "it never goes on");
        writer.take(read.as_fd(), Stream::Out);
    }
    while !writer.take(read.as_fd(), Stream::Out).is_empty() {}
    let all = at.all();
    assert_eq!(all[0], "kept\n");
    assert!(
        all[1].starts_with("hoist: ") && all[1].contains(" lines) of output are missing here"),
        "{}",
        all[1]
    );
}

#[test]
fn a_log_of_before_is_gone_on_with() {
    let at = Scratch::new("before");
    std::fs::create_dir_all(at.0.log()).unwrap();
    let line = "{\"log\":\"old\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n";
    let path: PathBuf = at.0.log().join("container.log");
    let mut how = std::fs::File::options();
    how.write(true).create(true).mode(0o600);
    how.open(path).unwrap().write_all(line.as_bytes()).unwrap();
    let mut writer = at.writer(&LogConfig::default());
    writer.put(Stream::Out, b"new\n", Timestamp(1));
    assert_eq!(at.all(), ["old\n", "new\n"]);
}

#[test]
fn a_reader_says_when_nothing_came_in_time() {
    let at = Scratch::new("silent");
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    // Without a record there is no container: the end.
    let mut log = FileLog::open(at.0.clone(), query).unwrap();
    assert!(matches!(
        log.next(Duration::ZERO),
        Ok(None) | Err(LogEnd::TimedOut)
    ));
}
