//! The process that is killed.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use pagemark::{Durability, Options, WritePath};

use crate::plan;

const VARIABLE: &str = "PAGEMARK_TEST_CHILD";

/// What a child is told to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) dir: PathBuf,
    pub(crate) segment_size: u64,
    pub(crate) synced: bool,
    pub(crate) pwrite: bool,
    pub(crate) threads: u64,
    /// Whether one more thread compacts all the time.
    pub(crate) compact: bool,
    /// The number of the first step of each thread.
    pub(crate) first: i64,
}

impl Default for Orders {
    /// One thread of buffered commits on a store with the default options.
    fn default() -> Orders {
        let (synced, pwrite, threads, compact, first) = (false, false, 1, false, 0);
        Orders {
            dir: PathBuf::new(),
            segment_size: 64 << 20,
            synced,
            pwrite,
            threads,
            compact,
            first,
        }
    }
}

impl Orders {
    /// The orders of this process, if it is a child.
    pub(crate) fn from_environment() -> Option<Orders> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut words = text.splitn(7, ' ');
        let mut word = || words.next().unwrap();
        Some(Orders {
            segment_size: word().parse().unwrap(),
            synced: word().parse().unwrap(),
            pwrite: word().parse().unwrap(),
            threads: word().parse().unwrap(),
            compact: word().parse().unwrap(),
            first: word().parse().unwrap(),
            dir: word().into(),
        })
    }

    /// The environment variable that makes a process a child with these orders.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        let Orders { dir, segment_size, synced, pwrite, threads, compact, first } = self;
        let dir = dir.display();
        (VARIABLE, format!("{segment_size} {synced} {pwrite} {threads} {compact} {first} {dir}"))
    }

    /// The options of the store, for both processes.
    pub(crate) fn options(&self) -> Options {
        Options::new()
            .segment_size(self.segment_size)
            .durability(if self.synced { Durability::Synced } else { Durability::Buffered })
            .write_path(if self.pwrite { WritePath::Pwrite } else { WritePath::Auto })
            // Short, so that the flusher is at work whenever the kill comes.
            .flush_interval(Duration::from_millis(2))
    }
}

/// Opens the store and commits until the end comes from outside.
pub(crate) fn run(orders: &Orders) {
    // One write call for each line: a line is in the pipe as a whole or not at all, and nothing that
    // was said waits in a buffer of this process.
    let pipe = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    let say = |line: String| {
        if (&pipe).write_all(format!("\n{line}\n").as_bytes()).is_err() {
            // The parent is gone, and nobody else would end this process.
            std::process::exit(1);
        }
    };
    say("opening".into());
    let store = orders.options().open(&orders.dir).unwrap();
    say(format!("opened {}", store.recovery_report().clean));
    let (store, say) = (&store, &say);
    std::thread::scope(|scope| {
        if orders.compact {
            scope.spawn(move || {
                loop {
                    if let Err(error) = store.compact() {
                        say(format!("failed {error}"));
                        return;
                    }
                }
            });
        }
        for thread in 0..orders.threads {
            scope.spawn(move || {
                for number in orders.first.. {
                    match plan::take(store, thread, number) {
                        Ok(seq) => say(format!("ack {thread} {number} {}", seq.get())),
                        Err(error) => {
                            say(format!("failed {error}"));
                            return;
                        }
                    }
                }
            });
        }
    });
}
