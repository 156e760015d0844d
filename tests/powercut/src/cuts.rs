//! Power cuts: a process commits on a disk of ours, and we look at what is left of it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use fuser::{Config, MountOption};

use crate::backup::Left;
use crate::check::{Model, Shown, write_out};
use crate::disk::{Disk, Image, Luck};
use crate::life::{BACKUP, Orders, STORE};
use crate::mount::{Cut, Device, Mount};
use crate::said::Said;
use crate::support::{Lots, mix};

/// How many processes follow one another on a disk, and how many steps each of their threads takes.
const LIVES: i64 = 3;
const STEPS: i64 = 48;
/// Images of one cut: the two extremes and these many in between.
const MIXED: usize = 6;
/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    disks: u64,
    lives: u64,
    steps: u64,
    /// By the request that never happened.
    cuts: BTreeMap<&'static str, u64>,
    images: u64,
    distinct: HashSet<u64>,
    /// Images in which something was promised to survive.
    promised: u64,
    /// Images with a torn tail.
    torn: u64,
    /// Images whose backup can be opened and shows something.
    backups: u64,
    /// Images whose backup is refused.
    refused: u64,
}

impl Totals {
    fn cuts(&self) -> u64 {
        self.cuts.values().sum()
    }

    pub(crate) fn line(&self, seconds: f64) -> String {
        let Totals { disks, lives, steps, cuts, images, promised, torn, distinct, .. } = self;
        let Totals { backups, refused, .. } = self;
        format!(
            "{} power cuts on {disks} disks, {images} images of them, {} of these distinct; \
             {promised} had something to keep and {torn} a torn tail; {backups} had a backup, and \
             {refused} one that is refused; {lives} processes, {steps} steps; {seconds:.0} s\n\
             before each request: {cuts:?}",
            self.cuts(),
            distinct.len()
        )
    }
}

/// Cuts the power that often. What goes wrong is said, and the image is kept.
pub(crate) fn run(cuts: u64, seed: u64) -> Result<Totals, String> {
    let mut campaign = Campaign::new(seed).map_err(|error| format!("no scratch space: {error}"))?;
    let mut last = Instant::now();
    let start = last;
    while campaign.totals.cuts() < cuts {
        campaign.one_disk()?;
        if last.elapsed() > Duration::from_secs(60) {
            last = Instant::now();
            println!("{}", campaign.totals.line(start.elapsed().as_secs_f64()));
        }
    }
    Ok(campaign.totals)
}

struct Campaign {
    lots: Lots,
    totals: Totals,
    /// What one cut left, for the next disk to begin with.
    left: Option<(Image, Shown)>,
    /// The number that no step has had yet.
    first: i64,
    scratch: tempfile::TempDir,
}

impl Campaign {
    fn new(seed: u64) -> std::io::Result<Campaign> {
        // Images are written out in memory, where there is such a place.
        let memory = Path::new("/dev/shm");
        let scratch = match memory.is_dir() {
            true => tempfile::tempdir_in(memory)?,
            false => tempfile::tempdir()?,
        };
        std::fs::create_dir(scratch.path().join("mount"))?;
        let (lots, totals) = (Lots(mix(seed)), Totals::default());
        Ok(Campaign { lots, totals, left: None, first: 1, scratch })
    }

    fn mount_point(&self) -> PathBuf {
        self.scratch.path().join("mount")
    }

