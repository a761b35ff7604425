//! nf_tables spoken to directly: whole tables in one atomic batch, no helper program.
//!
//! In: tables, chains and [`Rule`]s as values. Out: acknowledged, or nothing has changed.
//! A table is named with its family: `inet` sees packets of IPv4 and IPv6 (translating chains in it need Linux 5.2),
//! `bridge` sees the frames that pass a bridge. Imports: `sys::netlink`.
//! Source: `include/uapi/linux/netfilter/nf_tables.h`, nft(8).

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
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_POSITION: u16 = 6;
const RULE_USERDATA: u16 = 7;

/// What a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Packets of IPv4 and IPv6.
    Inet,
    /// Packets of IPv4.
    Ip,
    /// Packets of IPv6.
    Ip6,
}

impl Family {
    /// `NFPROTO_*`.
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
    fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6]
            .into_iter()
            .find(|family| family.number() == number)
    }
}

/// A table: those of different families may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table<'a> {
    /// What it sees.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Table<'a> {
    /// A table of both versions of IP.
    pub fn inet(name: &'a str) -> Self {
        Self {
            family: Family::Inet,
            name,
        }
    }
    /// A table of IPv4 only.
    pub fn ip(name: &'a str) -> Self {
        Self {
            family: Family::Ip,
            name,
        }
    }
    /// A table of IPv6 only.
    pub fn ip6(name: &'a str) -> Self {
        Self {
            family: Family::Ip6,
            name,
        }
    }
}

/// Where a base chain hangs, in the order packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before connections are tracked.
    RawPrerouting,
    /// Destinations of arriving packets are changed here.
    NatPrerouting,
    /// Destinations of the host's own packets are changed here.
    NatOutput,
    /// Packets to the host itself.
    Input,
    /// Packets that go through the host.
    Forward,
    /// The host's own packets, when they have been routed.
    Output,
    /// Sources of leaving packets are changed here.
    NatPostrouting,
}

impl Hook {
    /// Chain type, hook number, priority. Source: nft(8), "Standard priority names" of each family.
    fn parts(self) -> (&'static str, u32, i32) {
        match self {
            Self::Input => ("filter", 1, 0),
            Self::Output => ("filter", 3, 0),
            Self::RawPrerouting => ("filter", 0, -300),
            Self::NatPrerouting => ("nat", 0, -100),
            Self::Forward => ("filter", 2, 0),
            Self::NatOutput => ("nat", 3, -100),
            Self::NatPostrouting => ("nat", 4, 100),
        }
    }
}

/// What a base chain does with packets that its rules do not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They may go on.
    Accept,
    /// They are dropped.
    Drop,
}

/// A base chain as found, where packets come in or through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whether it sees packets that go through the host, rather than those to the host itself.
    pub through: bool,
    /// What it does with what its rules do not decide.
    pub policy: Policy,
}

