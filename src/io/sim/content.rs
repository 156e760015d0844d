//! What one simulated file holds, now and after a power cut.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// The unit that a device writes whole or not at all.
const SECTOR: usize = 512;

/// How many versions of a dirty sector are kept beside the newest one.
const OLDER_VERSIONS: usize = 7;

type Sector = Arc<[u8]>;

/// The bytes that processes see, and beside them, for each sector in which the device may differ,
/// what it may hold instead.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Content {
    live: Arc<Vec<u8>>,
    /// Sectors that the next sync writes.
    dirty: BTreeMap<usize, Dirty>,
    /// Sectors that a failed sync gave up: what the device holds, and nobody will write over.
    given_up: BTreeMap<usize, Sector>,
}

#[derive(Clone, Debug, Hash)]
struct Dirty {
    durable: Sector,
    /// What was written since, oldest first, without the newest version, which is live.
    older: VecDeque<Sector>,
}

impl Dirty {
    /// What is durable, the older versions, and the newest one.
    fn alternatives(&self) -> usize {
        self.older.len() + 2
    }
}

impl Content {
    /// Durable content.
    pub(super) fn durable(bytes: Vec<u8>) -> Content {
        Content { live: Arc::new(bytes), ..Content::default() }
    }

    /// What processes see.
    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    /// Whether the device holds what processes see.
    pub(super) fn is_synced(&self) -> bool {
        self.dirty.is_empty() && self.given_up.is_empty()
    }

    /// The number of sectors that a power cut may bring back to what they were.
    pub(super) fn dirty_sectors(&self) -> usize {
        self.dirty.len()
    }

    /// Of each of these sectors, how many alternatives [`after_cut`](Content::after_cut) asks for.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = usize> {
        self.dirty.values().map(Dirty::alternatives)
    }

    /// Extends the file by zeros. The size is not simulated: it survives a power cut.
    pub(super) fn grow(&mut self, by: usize) {
        let live = Arc::make_mut(&mut self.live);
        let end = live.len();
        live.resize(end + by, 0);
        // What is known of the last sector was known of a shorter one.
        let old = end / SECTOR;
        let grown = range(old, end + by).len();
        let dirty = self.dirty.get_mut(&old).into_iter();
        let versions = dirty.flat_map(|dirty| dirty.older.iter_mut().chain([&mut dirty.durable]));
        for version in versions.chain(self.given_up.get_mut(&old)) {
            let mut bytes = version.to_vec();
            bytes.resize(grown, 0);
            *version = bytes.into();
        }
    }

    /// Writes into the page cache, as it were. The caller has checked the bounds.
    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let live = Arc::make_mut(&mut self.live);
        for sector in position / SECTOR..=(position + bytes.len() - 1) / SECTOR {
            let before: Sector = live[range(sector, live.len())].into();
            if let Some(dirty) = self.dirty.get_mut(&sector) {
                dirty.older.push_back(before);
                if dirty.older.len() > OLDER_VERSIONS {
                    dirty.older.pop_front();
                }
            } else {
                let durable = self.given_up.remove(&sector).unwrap_or(before);
                self.dirty.insert(sector, Dirty { durable, older: VecDeque::new() });
            }
        }
        live[position..position + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes everything durable that a sync still knows of.
    pub(super) fn sync(&mut self) {
        self.dirty.clear();
    }

    /// Fails a sync in the way of the kernel: what was dirty counts as clean from now on, goes on
    /// being shown, and is not on the device.
    pub(super) fn fail_sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.given_up.extend(dirty.into_iter().map(|(sector, dirty)| (sector, dirty.durable)));
    }

    /// Drops what is clean from the page cache, so that the device is asked again.
    pub(super) fn drop_cached(&mut self) {
        if self.given_up.is_empty() {
            return;
        }
        let live = Arc::make_mut(&mut self.live);
        for (sector, durable) in std::mem::take(&mut self.given_up) {
            let range = range(sector, live.len());
            live[range].copy_from_slice(&durable);
        }
    }

    /// What the device holds after a power cut. `choose` is asked for each dirty sector, in the order
    /// of the file.
    pub(super) fn after_cut(&self, choose: &mut impl FnMut(usize) -> usize) -> Content {
        let mut live = Arc::clone(&self.live);
        let mut put = |sector, bytes: &Sector| {
            let live = Arc::make_mut(&mut live);
            let range = range(sector, live.len());
            live[range].copy_from_slice(bytes);
        };
        for (sector, durable) in &self.given_up {
            put(*sector, durable);
        }
        for (sector, dirty) in &self.dirty {
            match choose(dirty.alternatives()) {
                0 => put(*sector, &dirty.durable),
                // Past the older versions is the newest, which is there already.
                chosen => dirty.older.get(chosen - 1).into_iter().for_each(|old| put(*sector, old)),
            }
        }
        Content { live, ..Content::default() }
    }
}

/// The bytes of a sector; the last one of a file may be short.
fn range(sector: usize, len: usize) -> Range<usize> {
    sector * SECTOR..((sector + 1) * SECTOR).min(len)
}
