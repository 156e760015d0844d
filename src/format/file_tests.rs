//! Whole files, put together record by record: what the scanner and the rescue read of them, and what
//! neither believes although its checksum is right.

use super::RECORDS_START;
use super::entry::Entry;
use super::record::{Name, Open, RecordBuffer, Seal, Seed, Start, chain, kind};
use super::rescue::{Found, Rescue};
use super::scan::{Body, Scanner, Step, Stop, candidates, search};
use super::snapshot::{Base, push_value, put_names};
use crate::key::Content;

const SALT: u64 = 99;
const START: Start = Start { first_seq: 10, previous_salt: 3, previous_chain: 4, base_ms: 500 };
const BASE: Base = Base { last_seq: 8, next_seq: 10, salt: 3, chain: 4, base_ms: 500, epoch: 1 };

/// A file that grows by a record at a time, each with the checksum that it says itself.
struct File {
    bytes: Vec<u8>,
    /// Where each record begins, and where the last one ends.
    ends: Vec<usize>,
    chain: u64,
    epoch: u32,
}

impl File {
    fn new() -> File {
        let ends = vec![RECORDS_START as usize];
        File { bytes: vec![0; 16 << 10], ends, chain: 0, epoch: 1 }
    }

    /// A segment with its first record, a name and as many batches, from seq 10 on.
    fn segment(batches: u64) -> File {
        let mut file = File::new().add(kind::START, 10, |body| START.encode(body));
        file = file.add(kind::NAME, 10, |body| Name { id: 0, group: "g", topic: "t" }.encode(body));
        (10..10 + batches).fold(file, File::batch)
    }

    fn add(mut self, kind: u8, seq: u64, fill: impl FnOnce(&mut Vec<u8>)) -> File {
        let mut buffer = RecordBuffer::default();
        fill(buffer.start());
        let at = self.ends[self.ends.len() - 1];
        let seed = &Seed::new(SALT, self.epoch);
        let (record, checksum) = buffer.finish(kind, seed, at as u32, seq, seq - 1);
        self.bytes[at..at + record.len()].copy_from_slice(record);
        self.ends.push(at + record.len());
        self.chain = chain(self.chain, checksum);
        self
    }

    fn batch(self, seq: u64) -> File {
        let set = Entry::Set { name: 0, partition: 7, content: content(seq) };
        self.add(kind::BATCH, seq, |body| set.encode(body, 500))
    }

    /// Goes on in the session `epoch`.
    fn open(mut self, epoch: u32, says: Open) -> File {
        self.epoch = epoch;
        self.add(kind::OPEN, says.next_seq, |body| says.encode(body))
    }

    fn seal(self, next_seq: u64, seal: Seal) -> File {
        self.add(kind::SEAL, next_seq, |body| seal.encode(body))
    }

    /// Flips a bit in the `nth` record.
    fn broken(mut self, nth: usize) -> File {
        self.bytes[self.ends[nth] + 13] ^= 1;
        self
    }

    /// The seq of each record, and why the scanner stopped.
    fn scan(&self) -> (Vec<u64>, Stop, Scanner) {
        let mut scanner = Scanner::new(self.bytes.len() as u64, SALT, 1);
        let mut seqs = Vec::new();
        while let Step::Record(record) = scanner.step(&self.bytes[scanner.position() as usize..]) {
            seqs.push(record.seq);
        }
        let stopped = scanner.stopped().unwrap();
        (seqs, stopped, scanner)
    }

    fn rescue(&self, is_snapshot: bool) -> Rescue<'_> {
        Rescue::new(&self.bytes, SALT, 1, is_snapshot, 10)
    }
}

/// What the commit with this seq sets partition 7 to.
fn content(seq: u64) -> Content<'static> {
    Content {
        offset: seq as i64,
        leader_epoch: None,
        timestamp_ms: 500 + seq as i64,
        expire_at_ms: None,
        metadata: "",
    }
}

/// What a rescue came to, short: the seq of a record, or the bytes and seqs that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Seq(u64),
    Lost(u64, u64, u64),
}
use Told::{Lost, Seq};

fn told(rescue: &mut Rescue<'_>) -> Vec<Told> {
    let told = rescue.map(|found| match found {
        Found::Record { seq, durable, .. } => {
            assert_eq!(durable, Some(seq - 1));
            Seq(seq)
        }
        Found::Lost { bytes, from, to } => Lost(bytes, from, to),
    });
    told.collect()
}

#[test]
fn of_a_whole_file_a_rescue_reads_what_the_scanner_does() {
    let file = File::segment(5).open(3, Open { epoch: 3, next_seq: 1000 }).batch(1000);
    let seal = Seal { next_seq: 1001, chain: file.chain };
    for file in [file, File::segment(0)].into_iter().chain([File::segment(2).seal(12, seal)]) {
        let (seqs, _, scanner) = file.scan();
        let mut rescue = file.rescue(false);
        assert!(!rescue.knows_time() && rescue.has_remains(), "nothing was read yet");
        let told = told(&mut rescue);
        // A rescue takes a seal by its checksum alone.
        let read = &told[..seqs.len()];
        assert_eq!(read, seqs.into_iter().map(Seq).collect::<Vec<_>>());
        assert!(rescue.knows_time() && !rescue.has_remains());
        assert_eq!(rescue.epoch(), scanner.epoch());
        assert_eq!(rescue.anchor(), file.ends[told.len()] as u64);
        if rescue.sealed().is_none() {
            assert_eq!(rescue.next_seq(), scanner.next_seq());
        }
    }
}

