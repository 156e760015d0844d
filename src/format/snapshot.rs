//! What only snapshots have: where in the history they stand, the values of a topic, and a state.

use std::iter;

use super::bytes::{u16_at, u32_at, u64_at};
use super::entry::{BARE, Entries, Entry, EntryError, WITH_EPOCH, put_state, take_state};
use super::record::WORD;
use crate::key::Content;

/// The body of a snapshot's first record: the end of the log that it stands for.
///
/// It says what the last record of that log said, so that the segment behind it can be told from any
/// other as if the log were still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The last data record that the snapshot covers.
    pub(crate) last_seq: u64,
    /// The seq of the first data record behind it, if no session ends in between. All records of the
    /// snapshot are checked with it.
    pub(crate) next_seq: u64,
    /// The salt of the last segment that it covers.
    pub(crate) salt: u64,
    /// The chain in the seal of that segment.
    pub(crate) chain: u64,
    /// What the short timestamps of the snapshot count from.
    pub(crate) base_ms: i64,
    /// The epoch in which that segment was sealed.
    pub(crate) epoch: u32,
}

impl Base {
    const LEN: usize = 5 * size_of::<u64>() + size_of::<u32>();

    /// The seq up to which the snapshot covers the history, which is its name.
    pub(crate) fn covers(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        for number in [self.last_seq, self.next_seq, self.salt, self.chain, self.base_ms as u64] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&self.epoch.to_le_bytes());
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Base> {
        (body.len() == Base::LEN).then(|| Base {
            last_seq: u64_at(body, 0),
            next_seq: u64_at(body, 8),
            salt: u64_at(body, 16),
            chain: u64_at(body, 24),
            base_ms: u64_at(body, 32) as i64,
            epoch: u32_at(body, 40),
        })
    }
}

/// The body of a record with values of one topic. Each record names its topic, so that each can be
/// read without the others.
#[derive(Clone, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    entries: Entries<'a>,
}

/// The lengths of the names.
const FIXED_LEN: usize = 2 * size_of::<u16>();

/// Begins the body of a record with values, or with a state. Both names were checked against the limit
/// of 32,767 bytes.
pub(crate) fn put_names(body: &mut Vec<u8>, group: &str, topic: &str) {
    let start = body.len();
    body.extend_from_slice(&(group.len() as u16).to_le_bytes());
    body.extend_from_slice(&(topic.len() as u16).to_le_bytes());
    body.extend_from_slice(group.as_bytes());
    body.extend_from_slice(topic.as_bytes());
    body.resize(start + (body.len() - start).next_multiple_of(WORD), 0);
}

/// Appends a value to the body: its seq and an entry whose name is zero.
pub(crate) fn push_value(
    body: &mut Vec<u8>,
    seq: u64,
    partition: i32,
    content: Content<'_>,
    base_ms: i64,
) {
    body.extend_from_slice(&seq.to_le_bytes());
    Entry::Set { name: 0, partition, content }.encode(body, base_ms);
}

