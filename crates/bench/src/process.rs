//! What the kernel counts: memory, processor time, bytes on the disk and bytes to the device.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SECTOR: u64 = 512;

/// Memory of this process that is no page of a file.
pub fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("read /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).expect("a size") * 1024
}

/// Processor time of this process: of all threads, in user mode and in the kernel.
pub fn processor_seconds() -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // SAFETY: all zeros are a value of this struct of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a struct of the type that the call fills.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(failed, 0, "getrusage");
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The blocks of all files under a directory.
pub fn disk_bytes(dir: &Path) -> u64 {
    let mut bytes = 0;
    // A file may go while the directory is read.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += disk_bytes(&entry.path()),
            Ok(found) => bytes += found.blocks() * SECTOR,
            Err(_) => {}
        }
    }
    bytes
}

/// Takes the files of a directory out of the page cache, as far as they are clean.
pub fn drop_from_cache(dir: &Path) {
    for_each_file(dir, &|file| {
        // SAFETY: the descriptor is open, and the call touches no memory of this process.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    });
}

/// Brings the files of a directory into the page cache.
pub fn read_into_cache(dir: &Path) {
    for_each_file(dir, &|mut file| {
        io::copy(&mut file, &mut io::sink()).expect("read a file");
    });
}

fn for_each_file(dir: &Path, visit: &impl Fn(File)) {
    for entry in fs::read_dir(dir).expect("list the store") {
        let path = entry.expect("list the store").path();
        match path.is_dir() {
            true => for_each_file(&path, visit),
            false => visit(File::open(path).expect("open a file")),
        }
    }
}

/// Bytes that were written up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// By this process: pages that it made dirty, each once for every time it is written back.
    process: u64,
    /// By everybody, to the device that a directory is on. It has the journal of the file system too.
    device: Option<u64>,
}

impl Written {
    /// The counters, once everything on the file system has been written back.
    pub fn now(dir: &Path) -> Written {
        let file = File::open(dir).expect("open a directory");
        // SAFETY: the descriptor is open, and the call touches no memory of this process.
        let failed = unsafe { libc::syncfs(file.as_raw_fd()) };
        assert_eq!(failed, 0, "syncfs");
        let io = fs::read_to_string("/proc/self/io").expect("read /proc/self/io");
        let process = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        let process = process.and_then(|number| number.parse().ok()).expect("a number of bytes");
        Written { process, device: device_bytes(dir) }
    }

    /// Bytes since then: of the process, and of the device where that is known.
    pub fn until(self, later: Written) -> (f64, Option<f64>) {
        let device = self.device.zip(later.device);
        let device = device.map(|(before, after)| (after - before) as f64);
        ((later.process - self.process) as f64, device)
    }
}

/// What the block layer has counted for the device of a directory. There is no such device below
/// some file systems.
fn device_bytes(dir: &Path) -> Option<u64> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let counters = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh is that of sectors written.
    let sectors = counters.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()?;
    Some(sectors * SECTOR)
}
