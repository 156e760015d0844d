//! What a consumer did, written down by itself as it does it.
//!
//! A journal is the tour's only witness beside the store. Each line is one `write` to a file, so that
//! it survives the consumer's death by SIGKILL.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
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
        self.0.write_all(format!("processed {partition} {offset}\n").as_bytes())
    }

    /// The store has acknowledged a commit, which took it this many nanoseconds.
    pub(super) fn acknowledged(&mut self, partition: i32, next: i64, ns: u64) -> io::Result<()> {
        self.0.write_all(format!("acknowledged {partition} {next} {ns}\n").as_bytes())
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The offsets of the processed records, in order, by partition.
    pub(super) processed: BTreeMap<i32, Vec<i64>>,
    /// The highest acknowledged next offset, by partition.
    pub(super) acknowledged: BTreeMap<i32, i64>,
    /// The number of acknowledged commits.
    pub(super) commits: u64,
    /// The time that the store took for them, in nanoseconds.
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
        let mut words = line.split(' ');
        let word = words.next()?;
        let partition: i32 = words.next()?.parse().ok()?;
        let offset: i64 = words.next()?.parse().ok()?;
        match word {
            "processed" => self.processed.entry(partition).or_default().push(offset),
            "acknowledged" => {
                let highest = self.acknowledged.entry(partition).or_insert(offset);
                *highest = offset.max(*highest);
                self.commits += 1;
                self.commit_ns += words.next()?.parse::<u64>().ok()?;
            }
            _ => return None,
        }
        Some(())
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
        writer.processed(1, 0).expect("a line");
        writer.processed(1, 1).expect("a line");
        writer.acknowledged(1, 2, 500).expect("a line");
        writer.0.write_all(b"processed 1 2").expect("half a line");
        let journal = Journal::read(&path).expect("a good journal");
        assert_eq!(journal.processed, BTreeMap::from([(1, vec![0, 1])]));
        assert_eq!(journal.acknowledged, BTreeMap::from([(1, 2)]));
        assert_eq!((journal.commits, journal.commit_ns), (1, 500));
    }
}
