//! The groups that are in memory, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::Cell;

/// How many groups there may be before it is first looked which of them nobody needs.
const FIRST_SWEEP: usize = 64;

/// All groups that have or had members, and those that somebody has just asked for.
///
/// Every name that a request brings gets a cell, so that there is one lock for it. Those that came to
/// nothing go when there are twice as many cells as were needed when that was last looked at. So asking
/// for names that there are not takes no more memory than the groups that there are.
#[derive(Debug)]
pub(super) struct Groups {
    cells: BTreeMap<String, Arc<Cell>>,
    sweep_at: usize,
}

impl Groups {
    pub(super) fn new() -> Groups {
        Groups { cells: BTreeMap::new(), sweep_at: FIRST_SWEEP }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Cell>> {
        self.cells.get(name).cloned()
    }

    pub(super) fn insert(&mut self, cell: Arc<Cell>) {
        if self.cells.len() >= self.sweep_at {
            // Whoever uses a cell has a handle to it, and gets that from here. So nobody waits for the
            // lock of one that is left, and nobody has one that goes.
            self.cells.retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.is_unused());
            self.sweep_at = FIRST_SWEEP.max(2 * self.cells.len());
        }
        self.cells.insert(cell.name.clone(), cell);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.cells.keys()
    }

    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells.values().cloned().collect()
    }
}
