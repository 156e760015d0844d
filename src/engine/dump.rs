//! Dump: the records of one file, as they stand there.

use std::path::Path;

use crate::dump::{Body, Change, Ending, Mark, Record, Summary};
use crate::error::{Error, Result};
use crate::format::entry::{Entries, Entry};
use crate::format::mark::MarkState;
use crate::format::{names, scan};
use crate::io::Access;
use crate::io::disk::DiskDir;
use crate::options::WritePath;

use super::recover::Loaded;

/// Visits the records of the segment at `path`.
pub(crate) fn dump(path: &Path, mut visit: impl FnMut(&Record<'_>)) -> Result<Summary> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err(Error::invalid("the path does not name a file").with_path(path));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = DiskDir::open(parent.unwrap_or(Path::new(".")), false, WritePath::Pwrite)?;
    let first_seq = match names::parse(name) {
        Some(names::FileName::Segment(first_seq)) => first_seq,
        _ => 0,
    };
    let loaded = Loaded::read_named(&dir, name, first_seq, Access::Follow)?;
    let mut names = Names::new();
    let mut records = 0;
    let (ending, end) = loaded
        .read_records(|reader| {
            while reader.fill()? {
                for record in reader.records() {
                    records += 1;
                    visit(&describe(record, &mut names));
                }
            }
            Ok((reader.ending()?, reader.scanner().position()))
        })
        .map_err(|error| loaded.failed(error))?;
    Ok(Summary {
        store_id: loaded.header.store_id,
        salt: loaded.header.salt,
        epoch: loaded.header.epoch,
        size: loaded.header.size,
        marks: loaded.marks.iter().map(describe_mark).collect(),
        records,
        end,
        ending: match ending {
            scan::Ending::Sealed => Ending::Sealed,
            scan::Ending::Blank => Ending::Blank,
            scan::Ending::Broken => Ending::Broken,
        },
    })
}

fn describe_mark(mark: &crate::format::mark::Mark) -> Mark {
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
                let (seq, entry) = value.ok()?;
                Some((seq, change(entry, name)))
            });
            values.collect::<Option<_>>().map_or(Body::Malformed { kind }, Body::Values)
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
            let (Entry::Set { name, .. }
            | Entry::Delete { name, .. }
            | Entry::DeleteTopic { name }) = entry;
            let (group, topic) = names.get(name as usize)?;
            Some(change(entry, (group, topic)))
        })
        .collect()
}

/// What an entry says of a group and topic.
pub(super) fn change<'a>(entry: Entry<'a>, (group, topic): (&'a str, &'a str)) -> Change<'a> {
    match entry {
        Entry::Set {
            partition,
            offset,
            leader_epoch,
            timestamp_ms,
            expire_at_ms,
            metadata,
            ..
        } => Change::Commit {
            group,
            topic,
            partition,
            offset,
            leader_epoch,
            timestamp_ms,
            expire_at_ms,
            metadata,
        },
        Entry::Delete { partition, .. } => Change::Delete { group, topic, partition },
        Entry::DeleteTopic { .. } => Change::DeleteTopic { group, topic },
    }
}
