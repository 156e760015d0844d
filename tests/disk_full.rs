//! A full disk of a real kernel: a commit fails with `Full`, nothing is lost, commits go on when
//! there is room, and no process ever dies of it.
//!
//! The committing happens in a child, so that its death by `SIGBUS` would be seen. Small file systems
//! in files need root and loop devices; a limit on the size of files needs neither. What cannot be
//! tried on a machine says so and passes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pagemark::{Durability, ErrorKind, Key, NextOffset, OffsetStore, Options};

const VARIABLE: &str = "PAGEMARK_TEST_FULL";
/// How many of the numbers from 0 to 256 are tried as a number of free blocks.
const BLOCKS: &str = "PAGEMARK_TEST_BLOCKS";
const PARTITIONS: i64 = 13;
/// Enough to fill several segments of this size.
const MANY: i64 = 4_000;
const SEGMENT_SIZE: u64 = 64 << 10;

fn key(offset: i64) -> Key<'static> {
    Key::new("group", "a-topic-with-a-name", (offset % PARTITIONS) as i32)
}

/// Not a test of its own: what a child runs. Without a directory there is nothing to do.
#[test]
fn the_child_of_the_other_tests() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    let pipe = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    let say = |line: String| (&pipe).write_all(format!("\n{line}\n").as_bytes()).unwrap();
    let options = Options::new()
        .segment_size(words[0].parse().unwrap())
        .auto_compact(words[1].parse().unwrap())
        .durability(Durability::Buffered);
    let store = match options.open(words[2]) {
        Err(error) if error.kind() == ErrorKind::Full => return say("full".into()),
        opened => opened.unwrap(),
    };
    let mut next = store.fetch_group("group").iter().map(|(_, v)| v.offset().0 + 1).max();
    say("open".into());
    for order in std::io::stdin().lines() {
        say(obey(&store, &order.unwrap(), next.get_or_insert(0)));
    }
    match store.close() {
        Ok(()) => say("closed".into()),
        Err(error) => say(format!("not closed: {error}")),
    }
}

/// Commits, and checks after each order that all is there.
fn obey(store: &OffsetStore, order: &str, next: &mut i64) -> String {
    let mut refused = 0;
    let mut failed = String::new();
    let until_full = order == "until-full";
    let commits = match order {
        "compact" => 0,
        "until-full" => 100 * MANY,
        _ => MANY,
    };
    if order == "compact" {
        match store.compact() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Full => refused += 1,
            Err(error) => failed = format!("compact: {:?}: {error}", error.kind()),
        }
    }
    for i in 0..commits {
        // A flush in between, since it is part of what a full disk must not break.
        let durability = if i % 100 == 99 { Durability::Synced } else { Durability::Buffered };
        match store.commit_with(key(*next), NextOffset(*next), durability) {
            Ok(_) => *next += 1,
            Err(error) if error.kind() == ErrorKind::Full => {
                refused += 1;
                if until_full && refused > 50 {
                    break;
                }
            }
            Err(error) => {
                failed = format!("{:?}: {error}", error.kind());
                break;
            }
        }
    }
    if let Err(error) = store.sync() {
        failed = format!("sync: {:?}: {error}", error.kind());
    }
    check(store, *next);
    format!("did {next} {refused} {failed}")
}

/// The newest commit of each partition is there.
fn check(store: &OffsetStore, next: i64) {
    for offset in (next - PARTITIONS).max(0)..next {
        let found = store.fetch(key(offset)).map(|value| value.offset());
        assert_eq!(found, Some(NextOffset(offset)), "of {next} commits");
    }
}

/// A child with an open store.
struct Committer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What came of an order.
struct Did {
    /// The commits that were acknowledged since the store was created.
    commits: i64,
    refused: u64,
}

impl Committer {
    fn start(dir: &Path, segment_size: u64, prepare: &str) -> Committer {
        let orders = format!("{segment_size} true {}", dir.display());
        Committer::spawn(&orders, prepare).expect("there is room to open the store")
    }

    /// Starts a child whose log only grows, unless the store cannot be opened for want of room.
    fn try_start(dir: &Path) -> Option<Committer> {
        Committer::spawn(&format!("{SEGMENT_SIZE} false {}", dir.display()), "")
    }

