//! The key menu of an attached `up`: one line below the logs, with what keys do or what is being typed.
//!
//! In: bytes from the keyboard. Out: [`Asked`], and the line. It decides nothing and reads no keyboard.
//! Imports: `ui::keys`. As Compose: `cmd/formatter/shortcut.go`. Only attributes are used, no colours: any
//! background will do.

use std::collections::VecDeque;

use super::keys::{AGAIN, Decoder, Edit, Key, SUSPEND, Typed, plain};

/// What a user asks for with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Leave the containers running and end.
    Detach,
    /// Start or stop following files.
    Watch,
    /// Restart the service that is meant by this word.
    Restart(String),
    /// Show only the service that is meant by this word, and let it have what is typed.
    Focus(String),
    /// Give the focused service this line.
    Input(String),
    /// Show all services again.
    Unfocus,
    /// Show only lines with this text; all when it is empty.
    Filter(String),
    /// A blank line between the logs.
    Blank,
    /// Stop this process, as a shell's Ctrl-Z does.
    Suspend,
    /// Only the line has changed.
    Redraw,
}

/// What is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Restart,
    Filter,
    Focus,
    Input,
}

/// The menu as it stands.
#[derive(Debug, Default)]
pub struct Menu {
    typing: Option<(Field, Typed)>,
    services: Vec<String>,
    filter: String,
    /// The service that is focused, and whether it takes input.
    focused: Option<(String, bool)>,
    watching: bool,
    decoder: Decoder,
    /// What was asked for and not done yet.
    waiting: VecDeque<Asked>,
}

impl Menu {
    /// A menu of a project with these services.
    pub fn new(services: Vec<String>) -> Self {
        Self {
            services,
            ..Self::default()
        }
    }

    /// Says whether files are followed.
    pub fn watching(&mut self, on: bool) {
        self.watching = on;
    }

    /// Says which service is focused, and whether it takes what is typed.
    pub fn focus(&mut self, service: Option<(String, bool)>) {
        self.typing = service
            .as_ref()
            .filter(|(_, takes)| *takes)
            .map(|_| (Field::Input, Typed::default()));
        self.focused = service;
    }

    /// Takes what was typed.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Asked> {
        let keys = self.decoder.keys(bytes);
        keys.into_iter().filter_map(|key| self.key(key)).collect()
    }

    /// Keeps what can't be done now.
    pub fn keep(&mut self, asked: Asked) {
        self.waiting.push_back(asked);
    }

    /// What is to be done next of all that was kept.
    pub fn due(&mut self) -> Option<Asked> {
        self.waiting.pop_front()
    }

    fn key(&mut self, key: Key) -> Option<Asked> {
        let byte = match key {
            Key::Byte(SUSPEND) => return Some(Asked::Suspend),
            Key::Byte(AGAIN) => return Some(Asked::Redraw),
            Key::Byte(byte) => byte,
            Key::Escape => {
                let left = self.typing.take();
                let asks = left.is_some_and(|(field, _)| field != Field::Input);
                return Some(match self.focused.is_some() && !asks {
                    true => Asked::Unfocus,
                    false => Asked::Redraw,
                });
            }
            _ => return None,
        };
        let Some((field, typed)) = &mut self.typing else {
            return self.command(byte);
        };
        match (typed.take(byte), *field) {
            (Edit::Nothing, _) => None,
            (Edit::Changed, _) => Some(Asked::Redraw),
            (Edit::Done(text), Field::Input) => {
                *typed = Typed::default();
                Some(Asked::Input(text))
            }
            (Edit::Done(text), field) => {
                self.typing = None;
                Some(match field {
                    Field::Restart => Asked::Restart(text),
                    Field::Focus => Asked::Focus(text),
                    Field::Filter | Field::Input => {
                        self.filter.clone_from(&text);
                        Asked::Filter(text)
                    }
                })
            }
        }
    }

    fn command(&mut self, byte: u8) -> Option<Asked> {
        let field = match byte {
            b'd' => return Some(Asked::Detach),
            b'w' => return Some(Asked::Watch),
            b'\r' | b'\n' => return Some(Asked::Blank),
            b'f' if self.focused.is_some() => return Some(Asked::Unfocus),
            b'r' | b'f' => match (byte, &self.services[..]) {
                (b'r', [only]) => return Some(Asked::Restart(only.clone())),
                (_, [only]) => return Some(Asked::Focus(only.clone())),
                (b'r', _) => Field::Restart,
                _ => Field::Focus,
            },
            b'/' => Field::Filter,
            _ => return None,
        };
        self.typing = Some((field, Typed::default()));
        Some(Asked::Redraw)
    }

    /// The service that a word means: its name, or the only one that begins so.
    ///
    /// # Errors
    /// What is wrong with the word.
    pub fn service(&self, word: &str) -> Result<String, String> {
        if let Some(exact) = self.services.iter().find(|name| *name == word) {
            return Ok(exact.clone());
        }
        let mut begin = self.services.iter().filter(|name| name.starts_with(word));
        match (begin.next(), begin.next()) {
            (Some(only), None) if !word.is_empty() => Ok(only.clone()),
            (None, _) => Err(format!("no service is called {word:?}")),
            _ => Err("name one service".to_owned()),
        }
    }

    /// The line, at most `width` columns wide.
    pub fn line(&self, width: usize) -> String {
        let text = match &self.typing {
            Some((Field::Restart, text)) => {
                let all = self.services.join(", ");
                format!("restart ({all}): {}", text.shown())
            }
            Some((Field::Focus, text)) => {
                let all = self.services.join(", ");
                format!("show only ({all}): {}", text.shown())
            }
            Some((Field::Filter, text)) => {
                format!("show only lines with (empty: all): {}", text.shown())
            }
            Some((Field::Input, text)) => {
                let service = self.focused.as_ref().map_or("", |(service, _)| service);
                format!(
                    "\x1b[1mEsc\x1b[0m all services   \x1b[1m{service}\x1b[0m> {}",
                    text.shown()
                )
            }
            None => {
                let watch = if self.watching {
                    "stop watching"
                } else {
                    "watch"
                };
                let filter = match self.filter.as_str() {
                    "" => "filter".to_owned(),
                    text => format!("filter ({})", plain(text.as_bytes())),
                };
                let focus = match &self.focused {
                    Some((service, _)) => format!("all services (only {service})"),
                    None => "focus".to_owned(),
                };
                let keys = [
                    ("w", watch),
                    ("d", "detach"),
                    ("r", "restart"),
                    ("f", &focus),
                    ("/", &filter),
                    ("^C", "stop"),
                ];
                let keys = keys.map(|(key, what)| format!("\x1b[1m{key}\x1b[0m {what}"));
                keys.join("   ")
            }
        };
        let text = console::truncate_str(&text, width, "…").into_owned();
        // What is cut may have been the end of an attribute.
        format!("{text}\x1b[0m")
    }
}