/// A rule as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRule {
    /// Family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The kernel's number for it.
    pub handle: u64,
    /// Its comment, if it has one.
    pub comment: Option<String>,
    /// The chain it jumps or goes to, if it does.
    pub jump: Option<String>,
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone)]
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
    fn push(&mut self, family: Family, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let sequence = u32::try_from(self.sequences.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        self.sequences.push(sequence);
        let kind = SUBSYSTEM << 8 | kind;
        self.writer
            .message(kind, REQUEST | ACK | flags, sequence, |writer| {
                generic(writer, family.number(), 0);
                body(writer);
            });
    }
    /// Makes a table; one that is there is kept.
    pub fn table(&mut self, table: Table<'_>) {
        self.push(table.family, NEW_TABLE, CREATE, |w| {
            w.text(TABLE_NAME, table.name);
        });
    }
    /// Deletes a table with all in it; a missing one refuses the batch with `ENOENT`.
    pub fn delete_table(&mut self, table: Table<'_>) {
        self.push(table.family, DEL_TABLE, 0, |w| {
            w.text(TABLE_NAME, table.name);
        });
    }
    /// Makes a table; one that is there refuses the batch with `EEXIST`.
    pub fn new_table(&mut self, table: Table<'_>) {
        self.push(table.family, NEW_TABLE, CREATE | EXCLUSIVE, |w| {
            w.text(TABLE_NAME, table.name);
        });
    }
    /// Makes a base chain that accepts what its rules do not decide.
    pub fn chain(&mut self, table: Table<'_>, chain: &str, hook: Hook) {
        let (kind, number, priority) = hook.parts();
        self.push(table.family, NEW_CHAIN, CREATE, |w| {
            w.text(CHAIN_TABLE, table.name);
            w.text(CHAIN_NAME, chain);
            w.nest(CHAIN_HOOK, |w| {
                w.be32(HOOK_NUMBER, number);
                w.put(HOOK_PRIORITY, &priority.to_be_bytes());
            });
            w.text(CHAIN_TYPE, kind);
        });
    }
    fn rule(&mut self, table: Table<'_>, chain: &str, rule: &Rule, flags: u16) {
        self.push(table.family, NEW_RULE, CREATE | flags, |w| {
            w.text(RULE_TABLE, table.name);
            w.text(RULE_CHAIN, chain);
            w.nest(RULE_EXPRESSIONS, |w| w.append(rule.expressions()));
            if let Some(comment) = rule.comment() {
                w.put(RULE_USERDATA, &userdata(comment));
            }
        });
    }
    /// Adds a rule at a chain's end.
    pub fn append(&mut self, table: Table<'_>, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, APPEND);
    }
    /// Adds a rule at a chain's head.
    pub fn insert(&mut self, table: Table<'_>, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, 0);
    }
    /// Adds a rule behind another.
    pub fn append_behind(&mut self, other: &FoundRule, rule: &Rule) {
        self.push(other.family, NEW_RULE, CREATE | APPEND, |w| {
            w.text(RULE_TABLE, &other.table);
            w.text(RULE_CHAIN, &other.chain);
            w.nest(RULE_EXPRESSIONS, |w| w.append(rule.expressions()));
            w.put(RULE_POSITION, &other.handle.to_be_bytes());
            if let Some(comment) = rule.comment() {
                w.put(RULE_USERDATA, &userdata(comment));
            }
        });
    }
    /// Deletes a rule.
    pub fn delete_rule(&mut self, rule: &FoundRule) {
        self.push(rule.family, DEL_RULE, 0, |w| {
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
    pub fn delete_table(&mut self, table: Table<'_>) -> io::Result<bool> {
        self.delete_tables(&[table])
    }
    /// Deletes tables in one batch; gives whether one was there. A deletion is waited for by the kernel, so that of
    /// several tables in one batch costs once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_tables(&mut self, tables: &[Table<'_>]) -> io::Result<bool> {
        let mut batch = Batch::default();
        for table in tables {
            if self.has_table(*table)? {
                batch.delete_table(*table);
            }
        }
        let there = !batch.is_empty();
        match self.commit(batch) {
            Ok(()) => Ok(there),
            // Somebody was faster with one of them: each for itself then.
            Err(error) if is_missing(&error) => match tables {
                [] | [_] => Ok(false),
                several => several
                    .iter()
                    .try_fold(false, |there, table| Ok(there | self.delete_table(*table)?)),
            },
            Err(error) => Err(error),
        }
    }
    /// All objects of a kind; of all families when `None`.
    fn dump(
        &mut self,
        family: Option<Family>,
        kind: u16,
        body: impl FnOnce(&mut Writer),
    ) -> io::Result<Vec<Message>> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | kind, REQUEST | DUMP, sequence, |w| {
            generic(w, family.map_or(0, Family::number), 0);
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
    pub fn set_table(
        &mut self,
        table: Table<'_>,
        fill: impl FnOnce(&mut Batch),
    ) -> io::Result<bool> {
        self.set_tables(&[table], fill)
    }
    /// As [`Nft::set_table`], for several that change together.
    ///
    /// # Errors
    /// The kernel's; nothing has changed then.
    pub fn set_tables(
        &mut self,
        tables: &[Table<'_>],
        fill: impl FnOnce(&mut Batch),
    ) -> io::Result<bool> {
        let mut batch = Batch::default();
        for table in tables {
            if self.has_table(*table)? {
                batch.delete_table(*table);
            }
        }
        let there = !batch.is_empty();
        for table in tables {
            batch.new_table(*table);
        }
        fill(&mut batch);
        self.commit(batch)?;
        Ok(there)
    }
    fn has(
        &mut self,
        family: Family,
        kind: u16,
        body: impl FnOnce(&mut Writer),
    ) -> io::Result<bool> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | kind, REQUEST, sequence, |w| {
            generic(w, family.number(), 0);
            body(w);
        });
        match self.socket.query(writer.whole()?, sequence) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
    /// Whether a table is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_table(&mut self, table: Table<'_>) -> io::Result<bool> {
        self.has(table.family, GET_TABLE, |w| w.text(TABLE_NAME, table.name))
    }
    /// Whether a chain is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_chain(&mut self, table: Table<'_>, chain: &str) -> io::Result<bool> {
        self.has(table.family, GET_CHAIN, |w| {
            w.text(CHAIN_TABLE, table.name);
            w.text(CHAIN_NAME, chain);
        })
    }
    /// What a base chain does with packets that its rules do not decide; `None` where it is missing or no base chain.
    ///
    /// # Errors
    /// The kernel's.
    pub fn policy(&mut self, table: Table<'_>, chain: &str) -> io::Result<Option<Policy>> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM << 8 | GET_CHAIN, REQUEST, sequence, |w| {
            generic(w, table.family.number(), 0);
            w.text(CHAIN_TABLE, table.name);
            w.text(CHAIN_NAME, chain);
        });
        match self.socket.query(writer.whole()?, sequence) {
            Ok(found) => Ok(found.iter().find_map(found_chain).map(|chain| chain.policy)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
    /// All base chains of [our families](Family) that see IP packets on their way through the host or to it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn gates(&mut self) -> io::Result<Vec<Gate>> {
        let found = self.dump(None, GET_CHAIN, |_| {})?;
        Ok(found.iter().filter_map(found_chain).collect())
    }
    /// All tables of [our families](Family) whose names begin with `prefix`, sorted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tables(&mut self, prefix: &str) -> io::Result<Vec<(Family, String)>> {
        let found = self.dump(None, GET_TABLE, |_| {})?;
        let name = |message: &Message| {
            let (_, value) =
                attributes(message.payload.get(4..)?).find(|(k, _)| *k == TABLE_NAME)?;
            let family = Family::from_number(*message.payload.first()?)?;
            Some((family, text(value))).filter(|(_, name)| name.starts_with(prefix))
        };
        let mut names: Vec<(Family, String)> = found.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }
    /// The rules of a table, of one chain only if given, in order. A missing table or chain has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rules(&mut self, table: Table<'_>, chain: Option<&str>) -> io::Result<Vec<FoundRule>> {
        let found = self.dump(Some(table.family), GET_RULE, |w| {
            w.text(RULE_TABLE, table.name);
            if let Some(chain) = chain {
                w.text(RULE_CHAIN, chain);
            }
        });
        let found = match found {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            other => other?,
        };
        // Kernels that do not filter give the rules of all tables.
        let wanted = |rule: &FoundRule| {
            rule.table == table.name && chain.is_none_or(|chain| chain == rule.chain)
        };
        Ok(found.iter().filter_map(found_rule).filter(wanted).collect())
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

/// A base chain at one of the two hooks that decide what comes in or through.
fn found_chain(message: &Message) -> Option<Gate> {
    const INPUT: u32 = 1;
    const FORWARD: u32 = 2;
    let mut gate = Gate {
        family: Family::from_number(*message.payload.first()?)?,
        table: String::new(),
        chain: String::new(),
        through: false,
        policy: Policy::Accept,
    };
    let mut hook = None;
    for (kind, value) in attributes(message.payload.get(4..)?) {
        match kind {
            CHAIN_TABLE => gate.table = text(value),
            CHAIN_NAME => gate.chain = text(value),
            CHAIN_POLICY if value.last() == Some(&0) => gate.policy = Policy::Drop,
            CHAIN_HOOK => {
                let (_, number) = attributes(value).find(|(kind, _)| *kind == HOOK_NUMBER)?;
                hook = Some(u32::from_be_bytes(number.try_into().ok()?));
            }
            _ => {}
        }
    }
    gate.through = hook? == FORWARD;
    matches!(hook?, INPUT | FORWARD).then_some(gate)
}

/// The chain that an expression jumps or goes to.
fn jump(expressions: &[u8]) -> Option<String> {
    const VALUE: u16 = 2;
    const VERDICT: u16 = 2;
    const CHAIN: u16 = 2;
    let inside = |bytes, wanted| {
        attributes(bytes)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, v)| v)
    };
    let each = attributes(expressions).filter_map(|(_, element)| inside(element, 2));
    let mut chains = each.filter_map(|data| inside(inside(inside(data, VALUE)?, VERDICT)?, CHAIN));
    chains.next().map(text)
}

fn found_rule(message: &Message) -> Option<FoundRule> {
    let mut rule = FoundRule {
        family: Family::from_number(*message.payload.first()?)?,
        table: String::new(),
        chain: String::new(),
        handle: 0,
        comment: None,
        jump: None,
    };
    for (kind, value) in attributes(message.payload.get(4..)?) {
        match kind {
            RULE_TABLE => rule.table = text(value),
            RULE_CHAIN => rule.chain = text(value),
            RULE_HANDLE => rule.handle = u64::from_be_bytes(value.try_into().ok()?),
            RULE_EXPRESSIONS => rule.jump = jump(value),
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
        batch.new_table(Table::inet("t"));
        batch.chain(Table::inet("t"), "c", Hook::Forward);
        assert_eq!(batch.sequences, [1, 2]);
        assert_eq!(batch.writer.bytes().len() % 4, 0);
    }
}
