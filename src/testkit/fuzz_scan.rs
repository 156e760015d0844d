//! The fuzz target of reading a segment.

use std::io;

use super::fuzz_record::take;
use crate::format::RECORDS_START;
use crate::format::bytes::u64_at;
use crate::format::header::{FileHeader, FileKind};
use crate::format::record::{Name, Open, RecordBuffer, Seal, Seed, Start, WORD, chain, kind};
use crate::format::scan::{Body, Ending, end_of_data};
use crate::io::SegmentFile;
use crate::segment::{RecordReader, Way, read_records};

const SALT: u64 = 0x5a17;
/// Longer inputs only repeat what shorter ones say.
const LONGEST_INPUT: usize = 4096;

/// Reads `input` as the records of a segment: as they stand there, or, if its first byte is odd, as
/// a description of records, whose checksums are put right.
///
/// # Panics
///
/// If records are not read that were written, if a prefix of the bytes does not give a prefix of the
/// records, or if a flipped bit is not noticed.
pub fn fuzz_scan(input: &[u8]) {
    let Some((mode, mut rest)) = input.split_first() else { return };
    let damage = u16::from_le_bytes(take(&mut rest));
    let rest = &rest[..rest.len().min(LONGEST_INPUT)];
    let mut bytes = vec![0; RECORDS_START as usize];
    let written = if mode % 2 == 1 {
        write_records(&mut bytes, rest)
    } else {
        bytes.extend_from_slice(rest);
        0
    };
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let (whole, _) = scan(&bytes);
    assert!(whole.len() >= written, "{} of {written} records are read", whole.len());
    let span = end_of_data(&bytes[RECORDS_START as usize..]);
    for part in 0..=16 {
        let cut = RECORDS_START as usize + span * part / 16;
        let mut bytes = bytes.clone();
        bytes[cut..].fill(0);
        let (read, _) = scan(&bytes);
        assert!(whole.starts_with(&read), "a prefix of the bytes gives a prefix of the records");
        let kept = whole.iter().take_while(|record| record.end <= cut).count();
        assert!(read.len() >= kept, "what is whole is read");
    }
    if span > 0 {
        let bit = usize::from(damage) % (span * 8);
        let byte = RECORDS_START as usize + bit / 8;
        bytes[byte] ^= 1 << (bit % 8);
        let (read, _) = scan(&bytes);
        let kept = whole.iter().take_while(|record| record.end <= byte).count();
        assert!(read.len() >= kept && read[..kept] == whole[..kept], "what is in front is read");
        // With another kind or length, other bytes are covered, and chance can make them fit.
        let is_certain = whole
            .get(kept)
            .is_some_and(|record| !(record.position + 4..record.position + 8).contains(&byte));
        assert!(!is_certain || read.len() == kept, "a flipped bit at {byte} goes unnoticed");
    }
}

/// A record that was read, as far as two of them are compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    position: usize,
    end: usize,
    kind: u8,
    seq: u64,
    durable: Option<u64>,
}

/// Reads what can be read, and searches what lies behind: the same in pieces of any size.
fn scan(bytes: &[u8]) -> (Vec<Seen>, Ending) {
    let whole = scan_by(bytes, bytes.len()).ok();
    assert!(whole.is_some(), "memory can always be read");
    for piece in [61, 509] {
        assert_eq!(scan_by(bytes, piece).ok(), whole, "in pieces of {piece} bytes");
    }
    whole.unwrap_or((Vec::new(), Ending::Broken))
}

fn scan_by(bytes: &[u8], piece: usize) -> io::Result<(Vec<Seen>, Ending)> {
    let file = Bytes(bytes);
    let size = bytes.len() as u64;
    let header = FileHeader { kind: FileKind::Segment, epoch: 1, store_id: 1, salt: SALT, size };
    read_records(&file, &header, Way { piece, ahead: false }, |reader| look(bytes, reader))
}

fn look(bytes: &[u8], reader: &mut RecordReader<'_>) -> io::Result<(Vec<Seen>, Ending)> {
    let mut seen: Vec<Seen> = Vec::new();
    while reader.fill()? {
        for record in reader.records() {
            let position = record.position as usize;
            let end = position + record.len as usize;
            let before = seen.last().map_or(RECORDS_START as usize, |record| record.end);
            assert_eq!(before, position, "records follow each other");
            if let Body::Batch(entries) = record.body {
                assert!(entries.count() <= record.len as usize / WORD);
            }
            let (kind, seq, durable) = (record.kind, record.seq, record.durable);
            seen.push(Seen { position, end, kind, seq, durable });
        }
    }
    assert!(!reader.fill()?, "the end stays");
    let ending = reader.ending()?;
    let position = reader.scanner().position();
    assert_eq!(seen.last().map_or(RECORDS_START as usize, |record| record.end), position as usize);
    let remains = reader.remains(reader.scanner().next_seq())?;
    let end = position + end_of_data(&bytes[position as usize..]) as u64;
    assert_eq!(remains.end, end, "the search knows where the data ends");
    assert!(ending != Ending::Blank || remains.end == position);
    Ok((seen, ending))
}

/// A file that is these bytes and cannot be written.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl SegmentFile for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(position).ok().and_then(|position| self.0.get(position..));
        let bytes = rest.and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends records as `input` describes them, and returns how many of them a reader must read.
fn write_records(bytes: &mut Vec<u8>, mut input: &[u8]) -> usize {
    let (mut epoch, mut sum, mut buffer) = (1, 0, RecordBuffer::default());
    let mut seq = u64_at(&take::<8>(&mut input), 0);
    let mut count = 0;
    while count == 0 || !input.is_empty() {
        let [which, lag, len] = take(&mut input);
        let raw = &input[..usize::from(len).min(input.len())];
        let body = buffer.start();
        let kind = match which % 8 {
            _ if count == 0 => {
                let (previous_salt, previous_chain, base_ms) = (0, 0, i64::from(which));
                Start { first_seq: seq, previous_salt, previous_chain, base_ms }.encode(body);
                kind::START
            }
            0 => {
                seq = seq.saturating_add(u64::from(len));
                epoch += 1;
                Open { epoch, next_seq: seq }.encode(body);
                kind::OPEN
            }
            1 => {
                Seal { next_seq: seq, chain: sum }.encode(body);
                kind::SEAL
            }
            2 => {
                Name { id: u32::from(lag), group: "g", topic: "t" }.encode(body);
                kind::NAME
            }
            // A kind that nobody knows yet.
            3 => {
                body.extend_from_slice(raw);
                kind::OPTIONAL | 0x20 | lag & kind::CONTROL
            }
            _ => {
                body.extend_from_slice(raw);
                kind::BATCH
            }
        };
        if which % 8 > 2 {
            input = &input[raw.len()..];
        }
        let position = bytes.len() as u32;
        let durable = seq.saturating_sub(u64::from(lag));
        let seed = &Seed::new(SALT, epoch);
        let (record, checksum) = buffer.finish(kind, seed, position, seq, durable);
        bytes.extend_from_slice(record);
        count += 1;
        if kind == kind::SEAL {
            break;
        }
        sum = chain(sum, checksum);
        seq = if kind & kind::CONTROL == 0 { seq.saturating_add(1) } else { seq };
    }
    // What stands behind a seal does not count.
    bytes.extend_from_slice(input);
    count
}