#[test]
fn a_rescue_tells_each_gap_and_all_records_around_it() {
    let len = |file: &File, nth: usize| (file.ends[nth + 1] - file.ends[nth]) as u64;
    for nth in 0..7 {
        let file = File::segment(5).broken(nth);
        let mut expected: Vec<Told> = [10, 10, 10, 11, 12, 13, 14].map(Seq).to_vec();
        let from = expected[nth];
        let Some(&Seq(to)) = expected.get(nth + 1) else {
            // Behind the last record nothing says that there was one.
            let mut rescue = file.rescue(false);
            assert_eq!(told(&mut rescue), expected[..nth]);
            assert!(rescue.has_remains());
            continue;
        };
        let Seq(from) = from else { panic!("{nth}") };
        expected[nth] = Lost(len(&file, nth), from, to);
        let mut rescue = file.rescue(false);
        assert_eq!(told(&mut rescue), expected, "record {nth}");
        assert_eq!(rescue.knows_time(), nth != 0, "the first record has the time");
        assert_eq!((rescue.next_seq(), rescue.has_remains()), (15, false));
    }
}

#[test]
fn a_rescue_finds_later_sessions_behind_a_gap() {
    const SKIP: u64 = 1 << 32;
    // Only the record that begins the session is broken: its epoch has to be found out.
    for (sessions, skips, is_found) in
        [(1, 0, true), (1, 1, true), (8, 8, true), (8, 0, true), (9, 0, false), (3, 4, false)]
    {
        let next_seq = 12 + skips * SKIP;
        let file = File::segment(2).open(1 + sessions, Open { epoch: 1 + sessions, next_seq });
        let file = file.batch(next_seq).batch(next_seq + 1).broken(4);
        let mut rescue = file.rescue(false);
        let mut expected = vec![Seq(10), Seq(10), Seq(10), Seq(11)];
        if is_found {
            let lost = (file.ends[5] - file.ends[4]) as u64;
            expected.extend([Lost(lost, 12, next_seq), Seq(next_seq), Seq(next_seq + 1)]);
        }
        assert_eq!(told(&mut rescue), expected, "{sessions} sessions, {skips} skips");
        assert_eq!(rescue.epoch(), if is_found { 1 + sessions } else { 1 });
    }
}

#[test]
fn a_snapshot_keeps_its_seq_and_counts_nothing_as_lost_by_it() {
    let mut file = File::new().add(kind::BASE, 10, |body| BASE.encode(body));
    for seq in [3, 7, 5] {
        file = file.add(kind::VALUES, 10, |body| {
            put_names(body, "g", "t");
            push_value(body, seq, 7, content(seq), 500);
        });
    }
    let file = file.seal(10, Seal { next_seq: 10, chain: 0 });
    for nth in 0..4 {
        let (from, end) = (file.ends[nth], file.ends[nth + 1]);
        let mut bytes = file.bytes.clone();
        bytes[from + 13] ^= 1;
        let mut rescue = Rescue::new(&bytes, SALT, 1, true, 10);
        let mut expected = vec![Seq(10); 5];
        expected[nth] = Lost((end - from) as u64, 10, 10);
        assert_eq!(told(&mut rescue), expected, "record {nth}");
        assert_eq!((rescue.knows_time(), rescue.next_seq()), (nth != 0, 10));
    }
    // In a segment the seal says where the seqs go on, and in a snapshot it says nothing.
    let elsewhere = Seal { next_seq: 77, chain: 0 };
    for (is_snapshot, next_seq) in [(true, 12), (false, 77)] {
        let file = File::segment(2).seal(12, elsewhere);
        let mut rescue = file.rescue(is_snapshot);
        rescue.by_ref().for_each(drop);
        assert_eq!(rescue.next_seq(), next_seq);
        assert_eq!(rescue.sealed(), Some(elsewhere));
    }
}

