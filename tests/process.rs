//! A process that commits is killed, again and again on the same directory, while others of its
//! threads commit, flush and recover: `SIGKILL`, a real disk, the real engine with its threads.
//!
//! The test program starts itself as the child, which writes one line for each commit that returned.
//! The parent kills it after some number of lines, reads what is left in the pipe, and looks at what
//! the next open shows.

mod support;

#[path = "process/child.rs"]
mod child;
#[path = "process/parent.rs"]
mod parent;
#[path = "process/plan.rs"]
mod plan;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use child::Orders;
use pagemark::{Key, NextOffset};
use parent::Campaign;

/// How many kills there are in all campaigns together. More of them make a longer run.
const KILLS: &str = "PAGEMARK_TEST_KILLS";
const CAMPAIGNS: u64 = 8;

/// The kills of one campaign.
fn kills() -> u64 {
    std::env::var(KILLS).map_or(480, |kills| kills.parse().unwrap()) / CAMPAIGNS
}

/// Not a test of its own: what a child runs. Without orders there is nothing to do.
#[test]
fn the_child_of_the_other_tests() {
    if let Some(orders) = Orders::from_environment() {
        child::run(&orders);
    }
}

fn small_segments() -> Orders {
    Orders { segment_size: 16 << 10, ..Orders::default() }
}

#[test]
fn one_thread_of_buffered_commits_loses_nothing_that_returned() {
    Campaign::new(1, small_segments()).run(kills());
}

#[test]
fn several_threads_of_buffered_commits_lose_nothing_that_returned() {
    Campaign::new(2, Orders { threads: 4, ..small_segments() }).run(kills());
}

#[test]
fn one_thread_of_synced_commits_loses_nothing_that_returned() {
    Campaign::new(3, Orders { synced: true, ..small_segments() }).run(kills());
}

#[test]
fn several_threads_of_synced_commits_lose_nothing_that_returned() {
    Campaign::new(4, Orders { threads: 4, synced: true, ..small_segments() }).run(kills());
}

#[test]
fn a_log_that_is_written_by_calls_loses_nothing_that_returned() {
    Campaign::new(5, Orders { threads: 3, pwrite: true, ..small_segments() }).run(kills());
}

#[test]
fn compactions_all_the_time_lose_nothing_and_leave_no_file() {
    Campaign::new(7, Orders { threads: 2, compact: true, ..small_segments() }).run(kills());
    let synced = Orders { threads: 2, compact: true, synced: true, ..small_segments() };
    Campaign::new(8, synced).run(kills());
}

#[test]
fn a_store_with_default_options_loses_nothing_that_returned() {
    Campaign::new(6, Orders { threads: 2, ..Orders::default() }).run(kills());
}

#[test]
fn a_closed_store_is_free_at_once_although_other_threads_start_processes() {
    let temp = tempfile::tempdir().unwrap();
    let orders = Orders { dir: temp.path().join("store"), ..small_segments() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Between fork and exec each new process holds a copy of every open file, locks included.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let opened = (0..100).try_for_each(|round| {
            let store = orders.options().open(&orders.dir)?;
            store.commit(Key::new("g", "t", 0), NextOffset(round))?;
            store.close()
        });
        // Before anything may panic: the scope ends when the other thread does.
        done.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}
