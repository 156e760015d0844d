//! Whatever the program reads a store from, it prints the same: the store itself, open or closed, what
//! the death of its process leaves, a backup, what is salvaged, and what is imported again.

use std::fs;

use pagemark::{Commit, CommitBatch, Durability, Key, NextOffset, OffsetStore, Options};
use serde_json::{Value, json};

use crate::Place;

const GROUPS: [&str; 3] = ["billing", "größe,\nin two lines", "\"quoted\""];
const TOPICS: [&str; 4] = ["t", "orders-of-the-european-shop", "a topic", "\u{1}"];

/// Numbers that look random, the same every time.
struct Lots(u64);

impl Lots {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % n
    }

    fn number(&mut self) -> i64 {
        [0, 1, 42, i64::MAX][self.below(4) as usize] - self.below(2) as i64
    }
}

fn open(place: &Place) -> OffsetStore {
    let options = Options::new().segment_size(16 << 10).background(false);
    options.durability(Durability::Buffered).open(place.path("s")).expect("a store")
}

/// Commits, deletes, compacts and reopens.
fn play(place: &Place, mut store: OffsetStore, lots: &mut Lots) -> OffsetStore {
    for _ in 0..60 {
        let group = GROUPS[lots.below(3) as usize];
        let topic = TOPICS[lots.below(4) as usize];
        match lots.below(20) {
            0 => assert!(store.delete_group(group).is_ok()),
            1 => assert!(store.delete_topic(group, topic).is_ok()),
            2 => assert!(store.compact().is_ok()),
            3 => {
                store.close().expect("a close");
                store = open(place);
            }
            _ => {
                let mut batch = CommitBatch::new(group);
                for _ in 0..1 + lots.below(5) {
                    let topic = TOPICS[lots.below(4) as usize];
                    let partition = [0, 1, 70, i32::MAX][lots.below(4) as usize];
                    let metadata = "m\n\"☃,".repeat([0, 0, 1, 100][lots.below(4) as usize]);
                    let mut commit = Commit::new(NextOffset(lots.number().max(0)));
                    commit = commit.metadata(&metadata).timestamp_ms(lots.number());
                    if lots.below(2) == 0 {
                        commit = commit.leader_epoch(lots.below(1 << 31) as i32);
                    }
                    if lots.below(3) == 0 {
                        commit = commit.expire_at_ms(lots.number());
                    }
                    batch.commit(topic, partition, commit);
                }
                batch.delete(topic, 1);
                store.commit_batch(&batch).expect("a commit");
            }
        }
    }
    store
}

/// What the lines of an export have to say, as JSON and as the four columns of the CSV.
fn expected(store: &OffsetStore) -> (Vec<Value>, Vec<Vec<String>>) {
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for group in store.groups() {
        for (key, value) in store.fetch_group(&group) {
            let (topic, partition, offset) = (key.topic(), key.partition(), value.offset().0);
            let mut line = json!({
                "group": group, "topic": topic, "partition": partition, "offset": offset,
                "leader_epoch": value.leader_epoch(), "metadata": value.metadata(),
                "timestamp_ms": value.commit_timestamp_ms(),
            });
            if let Some(expire_at_ms) = value.expire_at_ms() {
                line["expire_at_ms"] = expire_at_ms.into();
            }
            lines.push(line);
            let (partition, offset) = (partition.to_string(), offset.to_string());
            rows.push(vec![group.clone(), topic.to_owned(), partition, offset]);
        }
    }
    (lines, rows)
}

/// Reads CSV in which every quote is where it belongs.
pub(crate) fn read_csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => {
                fields.last_mut().expect("a field").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            '\n' if !quoted => {
                rows.push(std::mem::replace(&mut fields, vec![String::new()]));
            }
            _ => fields.last_mut().expect("a field").push(character),
        }
    }
    rows
}

/// Copies the files of a store at which nobody writes: what the death of its process would leave.
fn copy_files(place: &Place, from: &str, to: &str) {
    fs::create_dir(place.path(to)).expect("a directory");
    for entry in fs::read_dir(place.path(from)).expect("a store") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), place.path(to).join(entry.file_name())).expect("a copy");
    }
}

#[test]
fn whatever_is_exported_and_imported_is_what_the_store_shows() {
    let (mut exports, mut offsets) = (0, 0);
    for seed in 0..4 {
        let place = Place::new();
        let mut lots = Lots(seed);
        let mut store = open(&place);
        for round in 0..2 {
            store = play(&place, store, &mut lots);
            let (lines, rows) = expected(&store);
            let json = place.run("export --dir s --format jsonl").ok();
            let printed = json.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            assert_eq!(printed.collect::<Vec<Value>>(), lines, "seed {seed}");
            let csv = place.run("export --dir s").ok();
            assert_eq!(read_csv(&csv), rows, "seed {seed}");
            copy_files(&place, "s", &format!("died{round}"));
            store.close().expect("a close");

            place.run(&format!("salvage --from died{round} --to rescued{round}")).ok();
            place.run("backup --dir s --to backup").ok();
            place.run(&format!("salvage --from s --to saved{round}")).ok();
            let files = [("jsonl", &json), ("csv", &csv)];
            for (format, text) in files {
                let file = place.file(&format!("all.{format}"), text);
                place.run(&format!("import --dir {format}{round} {file}")).ok();
            }
            for name in ["died", "rescued", "saved", "jsonl", "csv"] {
                let name = format!("{name}{round}");
                assert_eq!(place.run(&format!("export --dir {name}")).ok(), csv, "{seed} {name}");
            }
            for name in ["s", "backup"]
                .map(str::to_owned)
                .into_iter()
                .chain(["died", "rescued", "saved", "jsonl"].map(|name| format!("{name}{round}")))
            {
                let again = place.run(&format!("export --dir {name} --format jsonl")).ok();
                assert_eq!(again, json, "{seed} {name}");
                place.run(&format!("verify --dir {name}")).ok();
                exports += 1;
                offsets += lines.len();
            }
            store = open(&place);
            let key = Key::new("billing", "t", 0);
            store.commit(key, NextOffset(round)).expect("a commit");
        }
    }
    println!("{exports} exports of {offsets} offsets");
    assert!(exports == 4 * 2 * 6 && offsets > 1_000, "{exports} exports of {offsets} offsets");
}
