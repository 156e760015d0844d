//! How to prepare and write a log: what a flush of one 32-byte record costs, by how the file was
//! made and by how it is written. Not a bench of the engine but of what it chose between.
//!
//! ```sh
//! cargo bench --bench segments
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use memmap2::{MmapMut, MmapOptions};

const SIZE: usize = 8 << 20;
const RECORD: [u8; 32] = [1; 32];
const FIRST: usize = 4096;

/// How the file of a segment is made.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// Zeros in writes of 4 KiB: small folios in the page cache.
    Prewritten,
    /// Zeros in one write: large folios.
    PrewrittenAtOnce,
    /// A file that was full of records before.
    Recycled,
    /// Allocated and never written, on Linux.
    Fallocated,
    /// Neither.
    Sparse,
}

/// How a record is written and made durable.
#[derive(Clone, Copy, Debug)]
enum Written {
    MapAndFdatasync,
    MapAndMsync,
    PwriteAndFdatasync,
}

fn make(dir: &Path, made: Made) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(dir.join("segment"))?;
    let fill = |piece: &[u8]| -> io::Result<()> {
        (0..SIZE).step_by(piece.len()).try_for_each(|at| file.write_all_at(piece, at as u64))
    };
    match made {
        Made::Prewritten => fill(&[0; 4096])?,
        Made::PrewrittenAtOnce => fill(&vec![0; SIZE])?,
        Made::Recycled => {
            fill(&[0; 4096])?;
            file.sync_all()?;
            fill(&[7; 4096])?;
        }
        #[cfg(not(target_os = "linux"))]
        Made::Fallocated => file.set_len(SIZE as u64)?,
        #[cfg(target_os = "linux")]
        Made::Fallocated => {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SIZE as u64)?;
        }
        Made::Sparse => file.set_len(SIZE as u64)?,
    }
    file.sync_all()?;
    Ok(file)
}

/// The time of each flush in microseconds.
fn run(file: &File, written: Written, records: usize) -> io::Result<Vec<f64>> {
    // SAFETY: the file is in a directory of this process alone, which does not shorten it.
    let mut map: MmapMut = unsafe { MmapOptions::new().len(SIZE).map_mut(file)? };
    let mut times = Vec::with_capacity(records);
    for at in (0..records).map(|number| FIRST + number * RECORD.len()) {
        let started = Instant::now();
        match written {
            Written::MapAndFdatasync => {
                map[at..at + RECORD.len()].copy_from_slice(&RECORD);
                file.sync_data()?;
            }
            Written::MapAndMsync => {
                map[at..at + RECORD.len()].copy_from_slice(&RECORD);
                map.flush_range(at, RECORD.len())?;
            }
            Written::PwriteAndFdatasync => {
                file.write_all_at(&RECORD, at as u64)?;
                file.sync_data()?;
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

fn main() -> io::Result<()> {
    // As a check that it runs, once is enough.
    let test = std::env::args().any(|argument| argument == "--test");
    let (rounds, records) = if test { (1, 10) } else { (5, 1_000) };
    let makes =
        [Made::Prewritten, Made::PrewrittenAtOnce, Made::Recycled, Made::Fallocated, Made::Sparse];
    let ways = [Written::MapAndFdatasync, Written::MapAndMsync, Written::PwriteAndFdatasync];
    let mut times = vec![Vec::new(); makes.len() * ways.len()];
    for _ in 0..rounds {
        for (i, made) in makes.iter().enumerate() {
            for (j, written) in ways.iter().enumerate() {
                let dir = tempfile::tempdir_in(".")?;
                let file = make(dir.path(), *made)?;
                times[i * ways.len() + j].extend(run(&file, *written, records)?);
            }
        }
    }
    println!("microseconds per flushed record, median and 99th percentile of {rounds} rounds");
    for (i, made) in makes.iter().enumerate() {
        for (j, written) in ways.iter().enumerate() {
            let times = &mut times[i * ways.len() + j];
            times.sort_by(f64::total_cmp);
            let (made, written) = (format!("{made:?}"), format!("{written:?}"));
            let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            println!("{made:<18} {written:<20} {median:>8.1} {high:>8.1}");
        }
    }
    Ok(())
}
