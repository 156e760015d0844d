//! Entries: what the body of a batch record consists of.

pub(super) use self::plain::{BARE, WITH_EPOCH};
use super::bytes::{put, u16_at, u32_at, u64_at};
use super::record::WORD;
use crate::key::Content;
use crate::state::StateChange;

/// The largest id that a name can have within a segment.
pub(crate) const MAX_NAME_ID: u32 = (1 << 24) - 1;

/// The low byte of an entry's first word says which fields follow.
mod shape {
    pub(super) const OPERATION: u8 = 0b0000_0011;
    pub(super) const SET: u8 = 0;
    pub(super) const DELETE: u8 = 1;
    pub(super) const DELETE_TOPIC: u8 = 2;
    /// Changes a state; the two bits behind say how.
    pub(super) const STATE: u8 = 3;
    pub(super) const PUT: u8 = STATE;
    pub(super) const APPEND: u8 = STATE | 0b0000_0100;
    pub(super) const DELETE_STATE: u8 = STATE | 0b0000_1000;
    /// A leader epoch follows.
    pub(super) const EPOCH: u8 = 0b0000_0100;
    /// Metadata follows.
    pub(super) const METADATA: u8 = 0b0000_1000;
    /// The timestamp has eight bytes and counts from the Unix epoch.
    pub(super) const WIDE: u8 = 0b0001_0000;
    /// A time follows at which the value may go.
    pub(super) const EXPIRY: u8 = 0b0010_0000;
    /// What a set may have.
    pub(super) const OF_SET: u8 = EPOCH | METADATA | WIDE | EXPIRY;
}

/// The length of what every set has: first word, partition, offset, and a timestamp or its low half.
const SET_LEN: usize = 3 * WORD + size_of::<i64>();
/// The same with all that a set may have in front of its metadata.
const LONGEST_SET: usize = SET_LEN + WORD + size_of::<i64>() + WORD;

/// One change of a batch. `name` is the id that a name record gave to the group and topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Set {
        name: u32,
        partition: i32,
        content: Content<'a>,
    },
    Delete {
        name: u32,
        partition: i32,
    },
    /// Deletes every partition of the topic.
    DeleteTopic {
        name: u32,
    },
    /// Changes a state; its name stands where a topic would.
    State {
        name: u32,
        part: i32,
        owner: u8,
        change: StateChange<'a>,
    },
}

/// Why the body of a batch whose checksum is right cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    /// An entry of a shape that this version does not know.
    UnknownShape(u8),
    /// Not what any version writes.
    Malformed,
}

impl Entry<'_> {
    /// The id of its name.
    #[inline(always)]
    pub(crate) fn name(&self) -> u32 {
        let (Entry::Set { name, .. }
        | Entry::Delete { name, .. }
        | Entry::DeleteTopic { name }
        | Entry::State { name, .. }) = *self;
        name
    }

    /// Appends the entry to a body in a segment whose timestamps count from `base_ms`.
    #[inline]
    pub(crate) fn encode(&self, body: &mut Vec<u8>, base_ms: i64) {
        match *self {
            Entry::Set { name, partition, content } => {
                let Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata } =
                    content;
                let short = timestamp_ms.checked_sub(base_ms).and_then(|d| i32::try_from(d).ok());
                let shape = shape::SET
                    | if leader_epoch.is_some() { shape::EPOCH } else { 0 }
                    | if metadata.is_empty() { 0 } else { shape::METADATA }
                    | if short.is_none() { shape::WIDE } else { 0 }
                    | if expire_at_ms.is_some() { shape::EXPIRY } else { 0 };
                let low = short.unwrap_or(timestamp_ms as i32);
                let mut fields = [0; LONGEST_SET];
                put(&mut fields, 0, &first_word(shape, name));
                put(&mut fields, WORD, &partition.to_le_bytes());
                put(&mut fields, 2 * WORD, &offset.to_le_bytes());
                put(&mut fields, 4 * WORD, &low.to_le_bytes());
                let mut len = SET_LEN;
                if short.is_none() {
                    put(&mut fields, len, &((timestamp_ms >> 32) as i32).to_le_bytes());
                    len += WORD;
                }
                if let Some(expire_at_ms) = expire_at_ms {
                    put(&mut fields, len, &expire_at_ms.to_le_bytes());
                    len += 2 * WORD;
                }
                if let Some(epoch) = leader_epoch {
                    put(&mut fields, len, &epoch.to_le_bytes());
                    len += WORD;
                }
                // All at once, and then less: each call looks whether the buffer has to grow, and a
                // length that the compiler knows takes no call at all.
                let end = body.len() + len;
                body.extend_from_slice(&fields);
                body.truncate(end);
                if !metadata.is_empty() {
                    put_metadata(body, metadata);
                }
            }
            Entry::Delete { name, partition } => {
                body.extend_from_slice(&first_word(shape::DELETE, name));
                body.extend_from_slice(&partition.to_le_bytes());
            }
            Entry::DeleteTopic { name } => {
                body.extend_from_slice(&first_word(shape::DELETE_TOPIC, name));
            }
            Entry::State { name, part, owner, change } => {
                let shape = match change {
                    StateChange::Put(_) => shape::PUT,
                    StateChange::Append(_) => shape::APPEND,
                    StateChange::Delete => shape::DELETE_STATE,
                };
                body.extend_from_slice(&first_word(shape, name));
                put_state(body, part, owner, change.bytes());
            }
        }
    }
}

