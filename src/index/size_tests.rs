//! What the index says about its size, and that it is asked with its own parts.

use std::convert::Infallible;

use super::tests::{set, steps, value};
use super::*;
use crate::state::StateChange;

/// What is stated besides slots and long values.
fn estimate(index: &Index) -> usize {
    index.memory_bytes() as usize - index.arena.reserved_bytes()
}

#[test]
fn the_memory_that_is_stated_grows_with_topics_and_with_groups() {
    const COUNT: usize = 1000;
    // What a reference count and the tables take for one of them: two counts, a node, two buckets.
    let entries = |count: usize| count * 80..=count * 96;
    let (index, mut writer) = Index::new(1);
    assert_eq!(estimate(&index), size_of::<Index>());
    set(&index, &mut writer, Key::new("g", "t", 0), value(1));
    let before = estimate(&index);
    for i in 0..COUNT {
        set(&index, &mut writer, Key::new("g", &format!("topic {i}"), 0), value(2));
    }
    let each = (estimate(&index) - before) / COUNT;
    let known = size_of::<Topic>() + size_of::<TopicName>();
    assert!(entries(2).contains(&(each - known)), "a topic of one group takes {each}");

    let (index, mut writer) = Index::new(1);
    set(&index, &mut writer, Key::new("g", "t", 0), value(1));
    let before = estimate(&index);
    for i in 0..COUNT {
        set(&index, &mut writer, Key::new(&format!("group {i}"), "t", 0), value(2));
    }
    let each = (estimate(&index) - before) / COUNT;
    let known = size_of::<Topic>() + size_of::<Group>() + 4 * size_of::<usize>();
    assert!(entries(3).contains(&(each - known)), "a group with one topic takes {each}");
}

#[test]
fn the_memory_that_is_stated_has_room_for_all_values() {
    let (index, mut writer) = Index::new(1);
    let before = index.arena.reserved_bytes();
    let count = steps(50_000, 2_000) as usize;
    for partition in 0..count as i32 {
        set(&index, &mut writer, Key::new("g", "t", partition), value(1));
    }
    let grown = index.arena.reserved_bytes() - before;
    // At least an offset and a seq for each, and less than a few words more.
    assert!((count * 16..count * 64).contains(&grown), "{grown}");
    assert!(index.memory_bytes() as usize >= estimate(&index) + grown);
}

#[test]
fn a_hash_tells_names_apart_and_is_the_same_every_time() {
    let (index, _) = Index::new(1);
    let mut hashes = std::collections::HashSet::new();
    for i in 0..100 {
        let name = format!("{i}");
        for (group, topic) in [("a", &*name), (&*name, "a"), ("", &*name)] {
            assert_eq!(index.hash(group, topic), index.hash(group, topic));
            hashes.insert(index.hash(group, topic));
        }
    }
    assert_eq!(hashes.len(), 300);
    assert_ne!(index.hash("ab", "c"), index.hash("a", "bc"));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "the index's own writer")]
fn the_writer_of_another_index_is_noticed() {
    let ((index, _), (_, mut other)) = (Index::new(1), Index::new(1));
    let topic = index.resolve("g", "t");
    assert!(index.set(&mut other, &topic, topic.spot(0), value(1)));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "the index's own topic")]
fn the_topic_of_another_index_is_noticed() {
    let ((index, mut writer), (other, _)) = (Index::new(1), Index::new(1));
    let topic = other.resolve("g", "t");
    assert!(index.set(&mut writer, &topic, topic.spot(0), value(1)));
}

#[test]
fn the_memory_that_is_stated_has_the_states() {
    const COUNT: i32 = 1000;
    let (index, _) = Index::new(1);
    let before = index.memory_bytes();
    for part in 0..COUNT {
        let id = StateId { group: "g", owner: 1, name: "n", part };
        assert!(index.states().change(id, StateChange::Put(&[7; 1000]), 1 + part as u64));
    }
    let each = (index.memory_bytes() - before) / COUNT as u64;
    assert!((1_000 + size_of::<State>() as u64..1_300).contains(&each), "a state takes {each}");
}

#[test]
fn the_memory_that_is_stated_has_what_is_packed_until_it_is_unpacked() {
    const TOPICS: i32 = 250;
    const VALUES: usize = 20;
    let empty = Index::new(1).0.memory_bytes();
    let mut builder = Builder::new(1);
    for topic in 0..TOPICS {
        assert!(builder.topic("g", &format!("t{topic:03}")));
        let text = "x".repeat(24);
        let values = (0..VALUES as i32)
            .map(|partition| Ok((partition, Value { metadata: &text, ..value(1) })));
        assert!(builder.set_all(values).unwrap_or_else(|never: Infallible| match never {}));
    }
    let (index, _writer) = builder.finish();
    let each = (index.memory_bytes() - empty) as usize / (TOPICS as usize * VALUES);
    // The text, where it ends and whether there is an expiry, and the bytes in which rows differ.
    assert!((24 + 24 + 3..24 + 24 + 8).contains(&each), "a packed value takes {each}");
    assert_eq!(index.topics().len(), TOPICS as usize);
    let left = size_of_val(index.base.places()) + size_of::<Arc<Group>>();
    assert_eq!(index.base.memory_bytes(), left, "the places are there, the packs are not");
}