    fn spawn(orders: &str, prepare: &str) -> Option<Committer> {
        // The shell sets limits and signals and becomes the child.
        let mut child = Command::new("sh")
            .args(["-c", &format!("{prepare} exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "the_child_of_the_other_tests", "--nocapture"])
            .env(VARIABLE, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut committer = Committer { child, orders, answers };
        if committer.expect(&["open", "full"]) == "full" {
            let status = committer.child.wait().unwrap();
            assert!(status.success(), "{status}");
            return None;
        }
        Some(committer)
    }

    fn order(&mut self, order: &str) -> Did {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let line = self.expect(&["did "]);
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        assert_eq!(words[3], "", "after {order}");
        Did { commits: words[1].parse().unwrap(), refused: words[2].parse().unwrap() }
    }

    /// The next line of the child that begins in one of these ways. The test harness speaks in between.
    fn expect(&mut self, starts: &[&str]) -> String {
        let mut line = String::new();
        while self.answers.read_line(&mut line).unwrap() > 0 {
            if starts.iter().any(|start| line.starts_with(start)) {
                return line.trim_end_matches('\n').to_owned();
            }
            assert!(!line.starts_with("not closed"), "{line}");
            line.clear();
        }
        let status = self.child.wait().unwrap();
        panic!("the child ended before it said one of {starts:?}: {status}");
    }

    fn close(mut self) {
        drop(self.orders.take());
        self.expect(&["closed"]);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Whether the process has a file of the store mapped.
    fn has_mapped(&self, dir: &Path) -> bool {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        maps.lines().any(|line| line.contains(&dir.display().to_string()))
    }
}

/// A small file system in a file. Unmounted when dropped, whatever happened.
struct Mounted {
    point: PathBuf,
    _temp: tempfile::TempDir,
}

impl Mounted {
    /// Makes and mounts one, or says why it cannot.
    fn new(kind: &str, mebibytes: u64) -> Result<Mounted, String> {
        let temp = tempfile::tempdir().unwrap();
        let (image, point) = (temp.path().join("image"), temp.path().join("mounted"));
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        fs::create_dir(&point).unwrap();
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point))?;
        Ok(Mounted { point, _temp: temp })
    }

    fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }

    /// Fills the file system to the last block.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let mut piece = vec![b'x'; 1 << 20];
        while !piece.is_empty() {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(_) => piece.truncate(piece.len() / 2),
            }
        }
        // Blocks that were only reserved are counted for good now. Some do not fit, which is fine.
        let _ = file.sync_all();
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
        self.settle();
    }

    /// Makes room for so many bytes more.
    fn free(&self, bytes: u64) {
        let file = File::options().write(true).open(self.ballast()).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        self.settle();
    }

    /// Some file systems give blocks back with the next commit of their journal only.
    fn settle(&self) {
        File::open(&self.point).unwrap().sync_all().unwrap();
        let _ = run(Command::new("sync").arg("-f").arg(&self.point));
    }

    /// Fills the file system up to so many blocks.
    fn leave_blocks(&self, blocks: u64) {
        self.fill();
        self.settle();
        // Some file systems keep blocks for themselves and count them as free.
        let (size, kept) = self.blocks();
        self.free(blocks * size);
        let free = self.blocks().1 - kept;
        // The ballast may need fewer blocks to find its own.
        assert!((blocks..blocks + 8).contains(&free), "{free} blocks are free, and not {blocks}");
    }

    /// The size of a block, and how many are free.
    fn blocks(&self) -> (u64, u64) {
        let output = Command::new("stat").args(["-f", "-c", "%S %f"]).arg(&self.point).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let (size, free) = text.trim().split_once(' ').unwrap();
        (size.parse().unwrap(), free.parse().unwrap())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.point));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", said.trim())) }
}

/// Everything that a full disk may do to a store on one kind of file system.
fn on_file_system(kind: &str, mebibytes: u64, is_mapped: bool) {
    let mounted = match Mounted::new(kind, mebibytes) {
        Ok(mounted) => mounted,
        Err(why) => return println!("skipped: no small {kind} can be mounted here: {why}"),
    };
    let dir = mounted.point.join("store");
    let mut committer = Committer::start(&dir, SEGMENT_SIZE, "");
    assert_eq!(committer.has_mapped(&dir), is_mapped, "the write path of {kind}");
    let before = committer.order("commit");
    assert_eq!((before.commits, before.refused), (MANY, 0));

    mounted.fill();
    let full = committer.order("until-full");
    assert!(full.refused > 0, "{} commits fit on a full {kind}", full.commits - before.commits);
    let again = committer.order("until-full");
    assert!(again.refused > 0, "the disk is still full");
    mounted.make_room();
    let after = committer.order("commit");
    assert_eq!((after.commits, after.refused), (again.commits + MANY, 0), "there is room");

    // Recovery on a full disk, after a death: it opens and shows everything, or says `Full`.
    mounted.fill();
    let filled = committer.order("until-full");
    committer.child.kill().unwrap();
    committer.child.wait().unwrap();
    let options = Options::new().segment_size(SEGMENT_SIZE);
    match options.open(&dir) {
        Ok(store) => {
            check(&store, filled.commits);
            drop(store);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
    }
    let other = options.open(mounted.point.join("another-store"));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Full, "there is no room for another one");
    mounted.make_room();
    let mut committer = Committer::start(&dir, SEGMENT_SIZE, "");
    let last = committer.order("commit");
    assert_eq!((last.commits, last.refused), (filled.commits + MANY, 0));
    committer.close();
    let store = options.open(&dir).unwrap();
    assert!(store.recovery_report().clean);
    check(&store, last.commits);
    drop(store);
    drop(options.open(mounted.point.join("another-store")).unwrap());
}

