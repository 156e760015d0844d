//! What a backup may show after a power cut.

use std::path::Path;

use pagemark::OffsetStore;

use crate::check::{Model, Shown, write_out};
use crate::disk::Image;
use crate::life::{BACKUP, Orders};
use crate::said::Said;

/// What was left of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A store, with everything up to this seq.
    Store(u64),
    /// Something that is refused as damaged, as it may be while a backup is made.
    Refused,
}

impl Model {
    /// Looks at the image of a backup. It shows the moment of the newest one that was made or a later
    /// one, or it is refused as damaged, where it may be.
    pub(crate) fn check_backup(
        &self,
        images: &[Image; 2],
        said: &Said,
        orders: &Orders,
        scratch: &Path,
    ) -> Result<Left, String> {
        let dir = scratch.join(BACKUP);
        write_out(&images[1], &dir).map_err(|error| format!("cannot write the image: {error}"))?;
        let is_clean = pagemark::verify(&dir).is_ok_and(|report| report.is_clean());
        let backup = match orders.options().background(false).open(&dir) {
            Ok(backup) => backup,
            Err(error) if error.is_corruption() && may_be_refused(images, said) && !is_clean => {
                return Ok(Left::Refused);
            }
            Err(error) => return Err(format!("the backup cannot be opened: {error}")),
        };
        let (shown, newest) = self.look(&backup, said)?;
        if let Some(seq) = said.backed_up {
            if !is_clean {
                return Err("the backup can be opened and is not clean".into());
            }
            // An interrupted first backup may show a moment before the first step.
            let promised = Said { durable: seq, ..said.clone() };
            self.compare(&shown, newest, &promised).map_err(|why| format!("the backup: {why}"))?;
        }
        Ok(Left::Store(newest))
    }

    /// Makes the next backup into the image of one, which has to make it whole.
    pub(crate) fn check_next_backup(
        &self,
        image: &Image,
        (store, shown): (&OffsetStore, &Shown),
        said: &Said,
        orders: &Orders,
        scratch: &Path,
    ) -> Result<(), String> {
        let dir = scratch.join(BACKUP);
        write_out(image, &dir).map_err(|error| format!("cannot write the image: {error}"))?;
        store.backup(&dir).map_err(|error| format!("the next backup fails: {error}"))?;
        let report = pagemark::verify(&dir).map_err(|error| error.to_string())?;
        if !report.is_clean() {
            return Err(format!("the next backup is damaged: {:#?}", report.findings));
        }
        let backup = orders.options().background(false).open(&dir);
        let backup =
            backup.map_err(|error| format!("the next backup cannot be opened: {error}"))?;
        let (found, _) = self.look(&backup, said)?;
        match found.held == shown.held && found.shared == shown.shared {
            true => Ok(()),
            false => Err(format!("the next backup shows {found:#?} and not {shown:#?}")),
        }
    }
}

/// Whether a backup may be refused: while it is made, if there was none before, or if the snapshot of the
/// store is about to take the place of what is there.
fn may_be_refused([store, backup]: &[Image; 2], said: &Said) -> bool {
    let names = store.iter().flatten().map(|(name, _)| name);
    let newest = names.filter(|name| name.ends_with(".snapshot")).max();
    let is_there = |name| backup.as_ref().is_some_and(|files| files.contains_key(name));
    said.is_backing_up && (said.backed_up.is_none() || newest.is_some_and(|name| !is_there(name)))
}
