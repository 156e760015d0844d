//! The bytes on disk: the worked example of `docs/format.md`, and a second reader that was written
//! from that page alone.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pagemark::testkit::{SimDisk, salvage_in};
use pagemark::{
    Commit, CommitBatch, Environment, Key, NextOffset, OffsetStore, Options, StateOwner,
};
use support::{Player, State, history, observe, options, record_bounds};

const PAGE: &str = include_str!("../docs/format.md");
const FIRST: &str = "00000000000000000001.log";
const BASE_MS: i64 = 1_700_000_000_000;

/// The example's store id is 1 and its salt 2.
#[derive(Debug, Default)]
struct Example(AtomicUsize);

impl Environment for Example {
    fn now_ms(&self) -> i64 {
        BASE_MS
    }

    fn random(&self) -> u64 {
        // The seed of the index, the two halves of the store id, the salt of the first segment.
        [0, 0, 1, 2][self.0.fetch_add(1, Ordering::Relaxed) % 4]
    }
}

fn example_options() -> Options {
    Options::new()
        .segment_size(16 << 10)
        .background(false)
        .environment(Arc::new(Example::default()))
}

/// The lines `position: bytes  what they are` of the worked example.
fn lines_of_the_page() -> Vec<(usize, Vec<u8>)> {
    let example = PAGE.split("## Worked example").nth(1).unwrap();
    let block = example.split("```").nth(1).unwrap().strip_prefix("text\n").unwrap();
    block
        .lines()
        .map(|line| {
            let (position, rest) = line.split_once(": ").unwrap();
            let hex = rest.split("  ").next().unwrap().replace(' ', "");
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes = (0..hex.len()).step_by(2).map(byte).collect();
            (position.trim().parse().unwrap(), bytes)
        })
        .collect()
}

#[test]
fn the_worked_example_is_what_the_writer_writes() {
    let disk = SimDisk::new();
    let store = example_options().open_in(disk.dir()).unwrap();
    let commit =
        Commit::new(NextOffset(42)).leader_epoch(5).metadata("m").timestamp_ms(BASE_MS + 7);
    store.commit(Key::new("g1", "orders", 3), commit).unwrap();
    let mut batch = CommitBatch::new("g1");
    store.commit_batch(batch.append_state(StateOwner::Acks, "orders", 3, b"ab")).unwrap();
    let written = disk.contents(FIRST).unwrap();
    let mut from_the_page = vec![0; written.len()];
    for (position, bytes) in lines_of_the_page() {
        from_the_page[position..position + bytes.len()].copy_from_slice(&bytes);
    }
    if let Some(differs) = (0..written.len()).find(|at| written[*at] != from_the_page[*at]) {
        let from = differs / 4 * 4;
        panic!(
            "byte {differs}: the page says {:02x?}, the writer wrote {:02x?}",
            &from_the_page[from..from + 16],
            &written[from..from + 16]
        );
    }
}

#[test]
fn a_file_of_the_worked_example_opens() {
    let mut bytes = vec![0; 16 << 10];
    for (position, line) in lines_of_the_page() {
        bytes[position..position + line.len()].copy_from_slice(&line);
    }
    let disk = SimDisk::new();
    disk.put(FIRST, bytes);
    let store = example_options().open_in(disk.dir()).unwrap();
    let found = store.fetch(Key::new("g1", "orders", 3)).unwrap();
    assert_eq!((found.offset(), found.leader_epoch()), (NextOffset(42), Some(5)));
    assert_eq!((found.metadata(), found.commit_timestamp_ms()), ("m", BASE_MS + 7));
    assert_eq!(found.seq().get(), 1);
    assert_eq!(store.stats().keys, 1);
    let state = store.state("g1", StateOwner::Acks, "orders", 3);
    assert_eq!(state.as_deref(), Some(&b"ab"[..]));
}

/// A reader that knows `docs/format.md` and nothing of the crate.
mod reader {
    use super::{BTreeMap, State, StateOwner};

