//! One question on its way to the resolvers.
//!
//! They are asked one after the other, each a moment after the one before, and all are listened to; the first
//! good answer is taken. An answer that a name is not there waits for those that were asked before: resolvers
//! of a private network know names that others do not. Each attempt has a socket, thus a port, and an id of its
//! own, both random, and takes an answer only from the address it asked and to the question it asked.
//!
//! Imports: `dns::link`. Source: RFC 5452.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use super::link::{Link, Origin, Way};

/// How long a resolver is waited for before the next one is asked too.
const NEXT: Duration = Duration::from_millis(400);
/// How long after the last one the first is asked again: packets get lost.
const AGAIN: Duration = Duration::from_millis(1500);
/// How long one is waited for that may know better, and after which it counts as silent.
pub(super) const SILENT: Duration = Duration::from_secs(2);
/// How long the whole may take.
const ALL: Duration = Duration::from_secs(8);
const HEADER: usize = 12;

/// A question to one resolver.
#[derive(Debug)]
struct Attempt {
    server: SocketAddr,
    slot: u8,
    id: [u8; 2],
    link: Link,
    since: Instant,
}

/// A forwarded question.
#[derive(Debug)]
pub(super) struct Exchange {
    question: Vec<u8>,
    way: Way,
    /// Whom to ask yet.
    plan: VecDeque<(SocketAddr, Way)>,
    /// How many of those are to be asked for the first time.
    fresh: usize,
    open: Vec<Attempt>,
    slots: u8,
    /// What is answered if nothing better comes.
    best: Option<Vec<u8>>,
    /// When `best` is good enough, if it is an answer at all.
    settled: Option<Instant>,
    /// When the next one is asked.
    turn: Instant,
    end: Instant,
}

/// What an exchange needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To be asked again at its deadline.
    Wait,
    /// [`Exchange::ask`].
    Ask,
    /// To be finished with this answer, or with the news that there is none.
    Over(Option<Vec<u8>>),
}

