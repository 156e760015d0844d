//! A snapshot: the newest value of every live key, and all states, written beside the log and read before it.
//!
//! It is taken while commits go on, so some of its values may be newer than the place in the history
//! that it stands for. The log behind that place says them again, in order, and of two values the
//! newer one counts: the two together say what the whole log said. That holds only as long as the
//! log has everything that the snapshot has seen, so the log is made durable first.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind};
use crate::format::mark::{Mark, MarkState};
use crate::format::names;
use crate::format::record::{RecordBuffer, Seal, Seed, chain, kind};
use crate::format::snapshot::{self, Base, push_value, put_names};
use crate::index::{State, Topic};
use crate::io::{Access, Dir, GrowingFile};
use crate::key::CommittedOffset;

/// Values of a record: enough that its frame costs nothing, and few enough that one damaged record
/// takes little with it.
const RECORD_BYTES: usize = 32 << 10;
/// Bytes that are handed to the file at once.
const CHUNK: usize = 256 << 10;

/// Writes one snapshot. Until it is published it has a name that counts for nothing.
#[derive(Debug)]
pub(super) struct SnapshotWriter {
    path: PathBuf,
    file: Box<dyn GrowingFile>,
    header: FileHeader,
    base: Base,
    seed: Seed,
    record: RecordBuffer,
    /// What was not handed to the file yet.
    pending: Vec<u8>,
    /// Where the next record begins.
    position: u64,
    chain: u64,
    keys: u64,
    /// Bytes of records with states.
    state_bytes: u64,
}

impl SnapshotWriter {
    /// Creates the file. `header` says all but its size.
    pub(super) fn create(dir: &dyn Dir, header: FileHeader, base: Base) -> Result<SnapshotWriter> {
        debug_assert_eq!(header.kind, FileKind::Snapshot);
        let name = names::unfinished_snapshot(base.covers());
        let path = dir.path().join(&name);
        let file = dir
            .create_growing(&name)
            .map_err(|error| Error::io("create a snapshot", &path, error))?;
        let mut writer = SnapshotWriter {
            path,
            file,
            header,
            base,
            seed: Seed::new(header.salt, header.epoch),
            record: RecordBuffer::default(),
            // The page of the header is written last.
            pending: vec![0; RECORDS_START as usize],
            position: u64::from(RECORDS_START),
            chain: 0,
            keys: 0,
            state_bytes: 0,
        };
        base.encode(writer.record.start());
        writer.put(kind::BASE);
        Ok(writer)
    }

    /// Adds the values that a topic has now.
    pub(super) fn topic(&mut self, topic: &Topic, out: &mut CommittedOffset) {
        let base_ms = self.base.base_ms;
        let mut begun = false;
        topic.visit(out, |partition, value| {
            if begun && self.record.len() >= RECORD_BYTES {
                self.put(kind::VALUES);
                begun = false;
            }
            if !begun {
                put_names(self.record.start(), topic.group(), topic.name());
                begun = true;
            }
            push_value(self.record.body(), value.seq.0, partition, value.content(), base_ms);
            self.keys += 1;
        });
        if begun {
            self.put(kind::VALUES);
        }
    }

    /// Adds a state of a group. States come behind all values, in their order.
    pub(super) fn state(&mut self, group: &str, state: &State) {
        let State { owner, ref name, part, seq, ref bytes } = *state;
        let before = self.position;
        snapshot::State { seq, group, owner, name, part, bytes }.encode(self.record.start());
        self.put(kind::STATE);
        self.state_bytes += self.position - before;
    }

    /// Ends the record that was started.
    fn put(&mut self, kind: u8) {
        // A snapshot may be longer than a position can say; its low bits still tell neighbours apart.
        let position = self.position as u32;
        let (bytes, checksum) =
            self.record.finish(kind, &self.seed, position, self.base.next_seq, 0);
        self.pending.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
        self.chain = chain(self.chain, checksum);
    }

    /// Hands over what has gathered, if that is enough or `all` of it is wanted. Returns how many
    /// bytes that were.
    pub(super) fn write_out(&mut self, all: bool) -> Result<u64> {
        let len = self.pending.len();
        if len == 0 || (len < CHUNK && !all) {
            return Ok(0);
        }
        self.file
            .append(&self.pending)
            .map_err(|error| Error::io("write a snapshot", &self.path, error))?;
        self.pending.clear();
        Ok(len as u64)
    }

    /// Makes durable what was handed over, so that the end does not come all at once.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|error| Error::flush("flush a snapshot", &self.path, error))
    }

    /// Writes the seal, and makes all but the first page durable.
    pub(super) fn seal(&mut self) -> Result<()> {
        let seal = Seal { next_seq: self.base.next_seq, chain: self.chain };
        seal.encode(self.record.start());
        // The chain is that in front of the seal, and stays it.
        let chain = self.chain;
        self.put(kind::SEAL);
        self.chain = chain;
        self.write_out(true)?;
        self.sync()
    }

    /// Writes the header and the mark, which states that everything up to `durable` is durable in
    /// the log, makes them durable, and reads them back. Now the file is whole.
    pub(super) fn finish(mut self, dir: &dyn Dir, durable: u64) -> Result<Written> {
        let Base { next_seq, .. } = self.base;
        let header = FileHeader { size: self.position, ..self.header };
        let mark = Mark {
            state: MarkState::Sealed,
            epoch: header.epoch,
            position: self.position as u32,
            durable,
            next_seq,
            chain: self.chain,
            counter: 1,
        };
        let page = mark.first_page(&header);
        self.file
            .replace_head(&page)
            .map_err(|error| Error::io("write a snapshot", &self.path, error))?;
        self.sync()?;
        let failed = |error| Error::io("read a snapshot", &self.path, error);
        let name = names::unfinished_snapshot(self.base.covers());
        let file = dir.open(&name, Access::Read).map_err(failed)?;
        let mut found = vec![0; page.len()];
        file.read_at(0, &mut found).map_err(failed)?;
        if found != page {
            let message = "the first page of the snapshot differs from what was written; it was \
                           not used";
            return Err(Error::corrupt(message).with_path(&self.path).at(0));
        }
        Ok(Written { keys: self.keys, bytes: self.position, state_bytes: self.state_bytes })
    }

    /// How many bytes it has so far.
    pub(super) fn bytes(&self) -> u64 {
        self.position
    }
}

