//! The last commit of each key in a segment, so that a replay touches the index once for each.
//!
//! A log says the same keys over and over; all but the last commit of a key in a segment are
//! superseded within it. Finding the last ones takes eight bytes a key, which stay in the processor's
//! cache while the values themselves would not.

/// Where in its segment an entry stands, and the seq of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u32,
    pub(super) seq: u64,
}

/// The places of the last commits, by the ids of their names and their partitions.
#[derive(Debug, Default)]
pub(super) struct Latest {
    names: Vec<Vec<Stored>>,
    /// What stored seqs count from.
    base_seq: u64,
}

/// A position, zero for none, and a seq less the base.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    position: u32,
    seq: u32,
}

/// Partitions below this always have a place.
const DENSE: usize = 64;

impl Latest {
    /// Notes the last commit of a key so far. Returns false if there is no place for it: then it has
    /// to be applied at once. Memory stays in proportion to the entries that there are.
    pub(super) fn note(&mut self, name: u32, partition: i32, place: Place) -> bool {
        let Ok(seq) = u32::try_from(place.seq.wrapping_sub(self.base_seq)) else { return false };
        let (name, partition) = (name as usize, partition as usize);
        if name >= self.names.len() {
            self.names.resize_with(name + 1, Vec::new);
        }
        let places = &mut self.names[name];
        if partition >= places.len() {
            if partition >= DENSE.max(2 * places.len()) {
                return false;
            }
            places.resize(partition + 1, Stored::default());
        }
        places[partition] = Stored { position: place.position, seq };
        true
    }

    /// Forgets the last commit of a key, which was deleted.
    pub(super) fn forget(&mut self, name: u32, partition: i32) {
        let places = self.names.get_mut(name as usize);
        if let Some(stored) = places.and_then(|places| places.get_mut(partition as usize)) {
            *stored = Stored::default();
        }
    }

    /// Forgets the last commits of all partitions.
    pub(super) fn forget_topic(&mut self, name: u32) {
        if let Some(places) = self.names.get_mut(name as usize) {
            places.clear();
        }
    }

    /// Takes out all places, and counts seqs from `base_seq` from now on.
    pub(super) fn drain(&mut self, base_seq: u64) -> impl Iterator<Item = (u32, i32, Place)> {
        let before = std::mem::replace(&mut self.base_seq, base_seq);
        let names = std::mem::take(&mut self.names);
        (0..).zip(names).flat_map(move |(name, places)| {
            (0..).zip(places).filter(|(_, stored)| stored.position != 0).map(
                move |(partition, stored)| {
                    let seq = before.wrapping_add(u64::from(stored.seq));
                    (name, partition, Place { position: stored.position, seq })
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_each_key_is_kept() {
        let mut latest = Latest::default();
        assert_eq!(latest.drain(1 << 40).count(), 0);
        let place = |n: u64| Place { position: n as u32, seq: (1 << 40) + n };
        assert!(latest.note(1, 0, place(5)));
        assert!(latest.note(1, 63, place(6)));
        assert!(latest.note(1, 127, place(7)), "in proportion");
        assert!(latest.note(0, 3, place(8)));
        assert!(latest.note(1, 63, place(9)));
        assert!(!latest.note(0, i32::MAX, place(10)), "out of proportion");
        assert!(!latest.note(0, 3, Place { position: 1, seq: 3 }), "of an earlier session");
        latest.forget(1, 0);
        latest.forget(9, 9);
        let kept: Vec<_> = latest.drain(0).collect();
        assert_eq!(kept, [(0, 3, place(8)), (1, 63, place(9)), (1, 127, place(7))]);
        assert!(latest.note(2, 0, Place { position: 1, seq: 3 }));
        latest.forget_topic(2);
        assert_eq!(latest.drain(0).count(), 0);
    }
}
