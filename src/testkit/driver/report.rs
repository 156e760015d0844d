//! What a driver has seen, and what it has found.

use std::collections::HashMap;
use std::fmt;

use foldhash::quality::FixedState;

use crate::testkit::Step;

/// What a driver has looked at.
#[derive(Clone, Default)]
pub struct Tally {
    pub(super) histories: u64,
    pub(super) recoveries: u64,
    pub(super) deaths: u64,
    pub(super) faults: u64,
    pub(super) images: HashMap<u64, Image, FixedState>,
}

/// What is known of an image, by its fingerprint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    /// A hash of what it shows.
    pub(super) shown: u64,
    /// Whether a crash inside of a recovery has left it.
    pub(super) in_recovery: bool,
}

impl Tally {
    /// The histories that were played.
    pub fn histories(&self) -> u64 {
        self.histories
    }

    /// The different images that power cuts have left: no two of them have the same names and bytes.
    pub fn images(&self) -> u64 {
        self.images.len() as u64
    }

    /// Those of the images that a second power cut has left, inside of the recovery from the first.
    pub fn images_in_recovery(&self) -> u64 {
        self.images.values().filter(|image| image.in_recovery).count() as u64
    }

    /// The deaths of a process that were recovered from.
    pub fn process_deaths(&self) -> u64 {
        self.deaths
    }

    /// The runs of a history that met a fault.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// How often something was opened that a crash had left.
    pub fn recoveries(&self) -> u64 {
        self.recoveries
    }

    /// Adds what another one has seen.
    pub fn merge(&mut self, other: Tally) {
        self.histories += other.histories;
        self.recoveries += other.recoveries;
        self.deaths += other.deaths;
        self.faults += other.faults;
        let (mut more, fewer) = match self.images.len() < other.images.len() {
            true => (other.images, std::mem::take(&mut self.images)),
            false => (std::mem::take(&mut self.images), other.images),
        };
        for (seed, image) in fewer {
            more.entry(seed).or_insert(image).in_recovery |= image.in_recovery;
        }
        self.images = more;
    }
}

/// As it is shown: the images are too many to print.
impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} histories, {} different images, {} of them from a cut inside of recovery, \
             {} process deaths, {} runs with a fault, {} recoveries",
            self.histories(),
            self.images(),
            self.images_in_recovery(),
            self.process_deaths(),
            self.faults(),
            self.recoveries()
        )
    }
}

/// Something that is wrong with a history.
#[derive(Debug)]
pub(super) struct Found {
    /// The number of steps that it took.
    pub(super) steps: usize,
    /// What happened, in order.
    place: Vec<String>,
    wrong: String,
}

impl Found {
    pub(super) fn new(steps: usize, place: impl Into<String>, wrong: String) -> Found {
        Found { steps, place: vec![place.into()], wrong }
    }

    /// At a place that is not known yet.
    pub(super) fn wrong(wrong: String) -> Found {
        Found { steps: 0, place: Vec::new(), wrong }
    }

    /// What it came after.
    pub(super) fn after(mut self, what: impl Into<String>) -> Found {
        self.place.insert(0, what.into());
        self
    }

    /// Where in the history that was.
    pub(super) fn at(mut self, steps: usize, place: &str) -> Found {
        self.steps = steps;
        self.after(place)
    }
}

/// A history that a subject fails.
pub struct Failure {
    pub(super) seed: u64,
    pub(super) histories: u64,
    pub(super) drawn: usize,
    pub(super) history: Vec<Step>,
    pub(super) found: Found,
}

impl Failure {
    /// The seed of the history that was found, or its number among all of its length.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many histories were played before it failed, itself included.
    pub fn histories(&self) -> u64 {
        self.histories
    }

    /// The history, made as small as it gets: [`Driver::check`](super::Driver::check) fails with it.
    pub fn history(&self) -> &[Step] {
        &self.history
    }
}

impl std::error::Error for Failure {}

/// What `unwrap` shows has to be what people can read.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, histories, drawn) = (self.seed, self.histories, self.drawn);
        writeln!(
            f,
            "seed {seed} fails, after {histories} histories; of its {drawn} steps it takes:\n["
        )?;
        for step in &self.history {
            writeln!(f, "    {step},")?;
        }
        writeln!(f, "]")?;
        writeln!(f, "{}:", self.found.place.join(", "))?;
        f.write_str(&self.found.wrong)
    }
}
