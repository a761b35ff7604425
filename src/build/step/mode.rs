//! `--chmod`: octal or symbolic modes.
//!
//! Imports: nothing. Rules: BSD `setmode(3)`, whose reading of symbolic modes BuildKit has taken over; it differs from
//! chmod(1) of GNU: `X` looks at the mode that the file had at first, `g=u` leaves the set-id bits, `=` clears them of
//! directories too, `t` counts unless only `o` is named. Compared with BuildKit case by case.

/// Bits of the classes.
const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const STICKY: u32 = 0o1000;
/// What no class at all stands for.
const ALL: u32 = 0o7777;
/// What `=` clears where no class is named: all but the sticky bit.
const STANDARD: u32 = 0o6777;

/// A parsed mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod {
    commands: Vec<Command>,
    fixed: Option<u32>,
}

/// One change of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Set(u32),
    Clear(u32),
    /// Sets bits if the file was a directory or executable at first.
    Execute(u32),
    /// Copies the permissions of one class to others.
    Copy {
        /// How far the class lies from the lowest bits: 6, 3 or 0.
        shift: u32,
        /// Classes that change.
        to: u32,
        op: char,
    },
}

impl Chmod {
    /// Parses `0755`, `u=rwX,go-w`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let octal = text.bytes().all(|byte| byte.is_ascii_digit());
            let mode = u32::from_str_radix(text, 8).ok();
            let mode = mode.filter(|mode| octal && *mode <= 0o7777).ok_or_else(|| {
                format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                )
            })?;
            return Ok(Self {
                commands: Vec::new(),
                fixed: Some(mode),
            });
        }
        let mut commands = Vec::new();
        for part in text.split(',') {
            clause(part, &mut commands).ok_or_else(|| {
                format!("invalid chmod parameter: '{text}': invalid syntax, expected a mode such as 755 or u=rwX,go=rX")
            })?;
        }
        Ok(Self {
            commands,
            fixed: None,
        })
    }
    /// The mode of a folder that is made on the way to the destination.
    pub fn implied(&self) -> u32 {
        // As mkdir(2) with a usual umask, which BuildKit's daemon has.
        self.fixed.unwrap_or(0o755) & 0o755
    }
    /// A file's new mode.
    pub fn apply(&self, old: u32, folder: bool) -> u32 {
        if let Some(mode) = self.fixed {
            return mode;
        }
        let old = old & 0o7777;
        let executes = folder || old & 0o111 != 0;
        self.commands
            .iter()
            .fold(old, |mode, command| match command {
                Command::Set(bits) => mode | bits,
                Command::Clear(bits) => mode & !bits,
                Command::Execute(bits) if executes => mode | bits,
                Command::Execute(_) => mode,
                Command::Copy { shift, to, op } => {
                    let value = mode >> shift & 7;
                    let spread = |bits: u32| bits * 0o111 & to & 0o777;
                    match op {
                        '+' => mode | spread(value),
                        '-' => mode & !spread(value),
                        _ => mode & !spread(7) | spread(value),
                    }
                }
            })
    }
}

/// One part between commas: classes, then one or more operations.
fn clause(text: &str, commands: &mut Vec<Command>) -> Option<()> {
    let start = text.find(['+', '-', '='])?;
    let (classes, mut rest) = text.split_at(start);
    let mut who = 0;
    for class in classes.chars() {
        who |= match class {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => STANDARD,
            _ => return None,
        };
    }
    while let Some(op) = rest.chars().next() {
        let tail = rest.get(1..)?;
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let (what, next) = tail.split_at(end);
        operation(op, who, what, commands)?;
        rest = next;
    }
    Some(())
}

/// One operation: what comes before a copied class is done before it.
fn operation(op: char, who: u32, what: &str, commands: &mut Vec<Command>) -> Option<()> {
    let mut who = who;
    let (mut bits, mut execute) = (0, 0);
    let mut cleared = false;
    let only_others = who != 0 && who & !OTHER == 0;
    for letter in what.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' => execute = 0o111,
            's' if !only_others => bits |= 0o6000,
            't' if !only_others => {
                bits |= STICKY;
                who |= STICKY;
            }
            's' | 't' => {}
            'u' | 'g' | 'o' => {
                if bits != 0 {
                    plain(op, who, std::mem::take(&mut bits), commands);
                }
                cleared |= op == '=';
                if op == '+' && execute != 0 {
                    let bits = std::mem::take(&mut execute);
                    commands.push(Command::Execute(bits & within(who)));
                }
                let shift = match letter {
                    'u' => 6,
                    'g' => 3,
                    _ => 0,
                };
                let to = within(who);
                commands.push(Command::Copy { shift, to, op });
            }
            _ => return None,
        }
    }
    if bits != 0 || (op == '=' && !cleared) {
        plain(op, who, bits, commands);
    }
    if execute != 0 {
        commands.push(Command::Execute(execute & within(who)));
    }
    Some(())
}

fn within(who: u32) -> u32 {
    if who == 0 { ALL } else { who }
}

