//! `pagemark tail`: commits and deletes as they happen.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use pagemark::dump::Change;
use pagemark::{CommittedOffset, OffsetReader, Seq};
use serde_json::json;

use crate::table::Cell;
use crate::{change, output, store};

const AFTER_HELP: &str = "\
Examples:
  pagemark tail --dir offsets
  pagemark tail --dir offsets --group billing --from-start
  pagemark tail --dir offsets --format jsonl | grep '\"kind\":\"delete'

The changes of a batch have the same seq. A deleted topic is one line without a partition, a deleted
group one for each of its topics. Deletes carry no time.

A store may be compacted before tail has seen all of its log. It then says so, in JSON Lines as a line
of the kind restarted, and what follows has all values that are still the newest: values that were
overwritten meanwhile and deletes may be missing. Ends with Ctrl-C, or when nobody reads its output.";

/// Print the commits and deletes of a store as they happen, also of other processes.
///
/// It only reads. A commit is printed when it is in the log, which may be before it is durable.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only this group
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,

    /// Only this topic
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    topic: Option<String>,

    /// First print the newest value of each key that is there, by seq
    #[arg(long)]
    from_start: bool,

    /// Stop when everything that is there was printed
    #[arg(long)]
    once: bool,

    /// How often to look for something new, in milliseconds
    #[arg(long, value_name = "MS", default_value = "200",
          value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    interval: u64,

    /// How changes are printed
    #[arg(long, default_value = "text")]
    format: Format,
}

/// How changes are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people
    Text,
    /// One JSON object in each line
    Jsonl,
}

/// Follows the store until nobody reads any more.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let filter = Filter { group: args.group.clone(), topic: args.topic.clone() };
    let mut tail = Tail::new(store::read(dir)?, filter, Printer::new(args.format, out)?);
    if args.from_start {
        tail.values(out)?;
    }
    let interval = Duration::from_millis(args.interval);
    loop {
        tail.refresh(out)?;
        out.flush()?;
        if args.once || output::closes_within(interval)? {
            return Ok(());
        }
    }
}

/// Which changes are wanted.
#[derive(Default)]
struct Filter {
    group: Option<String>,
    topic: Option<String>,
}

impl Filter {
    fn wants(&self, group: &str, topic: &str) -> bool {
        self.group.as_deref().is_none_or(|wanted| wanted == group)
            && self.topic.as_deref().is_none_or(|wanted| wanted == topic)
    }

    fn wants_change(&self, change: &Change<'_>) -> bool {
        match change {
            Change::Commit { group, topic, .. }
            | Change::Delete { group, topic, .. }
            | Change::DeleteTopic { group, topic } => self.wants(group, topic),
            // The name of a state may be a topic.
            Change::State { group, name, .. } => self.wants(group, name),
            _ => true,
        }
    }
}

/// A view of the store, and how far it was printed.
struct Tail {
    reader: OffsetReader,
    filter: Filter,
    printer: Printer,
    seen: Seq,
}

impl Tail {
    fn new(reader: OffsetReader, filter: Filter, printer: Printer) -> Tail {
        let seen = reader.last_seq();
        Tail { reader, filter, printer, seen }
    }

    /// Prints the newest values, those of keys that were committed first in front.
    fn values(&mut self, out: &mut dyn Write) -> Result<()> {
        for value in Value::all(&self.reader, &self.filter, |_| true) {
            value.print(&mut self.printer, out)?;
        }
        Ok(())
    }

    /// Prints what has come since the last time.
    fn refresh(&mut self, out: &mut dyn Write) -> Result<()> {
        let Tail { reader, filter, printer, seen } = self;
        // Only behind the last change is it known whether some were missing in between.
        let (mut lines, mut printed) = (Vec::new(), Ok(()));
        let mut visited: Vec<(Seq, usize)> = Vec::new();
        let refreshed = reader.refresh_with(|seq, change| {
            if printed.is_ok() && filter.wants_change(change) {
                printed = printer.print(seq, change, &mut lines);
            }
            match visited.last_mut().filter(|(last, _)| *last == seq) {
                Some((_, end)) => *end = lines.len(),
                None => visited.push((seq, lines.len())),
            }
        });
        printed?;
        let mut missed = Vec::new();
        if refreshed.as_ref().is_ok_and(|refreshed| refreshed.restarted) {
            printer.restarted(*seen, reader.last_seq(), out)?;
            let is_missed =
                |seq| seq > *seen && visited.binary_search_by_key(&seq, |(seq, _)| *seq).is_err();
            missed = Value::all(reader, filter, is_missed);
        }
        let (mut missed, mut start) = (missed.into_iter().peekable(), 0);
        for (seq, end) in visited {
            while let Some(value) = missed.next_if(|value| value.seq < seq) {
                value.print(printer, out)?;
            }
            out.write_all(&lines[start..end])?;
            start = end;
        }
        missed.try_for_each(|value| value.print(printer, out))?;
        refreshed?;
        *seen = reader.last_seq();
        Ok(())
    }
}