fn first_word(shape: u8, name: u32) -> [u8; WORD] {
    (name << 8 | u32::from(shape)).to_le_bytes()
}

/// Appends metadata with its length, which was checked against the options: they stay below this type.
#[inline(never)]
fn put_metadata(body: &mut Vec<u8>, metadata: &str) {
    let len = size_of::<u16>() + metadata.len();
    body.extend_from_slice(&(metadata.len() as u16).to_le_bytes());
    body.extend_from_slice(metadata.as_bytes());
    body.extend_from_slice(&[0; WORD][..len.next_multiple_of(WORD) - len]);
}

/// Appends what an entry and a snapshot say of a state: part, owner, length and bytes. The length was
/// checked against [`MAX_STATE_BYTES`](crate::state::MAX_STATE_BYTES).
#[inline(never)]
pub(super) fn put_state(body: &mut Vec<u8>, part: i32, owner: u8, bytes: &[u8]) {
    body.extend_from_slice(&part.to_le_bytes());
    body.extend_from_slice(&((bytes.len() as u32) << 8 | u32::from(owner)).to_le_bytes());
    body.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(WORD) - bytes.len();
    body.extend_from_slice(&[0; WORD][..padding]);
}

/// The entries of a batch's body. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
    base_ms: i64,
}

impl<'a> Entries<'a> {
    /// Reads a body in a segment whose timestamps count from `base_ms`.
    pub(crate) fn new(body: &'a [u8], base_ms: i64) -> Entries<'a> {
        Entries { rest: body, base_ms }
    }

    /// Whether there is nothing left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The seq that stands in front of an entry of a snapshot, or none at the end.
    #[inline]
    pub(super) fn seq(&mut self) -> Option<Result<u64, EntryError>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.take(size_of::<u64>()).map(|bytes| u64_at(bytes, 0)))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], EntryError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(EntryError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    fn read(&mut self) -> Result<Entry<'a>, EntryError> {
        let first = u32_at(self.rest.get(..WORD).ok_or(EntryError::Malformed)?, 0);
        let (shape, name) = (first as u8, first >> 8);
        match shape & shape::OPERATION {
            shape::SET if shape & !shape::OF_SET == shape::SET => self.read_set(shape, name),
            shape::DELETE if shape == shape::DELETE => {
                Ok(Entry::Delete { name, partition: partition(&self.take(8)?[WORD..])? })
            }
            shape::DELETE_TOPIC if shape == shape::DELETE_TOPIC => {
                self.take(WORD)?;
                Ok(Entry::DeleteTopic { name })
            }
            shape::STATE => self.read_state(shape, name),
            _ => Err(EntryError::UnknownShape(shape)),
        }
    }

    #[inline(always)]
    fn read_set(&mut self, shape: u8, name: u32) -> Result<Entry<'a>, EntryError> {
        // What every set has. The compiler knows its length, which saves a check for each field.
        let (fixed, rest) =
            self.rest.split_first_chunk::<SET_LEN>().ok_or(EntryError::Malformed)?;
        self.rest = rest;
        let partition = partition(&fixed[4..])?;
        let offset = u64_at(fixed, 8) as i64;
        let low = u32_at(fixed, 16);
        let timestamp_ms = match shape & shape::WIDE {
            0 => self.base_ms.checked_add(i64::from(low as i32)).ok_or(EntryError::Malformed)?,
            _ => (u64::from(u32_at(self.take(4)?, 0)) << 32 | u64::from(low)) as i64,
        };
        let expire_at_ms = match shape & shape::EXPIRY {
            0 => None,
            _ => Some(u64_at(self.take(8)?, 0) as i64),
        };
        let leader_epoch = match shape & shape::EPOCH {
            0 => None,
            _ => Some(u32_at(self.take(4)?, 0) as i32),
        };
        let metadata = match shape & shape::METADATA {
            0 => "",
            _ => self.read_metadata()?,
        };
        if offset < 0 || leader_epoch.is_some_and(|epoch| epoch < 0) {
            return Err(EntryError::Malformed);
        }
        let content = Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata };
        Ok(Entry::Set { name, partition, content })
    }

    #[cold]
    fn read_state(&mut self, shape: u8, name: u32) -> Result<Entry<'a>, EntryError> {
        if !matches!(shape, shape::PUT | shape::APPEND | shape::DELETE_STATE) {
            return Err(EntryError::UnknownShape(shape));
        }
        self.take(WORD)?;
        let (part, owner, bytes) = take_state(&mut self.rest).ok_or(EntryError::Malformed)?;
        let change = match shape {
            shape::PUT => StateChange::Put(bytes),
            shape::APPEND => StateChange::Append(bytes),
            _ if bytes.is_empty() => StateChange::Delete,
            _ => return Err(EntryError::Malformed),
        };
        Ok(Entry::State { name, part, owner, change })
    }

    #[cold]
    fn read_metadata(&mut self) -> Result<&'a str, EntryError> {
        let len = usize::from(u16_at(self.rest.get(..2).ok_or(EntryError::Malformed)?, 0));
        let field = self.take((2 + len).next_multiple_of(WORD))?;
        let (text, padding) = field[2..].split_at(len);
        if len == 0 || padding.iter().any(|byte| *byte != 0) {
            return Err(EntryError::Malformed);
        }
        std::str::from_utf8(text).map_err(|_| EntryError::Malformed)
    }
}

