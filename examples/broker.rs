//! A broker's commit path: requests are committed without waiting, and acknowledged when they are
//! durable, many with one flush.
//!
//! ```sh
//! cargo run --release --example broker -- /tmp/broker-example
//! ```

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use pagemark::{CommitBatch, Durability, NextOffset, OffsetStore, Options, Seq};

/// An answer that waits for its commit to be durable.
struct Pending {
    connection: usize,
    seq: Seq,
}

/// Sends answers in the order of their commits. One wait covers all that are queued behind it.
fn acknowledge(store: &OffsetStore, queue: Receiver<Pending>) -> pagemark::Result<(u64, u64)> {
    let (mut answers, mut waits) = (0, 0);
    let mut per_connection = [0_u64; 4];
    for pending in queue {
        if store.durable_seq() < pending.seq {
            store.wait_durable(pending.seq, None)?;
            waits += 1;
        }
        // Here the broker would write its response to the connection.
        per_connection[pending.connection] += 1;
        answers += 1;
    }
    assert!(per_connection.iter().all(|count| *count > 0));
    Ok((answers, waits))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: broker DIR")?;
    let store = Options::new().durability(Durability::Buffered).open(&dir)?;
    let (sender, queue) = sync_channel::<Pending>(10_000);
    let (answers, waits) = thread::scope(|threads| {
        let acknowledger = threads.spawn(|| acknowledge(&store, queue));
        for connection in 0..4 {
            let (store, sender) = (&store, sender.clone());
            threads.spawn(move || -> pagemark::Result<()> {
                let mut request = CommitBatch::new(&format!("group-{connection}"));
                for offset in 0..5_000 {
                    request.clear();
                    for partition in 0..8 {
                        request.commit("orders", partition, NextOffset(offset));
                    }
                    let seq = store.commit_batch(&request)?.seq();
                    if sender.send(Pending { connection, seq }).is_err() {
                        // The acknowledger has failed and says why.
                        break;
                    }
                }
                Ok(())
            });
        }
        drop(sender);
        acknowledger.join().expect("the acknowledger does not panic")
    })?;
    println!("{answers} requests of 8 commits each, {waits} waits for a flush");
    store.close()?;
    Ok(())
}
