//! Quotas: how many groups and keys a store takes, against a model that counts.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use pagemark::testkit::SimDisk;
use pagemark::{Commit, CommitBatch, ErrorKind, Key, NextOffset, OffsetStore, Options};
use support::{Lots, State, history, mix, observe, options, record_bounds};

const GROUPS: [&str; 5] = ["a", "billing", "größe", "d", "e"];
const TOPICS: [&str; 3] = ["t", "orders", "audit"];

fn keys_of(state: &State, group: &str) -> u64 {
    state.offsets.keys().filter(|key| key.0 == group).count() as u64
}

fn groups_of(state: &State) -> u64 {
    let mut groups: Vec<&String> = state.offsets.keys().map(|key| &key.0).collect();
    groups.dedup();
    groups.len() as u64
}

/// The words that a refusal has to have, if the step from one state to the other is to be refused.
fn refusal(before: &State, after: &State, group: &str, limits: (u64, u64)) -> Option<&'static str> {
    if keys_of(after, group) <= keys_of(before, group) {
        None
    } else if groups_of(after) > groups_of(before) && groups_of(after) > limits.0 {
        Some("max_groups")
    } else {
        (keys_of(after, group) > limits.1).then_some("max_keys_per_group")
    }
}

/// A random batch, and what it makes of a state.
fn draw_batch(lots: &mut Lots, state: &State) -> (CommitBatch, State) {
    let group = GROUPS[lots.below(5) as usize];
    let mut batch = CommitBatch::new(group);
    let mut changes = BTreeMap::new();
    for _ in 0..1 + lots.below(3) * lots.below(3) {
        let (topic, partition) = (TOPICS[lots.below(3) as usize], lots.below(3) as i32 * 80);
        let key = (group.to_owned(), topic.to_owned(), partition);
        if lots.below(3) == 0 {
            batch.delete(topic, partition);
            changes.insert(key, None);
        } else {
            let offset = lots.below(1 << 40) as i64;
            batch.commit(topic, partition, NextOffset(offset));
            changes.insert(key, Some((offset, String::new())));
        }
    }
    let mut after = state.clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(after.offsets.insert(key, value)),
            None => drop(after.offsets.remove(&key)),
        }
    }
    (batch, after)
}

#[test]
fn new_groups_and_keys_are_refused_and_nothing_else() {
    let (mut refused, mut over) = (BTreeMap::new(), 0);
    for seed in 0..40 {
        let mut lots = Lots(mix(seed));
        let disk = SimDisk::new();
        let mut limits = (1 + lots.below(5), 1 + lots.below(8));
        let open = |limits: (u64, u64)| {
            let options = options(seed).max_groups(limits.0).max_keys_per_group(limits.1);
            options.open_in(disk.dir()).expect("a store over its limits opens, too")
        };
        let mut store = open(limits);
        let mut state = State::new();
        for step in 0..250 {
            match lots.below(25) {
                0 => {
                    // With other limits, which may be lower than what is there.
                    limits = (1 + lots.below(5), 1 + lots.below(8));
                    store.close().unwrap();
                    store = open(limits);
                    let most = GROUPS.map(|group| keys_of(&state, group)).into_iter().max();
                    over += u64::from(groups_of(&state) > limits.0 || most > Some(limits.1));
                }
                1 => drop(store.compact().unwrap()),
                2 => {
                    let group = GROUPS[lots.below(5) as usize];
                    store.delete_group(group).unwrap();
                    state.offsets.retain(|key, _| key.0 != group);
                }
                3 => {
                    let (group, topic) =
                        (GROUPS[lots.below(5) as usize], TOPICS[lots.below(3) as usize]);
                    store.delete_topic(group, topic).unwrap();
                    state.offsets.retain(|key, _| key.0 != group || key.1 != topic);
                }
                _ => {
                    let (batch, after) = draw_batch(&mut lots, &state);
                    let context = format!("seed {seed}, step {step}, limits {limits:?}: {batch:?}");
                    let before = disk.files().iter().map(|f| disk.contents(f)).collect::<Vec<_>>();
                    let committed = store.commit_batch(&batch);
                    match refusal(&state, &after, batch.group(), limits) {
                        None => {
                            committed.unwrap_or_else(|error| panic!("{context}: {error}"));
                            state = after;
                        }
                        Some(limit) => {
                            let error = committed.expect_err(&context);
                            assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{context}");
                            let text = error.to_string();
                            assert!(text.contains(limit), "{context}: {text}");
                            assert!(text.contains(&format!("{:?}", batch.group())), "{text}");
                            let files = disk.files();
                            let now = files.iter().map(|f| disk.contents(f)).collect::<Vec<_>>();
                            assert!(now == before, "{context}: nothing is written");
                            *refused.entry(limit).or_insert(0) += 1;
                        }
                    }
                }
            }
            assert_eq!(observe(&store), state, "seed {seed}, step {step}");
        }
        drop(store);
        assert_eq!(observe(&open(limits)), state);
    }
    assert!(refused["max_groups"] > 100 && refused["max_keys_per_group"] > 100, "{refused:?}");
    assert!(over > 20, "limits below what is there were tried: {over}");
}