    fn uint(bytes: &[u8], at: usize, len: usize) -> u64 {
        (0..len).rev().fold(0, |value, i| value << 8 | u64::from(bytes[at + i]))
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    type Key = (String, String, i32);
    /// Group, owner, name and part.
    type StateKey = (String, u8, String, i32);

    pub(super) struct Reader {
        /// The seq of the newest change of each key, and the value unless it is deleted.
        newest: BTreeMap<Key, (u64, Option<(i64, String)>)>,
        /// When the values go of those that do.
        expiry: BTreeMap<Key, i64>,
        /// The seq of the newest change of each state, and the bytes unless it is deleted.
        states: BTreeMap<StateKey, (u64, Option<Vec<u8>>)>,
        /// Salt and chain of the segment before, and the seq that follows it.
        previous: (u64, u64, u64),
        epoch: u64,
    }

    impl Reader {
        pub(super) fn new() -> Reader {
            let (newest, expiry, states) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            Reader { newest, expiry, states, previous: (0, 0, 1), epoch: 0 }
        }

        pub(super) fn state(&self) -> State {
            let live =
                |(key, (_, value)): (&Key, &(u64, Option<_>))| Some((key.clone(), value.clone()?));
            let states =
                self.states.iter().filter_map(|((group, owner, name, part), (_, bytes))| {
                    let owner =
                        StateOwner::ALL.into_iter().find(|known| known.number() == *owner)?;
                    Some(((group.clone(), owner, name.clone(), *part), bytes.clone()?))
                });
            State {
                offsets: self.newest.iter().filter_map(live).collect(),
                states: states.collect(),
            }
        }

        /// The bytes of a state, whoever owns it.
        pub(super) fn bytes(&self, group: &str, owner: u8, name: &str, part: i32) -> Option<&[u8]> {
            let key = (group.to_owned(), owner, name.to_owned(), part);
            self.states.get(&key)?.1.as_deref()
        }

        /// The times at which the values go that have one.
        pub(super) fn expiry(&self) -> &BTreeMap<Key, i64> {
            &self.expiry
        }

        fn change(
            &mut self,
            key: Key,
            seq: u64,
            value: Option<(i64, String)>,
            expiry: Option<i64>,
        ) {
            let newest = self.newest.entry(key.clone()).or_default();
            if seq > newest.0 {
                *newest = (seq, value);
                match expiry {
                    Some(expiry) => self.expiry.insert(key, expiry),
                    None => self.expiry.remove(&key),
                };
            }
        }

        /// Reads a change of a state, from its part on, and returns its length.
        fn state_change(&mut self, bytes: &[u8], seq: u64, names: [String; 2], way: u8) -> usize {
            let [group, name] = names;
            let key = (group, bytes[4], name, uint(bytes, 0, 4) as i32);
            let len = uint(bytes, 5, 3) as usize;
            let newest = self.states.entry(key).or_default();
            if seq > newest.0 {
                let more = &bytes[8..8 + len];
                let before = newest.1.take().filter(|_| way == 1).unwrap_or_default();
                let after = (way != 2).then(|| [&before, more].concat());
                *newest = (seq, after);
            }
            8 + len.next_multiple_of(4)
        }

        pub(super) fn file(&mut self, name: &str, file: &[u8]) {
            let is_snapshot = name.ends_with(".snapshot");
            assert_eq!(&file[..8], b"PAGEMARK");
            assert_eq!((uint(file, 8, 2), uint(file, 10, 2)), (1, 1 + u64::from(is_snapshot)));
            assert_eq!(uint(file, 60, 4), u64::from(crc32fast::hash(&file[..60])));
            assert_eq!(uint(file, 40, 8), file.len() as u64);
            let salt = uint(file, 32, 8);
            let mut epoch = uint(file, 12, 4);
            let (mut at, mut next_seq, mut chain, mut base) = (4096, 0, 0_u64, 0);
            let mut covers = ((0, 0, 0), 0);
            let mut last_state = None;
            let mut names: BTreeMap<u64, (String, String)> = BTreeMap::new();
            while uint(file, at + 4, 1) != 0 {
                let (kind, len) = (file[at + 4], uint(file, at + 5, 3) as usize * 4);
                let body = &file[at + 12..at + len];
                match kind {
                    0x41 => next_seq = uint(body, 0, 8),
                    0x45 => next_seq = uint(body, 8, 8),
                    0x43 => (epoch, next_seq) = (uint(body, 0, 4), uint(body, 4, 8)),
                    _ => {}
                }
                let mut covered = salt.to_le_bytes().to_vec();
                covered.extend_from_slice(&(epoch as u32).to_le_bytes());
                covered.extend_from_slice(&(at as u32).to_le_bytes());
                covered.extend_from_slice(&next_seq.to_le_bytes());
                covered.extend_from_slice(&file[at + 4..at + len]);
                let checksum = crc32fast::hash(&covered);
                assert_eq!(uint(file, at, 4), u64::from(checksum), "record at {at}");
                assert_eq!(uint(file, at + 8, 2), next_seq & 0xffff);
                match kind {
                    0x41 => {
                        assert_eq!(name, format!("{next_seq:020}.log"));
                        let (salt, chain, seq) = self.previous;
                        assert_eq!((uint(body, 8, 8), uint(body, 16, 8)), (salt, chain));
                        assert!(next_seq == seq || (next_seq > seq && epoch > self.epoch));
                        base = uint(body, 24, 8) as i64;
                    }
                    0x42 => {
                        let (group, topic) = (uint(body, 4, 2) as usize, uint(body, 6, 2) as usize);
                        let names_of =
                            (text(&body[8..8 + group]), text(&body[8 + group..8 + group + topic]));
                        names.insert(uint(body, 0, 4), names_of);
                    }
                    0x43 => {}
                    0x45 => {
                        assert_eq!(name, format!("{:020}.snapshot", next_seq - 1));
                        base = uint(body, 32, 8) as i64;
                        let previous = (uint(body, 16, 8), uint(body, 24, 8), next_seq);
                        covers = (previous, uint(body, 40, 4));
                    }
                    0x46 => {
                        let (group, topic) = (uint(body, 0, 2) as usize, uint(body, 2, 2) as usize);
                        let name =
                            (text(&body[4..4 + group]), text(&body[4 + group..4 + group + topic]));
                        let names = BTreeMap::from([(0, name)]);
                        let mut rest = &body[(4 + group + topic).next_multiple_of(4)..];
                        while !rest.is_empty() {
                            let seq = uint(rest, 0, 8);
                            let read = 8 + self.entry(&rest[8..], seq, &names, base);
                            rest = &rest[read..];
                        }
                    }
                    0x47 => {
                        let (group, name) = (uint(body, 0, 2) as usize, uint(body, 2, 2) as usize);
                        let names = [text(&body[4..4 + group]), text(&body[4 + group..][..name])];
                        let rest = &body[(4 + group + name).next_multiple_of(4)..];
                        let key = (names[0].clone(), rest[12], names[1].clone(), uint(rest, 8, 4));
                        let last = last_state.replace(key);
                        assert!(last < last_state, "states are in order");
                        let len = self.state_change(&rest[8..], uint(rest, 0, 8), names, 0);
                        assert_eq!(len, rest.len() - 8);
                    }
                    0x44 => {
                        assert_eq!(uint(body, 8, 8), chain);
                        self.previous = (salt, chain, uint(body, 0, 8));
                        self.epoch = epoch;
                        if is_snapshot {
                            assert_eq!(at + len, file.len());
                            let mark = &file[1024..1072];
                            assert_eq!((uint(mark, 4, 4), uint(mark, 40, 8)), (2, 1));
                            assert_eq!(uint(mark, 12, 4), file.len() as u64);
                            let durable = uint(mark, 16, 8);
                            assert!(self.newest.values().all(|newest| newest.0 <= durable));
                            assert!(self.states.values().all(|newest| newest.0 <= durable));
                            (self.previous, self.epoch) = covers;
                        }
                        return;
                    }
                    0x01 => {
                        let mut rest = body;
                        while !rest.is_empty() {
                            let read = self.entry(rest, next_seq, &names, base);
                            rest = &rest[read..];
                        }
                        next_seq += 1;
                    }
                    kind => panic!("kind {kind:#x}"),
                }
                chain = (chain ^ u64::from(checksum))
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    .rotate_left(29);
                at += len;
            }
        }

        /// Reads one entry and returns its length.
        fn entry(
            &mut self,
            body: &[u8],
            seq: u64,
            names: &BTreeMap<u64, (String, String)>,
            base: i64,
        ) -> usize {
            let shape = body[0];
            let (group, topic) = names[&uint(body, 1, 3)].clone();
            if shape & 3 == 3 {
                assert!(shape >> 2 < 3, "shape {shape:#04x}");
                return 4 + self.state_change(&body[4..], seq, [group, topic], shape >> 2);
            }
            if shape == 2 {
                let of_topic = |key: &&Key| key.0 == group && key.1 == topic;
                let keys: Vec<Key> = self.newest.keys().filter(of_topic).cloned().collect();
                keys.into_iter().for_each(|key| self.change(key, seq, None, None));
                return 4;
            }
            let key = (group, topic, uint(body, 4, 4) as i32);
            if shape == 1 {
                self.change(key, seq, None, None);
                return 8;
            }
            assert_eq!(shape & 0b1100_0011, 0);
            let offset = uint(body, 8, 8) as i64;
            let (timestamp, mut at) = match shape & 16 {
                0 => (base + i64::from(uint(body, 16, 4) as i32), 20),
                _ => (uint(body, 16, 8) as i64, 24),
            };
            assert_eq!(timestamp, super::BASE_MS);
            let expiry = (shape & 32 != 0).then(|| uint(body, at, 8) as i64);
            at += if shape & 32 == 0 { 0 } else { 8 };
            at += if shape & 4 == 0 { 0 } else { 4 };
            let mut metadata = String::new();
            if shape & 8 != 0 {
                let len = uint(body, at, 2) as usize;
                metadata = text(&body[at + 2..at + 2 + len]);
                at += (2 + len).next_multiple_of(4);
            }
            self.change(key, seq, Some((offset, metadata)), expiry);
            at
        }
    }
}

#[test]
fn a_reader_written_from_the_page_reads_what_the_writer_writes() {
    let (mut segments, mut snapshots, mut expiring, mut kept) = (0, 0, 0, 0);
    for seed in 300..330 {
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&history(seed, 60)).unwrap();
        let expected = observe(player.store.as_ref().unwrap());
        let mut reader = reader::Reader::new();
        let files = player.disk.files();
        for end in [".snapshot", ".log"] {
            for name in files.iter().filter(|name| name.ends_with(end)) {
                reader.file(name, &player.disk.contents(name).unwrap());
                *(if end == ".log" { &mut segments } else { &mut snapshots }) += 1;
            }
        }
        assert_eq!(reader.state(), expected, "seed {seed}");
        let store = player.store.as_ref().unwrap();
        let fetch = |(group, topic, partition): &(String, String, i32)| {
            store.fetch(Key::new(group, topic, *partition)).unwrap().expire_at_ms()
        };
        kept += expected.states.len();
        let shown =
            expected.offsets.keys().filter_map(|key| Some((key.clone(), fetch(key)?))).collect();
        assert_eq!(reader.expiry(), &shown, "seed {seed}");
        expiring += shown.len();
    }
    assert!(expiring > 100, "{expiring} values that go");
    assert!(kept > 100, "{kept} states");
    assert!(segments > 40, "rolling over is part of it: {segments} segments");
    assert!(snapshots > 20, "and so is compaction: {snapshots} snapshots");
}