impl Exchange {
    /// A question for `servers`, in this order. Nothing is sent yet.
    pub(super) fn new(question: &[u8], servers: &[SocketAddr], way: Way, now: Instant) -> Self {
        let first = servers.iter().map(|server| (*server, way));
        // Some resolvers answer packets only.
        let second = servers.iter().map(|server| (*server, Way::Udp));
        Self {
            question: question.to_vec(),
            way,
            plan: first.chain(second).collect(),
            fresh: servers.len(),
            open: Vec::new(),
            slots: 0,
            best: None,
            settled: None,
            turn: now,
            end: now + ALL,
        }
    }
    /// The question as the asker sent it.
    pub(super) fn question(&self) -> &[u8] {
        &self.question
    }
    /// How many sockets it has.
    pub(super) fn sockets(&self) -> usize {
        self.open.len()
    }
    /// When [`Exchange::next`] must be looked at.
    pub(super) fn deadline(&self) -> Instant {
        let asks = self.settled.is_none() && !self.plan.is_empty();
        let turn = asks.then_some(self.turn);
        [turn, self.settled]
            .into_iter()
            .flatten()
            .fold(self.end, Instant::min)
    }
    /// What is to be done now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let settled = self.settled.is_some_and(|at| at <= now);
        let hopeless = self.open.is_empty() && self.plan.is_empty();
        if settled || hopeless || now >= self.end {
            return Next::Over(self.best.take());
        }
        let due = self.open.is_empty() || now >= self.turn;
        if due && self.settled.is_none() && !self.plan.is_empty() {
            return Next::Ask;
        }
        Next::Wait
    }
    /// Puts the next attempt off, for want of a socket.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.turn = now + NEXT;
    }
    /// Asks the next resolver that can be asked; gives the attempt's number.
    pub(super) fn ask(&mut self, origin: &mut Origin, now: Instant) -> Option<(u8, &Link)> {
        let mut message = self.question.clone();
        while let Some((server, way)) = self.plan.pop_front() {
            self.fresh = self.fresh.saturating_sub(1);
            let id = Message::query().metadata.id.to_be_bytes();
            message.get_mut(..2)?.copy_from_slice(&id);
            let Ok(link) = Link::open(origin, server, way, &message) else {
                continue;
            };
            self.turn = now + if self.fresh > 0 { NEXT } else { AGAIN };
            let slot = self.slots;
            self.slots += 1;
            self.open.push(Attempt {
                server,
                slot,
                id,
                link,
                since: now,
            });
            return self.open.last().map(|attempt| (slot, &attempt.link));
        }
        None
    }
    /// The socket of an attempt.
    pub(super) fn link(&self, slot: u8) -> Option<&Link> {
        let attempt = self.open.iter().find(|attempt| attempt.slot == slot)?;
        Some(&attempt.link)
    }
    /// Goes on with an attempt as far as it can without waiting; gives the resolver if it has answered.
    /// [`Exchange::next`] says what has come of it.
    pub(super) fn progress(&mut self, slot: u8, now: Instant) -> Option<SocketAddr> {
        let at = self.open.iter().position(|attempt| attempt.slot == slot)?;
        let attempt = self.open.get_mut(at)?;
        let Ok(answers) = attempt.link.turn() else {
            self.open.remove(at);
            self.turn = now;
            return None;
        };
        let id = attempt.id;
        let fitting = |answer: &Vec<u8>| fits(answer, &self.question, id);
        let mut answer = answers.into_iter().find(fitting)?;
        if let (Some(to), Some(from)) = (answer.get_mut(..2), self.question.get(..2)) {
            to.copy_from_slice(from);
        }
        let attempt = self.open.remove(at);
        // It would say the same again.
        self.plan.retain(|(server, _)| *server != attempt.server);
        self.weigh(answer, attempt.since, now);
        Some(attempt.server)
    }
    /// Decides whether an answer is good enough, or waits for another one.
    fn weigh(&mut self, answer: Vec<u8>, since: Instant, now: Instant) {
        let word = |at: usize| answer.get(at).copied().unwrap_or_default();
        let code = ResponseCode::from_low(word(3) & 0xf);
        let cut = word(2) & 0x02 != 0 && self.way == Way::Tcp;
        let usable = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) && !cut;
        if !usable {
            // Told to the asker only if nobody knows better. A cut answer is of no use on a connection.
            if self.best.is_none() && !cut {
                self.best = Some(answer);
            }
            self.turn = now;
            return;
        }
        let empty = code == ResponseCode::NXDomain || (word(6), word(7)) == (0, 0);
        let earlier = self.open.iter().filter(|other| other.since < since);
        let wait = earlier.map(|other| other.since + SILENT).max();
        self.settled = Some(wait.filter(|_| empty).unwrap_or(now));
        self.best = Some(answer);
    }
    /// Lets go of all but the attempts that have been waited for in vain, to learn whether they are answered
    /// after all; gives whether there are any.
    pub(super) fn linger(&mut self, now: Instant) -> bool {
        self.plan.clear();
        self.settled = None;
        self.best = None;
        self.open.retain(|attempt| attempt.since + NEXT <= now);
        let since = self.open.iter().map(|attempt| attempt.since).max();
        self.end = since.map_or(now, |since| since + SILENT);
        !self.open.is_empty()
    }
    /// Resolvers that have not answered for long.
    pub(super) fn silent(&self, now: Instant) -> Vec<SocketAddr> {
        let silent = self.open.iter().filter(|open| open.since + SILENT <= now);
        silent.map(|attempt| attempt.server).collect()
    }
}

/// Whether a message answers a question: the id, the answer bit, the question itself.
fn fits(answer: &[u8], question: &[u8], id: [u8; 2]) -> bool {
    let is_answer = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let Some(asked) = question.get(HEADER..question_end(question).unwrap_or(HEADER)) else {
        return false;
    };
    // Some servers leave the question out of an error.
    let is_error = answer.get(3).is_some_and(|flags| flags & 0xf != 0);
    let repeats = answer
        .get(HEADER..HEADER + asked.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(asked))
        || (is_error && answer.get(4..6) == Some(&[0, 0]));
    answer.len() >= HEADER && answer.get(..2) == Some(&id) && is_answer && repeats
}

