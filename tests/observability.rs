//! Events and metrics, as a subscriber and a recorder of the smallest kind get them.

mod support;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use pagemark::testkit::{Op, SimDisk};
use pagemark::{NextOffset, OffsetStore, Options};
use support::{Player, Step, history, options};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};

/// Keeps the events of one thread.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<(Level, String, String)>>>);

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.message, "{value:?}").unwrap(),
            name => write!(self.fields, "{name}={value:?} ").unwrap(),
        }
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "pagemark"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("nothing that a span would have to measure")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = *event.metadata().level();
        self.0.lock().unwrap().push((level, text.message, text.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Events {
    /// Runs `body` and returns what it told, without the part of the message that explains.
    fn of(body: impl FnOnce()) -> Vec<(Level, String, String)> {
        let events = Events::default();
        tracing::subscriber::with_default(events.clone(), body);
        let mut told = events.0.lock().unwrap().clone();
        for (_, message, _) in &mut told {
            message.truncate(message.find([':', ',']).unwrap_or(message.len()));
        }
        told
    }
}

/// The level and message of each event that is told at `levels`.
fn brief(events: &[(Level, String, String)]) -> Vec<(Level, &str)> {
    events.iter().map(|(level, message, _)| (*level, message.as_str())).collect()
}

/// Adds up what it gets.
#[derive(Clone, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

struct Sum(Sums, String);

impl Sum {
    fn add(&self, value: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("stores add up");
    }
}

impl GaugeFn for Sum {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        assert_eq!(self.1, "pagemark_build_info", "stores add up");
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl HistogramFn for Sum {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(key.as_str().ends_with("_total") && unit.is_some(), "{key:?}");
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(!key.as_str().ends_with("_total") && unit.is_some(), "{key:?}");
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(key.as_str().ends_with("_seconds") && unit == Some(Unit::Seconds), "{key:?}");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Sum(self.clone(), key.name().into())))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Sum(self.clone(), key.name().into())))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Sum(self.clone(), key.name().into())))
    }
}

impl Sums {
    fn get(&self, name: &str) -> u64 {
        let sums = self.0.lock().unwrap();
        sums.get(&format!("pagemark_{name}")).copied().unwrap_or(0.0) as u64
    }
}

/// Has the tests come one after the other. While there is one subscriber, a place that tells something is
/// asked of the thread that comes by first, and is silent for all if that thread listens to nothing.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn commit(store: &OffsetStore, offset: i64) -> pagemark::Result<()> {
    store.commit(pagemark::Key::new("g", "t", 0), NextOffset(offset)).map(|_| ())
}

fn open(options: &Options, disk: &SimDisk) -> OffsetStore {
    options.open_in(disk.dir()).unwrap()
}

#[test]
fn the_life_of_a_store_is_told() {
    let _alone = alone();
    let (options, disk) = (options(1), SimDisk::new());
    let told = Events::of(|| {
        let store = open(&options, &disk);
        commit(&store, 1).unwrap();
        store.compact().unwrap();
        store.compact().unwrap();
        store.close().unwrap();
    });
    let expected = [
        (Level::INFO, "store opened"),
        (Level::DEBUG, "segment begun"),
        (Level::DEBUG, "compaction begun"),
        (Level::INFO, "compaction finished"),
        (Level::INFO, "store closed"),
    ];
    assert_eq!(brief(&told), expected, "{told:#?}");
    assert!(told[0].2.contains("created=true clean=true"), "{told:#?}");
    assert!(told[3].2.contains("covered_seq=1 keys=1"), "{told:#?}");
    assert!(told.iter().all(|(_, _, fields)| fields.starts_with("path=")), "{told:#?}");
}