#[test]
fn repeated_commits_take_as_many_bytes_as_the_page_says() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let used = || disk.contents(FIRST).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let key = Key::new("billing", "orders", 0);
    let commit = Commit::new(NextOffset(i64::MAX)).timestamp_ms(BASE_MS + 0x7f00_0000);
    store.commit(key, commit).unwrap();
    let before = used();
    store.commit(key, commit).unwrap();
    assert_eq!(used() - before, 32, "a commit without extras");
    let before = used();
    store.commit(key, commit.expire_at_ms(i64::MAX)).unwrap();
    assert_eq!(used() - before, 40, "a commit that expires");
    let mut batch = CommitBatch::new("billing");
    for partition in 0..100 {
        batch.commit("orders", partition, commit);
    }
    let before = used();
    store.commit_batch(&batch).unwrap();
    assert_eq!(used() - before, 12 + 100 * 20, "a batch of a hundred");
}

/// A closed store of one commit with one more record behind it, as a later version might write it.
fn with_record(kind: u8, body: &[u8]) -> (SimDisk, u64, pagemark::Result<OffsetStore>) {
    let disk = SimDisk::new();
    let store = example_options().open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    drop(store);
    let mut bytes = disk.contents(FIRST).unwrap();
    let end = *record_bounds(&bytes).last().unwrap();
    let len = 12 + body.len();
    let mut record = vec![0; 4];
    record.extend_from_slice(&((len as u32 / 4) << 8 | u32::from(kind)).to_le_bytes());
    record.extend_from_slice(&2_u16.to_le_bytes());
    record.extend_from_slice(&1_u16.to_le_bytes());
    record.extend_from_slice(body);
    let mut covered = 2_u64.to_le_bytes().to_vec();
    covered.extend_from_slice(&1_u32.to_le_bytes());
    covered.extend_from_slice(&(end as u32).to_le_bytes());
    covered.extend_from_slice(&2_u64.to_le_bytes());
    covered.extend_from_slice(&record[4..]);
    record[..4].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    bytes[end..end + len].copy_from_slice(&record);
    let disk = SimDisk::new();
    disk.put(FIRST, bytes);
    let opened = example_options().open_in(disk.dir());
    (disk, end as u64, opened)
}

