//! Edits of a valid store: it opens or is refused, and never shows what was not committed.

use pagemark::testkit::SimDisk;
use pagemark::{Commit, ErrorKind, Key, NextOffset, Options};

use crate::input::Input;
use crate::support::{Player, State, Step, observe, options, states};

const SECTOR: usize = 512;
const MOST_STEPS: usize = 32;
const MOST_EDITS: usize = 8;
const LOCK: &str = "LOCK";

/// Plays a history, ends it in order or by a crash, edits the files, and opens them again.
///
/// # Panics
///
/// If the store shows anything but one of the states of its history; if it was closed in order, one
/// thing was edited, and the store opens without showing all it held; or if a refusal changes a file.
pub fn recover(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let count = input.below(MOST_STEPS);
    let steps: Vec<Step> = (0..count).map(|_| input.step()).collect();
    let states = states(&steps);
    let mut player = Player::new(SimDisk::new(), options(1));
    player.play(&steps).expect("nothing fails on this disk");
    let (disk, is_closed) = end(&mut player, &mut input);
    let mut edits = 0;
    while !input.is_empty() && edits < MOST_EDITS {
        edit(&disk, &mut input);
        edits += 1;
    }
    let before = contents(&disk);
    match player.options.open_in(disk.dir()) {
        Ok(store) => {
            let found = observe(&store);
            assert!(states.contains(&found), "the store shows what never was: {found:?}");
            if is_closed && edits <= 1 {
                assert_eq!(found, states[count], "silent loss");
            }
            if edits == 0 {
                let durable = if is_closed { count } else { player.durable };
                assert!(states[durable..].contains(&found), "what was durable is lost");
            }
            drop(store);
            go_on(&disk, &player.options, found);
        }
        Err(error) => {
            assert!(edits > 0, "nothing is wrong with the store: {error}");
            let damage = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotAStore);
            assert!(damage, "{error:?}");
            assert_eq!(contents(&disk), before, "a store that is refused is not changed");
        }
    }
}

/// Ends the session, and says whether in order.
fn end(player: &mut Player, input: &mut Input<'_>) -> (SimDisk, bool) {
    match input.below(3) {
        0 => {
            let store = player.store.take().expect("a store is open after each step");
            store.close().expect("nothing fails on this disk");
            (player.disk.power_cut(0), true)
        }
        1 => (player.disk.process_crash(), false),
        _ => (player.disk.power_cut(input.seed()), false),
    }
}

fn contents(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.files().into_iter().filter(|name| name != LOCK);
    names.map(|name| (name.clone(), disk.contents(&name))).collect()
}

/// Does to one or two files what disks and people do.
fn edit(disk: &SimDisk, input: &mut Input<'_>) {
    let files = disk.files();
    if files.is_empty() {
        return;
    }
    let name = &files[input.below(files.len())];
    let mut bytes = disk.contents(name).unwrap_or_default();
    let sectors = bytes.len().div_ceil(SECTOR).max(1);
    match input.below(8) {
        0..3 if !bytes.is_empty() => {
            // Most of a file is zeros behind its end; what matters is in front of that.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            let at = input.below(used);
            bytes[at] ^= 1 << input.below(8);
            disk.put(name, bytes);
        }
        3 => {
            let at = input.below(sectors) * SECTOR;
            let end = (at + SECTOR).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
            disk.put(name, bytes);
        }
        4 => {
            let source = disk.contents(&files[input.below(files.len())]).unwrap_or_default();
            let from = input.below(source.len().div_ceil(SECTOR).max(1)) * SECTOR;
            let source = &source[from.min(source.len())..];
            let at = (input.below(sectors) * SECTOR).min(bytes.len());
            let len = SECTOR.min(source.len()).min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&source[..len]);
            disk.put(name, bytes);
        }
        5 => {
            bytes.truncate(input.below(bytes.len() + 1));
            disk.put(name, bytes);
        }
        6 => {
            let other = &files[input.below(files.len())];
            let others = disk.contents(other).unwrap_or_default();
            disk.put(other, bytes);
            disk.put(name, others);
        }
        _ => {
            disk.delete(name);
        }
    }
}

/// A store that opens takes commits and keeps them.
fn go_on(disk: &SimDisk, options: &Options, mut expected: State) {
    let store = options.open_in(disk.dir()).expect("a store that was opened opens again");
    assert_eq!(observe(&store), expected, "opening changes nothing");
    let commit = Commit::new(NextOffset(i64::MAX)).metadata("after");
    store.commit(Key::new("after", "t", 0), commit).expect("an open store takes commits");
    store.sync().expect("nothing fails on this disk");
    expected.offsets.insert(("after".into(), "t".into(), 0), (i64::MAX, "after".into()));
    let cut = disk.power_cut(0);
    drop(store);
    let store = options.open_in(cut.dir()).expect("a store that was opened opens again");
    assert_eq!(observe(&store), expected, "what was synced is there");
}