/// Whether a line has a text; letters count in either case.
pub fn has(line: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    text.is_empty()
        || line
            .windows(text.len())
            .any(|part| part.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu() -> Menu {
        Menu::new(vec!["web".into(), "worker".into(), "db".into()])
    }

    #[test]
    fn keys_ask_for_what_the_line_says() {
        let mut menu = menu();
        assert_eq!(
            menu.typed(b"dw\r\x1a"),
            [Asked::Detach, Asked::Watch, Asked::Blank, Asked::Suspend]
        );
        assert_eq!(menu.typed(b"\x0c"), [Asked::Redraw]);
        assert_eq!(menu.typed(b"x\x1b[A\x1bOPq"), []);
        assert_eq!(
            menu.line(80),
            "\x1b[1mw\x1b[0m watch   \x1b[1md\x1b[0m detach   \x1b[1mr\x1b[0m restart   \x1b[1mf\x1b[0m focus   \x1b[1m/\x1b[0m filter   \
             \x1b[1m^C\x1b[0m stop\x1b[0m"
        );
        assert_eq!(console::measure_text_width(&menu.line(20)), 20);
    }

    #[test]
    fn a_word_is_typed_mended_and_given_up() {
        let mut menu = menu();
        menu.typed("/fä\x7foo".as_bytes());
        assert_eq!(
            menu.line(80),
            "show only lines with (empty: all): foo\x1b[0m"
        );
        assert_eq!(
            menu.typed(b"\r").last(),
            Some(&Asked::Filter("foo".to_owned()))
        );
        assert!(menu.line(80).contains("filter (foo)"));
        menu.typed(b"rwe");
        assert_eq!(menu.line(80), "restart (web, worker, db): we\x1b[0m");
        menu.typed(b"\x1b");
        assert!(menu.line(80).contains("detach"));
        assert_eq!(
            menu.typed(b"rdb\r").last(),
            Some(&Asked::Restart("db".to_owned()))
        );
    }

    #[test]
    fn a_focused_service_gets_lines_until_escape() {
        let mut menu = menu();
        assert_eq!(
            menu.typed(b"fdb\r").last(),
            Some(&Asked::Focus("db".into()))
        );
        menu.focus(Some(("db".into(), true)));
        menu.typed(b"wd/");
        assert_eq!(
            menu.line(80),
            "\x1b[1mEsc\x1b[0m all services   \x1b[1mdb\x1b[0m> wd/\x1b[0m"
        );
        assert_eq!(menu.typed(b"\r"), [Asked::Input("wd/".into())]);
        assert_eq!(menu.typed(b"\r"), [Asked::Input(String::new())]);
        assert_eq!(menu.typed(b"\x1b"), [Asked::Unfocus]);
        // One without input leaves the keys as they are.
        menu.focus(Some(("db".into(), false)));
        assert!(menu.line(100).contains("all services (only db)"));
        assert_eq!(menu.typed(b"/x").len(), 2);
        assert_eq!(menu.typed(b"\x1b"), [Asked::Redraw]);
        assert_eq!(menu.typed(b"f"), [Asked::Unfocus]);
        menu.focus(None);
        assert_eq!(menu.typed(b"\x1b"), [Asked::Redraw]);
    }

    #[test]
    fn a_service_is_meant_by_its_name_or_an_unmistakable_beginning() {
        let menu = menu();
        assert_eq!(menu.service("we").as_deref(), Ok("web"));
        assert!(menu.service("w").is_err());
        assert!(menu.service("").is_err());
        assert_eq!(
            menu.service("nope"),
            Err("no service is called \"nope\"".to_owned())
        );
    }

    #[test]
    fn a_filter_looks_anywhere_in_a_line() {
        assert!(has(b"GET /Health 200", "health"));
        assert!(has(b"anything", ""));
        assert!(!has(b"a", "ab"));
    }
}