/// What the page calls unknown: an optional kind is skipped, a required one and an unknown shape are
/// refused as such, not as damage.
#[test]
fn unknown_kinds_are_skipped_or_refused_as_their_flags_say() {
    for optional in [0x82, 0xc7] {
        let (disk, _, opened) = with_record(optional, &[7; 8]);
        let store = opened.unwrap();
        assert_eq!(store.recovery_report().skipped, 1);
        let offset = |store: &OffsetStore| store.fetch(Key::new("g", "t", 0)).unwrap().offset();
        assert_eq!(offset(&store), NextOffset(1));
        // A snapshot stands for such a log, too.
        assert_eq!(store.compact().unwrap().keys, 1);
        drop(store);
        let store = example_options().open_in(disk.dir()).unwrap();
        assert_eq!((offset(&store), store.recovery_report().skipped), (NextOffset(1), 0));
        let (disk, ..) = with_record(optional, &[7; 8]);
        let report = salvage_in(&*disk.dir(), SimDisk::new().dir()).unwrap();
        assert_eq!(report.exact, 1, "{report:#?}");
    }
    for required in [0x02, 0x48] {
        let (disk, end, opened) = with_record(required, &[7; 8]);
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), pagemark::ErrorKind::UnsupportedVersion, "{error}");
        assert_eq!(error.position(), Some(end));
        let error = salvage_in(&*disk.dir(), SimDisk::new().dir()).unwrap_err();
        assert_eq!(error.kind(), pagemark::ErrorKind::UnsupportedVersion, "{error}");
    }
    for unknown in [0x40, 0x0f, 0x13] {
        let error = with_record(0x01, &[unknown, 0, 0, 0]).2.unwrap_err();
        assert_eq!(error.kind(), pagemark::ErrorKind::UnsupportedVersion, "{error}");
    }
    for cut in [0x00, 0x03] {
        let error = with_record(0x01, &[cut, 0, 0, 0]).2.unwrap_err();
        assert!(error.is_corruption(), "a known shape that is cut off: {error}");
    }
    // A state of a snapshot has no place in a segment.
    let state = [1, 0, 1, 0, b'g', b'n', 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0];
    assert!(with_record(0x47, &state).2.unwrap_err().is_corruption());
}

