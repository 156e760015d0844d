//! What a process says about its commits while it lives.

/// All that was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// For each thread the seqs of its steps that returned, in order.
    pub(crate) acked: Vec<Vec<u64>>,
    /// Everything up to this seq was promised to survive.
    pub(crate) durable: u64,
    /// Whether a store is being opened.
    pub(crate) is_opening: bool,
    /// Whether a backup is being made.
    pub(crate) is_backing_up: bool,
    /// The last seq of the newest backup that was made.
    pub(crate) backed_up: Option<u64>,
    /// What went wrong, in the process's own words.
    pub(crate) failed: Option<String>,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// A step of a thread returned; whether that promised that it survives.
    Acked { thread: u64, seq: u64, durable: bool },
    /// The store is about to be opened.
    Opening,
    /// The store was opened: what it shows survives, and that is all that was acknowledged before.
    Opened,
    /// A call returned that promised this for everything up to a seq.
    Durable { seq: u64 },
    /// A backup is about to be made.
    BackingUp,
    /// A backup was made, of everything up to a seq.
    BackedUp { seq: u64 },
    /// A call failed.
    Failed(String),
}

impl Word {
    pub(crate) fn line(&self) -> String {
        match self {
            Word::Acked { thread, seq, durable } => format!("acked {thread} {seq} {durable}"),
            Word::Opening => "opening".to_owned(),
            Word::Opened => "opened".to_owned(),
            Word::Durable { seq } => format!("durable {seq}"),
            Word::BackingUp => "backing-up".to_owned(),
            Word::BackedUp { seq } => format!("backed-up {seq}"),
            Word::Failed(why) => format!("failed {why}"),
        }
    }

    fn parse(line: &str) -> Option<Word> {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        match (what, &words[..]) {
            ("acked", [thread, seq, durable]) => Some(Word::Acked {
                thread: thread.parse().ok()?,
                seq: seq.parse().ok()?,
                durable: durable.parse().ok()?,
            }),
            ("durable", [seq]) => Some(Word::Durable { seq: seq.parse().ok()? }),
            ("backing-up", _) => Some(Word::BackingUp),
            ("backed-up", [seq]) => Some(Word::BackedUp { seq: seq.parse().ok()? }),
            ("opening", _) => Some(Word::Opening),
            ("opened", _) => Some(Word::Opened),
            ("failed", _) => Some(Word::Failed(rest.to_owned())),
            _ => None,
        }
    }
}

impl Said {
    pub(crate) fn new(threads: usize) -> Said {
        Said { acked: vec![Vec::new(); threads], ..Said::default() }
    }

    /// Takes in one line. None if it is none of the process's.
    pub(crate) fn hear(&mut self, line: &[u8]) -> Option<()> {
        match Word::parse(std::str::from_utf8(line).ok()?)? {
            Word::Acked { thread, seq, durable } => {
                self.acked.get_mut(usize::try_from(thread).ok()?)?.push(seq);
                if durable {
                    self.durable = self.durable.max(seq);
                }
            }
            Word::Opening => self.is_opening = true,
            Word::Opened => {
                self.is_opening = false;
                let newest = self.acked.iter().flatten().max().copied();
                self.durable = self.durable.max(newest.unwrap_or(0));
            }
            Word::Durable { seq } => self.durable = self.durable.max(seq),
            Word::BackingUp => self.is_backing_up = true,
            Word::BackedUp { seq } => {
                self.is_backing_up = false;
                self.backed_up = Some(seq);
            }
            Word::Failed(why) => self.failed = Some(why),
        }
        Some(())
    }
}