/// Opens a store, commits, and creates another one, with each of many numbers of free blocks.
fn with_few_blocks(kind: &str, mebibytes: u64) {
    /// Enough for all that is done at a time.
    const ROOM: u64 = 4 << 20;
    let mounted = match Mounted::new(kind, mebibytes) {
        Ok(mounted) => mounted,
        Err(why) => return println!("skipped: no small {kind} can be mounted here: {why}"),
    };
    let (dir, other) = (mounted.point.join("store"), mounted.point.join("another-store"));
    let options = Options::new().segment_size(SEGMENT_SIZE);
    let numbers: usize = std::env::var(BLOCKS).map_or(9, |numbers| numbers.parse().unwrap());
    let (mut full, mut refusals, mut commits) = (0, 0, 0);
    Committer::start(&dir, SEGMENT_SIZE, "").close();
    for (turn, blocks) in (0..=256).step_by(256 / (numbers - 1)).enumerate() {
        mounted.leave_blocks(blocks);
        match Committer::try_start(&dir) {
            None => full += 1,
            Some(mut committer) => {
                let did = committer.order("commit");
                refusals += usize::from(did.refused > 0);
                commits = committer.order("compact").commits;
                // Every other one dies, so that the next open has something to mend.
                if turn % 2 == 0 {
                    committer.close();
                } else {
                    committer.child.kill().unwrap();
                    committer.child.wait().unwrap();
                }
            }
        }
        mounted.free(ROOM);
        let mut committer = Committer::try_start(&dir).expect("there is room");
        // The child goes on behind the newest commit that it finds.
        let did = committer.order("commit");
        assert_eq!((did.commits, did.refused), (commits + MANY, 0), "after {blocks} blocks");
        commits += MANY;
        assert_eq!(committer.order("compact").refused, 0, "there is room");
        committer.close();
        check(&options.open(&dir).unwrap(), commits);

        mounted.leave_blocks(blocks);
        let created = options.open(&other);
        if let Err(error) = &created {
            assert_eq!(error.kind(), ErrorKind::Full, "another store in {blocks} blocks: {error}");
        }
        drop(created);
        mounted.free(ROOM);
        options.open(&other).unwrap().close().unwrap();
        fs::remove_dir_all(&other).unwrap();
    }
    println!("{kind}: of {numbers} times {full} not opened, {refusals} with refused commits");
    assert!(refusals > 0 && full + refusals < numbers, "the disk was full, and not always");
}

#[test]
fn every_number_of_free_blocks_on_ext4_is_enough_to_lose_nothing() {
    with_few_blocks("ext4", 32);
}

#[test]
fn every_number_of_free_blocks_on_xfs_is_enough_to_lose_nothing() {
    with_few_blocks("xfs", 300);
}

#[test]
fn a_full_ext4_refuses_commits_and_loses_nothing() {
    on_file_system("ext4", 32, true);
}

#[test]
fn a_full_xfs_refuses_commits_and_loses_nothing() {
    on_file_system("xfs", 300, true);
}

#[test]
fn a_full_btrfs_is_written_by_calls_refuses_commits_and_loses_nothing() {
    on_file_system("btrfs", 110, false);
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk_too() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("store");
    // In blocks of 512 or 1,024 bytes: a store begins with less and doubles its segments soon.
    let limit = "trap '' XFSZ; ulimit -f 160;";
    if let Err(why) = run(Command::new("sh").args(["-c", &format!("{limit} exec true")])) {
        return println!("skipped: the shell sets no limit on files: {why}");
    }
    let mut committer = Committer::start(&dir, 1 << 20, limit);
    let full = committer.order("until-full");
    assert!(full.commits > 0 && full.refused > 0, "{} commits fit", full.commits);
    assert!(committer.order("until-full").refused > 0, "the limit is still there");
    committer.close();
    let mut committer = Committer::start(&dir, 1 << 20, "");
    let after = committer.order("commit");
    assert_eq!((after.commits, after.refused), (full.commits + MANY, 0), "there is room");
    committer.close();
    check(&Options::new().open(&dir).unwrap(), after.commits);
}
