//! The process that kills, and knows what must be left.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use pagemark::{ErrorKind, OffsetStore};
use tempfile::TempDir;

use crate::child::Orders;
use crate::plan::{self, Held, SHARED, Step};
use crate::support::{Lots, mix};

const SIGKILL: i32 = 9;
/// Numbers of steps are never used again: those of a round begin so much higher.
const NUMBERS_PER_ROUND: i64 = 1_000_000;

/// What one child said.
#[derive(Debug, Default)]
struct Said {
    /// Whether the store was closed in order before, as the child's recovery found.
    opened: Option<bool>,
    /// Thread, number and seq, as they came.
    acknowledged: Vec<(u64, i64, u64)>,
}

/// Many rounds of committing and killing on one directory.
pub(crate) struct Campaign {
    _temp: TempDir,
    orders: Orders,
    lots: Lots,
    /// For each thread, what its group may hold: one more possibility for each step that was in
    /// flight when a child died and nobody has looked since.
    held: Vec<Vec<Held>>,
    /// What the shared key may hold.
    shared: Vec<Option<i64>>,
    /// The seqs of acknowledged steps.
    seqs: HashMap<(u64, i64), u64>,
    used: HashSet<u64>,
    highest: u64,
    /// What the next open has to find, where it is certain.
    clean: Option<bool>,
}

impl Campaign {
    pub(crate) fn new(seed: u64, orders: Orders) -> Campaign {
        let temp = tempfile::tempdir().unwrap();
        let orders = Orders { dir: temp.path().join("store"), ..orders };
        Campaign {
            _temp: temp,
            lots: Lots(mix(seed)),
            held: vec![vec![Held::new()]; orders.threads as usize],
            shared: vec![None],
            orders,
            seqs: HashMap::new(),
            used: HashSet::new(),
            highest: 0,
            clean: None,
        }
    }

    pub(crate) fn run(mut self, kills: u64) {
        let (mut acknowledged, mut opened) = (0, 0);
        for round in 0..kills {
            self.orders.first = 1 + round as i64 * NUMBERS_PER_ROUND;
            let said = self.kill_a_child();
            acknowledged += said.acknowledged.len();
            opened += u64::from(said.opened.is_some());
            self.note(&said);
            // Where nobody looks, the next child recovers what this one left.
            if self.lots.below(3) > 0 || round == kills - 1 {
                self.look();
            }
        }
        println!("{kills} kills, {opened} of them after open, {acknowledged} acknowledged commits");
        assert!(opened > kills / 2 && opened < kills, "kills fall into and behind recovery");
    }

