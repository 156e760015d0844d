//! Delete: tombstones, so that nothing comes back from the dead.

use std::sync::Arc;

use crate::error::Result;
use crate::index::Topic;
use crate::key::{Key, Receipt, check_name};

use super::Engine;
use super::log::Change;

impl Engine {
    /// Deletes one key.
    pub(crate) fn delete(&self, key: Key<'_>) -> Result<Receipt> {
        key.check()?;
        self.delete_topics(
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
        self.delete_topics(
            |engine| engine.topic(group, topic),
            |topic| Some(Change::DeleteTopic { topic }),
        )
    }

    /// Deletes all topics of a group.
    pub(crate) fn delete_group(&self, group: &str) -> Result<Receipt> {
        check_name("group", group)?;
        self.delete_topics(
            |engine| engine.index.group_topics(group),
            |topic| Some(Change::DeleteTopic { topic }),
        )
    }

    /// The topic, if it has a value.
    fn topic(&self, group: &str, topic: &str) -> Vec<Arc<Topic>> {
        self.index.with_topic(group, topic, Arc::clone).into_iter().collect()
    }

    /// Deletes in one record what `choose` makes of the topics that `find` finds. Where there is
    /// nothing to delete, no record is written; the absence may still be a recent delete's, so it is
    /// made durable all the same.
    fn delete_topics(
        &self,
        find: impl Fn(&Engine) -> Vec<Arc<Topic>>,
        choose: impl Fn(&Arc<Topic>) -> Option<Change<'_>>,
    ) -> Result<Receipt> {
        let mut log = self.log()?;
        log.check_open()?;
        // Under the log's lock no topic comes or goes.
        let topics = find(self);
        let live = topics.iter().filter(|topic| !topic.is_detached() && topic.live() > 0);
        let changes: Vec<Change<'_>> = live.filter_map(choose).collect();
        let seq = match changes.is_empty() {
            true => log.last_seq(),
            false => log.append(&self.index, &changes, self.durable())?,
        };
        drop(log);
        self.acknowledge(seq, self.options.durability)
    }
}
