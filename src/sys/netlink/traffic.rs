//! Filters for what comes in by a device: small programs that the kernel runs for each packet, and which end with it.
//!
//! A program is written as classic BPF, which needs no rights but those over the device's network namespace. Nothing
//! here knows what is let through.
//!
//! Imports: `sys::netlink`. Source: tc-bpf(8), `include/uapi/linux/{pkt_cls,pkt_sched,bpf_common,filter}.h`.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::route::Request;

const LOAD_ABSOLUTE: u16 = 0x20;
const LOAD_FROM_INDEX: u16 = 0x40;
const LOAD_LENGTH: u16 = 0x80;
const INDEX_FROM_HEADER: u16 = 0xb1;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`: the tag is taken off before a program sees the packet.
const TAGGED: u32 = 0xffff_f000 + 48;
/// `TC_ACT_OK`.
const PASS: u32 = 0;
/// `TC_ACT_SHOT`.
const DROP: u32 = 2;

/// How much of a packet is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Four bytes.
    Word,
    /// Two bytes.
    Half,
    /// One byte.
    Byte,
}

impl Size {
    fn bits(self) -> u16 {
        match self {
            Self::Word => 0,
            Self::Half => 0x08,
            Self::Byte => 0x10,
        }
    }
}

/// What a loaded value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// It is this.
    Is(u32),
    /// It is not below this.
    AtLeast(u32),
    /// It has one of these bits.
    Has(u32),
}

/// A place in a program, for jumps; [`Program::here`] says where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

/// A program being written; the methods add to its end. Positions count from the first byte of the frame. What lies
/// behind a packet's end cannot be loaded and lets it pass: ask for the length first.
#[derive(Debug, Clone, Default)]
pub struct Program {
    code: Vec<Instruction>,
    /// Jumps, and where each leads.
    jumps: Vec<(usize, Label)>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
}

impl Program {
    /// An empty program, which lets everything pass.
    pub fn new() -> Self {
        Self::default()
    }
    fn add(&mut self, code: u16, value: u32) {
        self.test(code, (0, 0), value);
    }
    fn test(&mut self, code: u16, (yes, no): (u8, u8), value: u32) {
        self.code.push(Instruction {
            code,
            yes,
            no,
            value,
        });
    }
    /// A new label.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }
    /// Puts a label here.
    pub fn here(&mut self, label: Label) {
        if let Some(at) = self.labels.get_mut(label.0) {
            *at = Some(self.code.len());
        }
    }
    /// Loads from the packet.
    pub fn load(&mut self, size: Size, at: u32) {
        self.add(LOAD_ABSOLUTE | size.bits(), at);
    }
    /// Loads from behind the IPv4 header that begins at `header`; `at` counts from the frame's first byte as if that
    /// header had no bytes.
    pub fn load_behind(&mut self, header: u32, size: Size, at: u32) {
        self.add(INDEX_FROM_HEADER, header);
        self.add(LOAD_FROM_INDEX | size.bits(), at);
    }
    /// Loads the packet's length.
    pub fn load_length(&mut self) {
        self.add(LOAD_LENGTH, 0);
    }
    /// Loads whether the frame has a VLAN tag: 0 or 1.
    pub fn load_tagged(&mut self) {
        self.load(Size::Word, TAGGED);
    }
    /// Jumps.
    pub fn go(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.add(JUMP, 0);
    }
    fn compare(&mut self, test: Test, jumps: (u8, u8)) {
        let (code, value) = match test {
            Test::Is(value) => (JUMP_EQUAL, value),
            Test::AtLeast(value) => (JUMP_AT_LEAST, value),
            Test::Has(value) => (JUMP_ANY_BIT, value),
        };
        self.test(code, jumps, value);
    }
    /// Jumps when the loaded value is so.
    pub fn go_if(&mut self, test: Test, label: Label) {
        self.compare(test, (0, 1));
        self.go(label);
    }
    /// Jumps when the loaded value is not so.
    pub fn go_unless(&mut self, test: Test, label: Label) {
        self.compare(test, (1, 0));
        self.go(label);
    }
    /// Drops the packet when the loaded value is so.
    pub fn drop_if(&mut self, test: Test) {
        self.compare(test, (0, 1));
        self.refuse();
    }
    /// Drops the packet unless the loaded value is so.
    pub fn drop_unless(&mut self, test: Test) {
        self.compare(test, (1, 0));
        self.refuse();
    }
    /// Ends with: the packet may pass.
    pub fn pass(&mut self) {
        self.add(RETURN, PASS);
    }
    /// Ends with: the packet is dropped.
    pub fn refuse(&mut self) {
        self.add(RETURN, DROP);
    }
    /// The program with its jumps set. It ends with a drop, whatever was written; a jump back or to a label that was
    /// put nowhere leads there, too.
    fn finished(&self) -> Vec<Instruction> {
        let mut code = self.code.clone();
        let end = code.len();
        code.push(Instruction {
            code: RETURN,
            yes: 0,
            no: 0,
            value: DROP,
        });
        for (from, label) in &self.jumps {
            let to = self.labels.get(label.0).copied().flatten();
            let to = to.filter(|to| to > from).unwrap_or(end);
            if let Some(jump) = code.get_mut(*from) {
                jump.value = u32::try_from(to - from - 1).unwrap_or(0);
            }
        }
        code
    }
}

fn message(index: u32, parent: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = parent;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

/// Has a device run a program for each packet that comes in by it. Ends with the device; to be carried out in this
/// order, once.
pub fn filter(index: u32, program: &Program) -> [Request; 2] {
    const LENGTH: u16 = 4;
    const CODE: u16 = 5;
    const FLAGS: u16 = 8;
    /// The program's answer is the verdict.
    const DIRECT: u32 = 1;
    const ALL_PROTOCOLS: u16 = 3;
    const FIRST: u32 = 1;
    let root = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    let mut queue = message(index, TcHandle::INGRESS, "ingress");
    queue.header.handle = root;
    let code = program.finished();
    let count = u16::try_from(code.len()).unwrap_or(u16::MAX);
    let bytes = code.iter().flat_map(|one| {
        let code = one.code.to_ne_bytes();
        let value = one.value.to_ne_bytes();
        code.into_iter().chain([one.yes, one.no]).chain(value)
    });
    let option = |kind, value: Vec<u8>| {
        TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(kind, value)))
    };
    let mut filter = message(index, root, "bpf");
    filter.header.info = FIRST << 16 | u32::from(ALL_PROTOCOLS.to_be());
    filter.attributes.push(TcAttribute::Options(vec![
        option(LENGTH, count.to_ne_bytes().to_vec()),
        option(CODE, bytes.collect()),
        option(FLAGS, DIRECT.to_ne_bytes().to_vec()),
    ]));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    [
        RouteNetlinkMessage::NewQueueDiscipline(queue),
        RouteNetlinkMessage::NewTrafficFilter(filter),
    ]
    .map(|message| Request { message, flags })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a program as the kernel would; gives whether the frame passes.
    pub(crate) fn passes(program: &Program, frame: &[u8], tagged: bool) -> bool {
        let code = program.finished();
        let load = |code: u16, at: usize| {
            let length = match code & 0x18 {
                0 => 4,
                0x08 => 2,
                _ => 1,
            };
            let bytes = frame.get(at..at + length)?;
            Some(
                bytes
                    .iter()
                    .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let now = code[at];
            at += 1;
            let skip = |yes: bool| usize::from(if yes { now.yes } else { now.no });
            match now.code {
                LOAD_LENGTH => a = frame.len() as u32,
                INDEX_FROM_HEADER => x = u32::from(frame[now.value as usize] & 15) * 4,
                JUMP => at += now.value as usize,
                JUMP_EQUAL => at += skip(a == now.value),
                JUMP_AT_LEAST => at += skip(a >= now.value),
                JUMP_ANY_BIT => at += skip(a & now.value != 0),
                RETURN => return now.value == PASS,
                _ if now.value == TAGGED => a = tagged.into(),
                code => {
                    let index = if code & LOAD_FROM_INDEX == 0 { 0 } else { x };
                    match load(code, (now.value + index) as usize) {
                        Some(value) => a = value,
                        None => return true,
                    }
                }
            }
        }
    }

    #[test]
    fn a_jump_leads_to_its_label_and_an_unwritten_end_drops() {
        let mut program = Program::new();
        let other = program.label();
        program.load(Size::Half, 2);
        program.go_if(Test::Is(0x0304), other);
        program.refuse();
        program.here(other);
        program.load_length();
        program.drop_unless(Test::AtLeast(5));
        program.pass();
        assert!(passes(&program, &[1, 2, 3, 4, 5], false));
        assert!(!passes(&program, &[1, 2, 3, 4], false));
        assert!(!passes(&program, &[1, 2, 3, 5, 5], false));
        assert!(!passes(&Program::new(), &[1], false));
    }

    #[test]
    fn a_label_that_was_put_nowhere_drops() {
        let mut program = Program::new();
        let nowhere = program.label();
        program.go(nowhere);
        program.pass();
        assert!(!passes(&program, &[1], false));
    }
}