/// The newest value of a key.
struct Value {
    seq: Seq,
    group: String,
    topic: String,
    partition: i32,
    value: CommittedOffset,
}

impl Value {
    /// The newest values with the seqs that are wanted, in their order.
    fn all(reader: &OffsetReader, filter: &Filter, wanted: impl Fn(Seq) -> bool) -> Vec<Value> {
        let mut values = Vec::new();
        for group in reader.groups() {
            reader.visit_group(&group, |topic, partition, value| {
                let seq = value.seq();
                if filter.wants(&group, topic) && wanted(seq) {
                    let (group, topic) = (group.clone(), topic.to_owned());
                    values.push(Value { seq, group, topic, partition, value: value.clone() });
                }
            });
        }
        // Those of a batch stay as they are: by topic and partition.
        values.sort_by_key(|value| value.seq);
        values
    }

    fn print(&self, printer: &mut Printer, out: &mut dyn Write) -> io::Result<()> {
        let change = Change::Commit {
            group: &self.group,
            topic: &self.topic,
            partition: self.partition,
            offset: self.value.offset().0,
            leader_epoch: self.value.leader_epoch(),
            timestamp_ms: self.value.commit_timestamp_ms(),
            expire_at_ms: self.value.expire_at_ms(),
            metadata: self.value.metadata(),
        };
        printer.print(self.seq, &change, out)
    }
}

/// Prints lines, in columns that grow with what stands in them.
struct Printer {
    format: Format,
    widths: [usize; TITLES.len()],
}

const TITLES: [&str; 9] = [
    "TIMESTAMP",
    "SEQ",
    "CHANGE",
    "GROUP",
    "TOPIC",
    "PARTITION",
    "OFFSET",
    "LEADER-EPOCH",
    "METADATA",
];

/// No column gets wider for one long name: all lines behind it would be as long.
const MAX_WIDTH: usize = 40;

impl Printer {
    fn new(format: Format, out: &mut dyn Write) -> io::Result<Printer> {
        let mut printer = Printer { format, widths: [24, 8, 6, 16, 16, 0, 8, 0, 0] };
        if format == Format::Text {
            printer.columns(TITLES.map(str::to_owned), out)?;
        }
        Ok(printer)
    }

    fn print(&mut self, seq: Seq, change: &Change<'_>, out: &mut dyn Write) -> io::Result<()> {
        if self.format == Format::Jsonl {
            return writeln!(out, "{}", change::json(Some(seq.get()), change));
        }
        let seq = Cell::count(seq.get());
        let none = || Cell::Missing;
        let cells = match *change {
            Change::Commit {
                group,
                topic,
                partition,
                offset,
                leader_epoch,
                timestamp_ms,
                metadata,
                ..
            } => [
                Cell::Time(timestamp_ms),
                seq,
                "commit".into(),
                group.into(),
                topic.into(),
                Cell::Number(partition.into()),
                Cell::Number(offset),
                Cell::optional(leader_epoch),
                metadata.into(),
            ],
            Change::Delete { group, topic, partition } => {
                let partition = Cell::Number(partition.into());
                let (group, topic) = (group.into(), topic.into());
                let change = "delete".into();
                [none(), seq, change, group, topic, partition, none(), none(), none()]
            }
            Change::DeleteTopic { group, topic } => {
                let (group, topic) = (group.into(), topic.into());
                let change = "delete".into();
                [none(), seq, change, group, topic, none(), none(), none(), none()]
            }
            Change::State { group, name, part, .. } => {
                let (group, name) = (group.into(), name.into());
                let part = Cell::Number(part.into());
                [none(), seq, "state".into(), group, name, part, none(), none(), none()]
            }
            _ => {
                let change = "other".into();
                [none(), seq, change, none(), none(), none(), none(), none(), none()]
            }
        };
        self.columns(cells.map(|cell| cell.for_people()), out)
    }