/// The limits cannot be raced past: of all the threads that bring new keys and groups, exactly as
/// many succeed as there is room for.
#[test]
fn threads_that_commit_new_keys_fill_the_room_and_no_more() {
    let disk = SimDisk::new();
    let store = options(1).max_groups(7).max_keys_per_group(50).open_in(disk.dir()).unwrap();
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, refused) = (&store, &refused);
            scope.spawn(move || {
                for i in 0..400 {
                    // Each thread has partitions of its own, in groups that all of them want.
                    let (group, partition) = (format!("g{}", i % 10), i / 10 * 4 + thread);
                    let committed = match i % 20 < 10 {
                        true => store.commit(Key::new(&group, "t", partition), NextOffset(1)),
                        false => store
                            .slot(Key::new(&group, "u", partition))
                            .and_then(|slot| slot.commit(NextOffset(1))),
                    };
                    if let Err(error) = committed {
                        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.groups, stats.keys), (7, 7 * 50));
    assert_eq!(refused.into_inner(), 4 * 400 - 7 * 50);
}

/// Unlimited is the default, and a limit changes nothing of what is written.
#[test]
fn a_limit_that_is_not_reached_changes_nothing() {
    let play = |options: &Options| {
        let disk = SimDisk::new();
        let mut player = support::Player::new(disk, options.clone());
        player.play(&history(5, 40)).unwrap();
        let files = player.disk.files();
        files.iter().map(|name| player.disk.contents(name)).collect::<Vec<_>>()
    };
    assert_eq!(play(&options(5)), play(&options(5).max_groups(3).max_keys_per_group(12)));
}

#[test]
fn a_limit_of_zero_takes_nothing() {
    let open = |options: Options| -> OffsetStore { options.open_in(SimDisk::new().dir()).unwrap() };
    for options in [options(1).max_groups(0), options(1).max_keys_per_group(0)] {
        let store = open(options);
        let error = store.commit(Key::new("g", "t", 0), Commit::new(NextOffset(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert!(store.groups().is_empty());
    }
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let disk = SimDisk::new();
    let store = options(1).max_keys_per_group(1).open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    let before = store.stats().memory_bytes;
    for i in 0..500 {
        let topic = format!("topic {i}");
        store.commit(Key::new("g", &topic, 0), NextOffset(1)).unwrap_err();
        let mut batch = CommitBatch::new("g");
        batch.commit(&topic, 0, NextOffset(1));
        store.commit_batch(&batch).unwrap_err();
    }
    assert_eq!(store.stats().memory_bytes, before);
}

#[test]
fn a_batch_may_take_all_of_a_segment() {
    const SIZE: usize = 16 << 10;
    // The first one, and one that the log has to roll over to.
    for before in [0, 2] {
        let mut fits = 0;
        for words in 0.. {
            let disk = SimDisk::new();
            let options = Options::new().background(false).segment_size(SIZE as u64);
            let store = options.max_metadata_bytes(SIZE).open_in(disk.dir()).unwrap();
            for _ in 0..before {
                let text = "x".repeat(4_000);
                let commit = Commit::new(NextOffset(1)).metadata(&text);
                store.commit(Key::new("g", "t", 0), commit).unwrap();
            }
            let text = "x".repeat(12_000 + 4 * words);
            let commit = Commit::new(NextOffset(1)).metadata(&text);
            if let Err(error) = store.commit(Key::new("g", "t", 0), commit) {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                break;
            }
            let name = disk.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
            fits = *record_bounds(&disk.contents(&name).unwrap()).last().unwrap();
        }
        // A seal of 28 bytes has to follow.
        assert_eq!(fits + 28, SIZE, "behind {before} others");
    }
}
