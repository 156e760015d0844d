//! A process that does everything that a store can do once or more, and tells what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pagemark::{
    Commit, CommitBatch, Durability, Key, NextOffset, OffsetReader, OffsetStore, Options, WritePath,
};

/// The first line of a process: what it calls before belongs to the start of any process.
pub(crate) const BEGIN: &str = "begin";
/// How often the store is opened, and how many steps are taken each time.
pub(crate) const PHASES: i64 = 3;
const STEPS: i64 = 24;
const GROUP: &str = "group";
const TOPIC: &str = "a-topic";
/// The partition whose values expire.
const EXPIRING: i32 = 9;
/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Partition to offset.
pub(crate) type State = BTreeMap<i32, i64>;

/// What kind of store it is done with.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) dir: PathBuf,
    pub(crate) mapped: bool,
    /// Whether the store has threads of its own.
    pub(crate) background: bool,
}

impl Orders {
    pub(crate) fn to_args(&self) -> [String; 3] {
        let Orders { dir, mapped, background } = self;
        [dir.display().to_string(), mapped.to_string(), background.to_string()]
    }

    pub(crate) fn from_args(args: &[String]) -> Option<Orders> {
        let [dir, mapped, background] = args else { return None };
        let (mapped, background) = (mapped.parse().ok()?, background.parse().ok()?);
        Some(Orders { dir: dir.into(), mapped, background })
    }

    pub(crate) fn options(&self) -> Options {
        Options::new()
            .segment_size(16 << 10)
            .durability(Durability::Buffered)
            .background(self.background)
            // Long, so that how often it flushes does not depend on how long things take.
            .flush_interval(PATIENCE)
            .write_path(if self.mapped { WritePath::Mapped } else { WritePath::Pwrite })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub(crate) fn backup(&self, phase: i64) -> PathBuf {
        self.dir.join(format!("backup-{phase}"))
    }

    pub(crate) fn salvaged(&self) -> PathBuf {
        self.dir.join("salvaged")
    }
}

/// What a step makes of a state.
pub(crate) fn apply(state: &mut State, step: i64) {
    let partition = (step % 5) as i32;
    match step % 8 {
        5 => {
            state.remove(&partition);
            state.insert(partition + 1, step);
        }
        6 => {
            state.insert(EXPIRING, step);
        }
        7 => {
            state.remove(&EXPIRING);
        }
        _ => {
            state.insert(partition, step);
            state.insert(partition + 1, step);
        }
    }
}

fn take(store: &OffsetStore, step: i64) -> pagemark::Result<()> {
    let durability = if step % 2 == 0 { Durability::Synced } else { Durability::Buffered };
    let partition = (step % 5) as i32;
    // Long, so that some steps fill a segment.
    let metadata = "m".repeat(900);
    let commit = Commit::new(NextOffset(step)).metadata(&metadata);
    let mut batch = CommitBatch::new(GROUP);
    match step % 8 {
        5 => batch.delete(TOPIC, partition).commit(TOPIC, partition + 1, commit),
        6 => batch.commit(TOPIC, EXPIRING, commit.expire_at_ms(1)),
        7 => return store.expire().map(drop),
        _ => batch.commit(TOPIC, partition, commit).commit(TOPIC, partition + 1, commit),
    };
    store.commit_batch_with(&batch, durability).map(drop)
}

/// What a store shows.
pub(crate) fn observe(store: &OffsetStore) -> State {
    let values = store.fetch_group(GROUP);
    values.into_iter().map(|(key, value)| (key.partition(), value.offset().0)).collect()
}

/// Goes on after each error, as far as that is possible.
pub(crate) fn play(orders: &Orders) {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("it hangs");
        std::process::exit(97);
    });
    println!("{BEGIN}");
    for phase in 0..PHASES {
        // Once more, as anybody would.
        let open = || tell("open", orders.options().open(orders.store()));
        if let Some(store) = open().or_else(open) {
            play_phase(orders, store, phase);
        }
    }
    tell("verify", pagemark::verify(orders.store()));
    if let Some(report) = tell("salvage", pagemark::salvage(orders.store(), orders.salvaged())) {
        let is_whole = report.gaps.is_empty()
            && report.possibly_old + report.lost + report.changes_lost == 0
            && report.unreadable.is_empty();
        println!("salvaged {is_whole}");
    }
}

fn play_phase(orders: &Orders, store: OffsetStore, phase: i64) {
    let reader = tell("follow", OffsetReader::open(orders.store()));
    for step in phase * STEPS..(phase + 1) * STEPS {
        match take(&store, step) {
            Ok(()) => println!("did {step} ok"),
            Err(error) => println!("did {step} {:?} {error}", error.kind()),
        }
        match step % STEPS {
            9 => drop(tell("sync", store.sync())),
            12 => drop(tell("compact", store.compact())),
            18 => drop(tell("backup", store.backup(orders.backup(phase)))),
            _ => {}
        }
        if let Some(reader) = &reader
            && step % 6 == 0
        {
            follow(reader, &store);
        }
    }
    tell("verify", pagemark::verify(orders.store()));
    tell("close", store.close());
}

fn follow(reader: &OffsetReader, store: &OffsetStore) {
    if tell("refresh", reader.refresh()).is_none() {
        return;
    }
    let values = reader.fetch_group(GROUP).into_iter();
    let shown: State = values.map(|(key, value)| (key.partition(), value.offset().0)).collect();
    let expected = observe(store);
    if shown != expected {
        println!("wrong: a reader shows {shown:?} and the store {expected:?}");
    }
}

fn tell<T>(what: &str, result: pagemark::Result<T>) -> Option<T> {
    match result {
        Ok(value) => {
            println!("op {what} ok");
            Some(value)
        }
        Err(error) => {
            println!("op {what} {:?} {error}", error.kind());
            None
        }
    }
}

/// Looks at a store that the process left: it can be opened, shows one of the states, and takes
/// commits.
pub(crate) fn check(options: &Options, dir: &Path, states: &[State]) -> Result<State, String> {
    let store = options.open(dir).map_err(|error| format!("cannot be opened: {error}"))?;
    let found = observe(&store);
    if !states.contains(&found) {
        return Err(format!("{} shows {found:?} and may show one of {states:?}", dir.display()));
    }
    let more = store.commit(Key::new("one", "more", 0), NextOffset(1));
    more.map_err(|error| format!("takes no commit: {error}"))?;
    store.close().map_err(|error| format!("cannot be closed: {error}"))?;
    let report = pagemark::verify(dir).map_err(|error| format!("cannot be verified: {error}"))?;
    match report.findings.is_empty() && report.closed {
        true => Ok(found),
        false => Err(format!("verify finds {:#?}", report.findings)),
    }
}