impl<'a> Values<'a> {
    /// Reads the names in front of the values.
    pub(crate) fn decode(body: &'a [u8], base_ms: i64) -> Option<Values<'a>> {
        let (group, topic, rest) = names(body)?;
        Some(Values { group, topic, entries: Entries::new(rest, base_ms) })
    }

    /// Whether there is nothing left.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes values as long as they have neither a leader epoch nor anything that is rare.
    #[inline(always)]
    pub(crate) fn bare(&mut self) -> impl Iterator<Item = (u64, i32, Content<'a>)> {
        iter::from_fn(|| self.entries.plain::<BARE>())
    }

    /// Takes values as long as they have a leader epoch and nothing that is rare.
    #[inline(always)]
    pub(crate) fn with_epoch(&mut self) -> impl Iterator<Item = (u64, i32, Content<'a>)> {
        iter::from_fn(|| self.entries.plain::<WITH_EPOCH>())
    }

    /// Takes values, whatever they have, up to the next that looks like one of those.
    #[inline(always)]
    pub(crate) fn others(&mut self) -> impl Iterator<Item = <Self as Iterator>::Item> {
        let mut is_first = true;
        iter::from_fn(move || {
            let is_next = std::mem::take(&mut is_first) || !self.entries.is_plain();
            if is_next { self.next() } else { None }
        })
    }
}

/// The two names at the front of a body, and what is behind them, which is something.
fn names(body: &[u8]) -> Option<(&str, &str, &[u8])> {
    let lengths = body.get(..FIXED_LEN)?;
    let (group_len, name_len) = (usize::from(u16_at(lengths, 0)), usize::from(u16_at(lengths, 2)));
    let end = FIXED_LEN + group_len + name_len;
    let group = body.get(FIXED_LEN..FIXED_LEN + group_len)?;
    let name = body.get(FIXED_LEN + group_len..end)?;
    let padding = body.get(end..end.next_multiple_of(WORD))?;
    let rest = body.get(end.next_multiple_of(WORD)..)?;
    let is_padded = padding.iter().all(|byte| *byte == 0);
    let is_whole = [group, name, rest].iter().all(|part| !part.is_empty());
    let names = (std::str::from_utf8(group).ok()?, std::str::from_utf8(name).ok()?);
    (is_padded && is_whole).then_some((names.0, names.1, rest))
}

impl<'a> Iterator for Values<'a> {
    /// The seq, the partition and the content of a value. Ends after the first error.
    type Item = Result<(u64, i32, Content<'a>), EntryError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let seq = self.entries.seq()?;
        let value = match (seq, self.entries.next()) {
            (Ok(seq), Some(Ok(Entry::Set { name: 0, partition, content }))) => {
                Ok((seq, partition, content))
            }
            (Ok(_), Some(Err(error))) => Err(error),
            _ => Err(EntryError::Malformed),
        };
        if value.is_err() {
            self.entries = Entries::new(&[], 0);
        }
        Some(value)
    }
}

/// The body of a record with one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State<'a> {
    /// The seq of its newest change.
    pub(crate) seq: u64,
    pub(crate) group: &'a str,
    pub(crate) owner: u8,
    pub(crate) name: &'a str,
    pub(crate) part: i32,
    pub(crate) bytes: &'a [u8],
}

