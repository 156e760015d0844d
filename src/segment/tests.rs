use super::*;
use crate::io::sim::SimDisk;

const SIZE: u64 = 64 << 10;

/// The third segment of a process, going on at `position` with as many names.
fn appender(position: u32, names: u32) -> (Arc<Segment>, Appender) {
    let disk = SimDisk::new();
    let header = FileHeader { kind: FileKind::Segment, epoch: 1, store_id: 1, salt: 7, size: SIZE };
    let segment = Arc::new(Segment::prepare(&*disk.dir(), header).unwrap());
    let end = End { epoch: 1, position, last_seq: 0, next_seq: 1, chain: 0 };
    (Arc::clone(&segment), Appender::resume(segment, 3, end, 0, names))
}

#[test]
fn erasing_leaves_zeros_from_here_to_there_and_nothing_else_changes() {
    let (segment, _) = appender(RECORDS_START, 0);
    let start = u64::from(RECORDS_START);
    for (from, len) in [(start, 0), (start, 1), (start + 5, 4096), (start + 5, 3 * 4096 + 17)] {
        let marked = vec![0xaa; (SIZE - start) as usize];
        segment.file.write_at(start, &marked).unwrap();
        segment.erase(from, from + len).unwrap();
        let mut found = vec![0; marked.len()];
        segment.file.read_at(start, &mut found).unwrap();
        let mut expected = marked;
        expected[(from - start) as usize..][..len as usize].fill(0);
        assert!(found == expected, "{len} bytes at {from}");
    }
    // Nothing is written where there is nothing to erase, also behind the end of the file.
    segment.erase(SIZE + 1, SIZE).unwrap();
}

#[test]
fn room_is_counted_to_the_byte_and_kept_for_the_seal() {
    let last = SIZE as u32 - Seal::RECORD_LEN as u32;
    for (position, len, has_room) in
        [(last, 0, true), (last, 1, false), (last - 8, 8, true), (last - 8, 9, false)]
    {
        assert_eq!(appender(position, 0).1.has_room(len), has_room, "{len} bytes at {position}");
    }
    assert!(!appender(RECORDS_START, 0).1.has_room(usize::MAX));
    let half = SIZE as u32 / 2;
    for (position, is_half_full) in
        [(RECORDS_START, false), (half, false), (half + 1, true), (last, true)]
    {
        assert_eq!(appender(position, 0).1.is_half_full(), is_half_full, "{position}");
    }
    let (_, mut sealed) = appender(RECORDS_START, 0);
    assert!(!sealed.is_sealed() && sealed.has_room(8));
    sealed.append_seal(0).unwrap();
    assert!(sealed.is_sealed() && !sealed.has_room(8));
}

#[test]
fn an_id_is_known_by_its_tag_in_its_segment_only() {
    let (_, appender_of_three) = appender(RECORDS_START, 0);
    for id in [0, 1, 5, entry::MAX_NAME_ID] {
        let tag = appender_of_three.tag(id);
        assert_eq!(appender_of_three.name_id(tag), Some(id));
        assert_eq!(appender_of_three.name_id(NameTag(tag.0 ^ 1 << NAME_ID_BITS)), None);
    }
    assert_eq!(appender_of_three.name_id(NameTag(0)), None, "no id was given yet");
}

#[test]
fn there_are_as_many_ids_as_a_record_has_bits_for() {
    for (names, count, has_ids) in [
        (0, entry::MAX_NAME_ID, true),
        (0, entry::MAX_NAME_ID + 1, false),
        (entry::MAX_NAME_ID - 2, 2, true),
        (entry::MAX_NAME_ID - 2, 3, false),
        (1, u32::MAX, false),
    ] {
        let (_, appender) = appender(RECORDS_START, names);
        assert_eq!(appender.has_ids(count), has_ids, "{count} more than {names}");
    }
}

#[test]
fn a_name_gets_the_next_id_and_a_batch_the_next_seq() {
    let (_, mut appender) = appender(RECORDS_START, 4);
    for (id, topic) in [(4, "a"), (5, "b")] {
        let tag = appender.append_name("g", topic, 0).unwrap();
        assert_eq!(appender.name_id(tag), Some(id));
    }
    let mut batch = RecordBuffer::default();
    for seq in 1..4 {
        batch.start().extend([1; 16]);
        assert_eq!(appender.append_batch(&mut batch, 0).unwrap(), seq);
        assert_eq!((appender.end().last_seq, appender.end().next_seq), (seq, seq + 1));
    }
}

#[test]
fn a_segment_knows_its_name_before_and_after_it_has_one() {
    let disk = SimDisk::new();
    let header = FileHeader { kind: FileKind::Segment, epoch: 1, store_id: 1, salt: 7, size: SIZE };
    let segment = Segment::prepare(&*disk.dir(), header).unwrap();
    let path = |name: &str| disk.dir().path().join(name);
    assert_eq!((segment.first_seq(), segment.path()), (0, path(names::SPARE)));
    segment.publish(&*disk.dir(), 42).unwrap();
    assert_eq!((segment.first_seq(), segment.path()), (42, path(&names::segment(42))));
    assert_eq!(segment.header(), &header);
    assert!(!segment.file.is_direct(), "there is no page cache in front of memory");
}

/// A file of some size that is read past the page cache, or not.
#[derive(Debug)]
struct Sized(u64, bool);

impl SegmentFile for Sized {
    fn size(&self) -> u64 {
        self.0
    }

    fn is_direct(&self) -> bool {
        self.1
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn pieces_grow_with_a_file_on_a_device_and_are_read_ahead_if_there_are_some() {
    const KIB: u64 = 1 << 10;
    for (size, piece, ahead) in [
        (0, 256 * KIB, false),
        (1024 * KIB, 256 * KIB, false),
        (1024 * KIB + 1, 256 * KIB, true),
        (4096 * KIB, 256 * KIB, true),
        (4097 * KIB, 512 * KIB, true),
        (16 << 20, 1024 * KIB, true),
        (1 << 40, 1024 * KIB, true),
    ] {
        let way = Way::of(&Sized(size, true));
        assert_eq!((way.piece as u64, way.ahead), (piece, ahead), "{size} bytes");
        let way = Way::of(&Sized(size, false));
        assert_eq!((way.piece as u64, way.ahead), (256 * KIB, false), "{size} bytes, cached");
    }
}
