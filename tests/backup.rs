//! Backup: a copy of one moment that opens, whatever interrupts it.

mod support;

#[path = "support/hooked.rs"]
mod hooked;

#[path = "backup/damage.rs"]
mod damage;
#[path = "backup/interrupted.rs"]
mod interrupted;
#[path = "backup/later.rs"]
mod later;
#[path = "backup/moment.rs"]
mod moment;
#[path = "backup/refused.rs"]
mod refused;
#[path = "backup/restored.rs"]
mod restored;
#[path = "backup/sizes.rs"]
mod sizes;

use std::path::Path;

use pagemark::OffsetReader;
use pagemark::testkit::SimDisk;
use support::{State, observe, observe_reader, options};

/// What a copy of a backup shows when it is opened.
fn shown(backup: &SimDisk) -> Result<State, pagemark::Error> {
    options(7).open_in(backup.deep_clone().dir()).map(|store| observe(&store))
}

/// What a reader shows of a backup that nobody has opened.
fn read(backup: &SimDisk) -> Result<State, pagemark::Error> {
    OffsetReader::open_in(backup.deep_clone().dir()).map(|reader| observe_reader(&reader))
}

/// Copies the files of a directory into a new one.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