#[test]
fn a_torn_tail_is_a_warning_and_a_failed_compaction_an_error() {
    let _alone = alone();
    let (options, disk) = (options(2), SimDisk::new());
    let store = open(&options, &disk);
    commit(&store, 1).unwrap();
    store.sync().unwrap();
    (2..40).for_each(|offset| commit(&store, offset).unwrap());
    // Of what was not synced some survives, with holes in it.
    let torn = (0..100).map(|seed| disk.power_cut(seed)).find_map(|disk| {
        let mut cut = None;
        let told = Events::of(|| cut = open(&options, &disk).recovery_report().cut.clone());
        cut.map(|cut| (told, cut))
    });
    let (told, cut) = torn.expect("some power cut leaves a torn tail");
    assert_eq!(
        brief(&told)[..2],
        [(Level::INFO, "store opened"), (Level::WARN, "torn tail cut off"),]
    );
    assert!(told[1].2.contains(&format!("position={} bytes={}", cut.position, cut.bytes)));

    let told = Events::of(|| {
        disk.fail_nth(Op::Rename, 1, ErrorKind::Other);
        store.compact().unwrap_err();
    });
    let expected = [
        (Level::DEBUG, "segment begun"),
        (Level::DEBUG, "compaction begun"),
        (Level::ERROR, "compaction failed"),
    ];
    assert_eq!(brief(&told), expected, "{told:#?}");
}

#[test]
fn a_failed_flush_is_told_once_and_a_close_that_fails_too() {
    let _alone = alone();
    let disk = SimDisk::new();
    let store = open(&options(3), &disk);
    let told = Events::of(|| {
        commit(&store, 1).unwrap();
        disk.fail_nth(Op::SyncFile, 0, ErrorKind::Other);
        for _ in 0..3 {
            store.sync().unwrap_err();
            commit(&store, 2).unwrap_err();
        }
        store.close().unwrap_err();
    });
    let expected = [(Level::ERROR, "a write failed"), (Level::ERROR, "store closed")];
    assert_eq!(brief(&told), expected, "{told:#?}");
    assert!(told[0].2.contains("could not flush"), "{told:#?}");
}

#[test]
fn metrics_are_the_stats_of_all_stores() {
    let _alone = alone();
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        let mut players: Vec<Player> =
            (0..3).map(|seed| Player::new(SimDisk::new(), options(seed))).collect();
        let (mut commits, mut deletes, mut flushes) = (0, 0, 0);
        for (seed, player) in (600..).zip(&mut players) {
            for step in history(seed, 60) {
                // What a store counts begins anew when it is opened.
                if let (Step::Reopen, Some(store)) = (&step, &player.store) {
                    let stats = store.stats();
                    (commits, deletes) = (commits + stats.commits, deletes + stats.deletes);
                    // Closing flushes once more.
                    flushes += stats.flush_latency.count() + 1;
                }
                player.play(&[step]).unwrap();
            }
        }
        let stores = players.iter().map(|player| player.store.as_ref().unwrap());
        let stats: Vec<_> = stores.map(OffsetStore::stats).collect();
        let sum = |number: fn(&pagemark::Stats) -> u64| stats.iter().map(number).sum::<u64>();
        assert_eq!(sums.get("offset_commits_total"), commits + sum(|s| s.commits));
        assert_eq!(sums.get("offset_deletions_total"), deletes + sum(|s| s.deletes));
        let flushes = flushes + sum(|s| s.flush_latency.count());
        assert_eq!(sums.get("fsync_duration_seconds"), flushes);
        assert_eq!(sums.get("offsets"), sum(|s| s.keys));
        assert_eq!(sums.get("groups"), sum(|s| s.groups));
        assert_eq!(sums.get("segments"), sum(|s| s.segments));
        assert_eq!(sums.get("live_bytes"), sum(|s| s.live_bytes));
        assert_eq!(sums.get("build_info"), 1);
        assert!(sums.get("offsets") > 0 && commits > 0 && deletes > 0);
        assert!(sums.get("compactions_total") == sums.get("compaction_duration_seconds"));
        assert!(sums.get("compactions_total") > 3);
        drop(players);
        for gauge in ["offsets", "groups", "segments", "live_bytes", "dead_bytes"] {
            assert_eq!(sums.get(gauge), 0, "{gauge} of stores that are closed");
        }
        assert!(sums.get("offset_commits_total") > 0, "counters stay");
    });
}