    /// The lives of one disk, and all cuts in them.
    fn one_disk(&mut self) -> Result<(), String> {
        let orders = Orders {
            mount: self.mount_point(),
            // Of the small ones there are many, and of a large one mapped pages are released.
            segment_size: [16 << 10, 64 << 10, 512 << 10][self.lots.below(3) as usize],
            mapped: self.totals.disks.is_multiple_of(2),
            synced: self.lots.below(2) == 0,
            compact: self.lots.below(3) > 0,
            flush_ms: [1, 20, 1000][self.lots.below(3) as usize],
            threads: 3,
            first: self.first,
            steps: STEPS,
            close: false,
        };
        let write_back = self.totals.disks % 4 < 2;
        self.first += LIVES * STEPS + 1;
        let nothing = || (None, Shown::nothing(orders.threads));
        let (image, before) = match self.lots.below(3) {
            0 => nothing(),
            _ => self.left.take().unwrap_or_else(nothing),
        };
        let model = Model::new(before, orders.first, LIVES * STEPS);
        let (sender, receiver) = sync_channel(4);
        let device = Device {
            disk: Disk::holding(STORE, &image),
            said: Said::new(orders.threads as usize),
            cuts: Some(sender),
            lots: Lots(self.lots.draw()),
        };
        let mount = Mount::new(device, write_back);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".into())];
        let session = fuser::spawn_mount(mount.clone(), &orders.mount, &config)
            .map_err(|error| format!("cannot mount: {error}"))?;
        let ends = [self.lots.below(2) == 0, self.lots.below(2) == 0, true];
        let (lived, checked) = std::thread::scope(|scope| {
            let lives = scope.spawn(|| {
                let lived = live(&orders, &ends);
                // The end of the cuts is what ends the checks.
                mount.device().cuts = None;
                lived
            });
            let checked = self.check_all(&receiver, &model, &orders);
            // Nobody waits to hand over a cut any longer.
            drop(receiver);
            (lives.join().unwrap_or_else(|_| Err("a panic".into())), checked)
        });
        let said = mount.device().said.clone();
        session.umount_and_join().map_err(|error| format!("cannot unmount: {error}"))?;
        self.totals.disks += 1;
        self.totals.lives += ends.len() as u64;
        self.totals.steps += said.acked.iter().map(|acked| acked.len() as u64).sum::<u64>();
        let context = || format!("{orders:?}, write-back {write_back}");
        checked.map_err(|why| format!("{why}\n{}", context()))?;
        lived.map_err(|why| format!("{why} ({:?})\n{}", said.failed, context()))
    }

    fn check_all(
        &mut self,
        cuts: &Receiver<Cut>,
        model: &Model,
        orders: &Orders,
    ) -> Result<(), String> {
        loop {
            match cuts.recv_timeout(PATIENCE) {
                Ok(cut) => self.check(&cut, model, orders)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => return Err("the process hangs".into()),
            }
        }
    }

    /// Looks at several images of one cut.
    fn check(&mut self, cut: &Cut, model: &Model, orders: &Orders) -> Result<(), String> {
        let mut seen = HashSet::new();
        let luck = [Luck::Nothing, Luck::Everything].into_iter().chain([Luck::Mixed; MIXED]);
        for luck in luck {
            let images = cut.disk.power_cut([STORE, BACKUP], luck, &mut self.lots);
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&images);
            if !seen.insert(hash) {
                continue;
            }
            let (shown, left) = model
                .check(&images, &cut.said, orders, self.scratch.path())
                .map_err(|why| self.report(cut, &images, luck, &why))?;
            self.totals.images += 1;
            self.totals.promised += u64::from(cut.said.durable > 0);
            self.totals.torn += u64::from(shown.torn);
            self.totals.backups += u64::from(matches!(left, Left::Store(newest) if newest > 0));
            self.totals.refused += u64::from(left == Left::Refused);
            self.totals.distinct.insert(hash);
            if self.lots.below(8) == 0 {
                let [image, _] = images;
                self.left = Some((image, shown));
            }
        }
        *self.totals.cuts.entry(cut.request).or_default() += 1;
        Ok(())
    }

    /// What is said of images that are wrong. They themselves are kept.
    fn report(&self, cut: &Cut, images: &[Image; 2], luck: Luck, why: &str) -> String {
        let kept = tempfile::Builder::new().prefix("powercut-").tempdir().map(|dir| dir.keep());
        let kept = kept.and_then(|dir| {
            for (image, name) in images.iter().zip([STORE, BACKUP]) {
                write_out(image, &dir.join(name))?;
            }
            Ok(dir)
        });
        let Cut { request, said, .. } = cut;
        let Said { backed_up, is_backing_up, .. } = said;
        format!(
            "after a power cut before a {request}, {luck:?} surviving: {why}\n\
             backed up to {backed_up:?}, in a backup: {is_backing_up}\nkept in {kept:?}"
        )
    }
}

/// Lets one process after another live on a mount.
fn live(orders: &Orders, ends: &[bool]) -> Result<(), String> {
    for (life, close) in (0..).zip(ends) {
        let first = orders.first + life * orders.steps;
        let orders = Orders { first, close: *close, ..orders.clone() };
        let status = start(&orders).map_err(|error| format!("no process: {error}"))?;
        if !status.success() {
            return Err(format!("a process that commits ended with {status}"));
        }
    }
    Ok(())
}

fn start(orders: &Orders) -> std::io::Result<ExitStatus> {
    Command::new(std::env::current_exe()?).arg("life").args(orders.to_args()).status()
}