#[test]
fn a_first_record_stands_at_the_beginning_only_and_a_session_is_a_later_one() {
    let again = |file: File| file.add(kind::START, 10, |body| START.encode(body));
    let base = |file: File| file.add(kind::BASE, 10, |body| BASE.encode(body));
    // With the seq that is expected there.
    let later = Start { first_seq: 12, ..START };
    let start_of_12 = |file: File| file.add(kind::START, 12, |body| later.encode(body));
    let base_of_12 =
        |file: File| file.add(kind::BASE, 12, |body| Base { next_seq: 12, ..BASE }.encode(body));
    let open = |epoch, next_seq| move |file: File| file.open(epoch, Open { epoch, next_seq });
    let wrong: [&dyn Fn(File) -> File; 7] =
        [&again, &base, &start_of_12, &base_of_12, &open(1, 12), &open(0, 12), &open(2, 11)];
    for (nth, wrong) in wrong.into_iter().enumerate() {
        let file = wrong(File::segment(2));
        let (seqs, stop, scanner) = file.scan();
        assert_eq!((seqs, stop), (vec![10, 10, 10, 11], Stop::NoRecord), "{nth}");
        assert_eq!((scanner.epoch(), scanner.next_seq(), scanner.base_ms()), (1, 12, 500));
        let mut rescue = file.rescue(false);
        assert_eq!(told(&mut rescue), [10, 10, 10, 11].map(Seq), "{nth}");
        assert!(rescue.has_remains());
    }
    // What comes first has to be a first record.
    let (seqs, stop, _) = File::new().batch(1).scan();
    assert_eq!((seqs, stop), (vec![], Stop::NoRecord));
    let (seqs, ..) = open(2, 12)(File::segment(2)).scan();
    assert_eq!(seqs, [10, 10, 10, 11, 12], "an open that is right");
}

#[test]
fn a_rescue_believes_no_seq_that_the_gap_has_no_room_for() {
    // Records that are lost one behind the other: as many seqs may be gone.
    let file = File::segment(5).broken(3).broken(4).broken(5);
    let lost = (file.ends[6] - file.ends[3]) as u64;
    assert_eq!(
        told(&mut file.rescue(false)),
        [Seq(10), Seq(10), Seq(10), Lost(lost, 11, 14), Seq(14)]
    );
    // A gap of one record, and a seq further on than that.
    let file = File::segment(3).batch(40).broken(4);
    let mut rescue = file.rescue(false);
    assert_eq!(told(&mut rescue), [10, 10, 10, 11].map(Seq));
    assert!(rescue.has_remains());
    let (_, _, scanner) = file.scan();
    let (from, size) = (scanner.position(), file.bytes.len() as u64);
    let remains = search(&file.bytes[from as usize..], from, size, scanner.seed(), 12);
    assert_eq!(remains.records, 0);
    // No gap at all.
    let file = File::segment(1).batch(12);
    assert_eq!(told(&mut file.rescue(false)), [Seq(10), Seq(10), Seq(10)]);
}

#[test]
fn the_first_record_says_where_a_file_begins_whatever_its_name_says() {
    let segment = File::segment(1);
    let snapshot = File::new().add(kind::BASE, 10, |body| BASE.encode(body));
    for (file, is_snapshot, seqs) in
        [(segment, false, &[Seq(10), Seq(10), Seq(10)][..]), (snapshot, true, &[Seq(10)])]
    {
        let mut rescue = Rescue::new(&file.bytes, SALT, 1, is_snapshot, 7);
        assert_eq!(told(&mut rescue), seqs);
        assert!(rescue.knows_time());
    }
}

#[test]
fn a_seal_repeats_the_chain_and_takes_no_seq_back() {
    let chain = File::segment(2).chain;
    for (next_seq, chain, is_right) in
        [(12, chain, true), (99, chain, true), (11, chain, false), (12, chain ^ 1, false)]
    {
        let file = File::segment(2).seal(12, Seal { next_seq, chain });
        let (seqs, stop, scanner) = file.scan();
        assert_eq!(seqs, [10, 10, 10, 11, 12]);
        let (expected, after) =
            if is_right { (Stop::Sealed, next_seq) } else { (Stop::Malformed, 12) };
        assert_eq!((stop, scanner.next_seq()), (expected, after), "{next_seq}");
    }
}

#[test]
fn a_body_that_makes_no_sense_ends_the_scan_and_is_told_by_a_rescue() {
    for kind in [kind::NAME, kind::VALUES, kind::SEAL] {
        let file = File::segment(1).add(kind, 11, |body| body.extend([1; 5])).batch(11);
        let (seqs, stop, _) = file.scan();
        assert_eq!((seqs, stop), (vec![10, 10, 10, 11], Stop::Malformed), "kind {kind}");
        let malformed =
            |found: &Found<'_>| matches!(found, Found::Record { body: Body::Malformed, .. });
        assert_eq!(file.rescue(false).filter(malformed).count(), 1, "kind {kind}");
        assert_eq!(file.rescue(false).count(), 5, "a rescue goes on behind it");
    }
}

#[test]
fn the_candidates_are_all_seqs_that_fit_between() {
    for least in [0, 1, 65_535, 65_536, 1 << 40] {
        for low in [0u16, 1, 7, 65_535] {
            for distance in [0, 15, 16, 17, 160, 1 << 20, 3 << 20] {
                // As many records as have room, each of 16 bytes, may stand in between.
                let fits = least..=least + distance as u64 / 16 + 1;
                let expected: Vec<u64> = fits.filter(|seq| *seq as u16 == low).collect();
                let found: Vec<u64> = candidates(low, least, distance).collect();
                assert_eq!(found, expected, "{least}, {low}, {distance}");
            }
        }
    }
}
