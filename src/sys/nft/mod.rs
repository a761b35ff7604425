//! nf_tables spoken to directly: whole tables in one atomic batch, no helper program.
//!
//! In: tables, chains and [`Rule`]s as values. Out: acknowledged, or nothing has changed.
//! Imports: `sys::netlink`. Source: `include/uapi/linux/netfilter/nf_tables.h`, nft(8).

pub mod conntrack;
mod rule;

pub use rule::{Direction, Interface, Rule, Transport};

use std::io;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::netlink::{Message, Socket, Writer, attributes};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DEL_RULE: u16 = 8;
/// `NFPROTO_IPV4`: all tables here are of the `ip` family.
const IPV4: u8 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const APPEND: u16 = 0x800;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// Where a base chain hangs, in the order packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before connections are tracked.
    RawPrerouting,
    /// Destinations of arriving packets are changed here.
    NatPrerouting,
    /// Destinations of the host's own packets are changed here.
    NatOutput,
    /// Packets that go through the host.
    Forward,
    /// Sources of leaving packets are changed here.
    NatPostrouting,
}

impl Hook {
    /// Chain type, hook number, priority. Source: nft(8), "Standard priority names".
    fn parts(self) -> (&'static str, u32, i32) {
        match self {
            Self::RawPrerouting => ("filter", 0, -300),
            Self::NatPrerouting => ("nat", 0, -100),
            Self::Forward => ("filter", 2, 0),
            Self::NatOutput => ("nat", 3, -100),
            Self::NatPostrouting => ("nat", 4, 100),
        }
    }
}

/// A rule as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRule {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The kernel's number for it.
    pub handle: u64,
    /// Its comment, if it has one.
    pub comment: Option<String>,
}

/// Changes that happen together or not at all.
#[derive(Debug)]
pub struct Batch {
    writer: Writer,
    sequences: Vec<u32>,
}

fn generic(writer: &mut Writer, family: u8, resource: u16) {
    writer.raw(&[family, 0]);
    writer.raw(&resource.to_be_bytes());
}

impl Default for Batch {
    fn default() -> Self {
        let mut batch = Self {
            writer: Writer::default(),
            sequences: Vec::new(),
        };
        batch.bound(BATCH_BEGIN, 0);
        batch
    }
}

impl Batch {
    fn bound(&mut self, kind: u16, sequence: u32) {
        self.writer
            .message(kind, REQUEST, sequence, |body| generic(body, 0, SUBSYSTEM));
    }
    fn push(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let sequence = u32::try_from(self.sequences.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        self.sequences.push(sequence);
        let kind = SUBSYSTEM << 8 | kind;
        self.writer
            .message(kind, REQUEST | ACK | flags, sequence, |writer| {
                generic(writer, IPV4, 0);
                body(writer);
            });
    }
    /// Makes a table; one that is there is kept.
    pub fn table(&mut self, table: &str) {
        self.push(NEW_TABLE, CREATE, |w| w.text(TABLE_NAME, table));
    }
    /// Deletes a table with all in it; a missing one refuses the batch with `ENOENT`.
    pub fn delete_table(&mut self, table: &str) {
        self.push(DEL_TABLE, 0, |w| w.text(TABLE_NAME, table));
    }
    /// Makes a table; one that is there refuses the batch with `EEXIST`.
    pub fn new_table(&mut self, table: &str) {
        self.push(NEW_TABLE, CREATE | EXCLUSIVE, |w| w.text(TABLE_NAME, table));
    }
    /// Makes a base chain that accepts what its rules do not decide.
    pub fn chain(&mut self, table: &str, chain: &str, hook: Hook) {
        let (kind, number, priority) = hook.parts();
        self.push(NEW_CHAIN, CREATE, |w| {
            w.text(CHAIN_TABLE, table);
            w.text(CHAIN_NAME, chain);
            w.nest(CHAIN_HOOK, |w| {
                w.be32(HOOK_NUMBER, number);
                w.put(HOOK_PRIORITY, &priority.to_be_bytes());
            });
            w.text(CHAIN_TYPE, kind);
        });
    }
    fn rule(&mut self, table: &str, chain: &str, rule: &Rule, flags: u16) {
        self.push(NEW_RULE, CREATE | flags, |w| {
            w.text(RULE_TABLE, table);
            w.text(RULE_CHAIN, chain);
            w.nest(RULE_EXPRESSIONS, |w| w.append(rule.expressions()));
            if let Some(comment) = rule.comment() {
                w.put(RULE_USERDATA, &userdata(comment));
            }
        });
    }
    /// Adds a rule at a chain's end.
    pub fn append(&mut self, table: &str, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, APPEND);
    }
    /// Adds a rule at a chain's head.
    pub fn insert(&mut self, table: &str, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, 0);
    }
    /// Deletes a rule.
    pub fn delete_rule(&mut self, rule: &FoundRule) {
        self.push(DEL_RULE, 0, |w| {
            w.text(RULE_TABLE, &rule.table);
            w.text(RULE_CHAIN, &rule.chain);
            w.put(RULE_HANDLE, &rule.handle.to_be_bytes());
        });
    }
    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }
}