/// A state of an owner that only a later version knows is kept, whatever happens to the store.
#[test]
fn states_of_unknown_owners_are_carried_through() {
    let append = [0x07, 0, 0, 0, 3, 0, 0, 0, 77, 5, 0, 0, b'l', b'a', b't', b'e', b'r', 0, 0, 0];
    let (disk, _, opened) = with_record(0x01, &append);
    let store = opened.unwrap();
    assert_eq!(store.stats().states, 1);
    store.compact().unwrap();
    store.close().unwrap();
    let verified = pagemark::testkit::verify_in(&*disk.dir()).unwrap();
    assert!(verified.is_clean() && verified.states == 1, "{verified:#?}");
    let to = SimDisk::new();
    let report = salvage_in(&*disk.dir(), to.dir()).unwrap();
    assert_eq!(report.states_exact, 1, "{report:#?}");
    for disk in [disk, to] {
        let mut reader = reader::Reader::new();
        let files = disk.files();
        for end in [".snapshot", ".log"] {
            for name in files.iter().filter(|name| name.ends_with(end)) {
                reader.file(name, &disk.contents(name).unwrap());
            }
        }
        assert_eq!(reader.bytes("g", 77, "t", 3), Some(&b"later"[..]));
        assert_eq!(example_options().open_in(disk.dir()).unwrap().stats().states, 1);
    }
}