/// Takes what [`put_state`] appends from the front of `rest`.
pub(super) fn take_state<'a>(rest: &mut &'a [u8]) -> Option<(i32, u8, &'a [u8])> {
    let (fixed, behind) = rest.split_first_chunk::<8>()?;
    let (part, owner_and_len) = (u32_at(fixed, 0) as i32, u32_at(fixed, WORD));
    let len = (owner_and_len >> 8) as usize;
    let (field, behind) = behind.split_at_checked(len.next_multiple_of(WORD))?;
    let (bytes, padding) = field.split_at(len);
    let is_right = part >= 0 && padding.iter().all(|byte| *byte == 0);
    *rest = behind;
    is_right.then_some((part, owner_and_len as u8, bytes))
}

fn partition(bytes: &[u8]) -> Result<i32, EntryError> {
    let partition = u32_at(bytes, 0) as i32;
    if partition < 0 { Err(EntryError::Malformed) } else { Ok(partition) }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

mod plain;
#[cfg(test)]
mod tests {
    use super::*;

    const BASE: i64 = 1_700_000_000_000;

    fn samples() -> Vec<Entry<'static>> {
        let mut samples =
            vec![Entry::Delete { name: 3, partition: i32::MAX }, Entry::DeleteTopic { name: 0 }];
        for change in [
            StateChange::Put(&[]),
            StateChange::Put(&[0xff]),
            StateChange::Append(b"four"),
            StateChange::Append(b"fives"),
            StateChange::Delete,
        ] {
            samples.push(Entry::State { name: 9, part: i32::MAX, owner: 200, change });
        }
        for leader_epoch in [None, Some(0), Some(i32::MAX)] {
            for timestamp_ms in [BASE, BASE - 1, BASE + (1 << 40), i64::MIN, i64::MAX, 0] {
                for (metadata, expire_at_ms) in [
                    ("", None),
                    ("m", None),
                    ("me", Some(0)),
                    ("met", Some(i64::MIN)),
                    ("größer", Some(i64::MAX)),
                    ("", Some(BASE)),
                ] {
                    let offset = i64::MAX;
                    let content =
                        Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata };
                    samples.push(Entry::Set { name: MAX_NAME_ID, partition: 7, content });
                }
            }
        }
        samples
    }

    #[test]
    fn entries_read_back() {
        let mut body = Vec::new();
        for entry in samples() {
            entry.encode(&mut body, BASE);
            assert_eq!(body.len() % WORD, 0);
        }
        let read: Result<Vec<_>, _> = Entries::new(&body, BASE).collect();
        assert_eq!(read.unwrap(), samples());
    }

    #[test]
    fn a_commit_without_extras_takes_twenty_bytes() {
        let mut body = Vec::new();
        let bare = Content {
            offset: 3,
            leader_epoch: None,
            timestamp_ms: BASE,
            expire_at_ms: None,
            metadata: "",
        };
        let set = |expire_at_ms| Entry::Set {
            name: 1,
            partition: 2,
            content: Content { expire_at_ms, ..bare },
        };
        set(None).encode(&mut body, BASE);
        assert_eq!(body.len(), 20);
        set(Some(BASE)).encode(&mut body, BASE);
        assert_eq!(body.len(), 20 + 28);
    }

    #[test]
    fn a_state_has_a_part_a_known_length_and_zeros_behind_it() {
        let mut body = Vec::new();
        let change = StateChange::Append(b"fives");
        Entry::State { name: 1, part: 2, owner: 3, change }.encode(&mut body, BASE);
        assert_eq!(body.len(), 12 + 8);
        for (at, byte) in [(7, 0x80), (9, 6), (9, 9), (17, 1), (0, 0x0b)] {
            let mut body = body.clone();
            body[at] = byte;
            let read = Entries::new(&body, BASE).last();
            // One more byte of padding can be a byte of the state.
            let expected =
                if (at, byte) == (9, 6) { Some(Ok(())) } else { Some(Err(EntryError::Malformed)) };
            assert_eq!(read.map(|entry| entry.map(drop)), expected, "{byte} at {at}");
        }
    }

    #[test]
    fn a_cut_body_is_malformed_and_an_unknown_shape_is_told_apart() {
        for entry in samples() {
            let mut body = Vec::new();
            entry.encode(&mut body, BASE);
            for end in 1..body.len() {
                let last = Entries::new(&body[..end], BASE).last();
                assert_eq!(last, Some(Err(EntryError::Malformed)), "{entry:?} cut at {end}");
            }
        }
        let unknown = Entries::new(&[0x40, 0, 0, 0, 0, 0, 0, 0], BASE).last();
        assert_eq!(unknown, Some(Err(EntryError::UnknownShape(0x40))));
        let unknown = Entries::new(&[0x21, 0, 0, 0, 0, 0, 0, 0], BASE).last();
        assert_eq!(unknown, Some(Err(EntryError::UnknownShape(0x21))), "a delete does not expire");
        let unknown = Entries::new(&[0x0f, 0, 0, 0], BASE).last();
        assert_eq!(unknown, Some(Err(EntryError::UnknownShape(0x0f))), "a fourth way");
        let unknown = Entries::new(&[0x13, 0, 0, 0], BASE).last();
        assert_eq!(unknown, Some(Err(EntryError::UnknownShape(0x13))));
    }

    #[test]
    fn a_shape_is_known_by_all_of_its_bits() {
        let body = [0; 64];
        for shape in 0..=u8::MAX {
            let mut body = body;
            body[0] = shape;
            let is_set = shape & !shape::OF_SET == shape::SET;
            let others = [
                shape::DELETE,
                shape::DELETE_TOPIC,
                shape::PUT,
                shape::APPEND,
                shape::DELETE_STATE,
            ];
            let is_known = is_set || others.contains(&shape);
            let read = Entries::new(&body, BASE).next().unwrap();
            let is_unknown = read == Err(EntryError::UnknownShape(shape));
            assert_eq!(is_unknown, !is_known, "{shape:#04x}: {read:?}");
        }
    }

    #[test]
    fn no_value_that_cannot_be_committed_is_read() {
        let content = Content {
            offset: 3,
            leader_epoch: Some(4),
            timestamp_ms: BASE,
            expire_at_ms: None,
            metadata: "mé",
        };
        let set = Entry::Set { name: 1, partition: 2, content };
        let mut whole = Vec::new();
        set.encode(&mut whole, BASE);
        assert_eq!(whole.len(), 32, "20 bytes, 4 of the epoch, 2 of a length, 3 of text, 3 more");
        let patch = |at: usize, bytes: &[u8]| {
            let mut body = whole.clone();
            body[at..at + bytes.len()].copy_from_slice(bytes);
            Entries::new(&body, BASE).next().unwrap().map(|read| format!("{read:?}"))
        };
        assert_eq!(patch(0, &[]), Ok(format!("{set:?}")));
        for (at, bytes, what) in [
            (7, &[0x80][..], "a negative partition"),
            (15, &[0x80], "a negative offset"),
            (23, &[0x80], "a negative epoch"),
            (24, &[0, 0, 0, 0, 0], "metadata without text"),
            (28, &[0xff], "metadata that is no text"),
            (29, &[1], "padding that is not zero"),
            (31, &[1], "padding that is not zero"),
            (24, &[7], "metadata that goes on behind the entry"),
        ] {
            assert_eq!(patch(at, bytes), Err(EntryError::Malformed), "{what}");
        }
        // The time is counted from a base that is too far away.
        let mut body = whole.clone();
        body[16..20].copy_from_slice(&i32::MAX.to_le_bytes());
        let read = Entries::new(&body, i64::MAX).next();
        assert_eq!(read, Some(Err(EntryError::Malformed)));
    }
}