/// A comment as nft(8) keeps it: type 0, length, text with a NUL.
fn userdata(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment
        .bytes()
        .filter(|byte| *byte != 0)
        .take(127)
        .collect();
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], text.as_slice(), &[0]].concat()
}

fn comment(userdata: &[u8]) -> Option<String> {
    let (&[0, length], rest) = userdata.split_first_chunk::<2>()? else {
        return None;
    };
    let text = rest.get(..usize::from(length))?.strip_suffix(&[0])?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// A socket for [`Batch`]es and look-ups.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open(SockProtocol::NetlinkNetFilter)?,
        })
    }
    /// Carries a batch out.
    ///
    /// # Errors
    /// The kernel's, for the first refused change; nothing has changed then.
    pub fn commit(&mut self, mut batch: Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.bound(BATCH_END, u32::MAX);
        for result in self
            .socket
            .request(batch.writer.whole()?, &batch.sequences)?
        {
            result?;
        }
        Ok(())
    }
    /// Deletes a table; gives whether it was there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_table(&mut self, table: &str) -> io::Result<bool> {
        if !self.has_table(table)? {
            return Ok(false);
        }
        let mut batch = Batch::default();
        batch.delete_table(table);
        match self.commit(batch) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }
    fn dump(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) -> io::Result<Vec<Message>> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | kind, REQUEST | DUMP, sequence, |w| {
            generic(w, IPV4, 0);
            body(w);
        });
        self.socket.query(writer.whole()?, sequence)
    }
    /// Makes a table with what `fill` adds, in place of the one that is there, if any. Gives whether
    /// one was there.
    ///
    /// Nothing is deleted when nothing is there: the kernel waits for all CPUs after a deletion and
    /// after a refused batch, which takes ten times as long as the rest.
    ///
    /// # Errors
    /// The kernel's; nothing has changed then.
    pub fn set_table(&mut self, table: &str, fill: impl FnOnce(&mut Batch)) -> io::Result<bool> {
        let there = self.has_table(table)?;
        let mut batch = Batch::default();
        if there {
            batch.delete_table(table);
        }
        batch.new_table(table);
        fill(&mut batch);
        self.commit(batch)?;
        Ok(there)
    }
    fn has(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) -> io::Result<bool> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | kind, REQUEST, sequence, |w| {
            generic(w, IPV4, 0);
            body(w);
        });
        match self.socket.query(writer.whole()?, sequence) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }
    /// Whether a table is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_table(&mut self, table: &str) -> io::Result<bool> {
        self.has(GET_TABLE, |w| w.text(TABLE_NAME, table))
    }
    /// Whether a chain is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_chain(&mut self, table: &str, chain: &str) -> io::Result<bool> {
        self.has(GET_CHAIN, |w| {
            w.text(CHAIN_TABLE, table);
            w.text(CHAIN_NAME, chain);
        })
    }
    /// Names of all `ip` tables that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tables(&mut self, prefix: &str) -> io::Result<Vec<String>> {
        let found = self.dump(GET_TABLE, |_| {})?;
        let name = |message: &Message| {
            let (_, value) =
                attributes(message.payload.get(4..)?).find(|(k, _)| *k == TABLE_NAME)?;
            Some(text(value)).filter(|name| name.starts_with(prefix))
        };
        let mut names: Vec<String> = found.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }
    /// The rules of a table, of one chain only if given, in order. A missing table or chain has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rules(&mut self, table: &str, chain: Option<&str>) -> io::Result<Vec<FoundRule>> {
        let found = self.dump(GET_RULE, |w| {
            w.text(RULE_TABLE, table);
            if let Some(chain) = chain {
                w.text(RULE_CHAIN, chain);
            }
        });
        let found = match found {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        // Kernels that do not filter give the rules of all tables.
        let wanted =
            |rule: &FoundRule| rule.table == table && chain.is_none_or(|chain| chain == rule.chain);
        Ok(found.iter().filter_map(found_rule).filter(wanted).collect())
    }
}

fn found_rule(message: &Message) -> Option<FoundRule> {
    let mut rule = FoundRule {
        table: String::new(),
        chain: String::new(),
        handle: 0,
        comment: None,
    };
    for (kind, value) in attributes(message.payload.get(4..)?) {
        match kind {
            RULE_TABLE => rule.table = text(value),
            RULE_CHAIN => rule.chain = text(value),
            RULE_HANDLE => rule.handle = u64::from_be_bytes(value.try_into().ok()?),
            RULE_USERDATA => rule.comment = comment(value),
            _ => {}
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_back_as_it_was_written() {
        assert_eq!(userdata("ab"), [0, 3, b'a', b'b', 0]);
        assert_eq!(comment(&userdata("hoist x")), Some("hoist x".to_owned()));
        assert_eq!(comment(&[0, 9, b'a']), None);
    }

    #[test]
    fn a_batch_numbers_its_changes_and_stays_aligned() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.new_table("t");
        batch.chain("t", "c", Hook::Forward);
        assert_eq!(batch.sequences, [1, 2]);
        assert_eq!(batch.writer.bytes().len() % 4, 0);
    }
}