impl<'a> State<'a> {
    /// Appends the body. Both names and the length were checked against their limits.
    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        put_names(body, self.group, self.name);
        body.extend_from_slice(&self.seq.to_le_bytes());
        put_state(body, self.part, self.owner, self.bytes);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<State<'a>> {
        let (group, name, rest) = names(body)?;
        let (seq, mut rest) = rest.split_first_chunk::<8>()?;
        let (part, owner, bytes) = take_state(&mut rest)?;
        let seq = u64::from_le_bytes(*seq);
        rest.is_empty().then_some(State { seq, group, owner, name, part, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE_MS: i64 = 1_700_000_000_000;

    /// What a partition may have.
    fn content(partition: i32, metadata: &str) -> Content<'_> {
        Content {
            offset: i64::MAX,
            leader_epoch: (partition > 1).then_some(partition),
            timestamp_ms: BASE_MS + i64::from(partition),
            expire_at_ms: (partition > 2).then_some(BASE_MS),
            metadata,
        }
    }

    #[test]
    fn a_base_reads_back_whole_only() {
        let base = Base {
            last_seq: 1,
            next_seq: 1 << 40,
            salt: u64::MAX,
            chain: 7,
            base_ms: -5,
            epoch: 9,
        };
        let mut body = Vec::new();
        base.encode(&mut body);
        assert_eq!(Base::decode(&body), Some(base));
        assert_eq!(Base::decode(&body[1..]), None);
    }

    #[test]
    fn a_state_reads_back_and_a_cut_one_does_not() {
        for bytes in [&b""[..], b"1", b"four", &[7; 1000]] {
            let state = State {
                seq: 1 << 50,
                group: "größe",
                owner: 250,
                name: "n",
                part: i32::MAX,
                bytes,
            };
            let mut body = Vec::new();
            state.encode(&mut body);
            assert_eq!(State::decode(&body), Some(state));
            for end in 0..body.len() {
                assert_eq!(State::decode(&body[..end]), None, "cut at {end}");
            }
            body.extend_from_slice(&[0; WORD]);
            assert_eq!(State::decode(&body), None, "nothing stands behind it");
        }
    }

    #[test]
    fn values_read_back_and_cut_ones_do_not() {
        let all = [(5, 0, ""), (1 << 50, 7, "größe"), (6, i32::MAX, "m")]
            .map(|(seq, partition, text)| (seq, partition, content(partition, text)));
        let mut body = Vec::new();
        put_names(&mut body, "group", "größe");
        assert!(Values::decode(&body, BASE_MS).is_none(), "there is at least one value");
        let mut ends = Vec::new();
        for (seq, partition, content) in all {
            push_value(&mut body, seq, partition, content, BASE_MS);
            ends.push(body.len());
        }
        let values = Values::decode(&body, BASE_MS).unwrap();
        assert_eq!((values.group, values.topic), ("group", "größe"));
        assert_eq!(values.map(Result::unwrap).collect::<Vec<_>>(), all);
        for cut in 0..body.len() {
            let read = Values::decode(&body[..cut], BASE_MS);
            let whole = read.is_some_and(|mut values| values.all(|value| value.is_ok()));
            assert_eq!(whole, ends.contains(&cut), "cut at {cut}");
        }
        let mut other = Vec::new();
        put_names(&mut other, "g", "t");
        other.extend_from_slice(&5_u64.to_le_bytes());
        Entry::Delete { name: 0, partition: 1 }.encode(&mut other, BASE_MS);
        let read = Values::decode(&other, BASE_MS).unwrap().last();
        assert_eq!(read, Some(Err(EntryError::Malformed)), "only values");
        other[8 + 8] = 0x40;
        let read = Values::decode(&other, BASE_MS).unwrap().last();
        assert_eq!(read, Some(Err(EntryError::UnknownShape(0x40))), "of a later version");
    }

    /// The values of a body, and how they end, read in runs of one kind or one by one.
    fn read(body: &[u8], base_ms: i64, in_runs: bool) -> Vec<<Values<'_> as Iterator>::Item> {
        let Some(mut values) = Values::decode(body, base_ms) else { return Vec::new() };
        let mut all = Vec::new();
        while !values.is_empty() {
            if in_runs {
                all.extend(values.bare().map(Ok));
                all.extend(values.with_epoch().map(Ok));
                all.extend(values.others());
            } else {
                all.extend(values.by_ref().take(1));
            }
        }
        all
    }

    #[test]
    fn values_in_runs_are_those_one_by_one_whatever_is_damaged() {
        let far = Content {
            offset: 1,
            leader_epoch: Some(1),
            timestamp_ms: i64::MIN,
            expire_at_ms: None,
            metadata: "",
        };
        let bare = |partition| content(partition, "");
        let kinds = [bare(0), bare(1), bare(2), bare(3), content(1, "text"), far];
        let mut body = Vec::new();
        put_names(&mut body, "g", "t");
        for (seq, kind) in (1..).zip([0, 1, 2, 2, 3, 0, 4, 2, 5, 2, 0, 0]) {
            let leader_epoch = kinds[kind].leader_epoch.or((kind == 2).then_some(7));
            let content = Content { offset: seq as i64, leader_epoch, ..kinds[kind] };
            push_value(&mut body, seq, seq as i32, content, BASE_MS);
        }
        assert_eq!(read(&body, BASE_MS, true).len(), 12);
        for base_ms in [BASE_MS, i64::MAX, i64::MIN] {
            assert_eq!(read(&body, base_ms, true), read(&body, base_ms, false));
        }
        for bit in 0..8 * body.len() {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, BASE_MS, true), read(&flipped, BASE_MS, false), "bit {bit}");
        }
        for end in 0..body.len() {
            let body = &body[..end];
            assert_eq!(read(body, BASE_MS, true), read(body, BASE_MS, false), "cut at {end}");
        }
    }
}