/// Where the only question of a message ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 5).filter(|end| *end <= message.len()),
            // Nothing stands before the first name that it could point to.
            length if length >= 0xc0 => return None,
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    const QUESTION: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

    #[test]
    fn only_an_answer_to_the_question_with_the_id_is_taken() {
        let mut answer = QUESTION.to_vec();
        answer[2] = 0x81;
        assert!(fits(&answer, QUESTION, [0x12, 0x34]));
        assert!(!fits(&answer, QUESTION, [0x12, 0x35]));
        assert!(!fits(QUESTION, QUESTION, [0x12, 0x34]));
        answer[13] = b'x';
        assert!(!fits(&answer, QUESTION, [0x12, 0x34]));
        assert!(!fits(&[], QUESTION, [0x12, 0x34]));
        // Without the question it may be an error only.
        let mut bare = vec![0x12, 0x34, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!fits(&bare, QUESTION, [0x12, 0x34]));
        bare[3] = 0x82;
        assert!(fits(&bare, QUESTION, [0x12, 0x34]));
    }

    /// A resolver that says what the test says.
    struct Server(UdpSocket);

    impl Server {
        fn new() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            Self(socket)
        }
        fn address(&self) -> SocketAddr {
            self.0.local_addr().unwrap()
        }
        /// Answers one question with a code and so many records.
        fn answer(&self, code: u8, records: u8) {
            let mut bytes = [0; 512];
            let (length, from) = self.0.recv_from(&mut bytes).unwrap();
            (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80 | code, records);
            self.0.send_to(&bytes[..length], from).unwrap();
        }
    }

    fn ask(exchange: &mut Exchange, now: Instant) -> u8 {
        assert_eq!(exchange.next(now), Next::Ask);
        exchange.ask(&mut Origin::Host, now).unwrap().0
    }

    fn hear(exchange: &mut Exchange, slot: u8, now: Instant) {
        let end = Instant::now() + Duration::from_secs(10);
        while exchange.progress(slot, now).is_none() && exchange.link(slot).is_some() {
            assert!(Instant::now() < end, "no answer came");
        }
    }

    fn code(next: &Next) -> Option<u8> {
        match next {
            Next::Over(answer) => answer.as_ref().map(|answer| answer[3] & 0xf),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_sends_the_question_to_the_next_one_at_once() {
        let (bad, good) = (Server::new(), Server::new());
        let now = Instant::now();
        let servers = [bad.address(), good.address()];
        let mut exchange = Exchange::new(QUESTION, &servers, Way::Udp, now);
        let slot = ask(&mut exchange, now);
        bad.answer(2, 0);
        hear(&mut exchange, slot, now);
        let slot = ask(&mut exchange, now);
        good.answer(0, 1);
        hear(&mut exchange, slot, now);
        assert_eq!(code(&exchange.next(now)), Some(0));
    }

    #[test]
    fn a_silent_one_is_left_behind_but_may_still_know_better() {
        let (slow, fast) = (Server::new(), Server::new());
        let now = Instant::now();
        let servers = [slow.address(), fast.address()];
        let mut exchange = Exchange::new(QUESTION, &servers, Way::Udp, now);
        let first = ask(&mut exchange, now);
        assert_eq!(exchange.next(now), Next::Wait);
        let later = now + NEXT;
        let second = ask(&mut exchange, later);
        fast.answer(3, 0);
        hear(&mut exchange, second, later);
        assert_eq!(exchange.next(later), Next::Wait, "the first is waited for");
        assert_eq!(exchange.deadline(), now + SILENT);
        slow.answer(0, 1);
        hear(&mut exchange, first, later);
        assert_eq!(code(&exchange.next(later)), Some(0));
    }

    #[test]
    fn what_nobody_knows_better_is_told_in_the_end() {
        let (dead, fast) = (Server::new(), Server::new());
        let now = Instant::now();
        let servers = [dead.address(), fast.address()];
        let mut exchange = Exchange::new(QUESTION, &servers, Way::Udp, now);
        ask(&mut exchange, now);
        let later = now + NEXT;
        let second = ask(&mut exchange, later);
        fast.answer(3, 0);
        hear(&mut exchange, second, later);
        assert_eq!(code(&exchange.next(now + SILENT)), Some(3));
        assert!(exchange.linger(later));
        assert_eq!(exchange.silent(later), []);
        assert_eq!(exchange.silent(now + SILENT), [dead.address()]);
    }

    #[test]
    fn a_refusal_of_all_is_passed_on() {
        let only = Server::new();
        let now = Instant::now();
        let mut exchange = Exchange::new(QUESTION, &[only.address()], Way::Udp, now);
        let slot = ask(&mut exchange, now);
        only.answer(5, 0);
        hear(&mut exchange, slot, now);
        assert_eq!(code(&exchange.next(now)), Some(5));
    }
}