/// What a finished snapshot has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// How many of the bytes are those of states, about.
    pub(super) state_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::super::load::Snapshots;
    use super::super::open::Files;
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::snapshot::State;
    use crate::index::{Index, StateId};
    use crate::key::Content;
    use crate::report::RecoveryReport;
    use crate::state::StateChange;
    use crate::testkit::{SimDisk, salvage_in};

    fn writer(disk: &SimDisk) -> SnapshotWriter {
        let header =
            FileHeader { kind: FileKind::Snapshot, epoch: 1, store_id: 5, salt: 7, size: 0 };
        let base = Base { last_seq: 9, next_seq: 10, salt: 3, chain: 4, base_ms: 0, epoch: 1 };
        SnapshotWriter::create(disk, header, base).unwrap()
    }

    /// A snapshot that has these records behind its first one.
    fn written(records: &[(u8, Vec<u8>)]) -> SimDisk {
        ended(records, |writer| writer.seal())
    }

    /// The same with another end.
    fn ended(
        records: &[(u8, Vec<u8>)],
        end: impl FnOnce(&mut SnapshotWriter) -> Result<()>,
    ) -> SimDisk {
        let disk = SimDisk::new();
        let mut writer = writer(&disk);
        let base = writer.base;
        for (kind, body) in records {
            writer.record.start().extend_from_slice(body);
            writer.put(*kind);
        }
        end(&mut writer).unwrap();
        writer.finish(&disk, 9).unwrap();
        let covers = base.covers();
        disk.rename_file(&names::unfinished_snapshot(covers), &names::snapshot(covers));
        // What is behind it is not read here.
        disk.put(&names::segment(base.next_seq), b"");
        disk
    }

    /// How many keys it is found to have, and of how many bytes it is.
    fn read(disk: &SimDisk) -> Result<(u64, u64)> {
        let snapshots = Snapshots { dir: disk, store_id: None, access: Access::Read, seed: 1 };
        let mut report = RecoveryReport::default();
        snapshots.load_newest(&Files::list(disk)?, &mut report)?;
        Ok((report.snapshot_keys, report.bytes))
    }

    fn values() -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        put_names(&mut body, "g", "t");
        for partition in 0..3 {
            let content = Content {
                offset: 1,
                leader_epoch: None,
                timestamp_ms: 5,
                expire_at_ms: None,
                metadata: "",
            };
            push_value(&mut body, 6, partition, content, 0);
        }
        (kind::VALUES, body)
    }

    fn state() -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        let state = State { seq: 7, group: "g", owner: 1, name: "n", part: 0, bytes: b"bytes" };
        state.encode(&mut body);
        (kind::STATE, body)
    }

    #[test]
    fn the_bytes_of_states_are_counted_apart() {
        let index = Index::new(1).0;
        let states = |count: i32| {
            let mut writer = writer(&SimDisk::new());
            for part in 0..count {
                let id = StateId { group: "g", owner: 1, name: "n", part };
                assert!(index.states().change(id, StateChange::Put(b"some bytes"), 5));
            }
            index.states().of_group("g").iter().for_each(|state| writer.state("g", state));
            (writer.bytes(), writer.state_bytes)
        };
        let (empty, none) = states(0);
        assert_eq!(none, 0);
        let (with_states, of_states) = states(5);
        assert!(of_states > 5 * 10);
        assert_eq!(with_states - empty, of_states);
    }

    #[test]
    fn values_come_before_states() {
        let disk = written(&[values(), state()]);
        let size = disk.contents(&names::snapshot(9)).unwrap().len();
        assert_eq!(read(&disk).unwrap(), (3, size as u64 - u64::from(RECORDS_START)));
        let error = read(&written(&[state(), values()])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.position() > Some(u64::from(RECORDS_START)), "{error}");
    }

    #[test]
    fn the_seal_is_the_end_of_the_file() {
        let unsealed = ended(&[values()], |writer| writer.write_out(true).map(|_| ()));
        let more = ended(&[values()], |writer| {
            writer.seal()?;
            writer.seal()
        });
        for disk in [unsealed, more] {
            let error = read(&disk).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.message().contains("a record of the snapshot is damaged"), "{error}");
        }
    }

    #[test]
    fn records_of_unknown_kinds_are_skipped_if_they_are_optional() {
        for (unknown, is_optional) in [(0xc8, true), (0xff, true), (0x48, false), (0x7f, false)] {
            let disk = written(&[values(), (unknown, vec![7; 8]), state()]);
            let salvaged = salvage_in(&disk, SimDisk::new().dir());
            match is_optional {
                true => {
                    assert_eq!(read(&disk).unwrap().0, 3, "{unknown:#x}");
                    let salvaged = salvaged.unwrap();
                    assert_eq!((salvaged.kept(), salvaged.records), (3, 2), "{salvaged:#?}");
                }
                false => {
                    assert_eq!(read(&disk).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
                    assert_eq!(salvaged.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
                }
            }
        }
    }
}
