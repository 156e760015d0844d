//! The directory of a simulated disk, now and after a power cut.

use std::collections::BTreeMap;
use std::io;

/// Identifies a file whatever its name is.
pub(super) type FileId = u64;

/// Names as processes see them, as the device holds them, and the changes that lie between.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Names {
    live: BTreeMap<String, FileId>,
    durable: BTreeMap<String, FileId>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Hash)]
enum Change {
    Create { name: String, file: FileId },
    Rename { from: String, to: String, file: FileId },
    Remove { name: String },
}

impl Names {
    /// The names that processes see.
    pub(super) fn live(&self) -> &BTreeMap<String, FileId> {
        &self.live
    }

    /// The file that processes see under a name.
    pub(super) fn get(&self, name: &str) -> io::Result<FileId> {
        self.live.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of changes that a power cut may undo.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn create(&mut self, name: &str, file: FileId) {
        self.live.insert(name.into(), file);
        self.pending.push(Change::Create { name: name.into(), file });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.get(from)?;
        self.live.remove(from);
        self.live.insert(to.into(), file);
        self.pending.push(Change::Rename { from: from.into(), to: to.into(), file });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.get(name)?;
        self.live.remove(name);
        self.pending.push(Change::Remove { name: name.into() });
        Ok(())
    }

    /// Makes all names durable.
    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.pending.clear();
    }

    /// Makes the creation of one name durable and leaves the other changes in the air.
    pub(super) fn sync_one(&mut self, name: &str) {
        if let Some(file) = self.live.get(name) {
            self.durable.insert(name.into(), *file);
            self.pending
                .retain(|change| !matches!(change, Change::Create { name: n, .. } if n == name));
        }
    }

    /// Whether a power cut may leave `file` with a name.
    pub(super) fn may_survive(&self, file: FileId) -> bool {
        let created =
            |change: &Change| matches!(change, Change::Create { file: f, .. } if *f == file);
        self.durable.values().any(|f| *f == file) || self.pending.iter().any(created)
    }

    /// The names after a power cut. `choose` is asked for each change, in order.
    pub(super) fn after_cut(&self, choose: &mut impl FnMut(usize) -> usize) -> Names {
        let mut names = self.durable.clone();
        for change in &self.pending {
            if choose(2) == 0 {
                continue;
            }
            match change {
                Change::Create { name, file } => {
                    names.insert(name.clone(), *file);
                }
                // Without its source, or with another file in that place, it never happens.
                Change::Rename { from, to, file } => {
                    if names.get(from) == Some(file) {
                        names.remove(from);
                        names.insert(to.clone(), *file);
                    }
                }
                Change::Remove { name } => {
                    names.remove(name);
                }
            }
        }
        Names { live: names.clone(), durable: names, pending: Vec::new() }
    }
}
