//! Uploads to a registry that keeps what came before a cut, loses it, or takes less than it was sent.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::super::client::Registry;
use super::super::upload::Send as Sending;
use super::*;

/// What becomes of the body of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// All of it is taken.
    Take,
    /// So many bytes are taken, then the connection ends.
    Cut(usize),
    /// As [`Fate::Cut`], and nothing is known of the upload any more.
    Lose(usize),
    /// So many bytes are taken, and the answer says so.
    Less(usize),
}

#[derive(Default)]
struct Kept {
    uploads: BTreeMap<String, Vec<u8>>,
    blobs: Vec<Digest>,
    begun: usize,
    /// Where in its upload each body began, and what became of it.
    bodies: Vec<u64>,
    /// Bytes of bodies that were taken.
    taken: usize,
}

/// A registry of parts.
struct Keeper {
    host: String,
    kept: Arc<Mutex<Kept>>,
}

impl Keeper {
    /// `fate` decides by the number of a body.
    fn start(fate: impl Fn(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let ours = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A side that goes away ends its exchange.
                let _ = exchange(&mut stream.unwrap(), &ours, &fate);
            }
        });
        Self { host, kept }
    }
    /// Sends a blob there; `tries` as often again.
    fn send(&self, content: &[u8], tries: usize) -> Result<(), PullError> {
        let dir = std::env::temp_dir().join(format!(
            "hoist-resume-{}-{}",
            std::process::id(),
            self.host.replace(':', "-")
        ));
        std::fs::write(&dir, content).unwrap();
        let mut options = options();
        let tries = ("HOIST_REGISTRY_RETRIES".to_owned(), tries.to_string());
        options.env.vars.extend([tries]);
        let name = Reference::parse(&format!("{}/r", self.host)).unwrap();
        let blob = Descriptor::new(media::LAYER, Digest::of(content), content.len() as u64);
        let done = block_on(async {
            let sending = Sending {
                registry: &Registry::for_push(&name, &options)?,
                blob: &blob,
                path: &dir,
                tell: &|_, _| {},
            };
            sending.run(None).await
        });
        std::fs::remove_file(dir).unwrap();
        done
    }
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

/// The first line and the headers of a request, in small letters.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

fn skip(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    io::copy(&mut stream.take(length as u64), &mut io::sink()).map(drop)
}

fn exchange(
    stream: &mut TcpStream,
    kept: &Mutex<Kept>,
    fate: &impl Fn(usize) -> Fate,
) -> io::Result<()> {
    let head = head(stream)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length: usize = header("content-length: ").map_or(0, |text| text.parse().unwrap());
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
    let (place, query) = path.split_once('?').unwrap_or((path.as_str(), ""));
    let mut kept = kept.lock().unwrap();
    let said = |status: &str, have: usize| {
        let last = have.saturating_sub(1);
        let header = format!("Location: {place}\r\nRange: 0-{last}\r\n");
        reply(status, &header, "")
    };
    let answer = match method {
        "head" => {
            let there = kept.blobs.iter().any(|blob| path.ends_with(&blob.hex()));
            reply(if there { "200 OK" } else { "404 Not Found" }, "", "")
        }
        "post" => {
            kept.begun += 1;
            let place = format!("/v2/r/blobs/uploads/{}", kept.begun);
            kept.uploads.insert(place.clone(), Vec::new());
            reply("202 Accepted", &format!("Location: {place}\r\n"), "")
        }
        _ if path == "/v2/" => reply("200 OK", "", ""),
        _ if !kept.uploads.contains_key(place) => reply("404 Not Found", "", ""),
        "get" => said("204 No Content", kept.uploads[place].len()),
        _ => {
            let have = kept.uploads[place].len();
            let range = header("content-range: ");
            let begin = range.map_or(have, |text| {
                text.split_once('-').unwrap().0.parse().unwrap()
            });
            if begin != have {
                // All of it is read, so that the answer arrives.
                skip(stream, length)?;
                let answer = said("416 Range Not Satisfiable", have);
                return stream.write_all(answer.as_bytes());
            }
            // What ends an upload may have no body.
            let fate = match length {
                0 => Fate::Take,
                _ => fate(kept.bodies.len()),
            };
            if length > 0 {
                kept.bodies.push(begin as u64);
            }
            let taken = match fate {
                Fate::Take => length,
                Fate::Cut(bytes) | Fate::Lose(bytes) | Fate::Less(bytes) => bytes.min(length),
            };
            let mut body = vec![0; taken];
            stream.read_exact(&mut body)?;
            kept.taken += taken;
            let upload = kept.uploads.get_mut(place).unwrap();
            upload.extend(body);
            let have = upload.len();
            match fate {
                Fate::Cut(_) => return Ok(()),
                Fate::Lose(_) => {
                    kept.uploads.remove(place);
                    return Ok(());
                }
                Fate::Less(_) => {
                    skip(stream, length - taken)?;
                }
                Fate::Take => {}
            }
            if method == "put" {
                let found = Digest::of(&kept.uploads[place]);
                match query.ends_with(&found.hex()) {
                    true => {
                        kept.blobs.push(found);
                        reply("201 Created", "", "")
                    }
                    false => reply("400 Bad Request", "", ""),
                }
            } else {
                said("202 Accepted", have)
            }
        }
    };
    stream.write_all(answer.as_bytes())
}

const MANY: usize = 20_000_000;

#[test]
fn an_upload_that_is_cut_goes_on_where_the_registry_says_that_it_is() {
    let keeper = Keeper::start(|body| match body {
        0 => Fate::Cut(5_000_000),
        1 => Fate::Less(3_000_000),
        2 => Fate::Cut(1_000_000),
        _ => Fate::Take,
    });
    let content = noise(MANY);
    keeper.send(&content, 5).unwrap();
    let kept = keeper.kept();
    assert_eq!(kept.blobs, [Digest::of(&content)]);
    assert_eq!(kept.bodies, [0, 5_000_000, 8_000_000, 9_000_000]);
    // Nothing was taken twice.
    assert_eq!((kept.begun, kept.taken), (1, MANY));
}

#[test]
fn an_upload_that_the_registry_has_lost_begins_again() {
    let keeper = Keeper::start(|body| match body {
        0 => Fate::Lose(5_000_000),
        1 => Fate::Cut(2_000_000),
        2 => Fate::Lose(1_000_000),
        _ => Fate::Take,
    });
    let content = noise(MANY);
    keeper.send(&content, 5).unwrap();
    let kept = keeper.kept();
    assert_eq!(kept.blobs, [Digest::of(&content)]);
    assert_eq!(
        (kept.begun, &kept.bodies[..4]),
        (3, &[0, 0, 2_000_000, 0][..])
    );
}

#[test]
fn a_registry_that_loses_what_it_has_taken_each_time_is_given_up_on() {
    // It takes much before it loses it: that it goes on counts once.
    let keeper = Keeper::start(|body| match body % 2 {
        0 => Fate::Cut(17_000_000),
        _ => Fate::Lose(1),
    });
    let error = keeper.send(&noise(MANY), 2).unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    let kept = keeper.kept();
    assert_eq!(kept.bodies, [0, 17_000_000, 0, 16_777_216]);
    assert_eq!((kept.begun, kept.blobs.len()), (2, 0));
}
