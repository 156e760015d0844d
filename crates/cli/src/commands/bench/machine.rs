//! What there is to know about the machine: its processors, its file system, and who else is at work.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Where the measurement takes place.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) processors: usize,
    /// `None` where the system does not tell.
    pub(super) mount: Option<Mount>,
}

impl Machine {
    /// Looks at this machine, and at the file system that `dir` lies on.
    pub(super) fn look(dir: &Path) -> Machine {
        let mount = || {
            let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
            Mount::find(&table, &dir.canonicalize().ok()?)
        };
        Machine {
            processors: thread::available_parallelism().map_or(1, |count| count.get()),
            mount: mount(),
        }
    }
}

/// A file system that is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Such as `ext4`.
    pub(super) kind: String,
    /// Such as `/dev/sda1`.
    pub(super) device: String,
}

impl Mount {
    /// Finds where `path` lies in the system's table: the longest place that it is below, and of
    /// those at the same place the one that covers the others.
    fn find(table: &str, path: &Path) -> Option<Mount> {
        let mounts = table.lines().filter_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            // A blank would end the field.
            let place = place.split(' ').nth(4)?.replace("\\040", " ");
            let mut kind = kind.split(' ');
            let mount = Mount { kind: kind.next()?.into(), device: kind.next()?.into() };
            path.starts_with(&place).then_some((place.len(), mount))
        });
        mounts.max_by_key(|(len, _)| *len).map(|(_, mount)| mount)
    }
}

/// Time of the processors in user mode up to a moment. Threads of the kernel have none: they work
/// for whoever is measured.
pub(super) struct Usage {
    at: Instant,
    all: f64,
    own: f64,
}

impl Usage {
    /// The unit of the system's tables on every Linux that this runs on.
    const TICKS_PER_SECOND: f64 = 100.0;

    /// What was used up to now, where the system tells.
    pub(super) fn now() -> Option<Usage> {
        let read = |path| fs::read_to_string(path).ok();
        let (all, own) = (read("/proc/stat")?, read("/proc/self/stat")?);
        let (all, own) = (ticks_of_all(&all)?, ticks_of_process(&own)?);
        let seconds = |ticks| ticks as f64 / Usage::TICKS_PER_SECOND;
        Some(Usage { at: Instant::now(), all: seconds(all), own: seconds(own) })
    }

    /// How many processors other programs kept busy since then, on average.
    pub(super) fn others_since(&self) -> Option<f64> {
        let now = Usage::now()?;
        let others = (now.all - self.all) - (now.own - self.own);
        Some((others / (now.at - self.at).as_secs_f64()).max(0.0))
    }
}

/// Of `cpu user nice system ...`, the first line, the first two numbers.
fn ticks_of_all(stat: &str) -> Option<u64> {
    let mut words = stat.lines().next()?.split_ascii_whitespace().skip(1);
    Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
}

/// Field 14. The name before it may hold anything, so that they are counted from behind it.
fn ticks_of_process(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_uppermost_file_system_counts() {
        let table = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:26 / /mnt rw - tmpfs none rw
31 30 254:16 / /mnt/a\\040disk rw,noatime master:1 - xfs /dev/vdb rw
32 31 0:40 / /mnt/a\\040disk rw - overlay overlay rw,lowerdir=/x - y
a line of a later version
";
        let kind = |path: &str| Mount::find(table, Path::new(path)).map(|mount| mount.kind);
        assert_eq!(kind("/mnt/a disk/bench").as_deref(), Some("overlay"));
        assert_eq!(kind("/mnt/a diskette").as_deref(), Some("tmpfs"));
        let root = Mount { kind: "ext4".into(), device: "/dev/vda".into() };
        assert_eq!(Mount::find(table, Path::new("/mntx")), Some(root));
        assert_eq!(Mount::find("", Path::new("/")), None);
    }

    #[test]
    fn the_time_of_others_is_that_of_all_without_this_process() {
        assert_eq!(ticks_of_all("cpu  700 30 11 9\ncpu0 350 15 5 4\n"), Some(730));
        assert_eq!(ticks_of_all("cpu  x"), None);
        let own = "42 (a ) name) S 1 2 3 4 5 6 7 8 9 10 250 60 0 0";
        assert_eq!(ticks_of_process(own), Some(250));
        assert_eq!(ticks_of_process("42 (cut"), None);
    }
}
