//! What the project aims at, and how results stand to it.

use crate::engines::Role;
use crate::latency::CASES;
use crate::results::Results;
use crate::table::{Quietness, Table, print_aligned, short};

/// The part of the measurements that may be disturbed if they are to decide about anything. Between
/// other programs every engine waits for the processor, and all look alike.
const MAX_DISTURBED: f64 = 0.25;

/// Which side of the bar is the good one.
#[derive(Clone, Copy)]
enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// What one aim takes from the results, and from the table that it is about.
type Measured = dyn Fn(&Results, &Table) -> Option<f64>;

/// One aim.
struct Bar {
    what: String,
    aim: Aim,
    /// The table that it is about.
    table: &'static str,
    measured: Box<Measured>,
}

/// Prints a line for each bar.
pub fn print(results: &Results) {
    let mut rows = vec![["bar", "aim", "measured", ""].map(str::to_owned).to_vec()];
    for bar in bars() {
        let table = results.table(bar.table);
        let measured = table.and_then(|table| (bar.measured)(results, table));
        let (sign, aim) = match bar.aim {
            Aim::AtLeast(aim) => (">=", aim),
            Aim::AtMost(aim) => ("<=", aim),
        };
        let verdict = match (measured, table) {
            (Some(_), Some(table)) if is_disturbed(table.quietness) => "UNKNOWN: busy machine",
            (Some(measured), _) if bar.aim.is_met_by(measured) => "met",
            (Some(_), _) => "MISSED",
            (None, _) => "not measured",
        };
        let told = measured.map_or("-".to_owned(), short);
        rows.push(vec![bar.what, format!("{sign} {}", short(aim)), told, verdict.to_owned()]);
    }
    println!("\n## Bars\n");
    print_aligned(&rows);
}

fn is_disturbed(Quietness { measured, disturbed }: Quietness) -> bool {
    disturbed as f64 > MAX_DISTURBED * measured as f64
}

impl Aim {
    fn is_met_by(self, measured: f64) -> bool {
        match self {
            Aim::AtLeast(aim) => measured >= aim,
            Aim::AtMost(aim) => measured <= aim,
        }
    }
}

/// Pagemark's speed as a multiple of an engine's.
fn over(table: &Table, other: &str, column: &str) -> Option<f64> {
    table.speed("pagemark", other, column)
}

/// Pagemark's speed as a multiple of the fastest peer's.
fn over_fastest(table: &Table, role: Role, column: &str) -> Option<f64> {
    over(table, table.fastest(role, column)?, column)
}

/// The median of one cell through that of another.
fn quotient(table: &Table, of: (&str, &str), by: (&str, &str)) -> Option<f64> {
    Some(table.median(of.0, of.1)? / table.median(by.0, by.1)?)
}

fn median(table: &Table, column: &str) -> Option<f64> {
    table.median("pagemark", column)
}

fn bars() -> Vec<Bar> {
    [buffered(), synced(), reads(), sizes(), over_time()].into_iter().flatten().collect()
}

fn bar(
    what: impl Into<String>,
    aim: Aim,
    table: &'static str,
    measured: impl Fn(&Table) -> Option<f64> + 'static,
) -> Bar {
    let measured = Box::new(move |_: &Results, table: &Table| measured(table));
    Bar { what: what.into(), aim, table, measured }
}

fn buffered() -> Vec<Bar> {
    use Aim::{AtLeast, AtMost};
    let table = "buffered";
    let mut bars = vec![
        bar("buffered, 1 thread, over the fastest peer", AtLeast(4.0), table, |t| {
            over_fastest(t, Role::Peer, "1")
        }),
        bar("buffered, 1 thread, over RocksDB", AtLeast(15.0), table, |t| over(t, "rocksdb", "1")),
    ];
    for threads in ["2", "4"] {
        let what = format!("buffered, {threads} threads, over 1 thread");
        bars.push(bar(what, AtLeast(1.0), table, move |t| {
            quotient(t, ("pagemark", threads), ("pagemark", "1"))
        }));
        let what = format!("buffered, {threads} threads, over the fastest peer");
        bars.push(bar(what, AtLeast(5.0), table, move |t| over_fastest(t, Role::Peer, threads)));
    }
    bars.extend([
        bar("buffered by slot: times a checksum and a copy", AtMost(4.0), table, |t| {
            t.speed("raw-copy", "pagemark-slot", "1")
        }),
        bar("buffered by slot, over by names", AtLeast(2.0), table, |t| {
            t.speed("pagemark-slot", "pagemark", "1")
        }),
        bar("batch of 100, over the fastest peer", AtLeast(5.0), "batches", |t| {
            over_fastest(t, Role::Peer, "100")
        }),
    ]);
    bars
}