fn plain(op: char, who: u32, bits: u32, commands: &mut Vec<Command>) {
    let bits = bits & within(who);
    match op {
        '-' => commands.push(Command::Clear(bits)),
        op => {
            if op == '=' {
                let all = if who == 0 { STANDARD } else { who };
                commands.push(Command::Clear(all));
            }
            commands.push(Command::Set(bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What BuildKit made of a set-id file, two plain files and a directory.
    const SEEN: [(&str, [u32; 4]); 41] = [
        ("u=o,g=u", [0o6444, 0o0000, 0o0111, 0o3111]),
        ("u=g,g=u,o=g", [0o6555, 0o0444, 0o0111, 0o3777]),
        ("g+u,o-g", [0o6770, 0o0660, 0o0770, 0o3570]),
        ("u=rx,g=u", [0o2554, 0o0550, 0o0551, 0o3551]),
        ("a=,u=X", [0o0100, 0o0000, 0o0100, 0o1100]),
        ("a=,a+X", [0o0111, 0o0000, 0o0111, 0o1111]),
        ("u+x,g+X", [0o6754, 0o0740, 0o0711, 0o3571]),
        ("a-x,a+X", [0o6755, 0o0640, 0o0711, 0o3571]),
        ("+X,-x", [0o6644, 0o0640, 0o0600, 0o3460]),
        ("u=rwx,g=u", [0o2774, 0o0770, 0o0771, 0o3771]),
        ("=u", [0o6777, 0o0666, 0o0777, 0o3555]),
        ("-g", [0o6200, 0o0200, 0o0600, 0o3000]),
        ("ug=o", [0o6444, 0o0000, 0o0111, 0o3111]),
        ("u=s,g=s", [0o6004, 0o6000, 0o6001, 0o7001]),
        ("ug+s", [0o6754, 0o6640, 0o6711, 0o7571]),
        ("o=s", [0o6750, 0o0640, 0o0710, 0o3570]),
        ("o+s", [0o6754, 0o0640, 0o0711, 0o3571]),
        ("a=s", [0o6000, 0o6000, 0o6000, 0o7000]),
        ("g=x", [0o4714, 0o0610, 0o0711, 0o1511]),
        ("g=", [0o4704, 0o0600, 0o0701, 0o1501]),
        ("+st", [0o7754, 0o1640, 0o1711, 0o3571]),
        ("=st", [0o7754, 0o1640, 0o1711, 0o3571]),
        ("=s", [0o6000, 0o6000, 0o6000, 0o7000]),
        ("a=t", [0o1000, 0o1000, 0o1000, 0o1000]),
        ("ug=t", [0o1004, 0o1000, 0o1001, 0o1001]),
        ("u+st", [0o7754, 0o5640, 0o5711, 0o7571]),
        ("-t", [0o6754, 0o0640, 0o0711, 0o2571]),
        ("g-s", [0o4754, 0o0640, 0o0711, 0o1571]),
        ("o-t", [0o6754, 0o0640, 0o0711, 0o3571]),
        ("u=u", [0o6754, 0o0640, 0o0711, 0o3571]),
        ("u=rwX,go=rX", [0o0755, 0o0644, 0o0755, 0o1755]),
        ("uo=t", [0o3050, 0o1040, 0o1010, 0o3070]),
        ("gu+s,o+t", [0o6754, 0o6640, 0o6711, 0o7571]),
        ("u-rwx,g=u", [0o6004, 0o0000, 0o0001, 0o3001]),
        ("a=rwxXst", [0o7777, 0o7777, 0o7777, 0o7777]),
        ("a+wx-r", [0o6333, 0o0333, 0o0333, 0o3333]),
        ("a=r-w+x", [0o0555, 0o0555, 0o0555, 0o1555]),
        ("g=u-w", [0o6754, 0o0640, 0o0751, 0o3551]),
        ("g=ux", [0o4714, 0o0610, 0o0711, 0o1511]),
        ("g=xu", [0o4774, 0o0660, 0o0771, 0o1551]),
        ("+ug", [0o6777, 0o0666, 0o0777, 0o3777]),
    ];

    #[test]
    fn symbolic_modes_are_read_as_buildkit_reads_them() {
        for (text, want) in SEEN {
            let chmod = Chmod::parse(text).unwrap();
            let olds = [
                (0o6754, false),
                (0o640, false),
                (0o711, false),
                (0o3571, true),
            ];
            for ((old, folder), want) in olds.into_iter().zip(want) {
                let new = chmod.apply(old, folder);
                assert_eq!(new, want, "{text} of {old:o}: {new:o}, not {want:o}");
            }
        }
    }

    #[test]
    fn octal_modes_are_taken_as_they_are_and_others_refused() {
        for (text, want) in [
            ("0640", 0o640),
            ("4755", 0o4755),
            ("0", 0),
            ("00755", 0o755),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(0o123, true), want);
        }
        assert_eq!(Chmod::parse("4777").unwrap().implied(), 0o755);
        assert_eq!(Chmod::parse("u=rwx").unwrap().implied(), 0o755);
        for bad in [
            "zz", "", "9", "77777", "u", "u=q", "x+r", "0o755", "755 ", "u+r,", ",", "-1",
            "755,u+x",
        ] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }
}