    /// Runs a child up to a random line of it.
    fn kill_a_child(&mut self) -> Said {
        let lines_to_hear = match self.lots.below(4) {
            // While it opens the store.
            0 => 1,
            _ => 2 + self.lots.below(60) * self.lots.below(4),
        };
        let spins = self.lots.below(1 << self.lots.clone().below(16));
        let try_to_open = self.lots.below(6) == 0;
        let (name, value) = self.orders.variable();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_child_of_the_other_tests", "--nocapture"])
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let mut said = Said::default();
        let mut heard = 0;
        while heard < lines_to_hear {
            let Some(line) = read_line(&mut pipe) else { panic!("the child died by itself") };
            if said.hear(&line) {
                heard += 1;
            }
            if try_to_open && line.starts_with("opened") {
                let error = self.orders.options().open(&self.orders.dir).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
                let holder = format!("process {}", child.id());
                assert!(error.to_string().contains(&holder), "{error}, not {holder}");
            }
        }
        // Otherwise the child would always be near the end of a write to the pipe.
        for _ in 0..spins {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        while let Some(line) = read_line(&mut pipe) {
            said.hear(&line);
        }
        assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL));
        said
    }

    /// Adds what a dead child did and may have done.
    fn note(&mut self, said: &Said) {
        match said.opened {
            Some(found) => {
                self.expect_clean(found, "the child");
                self.clean = Some(false);
            }
            // It may have begun its session, and then the one before counts no longer.
            None if self.clean == Some(true) => self.clean = None,
            None => {}
        }
        let before = self.highest;
        let mut last = vec![0; self.held.len()];
        let mut next = vec![self.orders.first; self.held.len()];
        for &(thread, number, seq) in &said.acknowledged {
            let slot = thread as usize;
            assert_eq!(number, next[slot], "thread {thread} went on in order");
            next[slot] += 1;
            let mut is_record = true;
            for held in &mut self.held[slot] {
                is_record &= plan::apply(held, thread, number);
            }
            if !is_record {
                continue;
            }
            assert!(seq > before, "seq {seq} is not above {before} of an earlier session");
            assert!(seq > last[slot], "seq {seq} of a thread follows {}", last[slot]);
            assert!(self.used.insert(seq), "seq {seq} was handed out twice");
            last[slot] = seq;
            self.seqs.insert((thread, number), seq);
            self.highest = self.highest.max(seq);
        }
        self.note_shared(said, &next);
        if said.opened.is_some() {
            for (slot, held) in self.held.iter_mut().enumerate() {
                let mut later = held.clone();
                later.iter_mut().for_each(|held| {
                    plan::apply(held, slot as u64, next[slot]);
                });
                held.append(&mut later);
            }
        }
    }

    /// The shared key holds its newest acknowledged commit or one that was in flight.
    fn note_shared(&mut self, said: &Said, next: &[i64]) {
        let is_shared = |thread, number| matches!(plan::step(thread, number), Step::Shared);
        let newest = said
            .acknowledged
            .iter()
            .filter(|(thread, number, _)| is_shared(*thread, *number))
            .max_by_key(|(_, _, seq)| seq);
        if let Some((thread, number, _)) = newest {
            self.shared = vec![Some(plan::shared_offset(*thread, *number))];
        }
        if said.opened.is_some() {
            for (thread, number) in (0..).zip(next) {
                if is_shared(thread, *number) {
                    self.shared.push(Some(plan::shared_offset(thread, *number)));
                }
            }
        }
    }

    fn expect_clean(&self, found: bool, who: &str) {
        assert!(
            self.clean.is_none_or(|clean| clean == found),
            "{who} found clean = {found}, and it is {:?}",
            self.clean
        );
    }

    /// Opens the directory, which must be free the moment the child is dead, compares, and closes
    /// it in order.
    fn look(&mut self) {
        let store = self.orders.options().open(&self.orders.dir).unwrap();
        self.expect_clean(store.recovery_report().clean, "the parent");
        let mut groups = Vec::new();
        for thread in 0..self.orders.threads {
            let found = self.look_at_thread(&store, thread);
            if !found.is_empty() {
                groups.push(plan::group(thread));
            }
            let possible = &mut self.held[thread as usize];
            assert!(
                possible.contains(&found),
                "thread {thread}: the store shows {found:?}\nand may show only one of {possible:#?}"
            );
            *possible = vec![found];
        }
        let shared = store.fetch(SHARED).map(|value| value.offset().0);
        assert!(self.shared.contains(&shared), "shared: {shared:?} of {:?}", self.shared);
        self.shared = vec![shared];
        groups.extend(shared.map(|_| SHARED.group().to_owned()));
        assert_eq!(store.groups(), groups);
        store.close().unwrap();
        self.clean = Some(true);
        self.check_files();
    }

    /// A store that was closed in order has no file that nobody will ever delete.
    fn check_files(&self) {
        let names = std::fs::read_dir(&self.orders.dir).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let is_snapshot = |name: &&String| name.ends_with(".snapshot");
        let oldest = names.iter().find(|name| name.ends_with(".log") || is_snapshot(name)).unwrap();
        let snapshots = names.iter().filter(is_snapshot).count();
        assert!(snapshots == 0 || (snapshots == 1 && is_snapshot(&oldest)), "{names:?}");
        let temporary = names.iter().find(|name| name.ends_with(".tmp"));
        assert_eq!(temporary, None, "{names:?}");
    }

    /// What a thread's group holds. Each value is compared with the step that it names.
    fn look_at_thread(&mut self, store: &OffsetStore, thread: u64) -> Held {
        let mut found = Held::new();
        let mut seqs = HashMap::new();
        for (key, value) in store.fetch_group(&plan::group(thread)) {
            let (number, seq) = (value.offset().0, value.seq().get());
            assert_eq!(value.metadata(), plan::metadata(thread, number), "of step {number}");
            assert!(value.is_durable(), "what open shows is durable");
            let one = *seqs.entry(number).or_insert(seq);
            assert_eq!(one, seq, "the parts of step {number} are one record");
            match self.seqs.get(&(thread, number)) {
                Some(acknowledged) => assert_eq!(seq, *acknowledged, "step {number}"),
                None => assert!(!self.used.contains(&seq), "seq {seq} is that of another step"),
            }
            self.highest = self.highest.max(seq);
            found.insert((key.topic().to_owned(), key.partition()), number);
        }
        found
    }
}

impl Said {
    /// Takes in a line. False if it is none of the child's: the test harness speaks there too.
    fn hear(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["opening"] => {}
            ["opened", clean] => self.opened = Some(clean.parse().unwrap()),
            ["ack", thread, number, seq] => {
                let ack = (thread.parse().unwrap(), number.parse().unwrap(), seq.parse().unwrap());
                self.acknowledged.push(ack);
            }
            ["failed", ..] => panic!("the child {line}"),
            _ => return false,
        }
        true
    }
}

/// The next whole line. One that has no end was not said.
fn read_line(pipe: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    pipe.read_line(&mut line).unwrap();
    line.strip_suffix('\n').map(str::to_owned)
}