fn synced() -> Vec<Bar> {
    use Aim::{AtLeast, AtMost};
    let (rates, p99) = ("durable", "durable-p99");
    let mut bars = vec![
        bar("synced, 1 thread, of pwrite and fdatasync", AtLeast(0.95), rates, |t| {
            over(t, "raw-pwrite", "1")
        }),
        bar("synced, 1 thread: p99 as a multiple of theirs", AtMost(1.3), p99, |t| {
            t.speed("raw-pwrite", "pagemark", "1")
        }),
    ];
    for threads in ["16", "64", "256"] {
        let what = |other| format!("synced, {threads} threads, over {other}");
        bars.extend([
            bar(what("RocksDB"), AtLeast(2.5), rates, move |t| over(t, "rocksdb", threads)),
            bar(what("the raw leader and its followers"), AtLeast(1.0), rates, move |t| {
                over_fastest(t, Role::Raw, threads)
            }),
            bar(what("fjall behind a queue"), AtLeast(1.0), rates, move |t| {
                over(t, "fjall-queue", threads)
            }),
        ]);
    }
    bars.extend([
        bar("synced, 64 threads: p99 as a part of RocksDB's", AtMost(0.5), p99, |t| {
            t.speed("rocksdb", "pagemark", "64")
        }),
        bar("pipelined, 1,000 in flight: commits/s", AtLeast(1e6), "pipelined", |t| {
            median(t, "1 k")
        }),
        bar("synced batch of 100, of pwrite and fdatasync", AtLeast(0.9), "synced-batches", |t| {
            over(t, "raw-pwrite", "100")
        }),
    ]);
    bars
}

fn reads() -> Vec<Bar> {
    use Aim::{AtLeast, AtMost};
    let table = "fetch";
    vec![
        bar("fetch by names: part of LMDB's time", AtMost(0.25), table, |t| {
            t.speed("lmdb", "pagemark", "1 thread")
        }),
        bar("fetch beside a writer, as a multiple of alone", AtMost(1.5), table, |t| {
            quotient(t, ("pagemark", "beside a writer"), ("pagemark", "1 thread"))
        }),
        bar("fetch with 2 threads, over 1 thread", AtLeast(1.7), table, |t| {
            quotient(t, ("pagemark", "1 thread"), ("pagemark", "2 threads"))
        }),
        bar("fetch by slot, ns, any of 100 k keys", AtMost(20.0), table, |t| {
            t.median("pagemark-slot", "1 thread")
        }),
        bar("fetch by slot, ns, any of 100 keys", AtMost(20.0), table, |t| {
            t.median("pagemark-slot", "of 100 keys")
        }),
        bar("100 offsets of a group: part of LMDB's time", AtMost(0.5), table, |t| {
            t.speed("lmdb", "pagemark", "group of 100")
        }),
    ]
}

fn sizes() -> Vec<Bar> {
    use Aim::{AtLeast, AtMost};
    let most_memory = |results: &Results, _: &Table| {
        let tables = ["keys-memory", "keys-memory-compacted", "keys-memory-opened"];
        let of = |name| median(results.table(name)?, "10 M");
        tables.into_iter().map(of).try_fold(0.0_f64, |most, one| Some(most.max(one?)))
    };
    vec![
        bar("open of 10 M keys, closed and cached, ms", AtMost(150.0), "keys-open-cached", |t| {
            median(t, "10 M")
        }),
        bar("replay at 100 k keys, records/s of a core", AtLeast(30e6), "replay", |t| {
            t.median("100 k keys, killed", "per core")
        }),
        Bar {
            what: "memory of 10 M keys at most, bytes a key".to_owned(),
            aim: AtMost(48.0),
            table: "keys-memory",
            measured: Box::new(most_memory),
        },
        bar(
            "disk of 10 M keys, compacted, bytes a key",
            AtMost(48.0),
            "keys-disk-compacted",
            |t| median(t, "10 M"),
        ),
    ]
}

fn over_time() -> Vec<Bar> {
    use Aim::{AtLeast, AtMost};
    let mut bars = vec![
        bar("open after 10 M commits, closed, ms", AtMost(5.0), "history-open-closed", |t| {
            median(t, "10 M")
        }),
        bar("open after 10 M commits, killed, ms", AtMost(50.0), "history-open-killed", |t| {
            median(t, "10 M")
        }),
        bar("10 M commits: bytes to the device for each", AtMost(64.0), "history-device", |t| {
            median(t, "10 M")
        }),
        bar("p99.9 while compacting, as a multiple of without", AtMost(2.0), "latency", |t| {
            quotient(t, (CASES[0], "p99.9"), (CASES[1], "p99.9"))
        }),
        bar("steady state: rate at the end, of the beginning", AtLeast(0.95), "steady", |t| {
            median(t, "rate")
        }),
    ];
    for what in ["memory", "disk"] {
        let title = format!("steady state: {what} at the end, of the beginning");
        bars.push(bar(title, AtMost(1.1), "steady", move |t| median(t, what)));
    }
    bars
}
