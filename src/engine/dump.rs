//! Dump: the records of one file, as they stand there.

use std::path::Path;

use crate::dump::{Body, Change, Ending, Mark, Record, Summary};
use crate::error::{Error, Result};
use crate::format::entry::{Entries, Entry};
use crate::format::header::{FileHeader, FileKind, HEADER_LEN, HeaderError};
use crate::format::mark::{Mark as FileMark, MarkState, read_marks};
use crate::format::snapshot::State;
use crate::format::{RECORDS_START, scan};
use crate::io::disk::DiskDir;
use crate::io::{Access, Dir, SegmentFile};
use crate::key::Content;
use crate::options::WritePath;
use crate::segment::{Way, read_records};
use crate::state::StateChange;

use super::recover::header_error;

/// Visits the records of the segment or snapshot at `path`.
pub(crate) fn dump(path: &Path, mut visit: impl FnMut(&Record<'_>)) -> Result<Summary> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err(Error::invalid("the path does not name a file").with_path(path));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = DiskDir::open(parent.unwrap_or(Path::new(".")), false, WritePath::Pwrite)?;
    let failed = |error| Error::io("read the file", path, error);
    let file = dir.open(name, Access::Follow).map_err(failed)?;
    let (header, marks) = front(path, &*file).map_err(|error| error.with_path(path))?;
    let mut names = Names::new();
    let mut records = 0;
    let (ending, end) = read_records(&*file, &header, Way::of(&*file), |reader| {
        while reader.fill()? {
            for record in reader.records() {
                records += 1;
                visit(&describe(record, &mut names));
            }
        }
        Ok((reader.ending()?, reader.scanner().position()))
    })
    .map_err(failed)?;
    Ok(Summary {
        kind: match header.kind {
            FileKind::Segment => "segment",
            FileKind::Snapshot => "snapshot",
        },
        store_id: header.store_id,
        salt: header.salt,
        epoch: header.epoch,
        size: header.size,
        marks: marks.iter().map(describe_mark).collect(),
        records,
        end,
        ending: match ending {
            scan::Ending::Sealed => Ending::Sealed,
            scan::Ending::Blank => Ending::Blank,
            scan::Ending::Broken => Ending::Broken,
        },
    })
}

/// The header and the marks of a file of either kind.
fn front(path: &Path, file: &dyn SegmentFile) -> Result<(FileHeader, Vec<FileMark>)> {
    let mut page = [0; RECORDS_START as usize];
    if file.size() < page.len() as u64 {
        return Err(header_error(HeaderError::Foreign).at(0));
    }
    file.read_at(0, &mut page).map_err(|error| Error::io("read the file", path, error))?;
    let header = page.first_chunk::<HEADER_LEN>().ok_or(HeaderError::Foreign);
    let header = header.and_then(FileHeader::decode).map_err(|error| header_error(error).at(0))?;
    if header.size != file.size() {
        let message = format!(
            "the header tells of {} bytes and the file has {}: it was cut, extended, or is another \
             file",
            header.size,
            file.size()
        );
        return Err(Error::corrupt(message).at(0));
    }
    let marks = read_marks(&page, header.salt);
    Ok((header, marks))
}

fn describe_mark(mark: &FileMark) -> Mark {
    Mark {
        state: match mark.state {
            MarkState::Open => "open",
            MarkState::Sealed => "sealed",
            MarkState::Closed => "closed",
        },
        epoch: mark.epoch,
        position: u64::from(mark.position),
        durable_seq: mark.durable,
    }
}

/// The groups and topics of the file, by their ids.
type Names = Vec<(String, String)>;

fn describe<'a>(record: scan::Record<'a>, names: &'a mut Names) -> Record<'a> {
    let kind = record.kind;
    let body = match record.body {
        scan::Body::Start(start) => {
            Body::Start { first_seq: start.first_seq, base_timestamp_ms: start.base_ms }
        }
        scan::Body::Open(open) => Body::Open { epoch: open.epoch, next_seq: open.next_seq },
        scan::Body::Name(name) => {
            if name.id as usize == names.len() {
                names.push((name.group.to_owned(), name.topic.to_owned()));
            }
            Body::Name { id: name.id, group: name.group, topic: name.topic }
        }
        scan::Body::Batch(entries) => {
            changes(entries, names).map_or(Body::Malformed { kind }, Body::Batch)
        }
        scan::Body::Base(base) => Body::Base {
            last_seq: base.last_seq,
            next_seq: base.next_seq,
            base_timestamp_ms: base.base_ms,
        },
        scan::Body::Values(values) => {
            let name = (values.group, values.topic);
            let values = values.map(|value| {
                let (seq, partition, content) = value.ok()?;
                Some((seq, commit(name, partition, content)))
            });
            values.collect::<Option<_>>().map_or(Body::Malformed { kind }, Body::Values)
        }
        scan::Body::State(state) => {
            let State { seq, group, owner, name, part, bytes } = state;
            Body::State(
                seq,
                Change::State { group, owner, name, part, change: StateChange::Put(bytes) },
            )
        }
        scan::Body::Seal(seal) => Body::Seal { next_seq: seal.next_seq },
        scan::Body::Unknown => Body::Unknown { kind },
        scan::Body::Malformed => Body::Malformed { kind },
    };
    Record {
        position: record.position,
        length: u64::from(record.len),
        seq: record.seq,
        durable_seq: record.durable,
        body,
    }
}

fn changes<'a>(entries: Entries<'a>, names: &'a Names) -> Option<Vec<Change<'a>>> {
    entries
        .map(|entry| {
            let entry = entry.ok()?;
            let (group, topic) = names.get(entry.name() as usize)?;
            Some(change(entry, (group, topic)))
        })
        .collect()
}

/// What an entry says of a group and topic.
pub(super) fn change<'a>(entry: Entry<'a>, (group, topic): (&'a str, &'a str)) -> Change<'a> {
    match entry {
        Entry::Set { partition, content, .. } => commit((group, topic), partition, content),
        Entry::Delete { partition, .. } => Change::Delete { group, topic, partition },
        Entry::DeleteTopic { .. } => Change::DeleteTopic { group, topic },
        Entry::State { part, owner, change, .. } => {
            Change::State { group, owner, name: topic, part, change }
        }
    }
}

fn commit<'a>(
    (group, topic): (&'a str, &'a str),
    partition: i32,
    content: Content<'a>,
) -> Change<'a> {
    let Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata } = content;
    Change::Commit {
        group,
        topic,
        partition,
        offset,
        leader_epoch,
        timestamp_ms,
        expire_at_ms,
        metadata,
    }
}
