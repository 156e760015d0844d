//! The switch, as it is compiled into the engine: `crate::mutant`.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// No mutant is at work.
const NONE: u32 = u32::MAX - 2;
/// None is, and the places that are passed are written down.
const RECORDING: u32 = u32::MAX - 1;
/// Nobody has asked yet.
const UNKNOWN: u32 = u32::MAX;

static ACTIVE: AtomicU32 = AtomicU32::new(UNKNOWN);
static PASSED: [AtomicBool; PLACES] = [const { AtomicBool::new(false) }; PLACES];

/// The mutant that is at work, at this place.
#[inline(always)]
pub(crate) fn at(place: usize) -> u32 {
    let active = ACTIVE.load(Relaxed);
    if active < RECORDING { active } else { ask(place) }
}

#[cold]
fn ask(place: usize) -> u32 {
    if PASSED[place].load(Relaxed) {
        return RECORDING;
    }
    let seen = std::env::var_os("PAGEMARK_MUTANTS_PASSED");
    if ACTIVE.load(Relaxed) == UNKNOWN {
        let active = std::env::var("PAGEMARK_MUTANT").ok().and_then(|n| n.parse().ok());
        let none = if seen.is_some() { RECORDING } else { NONE };
        ACTIVE.store(active.unwrap_or(none), Relaxed);
    }
    if let (RECORDING, Some(path)) = (ACTIVE.load(Relaxed), seen)
        && !PASSED[place].swap(true, Relaxed)
    {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{place}\n").as_bytes()).unwrap();
    }
    ACTIVE.load(Relaxed)
}

/// One type for all iterators over the same.
pub(crate) fn boxed<'a, T>(
    items: impl Iterator<Item = T> + 'a,
) -> Box<dyn Iterator<Item = T> + 'a> {
    Box::new(items)
}
