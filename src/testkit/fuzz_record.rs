//! The fuzz target of everything that is decoded.

use crate::format::bytes::put;
use crate::format::entry::{Entries, Entry};
use crate::format::header::{FileHeader, HEADER_LEN};
use crate::format::mark::{MARK_LEN, MARK_POSITIONS, Mark};
use crate::format::names::{self, FileName};
use crate::format::record::{
    Name, Open, RECORD_HEADER_LEN, RecordBuffer, RecordHeader, Seal, Seed, Start,
};
use crate::format::snapshot::{Base, State, Values, push_value, put_names};

/// Decodes `input` as one of the things of which the format consists; its first byte says as which.
///
/// # Panics
///
/// If something decodes and does not encode to the same bytes again.
pub fn fuzz_record(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    match which % 8 {
        0 => header(rest),
        1 => mark(rest),
        2 => control_records(rest),
        3 | 4 => entries(rest),
        5 | 6 => frame(rest),
        _ => raw(rest),
    }
}

/// The first `N` bytes, and zeros where there are none.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    let (front, rest) = bytes.split_at(N.min(bytes.len()));
    taken[..front.len()].copy_from_slice(front);
    *bytes = rest;
    taken
}

fn header(mut rest: &[u8]) {
    let mut bytes: [u8; HEADER_LEN] = take(&mut rest);
    let check = |bytes: &[u8; HEADER_LEN]| {
        if let Ok(header) = FileHeader::decode(bytes) {
            assert_eq!(header.encode(), *bytes, "a header reads back");
        }
    };
    check(&bytes);
    // Nobody guesses a checksum, so it is put right for what stands in front of it.
    put(&mut bytes, 0, b"PAGEMARK");
    let checksum = crc32fast::hash(&bytes[..HEADER_LEN - 4]);
    put(&mut bytes, HEADER_LEN - 4, &checksum.to_le_bytes());
    check(&bytes);
}

fn mark(mut rest: &[u8]) {
    let salt = u64::from_le_bytes(take(&mut rest));
    let mut bytes: [u8; MARK_LEN] = take(&mut rest);
    for place in MARK_POSITIONS {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        hasher.update(&place.to_le_bytes());
        hasher.update(&bytes[4..]);
        put(&mut bytes, 0, &hasher.finalize().to_le_bytes());
        if let Some(mark) = Mark::decode(&bytes, salt, place) {
            assert_eq!((mark.place(), mark.encode(salt)), (place, bytes), "a mark reads back");
        }
    }
}

fn control_records(body: &[u8]) {
    let expect = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut again = Vec::new();
        encode(&mut again);
        again.resize(body.len(), 0);
        assert_eq!(again, body, "the body of a record reads back");
    };
    if let Some(start) = Start::decode(body) {
        expect(&|body| start.encode(body));
    }
    if let Some(open) = Open::decode(body) {
        expect(&|body| open.encode(body));
    }
    if let Some(seal) = Seal::decode(body) {
        expect(&|body| seal.encode(body));
    }
    if let Some(name) = Name::decode(body) {
        expect(&|body| name.encode(body));
    }
    if let Some(base) = Base::decode(body) {
        expect(&|body| base.encode(body));
    }
    if let Some(state) = State::decode(body) {
        expect(&|body| state.encode(body));
    }
    values(body);
    if let Ok(name) = std::str::from_utf8(body)
        && let Some(FileName::Segment(first_seq)) = names::parse(name)
    {
        assert_eq!(names::segment(first_seq), name, "a name reads back");
    }
}

/// Values of a snapshot that can all be read.
fn values(body: &[u8]) {
    const BASE_MS: i64 = 1_700_000_000_000;
    let Some(values) = Values::decode(body, BASE_MS) else { return };
    let mut again = Vec::new();
    put_names(&mut again, values.group, values.topic);
    let Ok(read) = values.collect::<Result<Vec<_>, _>>() else { return };
    for (seq, partition, content) in &read {
        push_value(&mut again, *seq, *partition, *content, BASE_MS);
    }
    let same = Values::decode(&again, BASE_MS)
        .and_then(|values| values.collect::<Result<Vec<_>, _>>().ok());
    assert_eq!(same.as_ref(), Some(&read), "values read back");
    // Only a timestamp that was written in full without need has a shorter form.
    assert!(again == body || again.len() < body.len(), "values encode to the same bytes");
}

fn entries(mut rest: &[u8]) {
    let base_ms = i64::from_le_bytes(take(&mut rest));
    let read: Vec<_> = Entries::new(rest, base_ms).collect();
    assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing is read behind an error");
    let read: Result<Vec<Entry<'_>>, _> = read.into_iter().collect();
    let Ok(read) = read else { return };
    let mut again = Vec::new();
    for entry in &read {
        entry.encode(&mut again, base_ms);
    }
    let same: Result<Vec<Entry<'_>>, _> = Entries::new(&again, base_ms).collect();
    assert_eq!(same.as_ref(), Ok(&read), "entries read back");
    // Only a timestamp that was written in full without need has a shorter form.
    assert!(again == rest || again.len() < rest.len(), "entries encode to the same bytes");
}

fn frame(mut rest: &[u8]) {
    let [kind, ..]: [u8; 1] = take(&mut rest);
    let salt = u64::from_le_bytes(take(&mut rest));
    let epoch = u32::from_le_bytes(take(&mut rest));
    let position = u32::from_le_bytes(take(&mut rest));
    let seq = u64::from_le_bytes(take(&mut rest));
    let lag = u64::from(u32::from_le_bytes(take(&mut rest)) >> 8);
    let durable = seq.saturating_sub(lag);
    let seed = &Seed::new(salt, epoch);
    let mut buffer = RecordBuffer::default();
    buffer.start().extend_from_slice(rest);
    let (record, checksum) = buffer.finish(kind, seed, position, seq, durable);
    let header = RecordHeader::read(record);
    assert_eq!(header.is_some(), kind & 0x3f != 0, "zeros are no record");
    let Some(header) = header else { return };
    assert_eq!((header.kind, header.len, header.checksum()), (kind, record.len(), checksum));
    assert!(header.verify(record, seed, position, seq));
    assert!(!header.verify(record, seed, position ^ 4, seq), "another position");
    assert!(!header.verify(record, seed, position, seq ^ 1 << 16), "another seq");
    let lag = seq - durable;
    let stated = (1..1 << 16).contains(&lag).then_some(durable);
    assert_eq!(header.durable(seq), stated, "a lag of {lag}");
    for len in 0..record.len() {
        assert!(RecordHeader::read(&record[..len]).is_none(), "a record that is cut");
    }
}

fn raw(mut rest: &[u8]) {
    let seq = u64::from_le_bytes(take(&mut rest));
    if let Some(header) = RecordHeader::read(rest) {
        assert!((RECORD_HEADER_LEN..=rest.len()).contains(&header.len));
        header.verify(rest, &Seed::new(0, 0), 0, seq);
        assert!(header.durable(seq).is_none_or(|durable| durable < seq));
    }
}
