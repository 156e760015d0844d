//! Delete: tombstones, so that nothing comes back from the dead.

use std::sync::Arc;

use crate::error::Result;
use crate::index::{State, Topic};
use crate::key::{Key, Receipt, check_name};
use crate::state::StateChange;

use super::Engine;
use super::changes::{Change, Changes, StateEdit};

/// The topics and the states of a group that a delete is about.
type Found = (Vec<Arc<Topic>>, Vec<State>);

impl Engine {
    /// Deletes one key.
    pub(crate) fn delete(&self, key: Key<'_>) -> Result<Receipt> {
        key.check()?;
        self.delete_found(
            key.group(),
            |engine| engine.topic(key.group(), key.topic()),
            |topic| {
                let live = topic.offset(key.partition()).is_some();
                live.then_some(Change::Delete { topic, partition: key.partition() })
            },
        )
    }

    /// Deletes all partitions of a topic.
    pub(crate) fn delete_topic(&self, group: &str, topic: &str) -> Result<Receipt> {
        check_name("group", group)?;
        check_name("topic", topic)?;
        self.delete_found(
            group,
            |engine| engine.topic(group, topic),
            |topic| Some(Change::DeleteTopic { topic }),
        )
    }

    /// Deletes all topics and all states of a group.
    pub(crate) fn delete_group(&self, group: &str) -> Result<Receipt> {
        check_name("group", group)?;
        self.delete_found(
            group,
            |engine| (engine.index.group_topics(group), engine.index.states().of_group(group)),
            |topic| Some(Change::DeleteTopic { topic }),
        )
    }

    /// The topic, if it has a value.
    fn topic(&self, group: &str, topic: &str) -> Found {
        (self.index.with_topic(group, topic, Arc::clone).into_iter().collect(), Vec::new())
    }

    /// Deletes in one record what `choose` makes of the topics that `find` finds, and the states. Where
    /// there is nothing to delete, no record is written; the absence may still be a recent delete's, so
    /// it is made durable all the same.
    fn delete_found(
        &self,
        group: &str,
        find: impl Fn(&Engine) -> Found,
        choose: impl Fn(&Arc<Topic>) -> Option<Change<'_>>,
    ) -> Result<Receipt> {
        let mut log = self.log()?;
        log.check_open()?;
        // Under the log's lock no topic and no state comes or goes.
        let (topics, states) = find(self);
        let live = topics.iter().filter(|topic| !topic.is_detached() && topic.live() > 0);
        let keys: Vec<Change<'_>> = live.filter_map(choose).collect();
        let delete = |state| StateEdit { id: State::id(state, group), change: StateChange::Delete };
        let states: Vec<StateEdit<'_>> = states.iter().map(delete).collect();
        let changes = Changes { keys: &keys, states: &states };
        let seq = match changes.is_empty() {
            true => log.last_seq(),
            false => log.append(&self.index, changes, self.durable())?,
        };
        drop(log);
        self.acknowledge(seq, self.options.durability)
    }
}
