//! What the plots and the bars need, and no more: fewer engines, since each of them takes its time.

use crate::args::Args;
use crate::table::Table;
use crate::{Measure, aged, commits, latency, replay, steady};

/// The parts of a report, in the order in which they are made.
pub const PARTS: [(&str, Measure); 10] = [
    ("buffered", buffered),
    ("batches", batches),
    ("durable", durable),
    ("pipelined", pipelined),
    ("fetch", fetch),
    ("keys", keys),
    ("history", history),
    ("replay", replay::replay),
    ("latency", latency),
    ("steady", steady),
];

/// The rivals where time allows no more: the most used one, and the fastest.
const RIVALS: [&str; 3] = ["pagemark", "rocksdb", "lmdb-writemap"];

fn buffered(args: &Args) -> Vec<Table> {
    let raw = ["raw-copy", "raw-group", "pagemark", "pagemark-slot"];
    let peers = ["rocksdb", "lmdb-writemap", "redb", "fjall", "sqlite"];
    commits::buffered(&args.only(&[&raw, &peers[..]].concat()))
}

fn batches(args: &Args) -> Vec<Table> {
    let engines = ["raw-copy", "raw-pwrite", "pagemark", "rocksdb", "lmdb", "lmdb-writemap"];
    commits::batches(&args.only(&engines))
}

fn durable(args: &Args) -> Vec<Table> {
    let raw = ["raw-pwrite", "raw-mapped", "pagemark"];
    let peers = ["rocksdb", "fjall-queue", "fjall", "lmdb"];
    commits::durable(&args.only(&[&raw, &peers[..]].concat()))
}

fn pipelined(args: &Args) -> Vec<Table> {
    let engines = ["raw-pwrite", "raw-mapped", "pagemark", "rocksdb", "lmdb-writemap", "fjall"];
    commits::pipelined(&args.only(&engines))
}

fn fetch(args: &Args) -> Vec<Table> {
    let engines = ["raw-group", "pagemark", "pagemark-slot", "rocksdb", "lmdb", "redb", "fjall"];
    commits::fetch(&args.only(&engines))
}

fn keys(args: &Args) -> Vec<Table> {
    aged::keys(&args.only(&RIVALS))
}

fn history(args: &Args) -> Vec<Table> {
    aged::history(&args.only(&RIVALS))
}

fn latency(args: &Args) -> Vec<Table> {
    let mut args = args.only(&RIVALS);
    // A round has millions of commits, and takes a minute.
    args.rounds = 1;
    latency::latency(&args)
}

fn steady(args: &Args) -> Vec<Table> {
    steady::steady(&args.only(&RIVALS))
}
