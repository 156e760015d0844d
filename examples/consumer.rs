//! A consumer that resumes where it left off, however it was stopped.
//!
//! Run it several times, and kill it in the middle if you like:
//!
//! ```sh
//! cargo run --example consumer -- /tmp/consumer-example
//! ```

use pagemark::{Durability, Key, LastProcessed, NextOffset, OffsetStore};

/// Stands for the log that the records come from.
fn record(partition: i32, offset: i64) -> Option<String> {
    (offset < 1_000).then(|| format!("record {offset} of partition {partition}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: consumer DIR")?;
    let store = OffsetStore::open(&dir)?;
    if let Some(cut) = &store.recovery_report().cut {
        eprintln!("cut {} bytes that no crash-safe commit was in", cut.bytes);
    }
    for partition in 0..4 {
        // Resolved once: the commits below need no look-up by names.
        let slot = store.slot(Key::new("example", "records", partition))?;
        let NextOffset(start) = slot.offset().unwrap_or(NextOffset(0));
        println!("partition {partition}: from {start}");
        let (mut offset, mut processed) = (start, 0);
        while let Some(record) = record(partition, offset) {
            std::hint::black_box(&record);
            processed += 1;
            // Cheap enough for every record. What power loss may cost is processed twice.
            slot.commit_with(LastProcessed(offset), Durability::Buffered)?;
            offset += 1;
            if processed == 300 {
                break;
            }
        }
        println!("partition {partition}: processed {processed}, next is {offset}");
    }
    // Says what went wrong with the last flush, which dropping the store would keep to itself.
    store.close()?;
    Ok(())
}