    fn columns(&mut self, cells: [String; TITLES.len()], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = (*width).max(cell.chars().count().min(MAX_WIDTH));
            line.push_str(&format!("{cell:<width$}  ", width = *width));
        }
        writeln!(out, "{}", line.trim_end())
    }

    /// Says that changes may be missing here.
    fn restarted(&self, after: Seq, last: Seq, out: &mut dyn Write) -> io::Result<()> {
        let (after, last) = (after.get(), last.get());
        match self.format {
            Format::Jsonl => {
                let line = json!({"kind": "restarted", "after_seq": after, "last_seq": last});
                writeln!(out, "{line}")
            }
            Format::Text if last < after => writeln!(
                out,
                "-- the store has lost its end: it goes to seq {last} now, and seq {after} was seen; \
                 commits in between may be missing here, and some of those above are gone"
            ),
            Format::Text => writeln!(
                out,
                "-- the log was compacted before it was read: behind seq {after}, values that \
                 were overwritten meanwhile and deletes may be missing"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pagemark::{Commit, Durability, Key, NextOffset, OffsetStore, Options};
    use tempfile::TempDir;

    use super::*;
    use crate::random::Random;

    fn store() -> (TempDir, OffsetStore) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options::new().background(false).durability(Durability::Buffered);
        let store = options.open(dir.path()).expect("a store");
        (dir, store)
    }

    fn tail(dir: &TempDir, format: Format, filter: Filter) -> (Tail, Vec<u8>) {
        let mut out = Vec::new();
        let reader = OffsetReader::open(dir.path()).expect("a store");
        let printer = Printer::new(format, &mut out).expect("a vector takes everything");
        (Tail::new(reader, filter, printer), out)
    }

    fn commit(store: &OffsetStore, group: &str, topic: &str, offset: i64) {
        let commit = Commit::new(NextOffset(offset)).timestamp_ms(0);
        store.commit(Key::new(group, topic, 0), commit).expect("a commit");
    }

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).expect("lines are text")
    }

    /// Compacts twice behind the back of somebody who follows: the log that comes next is gone.
    fn overtake(store: &OffsetStore) {
        commit(store, "a", "t", 2);
        commit(store, "b", "t", 7);
        store.delete(Key::new("c", "t", 0)).expect("a delete");
        store.compact().expect("a snapshot");
        commit(store, "b", "t", 8);
        commit(store, "b", "t", 9);
        store.compact().expect("a snapshot");
        commit(store, "d", "t", 1);
    }

    #[test]
    fn a_tail_that_was_overtaken_says_so_and_goes_on_with_what_is_left() {
        for (format, filter, expected) in [
            (
                Format::Jsonl,
                Filter::default(),
                &[
                    r#""kind":"restarted","last_seq":8}"#,
                    r#""seq":3,"#,
                    r#""seq":4,"#,
                    r#""kind":"delete","partition":0,"seq":5,"#,
                    r#""offset":9,"partition":0,"seq":7,"#,
                    r#""seq":8,"#,
                ][..],
            ),
            (
                Format::Text,
                Filter { group: Some("b".into()), topic: None },
                &[
                    "TIMESTAMP",
                    "-- the log was compacted before it was read: ",
                    "  4         commit  b",
                    "  7         commit  b",
                ],
            ),
        ] {
            let (dir, store) = store();
            commit(&store, "a", "t", 1);
            commit(&store, "c", "t", 1);
            let (mut tail, mut out) = tail(&dir, format, filter);
            overtake(&store);
            tail.refresh(&mut out).expect("a refresh");
            let text = text(out);
            assert_eq!(text.lines().count(), expected.len(), "{text}");
            for (line, expected) in text.lines().zip(expected) {
                assert!(line.contains(expected), "{text}");
            }
        }
    }

    #[test]
    fn what_is_printed_adds_up_to_what_the_store_holds() {
        let (mut restarts, mut values) = (0, 0);
        for seed in 0..40 {
            let (dir, store) = store();
            let mut random = Random::new(seed);
            let (mut tail, mut out) = tail(&dir, Format::Jsonl, Filter::default());
            let (mut state, mut missed) = (BTreeMap::new(), false);
            for step in 0..120 {
                let group = ["a", "b"][random.below(2)];
                let topic = ["t", "u", "v"][random.below(3)];
                match random.below(12) {
                    0 => drop(store.compact().expect("a snapshot")),
                    1 => drop(store.delete(Key::new(group, topic, 0)).expect("a delete")),
                    2 => drop(store.delete_topic(group, topic).expect("a delete")),
                    3 => drop(store.delete_group(group).expect("a delete")),
                    4 | 5 => {
                        tail.refresh(&mut out).expect("a refresh");
                        let (mut last, lines) = (0, text(std::mem::take(&mut out)));
                        for line in lines.lines() {
                            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                            if line["kind"] == "restarted" {
                                missed = true;
                                restarts += 1;
                                continue;
                            }
                            let seq = line["seq"].as_u64().expect("a seq");
                            assert!(seq >= last, "seed {seed}: {lines}");
                            last = seq;
                            apply(&mut state, &line);
                        }
                        for group in store.groups() {
                            for (key, value) in store.fetch_group(&group) {
                                values += 1;
                                let printed = state.get(&(group.clone(), key.topic().to_owned()));
                                assert_eq!(printed, Some(&value.offset().0), "seed {seed}: {step}");
                            }
                        }
                        let keys: usize =
                            store.groups().iter().map(|group| store.fetch_group(group).len()).sum();
                        // Only deletes that happened behind its back may have been missed.
                        assert!(state.len() == keys || missed, "seed {seed}, step {step}");
                    }
                    _ => commit(&store, group, topic, step),
                }
            }
        }
        assert!(restarts > 20 && values > 1000, "{restarts} restarts, {values} values");
    }

    fn apply(state: &mut BTreeMap<(String, String), i64>, line: &serde_json::Value) {
        let name = |name: &str| line[name].as_str().expect("a name").to_owned();
        let key = (name("group"), name("topic"));
        match line["offset"].as_i64() {
            Some(offset) => state.insert(key, offset),
            None => state.remove(&key),
        };
    }
}
