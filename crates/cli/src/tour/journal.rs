//! What a consumer did, written down by itself as it does it.
//!
//! A journal is the tour's only witness beside the store. Each line is one `write` to a file, so that
//! it survives the consumer's death by SIGKILL.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

/// The journal of a consumer that runs.
pub(super) struct Writer(File);

impl Writer {
    /// Begins a journal.
    pub(super) fn create(path: &Path) -> Result<Writer> {
        Ok(Writer(File::create_new(path).context("the journal cannot be created")?))
    }

    /// A record was processed.
    pub(super) fn processed(&mut self, partition: i32, offset: i64) -> io::Result<()> {
        self.write(format!("processed {partition} {offset}"))
    }

    /// The broker has acknowledged what is complete of a partition: everything below `next`, and the
    /// ranges beyond it.
    pub(super) fn acknowledged(
        &mut self,
        partition: i32,
        next: i64,
        complete: &[Range<i64>],
    ) -> io::Result<()> {
        let ranges = complete.iter().map(|range| format!(" {}..{}", range.start, range.end));
        self.write(format!("acknowledged {partition} {next}{}", ranges.collect::<String>()))
    }

    /// The broker took so many nanoseconds for a commit that it has acknowledged.
    pub(super) fn committed(&mut self, ns: u64) -> io::Result<()> {
        self.write(format!("committed {ns}"))
    }

    /// The broker has refused a commit.
    pub(super) fn refused(&mut self, error: &str) -> io::Result<()> {
        self.write(format!("refused {error}"))
    }

    fn write(&mut self, line: String) -> io::Result<()> {
        self.0.write_all((line + "\n").as_bytes())
    }
}

/// What of a partition is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Everything below it.
    pub(super) next: i64,
    /// What is complete beyond it.
    pub(super) complete: Vec<Range<i64>>,
}

impl Acknowledged {
    /// Whether a record is among it.
    pub(super) fn covers(&self, offset: i64) -> bool {
        offset < self.next || self.complete.iter().any(|range| range.contains(&offset))
    }

    /// How many records beyond the offset are complete.
    pub(super) fn beyond(&self) -> i64 {
        self.complete.iter().map(|range| range.end - range.start).sum()
    }

    fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Acknowledged> {
        let next = words.next()?.parse().ok()?;
        let range = |word: &str| {
            let (start, end) = word.split_once("..")?;
            Some(start.parse().ok()?..end.parse().ok()?)
        };
        Some(Acknowledged { next, complete: words.map(range).collect::<Option<_>>()? })
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The offsets of the processed records, in order, by partition.
    pub(super) processed: BTreeMap<i32, Vec<i64>>,
    /// What was acknowledged last, by partition.
    pub(super) acknowledged: BTreeMap<i32, Acknowledged>,
    /// The error of the newest commit that was refused.
    pub(super) refused: Option<String>,
    /// The number of acknowledged commits.
    pub(super) commits: u64,
    /// The time that the broker took for them, in nanoseconds.
    pub(super) commit_ns: u64,
}

impl Journal {
    /// Reads a journal as far as it was written.
    pub(super) fn read(path: &Path) -> Result<Journal> {
        let text = fs::read_to_string(path).context("a journal cannot be read")?;
        // What has no end was not finished, and so it did not happen.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut journal = Journal::default();
        for line in complete.lines() {
            journal
                .add(line)
                .with_context(|| format!("the journal line {line:?} makes no sense"))?;
        }
        Ok(journal)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        let mut words = rest.split(' ');
        match word {
            "committed" => {
                self.commits += 1;
                self.commit_ns += rest.parse::<u64>().ok()?;
                return Some(());
            }
            "refused" => {
                self.refused = Some(rest.to_owned());
                return Some(());
            }
            _ => {}
        }
        let partition: i32 = words.next()?.parse().ok()?;
        match word {
            "processed" => {
                self.processed.entry(partition).or_default().push(words.next()?.parse().ok()?);
            }
            "acknowledged" => {
                self.acknowledged.insert(partition, Acknowledged::parse(words)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// What the consumer has processed of a partition and no commit has covered.
    pub(super) fn uncommitted(&self, partition: i32) -> Vec<i64> {
        let acknowledged = self.acknowledged.get(&partition);
        let processed = self.processed.get(&partition).map_or(&[][..], Vec::as_slice);
        let is_covered = |offset| acknowledged.is_some_and(|by| by.covers(offset));
        processed.iter().copied().filter(|offset| !is_covered(*offset)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_up_to_the_last_whole_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        let mut writer = Writer::create(&path).expect("a journal");
        for offset in [4, 5, 8, 10, 11, 13] {
            writer.processed(1, offset).expect("a line");
        }
        writer.acknowledged(1, 5, &[]).expect("a line");
        writer.acknowledged(1, 6, &[8..9, 10..12]).expect("a line");
        writer.committed(500).expect("a line");
        writer.refused("STALE_MEMBER_EPOCH").expect("a line");
        writer.0.write_all(b"processed 1 6").expect("half a line");
        let journal = Journal::read(&path).expect("a good journal");
        assert_eq!(journal.processed, BTreeMap::from([(1, vec![4, 5, 8, 10, 11, 13])]));
        let acknowledged = Acknowledged { next: 6, complete: vec![8..9, 10..12] };
        assert_eq!(acknowledged.beyond(), 3);
        assert_eq!(journal.acknowledged, BTreeMap::from([(1, acknowledged)]));
        assert_eq!((journal.commits, journal.commit_ns), (1, 500));
        assert_eq!(journal.refused.as_deref(), Some("STALE_MEMBER_EPOCH"));
        assert_eq!(journal.uncommitted(1), [13]);
    }
}
