//! What a consumer does, rule by rule.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use pagemark::consumer::{
    AckLimits, CommitError, CommitPolicy, Consumer, ConsumerError, ConsumerListener,
    ConsumerOptions, ConsumerPartition, MemoryLog, Reset, ResetReason, StartPolicy, Unstored,
};
use pagemark::group::Coordinator;
use pagemark::group::coordinator::CoordinatorConfig;
use pagemark::testkit::SimDisk;
use pagemark::{Error, ErrorKind, NextOffset, Result, TopicPartition};

use super::net::{Connection, GROUP, Net};
use super::support::options;
use super::topic::TOPIC;

const HOUR: Duration = Duration::from_secs(3600);
const SESSION_MS: i64 = 45_000;

type Logs = Rc<Vec<MemoryLog<i64>>>;
type Source = Box<dyn FnMut(&TopicPartition) -> Result<MemoryLog<i64>>>;
type Reader = Consumer<Connection, Source, Diary>;

/// Writes down what it hears, and may say where to start.
#[derive(Clone, Default)]
struct Diary {
    lines: Rc<RefCell<Vec<String>>>,
    starts: Option<i64>,
    /// What is processed when a partition is revoked.
    finishes: Option<i64>,
}

impl Diary {
    fn note(&self, line: String) {
        self.lines.borrow_mut().push(line);
    }

    fn read(&self) -> Vec<String> {
        self.lines.take()
    }
}

impl ConsumerListener for Diary {
    fn start(&mut self, _: &TopicPartition, _: Option<NextOffset>) -> Option<NextOffset> {
        self.starts.map(NextOffset)
    }

    fn assigned(&mut self, of: &mut ConsumerPartition<'_>) {
        self.note(format!("{} from {}", of.topic_partition(), of.position().next()));
    }

    fn revoked(&mut self, of: &mut ConsumerPartition<'_>) {
        if let Some(offset) = self.finishes {
            of.processed(offset).unwrap();
        }
        self.note(format!("{} revoked", of.topic_partition()));
    }

    fn lost(&mut self, partition: &TopicPartition) {
        self.note(format!("{partition} lost"));
    }

    fn reset(&mut self, partition: &TopicPartition, reset: &Reset) {
        self.note(format!("{partition} {:?} to {}", reset.reason, reset.to));
    }

    fn unstored(&mut self, of: &Unstored) {
        self.note(format!("{} unstored {}", of.partition, of.offset));
    }

    fn failed(&mut self, _: &ConsumerError) {
        self.note("failed".into());
    }
}

struct Setting {
    disk: SimDisk,
    net: Rc<Net>,
    logs: Logs,
}

/// A topic with so many partitions of ten records each.
fn setting(partitions: i32) -> Setting {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let coordinator = Coordinator::open(store, CoordinatorConfig::new(), 0).unwrap();
    coordinator.set_topics(BTreeMap::from([(TOPIC.to_owned(), partitions)]));
    let logs: Vec<MemoryLog<i64>> = (0..partitions).map(|_| MemoryLog::new()).collect();
    for log in &logs {
        for offset in 0..10 {
            log.append(offset, offset);
        }
    }
    Setting { disk, net: Net::new(coordinator, 1), logs: Rc::new(logs) }
}

fn setup(id: &str) -> ConsumerOptions {
    let policy = CommitPolicy::automatic().retry_backoff(Duration::ZERO);
    let options = ConsumerOptions::new(id).start(StartPolicy::Earliest).commit(policy);
    options.commit_timeout(Duration::ZERO)
}

impl Setting {
    fn consumer(&self, options: ConsumerOptions, diary: &Diary) -> (Reader, Connection) {
        let logs = Rc::clone(&self.logs);
        let source: Source = Box::new(move |of| Ok(logs[of.partition() as usize].clone()));
        let connection = Connection::new(&self.net);
        let client = connection.clone();
        let mut consumer = Consumer::with_listener(client, source, options, diary.clone(), 0);
        consumer.subscribe([TOPIC]);
        (consumer, connection)
    }

    fn alone(&self, options: ConsumerOptions) -> (Reader, Diary) {
        let diary = Diary::default();
        (self.consumer(options, &diary).0, diary)
    }

    fn shown(&self) -> Vec<Option<i64>> {
        (0..self.logs.len()).map(|partition| self.net.shown(partition as i32)).collect()
    }

    fn members(&self) -> usize {
        self.net.describe(0).map_or(0, |group| group.members.len())
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

/// Reads so many records, and returns their partitions and offsets.
fn read(consumer: &mut Reader, now_ms: i64, count: usize) -> Vec<(i32, i64)> {
    let mut records = Vec::new();
    while records.len() < count {
        let Some(record) = consumer.poll(now_ms).unwrap() else { break };
        assert_eq!(record.record, record.offset);
        records.push((record.partition.partition(), record.offset));
    }
    records
}

fn partition_error(result: std::result::Result<impl Sized, ConsumerError>) -> (i32, ErrorKind) {
    match result.err() {
        Some(ConsumerError::Partition { partition, cause }) => {
            (partition.partition(), cause.downcast_ref::<Error>().unwrap().kind())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_revoked_is_committed_before_somebody_else_has_it() {
    let setting = setting(2);
    let diary = Diary { finishes: Some(3), ..Diary::default() };
    let (mut first, _) = setting.consumer(setup("a").commit(CommitPolicy::automatic()), &diary);
    assert_eq!(read(&mut first, 0, 20).len(), 20);
    assert_eq!(diary.read().len(), 4, "two resets, and two that are assigned");
    first.processed(&tp(0), 1).unwrap();
    first.processed(&tp(1), 1).unwrap();

    let (mut second, others) = setting.alone(setup("b"));
    assert_eq!(read(&mut second, 0, 1), []);
    assert_eq!(setting.shown(), [None, None], "not before somebody wants it");
    // The next heartbeat tells it, and the same poll is done with it.
    assert!(first.poll(5_000).unwrap().is_none());
    assert_eq!(diary.read(), ["t-1 revoked"]);
    assert_eq!(setting.shown(), [Some(2), Some(4)]);
    assert_eq!(first.assigned().cloned().collect::<Vec<_>>(), [tp(0)]);
    let late = first.processed(&tp(1), 5).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotAssigned);

    assert_eq!(read(&mut second, 5_000, 9), (4..10).map(|at| (1, at)).collect::<Vec<_>>());
    assert_eq!(others.read(), ["t-1 from 4"]);
}

#[test]
fn a_member_that_was_removed_loses_everything_and_joins_again() {
    let setting = setting(1);
    let (mut first, diary) = setting.alone(setup("a").commit(CommitPolicy::manual()));
    read(&mut first, 0, 5);
    first.processed(&tp(0), 4).unwrap();
    drop(setting.net.coordinator.borrow().tick(SESSION_MS));
    let (mut second, _) = setting.alone(setup("b"));
    assert_eq!(read(&mut second, SESSION_MS, 2), [(0, 0), (0, 1)]);
    second.processed(&tp(0), 1).unwrap();
    second.commit_sync(HOUR).unwrap();

    diary.read();
    let error = first.commit_sync(Duration::ZERO).unwrap_err();
    assert!(matches!(error, CommitError::Rejoin { .. }), "{error}");
    assert_eq!(diary.read(), ["t-0 lost", "t-0 unstored 5"]);
    assert_eq!(setting.shown(), [Some(2)], "nothing of it is visible");
    assert!(first.commit_sync(HOUR).is_ok(), "there is nothing left to commit");
    assert_eq!(first.member().id, "a");
    assert!(first.poll(SESSION_MS + 1).unwrap().is_none());
    assert!(first.poll(SESSION_MS + 1).unwrap().is_none());
    assert_eq!((&first.member().id[..], setting.members()), ("a-1", 2));
    second.close(SESSION_MS + 2, HOUR).unwrap();
    assert_eq!(read(&mut first, SESSION_MS + 6_000, 1), [(0, 2)]);
}

#[test]
fn a_heartbeat_tells_what_is_lost_too() {
    let setting = setting(1);
    let (mut first, diary) = setting.alone(setup("a"));
    read(&mut first, 0, 5);
    first.processed(&tp(0), 2).unwrap();
    drop(setting.net.coordinator.borrow().tick(SESSION_MS));
    diary.read();
    assert!(first.poll(SESSION_MS).unwrap().is_none());
    assert_eq!(diary.read(), ["t-0 lost", "t-0 unstored 3"]);
    assert_eq!(read(&mut first, SESSION_MS, 1), [(0, 0)]);
    // So it is when the whole group is deleted.
    drop(setting.net.coordinator.borrow().tick(2 * SESSION_MS));
    setting.net.coordinator.borrow().delete_group(2 * SESSION_MS, GROUP).unwrap();
    assert!(first.poll(2 * SESSION_MS).unwrap().is_none());
    assert_eq!(read(&mut first, 2 * SESSION_MS, 1), [(0, 0)]);
}

#[test]
fn close_commits_and_leaves_and_says_what_it_could_not_store() {
    let setting = setting(2);
    let (mut consumer, diary) = setting.alone(setup("a"));
    read(&mut consumer, 0, 20);
    consumer.processed(&tp(0), 9).unwrap();
    consumer.processed(&tp(1), 2).unwrap();
    diary.read();
    consumer.close(1, HOUR).unwrap();
    assert_eq!(diary.read(), ["t-0 revoked", "t-1 revoked"]);
    assert_eq!((setting.shown(), setting.members()), (vec![Some(10), Some(3)], 0));
    let cut = options(2).open_in(setting.disk.power_cut(0).dir()).unwrap();
    assert_eq!(cut.fetch_group(GROUP).len(), 2, "they survive a power cut");

    let (mut consumer, _) = setting.alone(setup("b"));
    assert_eq!(read(&mut consumer, 2, 1), [(1, 3)]);
    consumer.processed(&tp(1), 3).unwrap();
    setting.disk.capacity(Some(0));
    let long = "m".repeat(20_000);
    consumer.partition(&tp(1)).unwrap().set_metadata(&long);
    let left = consumer.close(3, Duration::ZERO).unwrap_err();
    assert_eq!(left.partitions().len(), 1);
    assert_eq!((&left.partitions()[0].partition, left.partitions()[0].offset.0), (&tp(1), 4));
    assert_eq!(setting.shown(), [Some(10), Some(3)]);
}

#[test]
fn close_commits_in_the_epoch_that_the_group_has_brought_it_to() {
    let setting = setting(2);
    let (mut first, _) = setting.alone(setup("a"));
    read(&mut first, 0, 20);
    let (mut second, _) = setting.alone(setup("b"));
    assert!(second.poll(0).unwrap().is_none());
    // It says that it has given a partition up, and does not hear which epoch that has led to.
    setting.net.loses.set(Some(1));
    assert!(first.poll(5_000).unwrap().is_none());
    assert_eq!((first.member().epoch, first.assigned().count()), (1, 1));
    first.processed(&tp(0), 6).unwrap();
    first.close(5_001, Duration::ZERO).unwrap();
    assert_eq!((setting.shown()[0], setting.members()), (Some(7), 1));
}

#[test]
fn close_reports_what_it_finds_to_be_lost() {
    let setting = setting(1);
    let (mut consumer, _) = setting.alone(setup("a"));
    read(&mut consumer, 0, 5);
    setting.net.loses.set(Some(0));
    assert!(consumer.poll(5_000).unwrap().is_some());
    consumer.processed(&tp(0), 4).unwrap();
    drop(setting.net.coordinator.borrow().tick(5_000 + SESSION_MS));
    let left = consumer.close(5_000 + SESSION_MS, Duration::ZERO).unwrap_err();
    assert_eq!((left.partitions().len(), left.partitions()[0].offset), (1, NextOffset(5)));
    assert_eq!(setting.shown(), [Some(0)], "where it began");
}

#[test]
fn partitions_that_are_lost_together_are_told_together() {
    let setting = setting(2);
    let (mut consumer, diary) = setting.alone(setup("a"));
    read(&mut consumer, 0, 15);
    consumer.processed(&tp(0), 1).unwrap();
    consumer.processed(&tp(1), 1).unwrap();
    let coordinator = setting.net.coordinator.borrow().clone();
    drop(coordinator.claim(1, GROUP, "tool", &[tp(0), tp(1)]).unwrap());
    drop(consumer.commit_async());
    diary.read();
    assert!(consumer.poll(1).unwrap().is_none());
    let told = ["t-0 lost", "t-1 lost", "t-0 unstored 2", "t-1 unstored 2"];
    assert_eq!(diary.read(), told);
}

#[test]
fn a_start_may_be_left_to_the_program() {
    let setting = setting(2);
    let options = setup("a").start(StartPolicy::None).commit(CommitPolicy::automatic());
    let (mut consumer, diary) = setting.alone(options.clone());
    assert_eq!(partition_error(consumer.poll(0)), (0, ErrorKind::NoOffset));
    assert_eq!(diary.read(), ["failed"], "the other partition");
    assert!(consumer.poll(50).unwrap().is_none(), "not yet again");
    assert_eq!(partition_error(consumer.poll(100)), (0, ErrorKind::NoOffset));
    consumer.close(200, HOUR).unwrap();

    let diary = Diary { starts: Some(7), ..Diary::default() };
    let (mut consumer, _) = setting.consumer(options, &diary);
    assert_eq!(read(&mut consumer, 300, 2), [(0, 7), (0, 8)]);
    assert_eq!(diary.read(), ["t-0 from 7", "t-1 from 7"]);
    consumer.commit_sync(HOUR).unwrap();
    assert_eq!(setting.shown(), [Some(7), Some(7)], "it is where to start again");
}

#[test]
fn what_is_gone_from_the_log_is_told() {
    for acks in [None, Some(AckLimits::new())] {
        let setting = setting(1);
        let options = match acks {
            Some(limits) => setup("a").out_of_order(limits),
            None => setup("a"),
        };
        let (mut consumer, diary) = setting.alone(options);
        assert_eq!(read(&mut consumer, 0, 2).len(), 2);
        assert_eq!(diary.read(), [&format!("t-0 {:?} to 0", ResetReason::NoCommit), "t-0 from 0"]);
        setting.logs[0].drop_before(NextOffset(6));
        assert_eq!(read(&mut consumer, 0, 9), (6..10).map(|at| (0, at)).collect::<Vec<_>>());
        assert_eq!(diary.read(), [format!("t-0 {:?} to 6", ResetReason::BelowStart)]);
        consumer.processed(&tp(0), 6).unwrap();
        consumer.commit_sync(HOUR).unwrap();
        assert_eq!(setting.shown(), [Some(7)]);
    }
}

#[test]
fn a_seek_goes_where_it_is_told_and_commits_follow() {
    for acks in [None, Some(AckLimits::new())] {
        let setting = setting(1);
        let options = match acks {
            Some(limits) => setup("a").out_of_order(limits),
            None => setup("a"),
        };
        let (mut consumer, _) = setting.alone(options);
        read(&mut consumer, 0, 4);
        (0..4).for_each(|offset| consumer.processed(&tp(0), offset).unwrap());
        consumer.commit_sync(HOUR).unwrap();
        assert_eq!(setting.shown(), [Some(4)]);
        consumer.partition(&tp(0)).unwrap().seek(NextOffset(1)).unwrap();
        assert_eq!(read(&mut consumer, 0, 2), [(0, 1), (0, 2)]);
        consumer.commit_sync(HOUR).unwrap();
        assert_eq!(setting.shown(), [Some(1)]);
        consumer.partition(&tp(0)).unwrap().seek(NextOffset(8)).unwrap();
        assert_eq!(read(&mut consumer, 0, 1), [(0, 8)]);
        consumer.commit_sync(HOUR).unwrap();
        assert_eq!(setting.shown(), [Some(8)]);
        consumer.partition(&tp(0)).unwrap().pause();
        assert_eq!(read(&mut consumer, 0, 1), []);
        consumer.partition(&tp(0)).unwrap().resume();
        assert_eq!(read(&mut consumer, 0, 1), [(0, 9)]);
    }
}

#[test]
fn what_is_complete_out_of_order_is_stored_and_wide_gaps_are_waited_for() {
    let setting = setting(2);
    let options = |id| setup(id).out_of_order(AckLimits::new().max_span(4));
    let (mut consumer, _) = setting.alone(options("a"));
    assert_eq!(read(&mut consumer, 0, 99).len(), 8, "four of each, and no more");
    for offset in [1, 3] {
        consumer.processed(&tp(0), offset).unwrap();
    }
    assert_eq!(consumer.partition(&tp(0)).unwrap().acks().unwrap().range_count(), 2);
    assert!(consumer.processed(&tp(0), 4).is_err(), "it was not handed out");
    consumer.close(1, HOUR).unwrap();
    assert_eq!(setting.shown(), [Some(0), Some(0)]);

    let (mut consumer, _) = setting.alone(options("b"));
    let again = read(&mut consumer, 2, 99);
    assert_eq!(again[..2], [(0, 0), (0, 2)]);
    consumer.processed(&tp(0), 0).unwrap();
    consumer.processed(&tp(0), 2).unwrap();
    assert_eq!(read(&mut consumer, 2, 99), [(0, 4), (0, 5), (0, 6), (0, 7)]);
}

#[test]
fn what_is_stored_out_of_order_outlives_the_hand_over_of_another_partition() {
    let setting = setting(2);
    let policy = CommitPolicy::manual().on_revoke(true);
    let options = |id| setup(id).out_of_order(AckLimits::new()).commit(policy.clone());
    let (mut first, _) = setting.alone(options("a"));
    read(&mut first, 0, 20);
    first.processed(&tp(0), 1).unwrap();
    first.processed(&tp(0), 3).unwrap();
    first.commit_sync(HOUR).unwrap();
    // The watermark moves past 1, and no commit is asked for.
    first.processed(&tp(0), 0).unwrap();
    let (mut second, _) = setting.alone(options("b"));
    assert!(second.poll(0).unwrap().is_none());
    assert!(first.poll(5_000).unwrap().is_none());
    assert_eq!(first.assigned().cloned().collect::<Vec<_>>(), [tp(0)]);
    drop(first);
    let over = 5_000 + SESSION_MS;
    assert_eq!(read(&mut second, over - 1, 99).len(), 10);
    drop(setting.net.coordinator.borrow().tick(over));
    let again = read(&mut second, over + 5_000, 99);
    assert_eq!(again[again.len() - 7..], [2, 4, 5, 6, 7, 8, 9].map(|offset| (0, offset)));
}

#[test]
fn partitions_take_turns() {
    let setting = setting(2);
    for offset in 10..600 {
        setting.logs[0].append(offset, offset);
    }
    let (mut consumer, _) = setting.alone(setup("a"));
    let records = read(&mut consumer, 0, 610);
    let second = records.iter().position(|(partition, _)| *partition == 1);
    assert_eq!((records.len(), second), (610, Some(500)));
}

#[test]
fn what_is_not_subscribed_to_any_more_is_handed_over() {
    let setting = setting(1);
    let (mut consumer, diary) = setting.alone(setup("a"));
    read(&mut consumer, 0, 1);
    consumer.processed(&tp(0), 0).unwrap();
    diary.read();
    consumer.subscribe(["other"]);
    assert!(consumer.poll(0).unwrap().is_none());
    assert_eq!(diary.read(), ["t-0 revoked"]);
    assert_eq!(setting.shown(), [Some(1)]);
}

#[test]
fn a_partition_that_comes_back_starts_behind_the_commit_that_was_under_way() {
    let setting = setting(1);
    let (mut consumer, diary) = setting.alone(setup("a"));
    read(&mut consumer, 0, 5);
    consumer.processed(&tp(0), 4).unwrap();
    setting.net.holds.set(true);
    consumer.subscribe(["other"]);
    assert!(consumer.poll(0).unwrap().is_none());
    diary.read();
    consumer.subscribe([TOPIC]);
    assert!(consumer.poll(1).unwrap().is_none());
    assert_eq!((diary.read(), consumer.assigned().count()), (vec![], 0));
    setting.net.holds.set(false);
    assert_eq!(read(&mut consumer, 2, 1), [(0, 5)]);
    assert_eq!(diary.read(), ["t-0 from 5"]);
}

#[test]
fn a_coordinator_that_is_not_there_is_asked_again_and_reading_goes_on() {
    let setting = setting(2);
    let diary = Diary::default();
    let options = setup("a").commit(CommitPolicy::automatic());
    let (mut consumer, connection) = setting.consumer(options, &diary);
    connection.is_cut.set(true);
    assert!(consumer.poll(0).unwrap().is_none());
    assert_eq!(diary.read(), ["failed"]);
    assert!(consumer.poll(99).unwrap().is_none());
    assert_eq!(diary.read(), [""; 0], "not before the backoff");
    connection.is_cut.set(false);
    assert_eq!(read(&mut consumer, 100, 1), [(0, 0)]);

    connection.is_cut.set(true);
    diary.read();
    assert_eq!(read(&mut consumer, 6_000, 1), [(0, 1)]);
    consumer.processed(&tp(0), 1).unwrap();
    assert!(matches!(consumer.commit_sync(Duration::ZERO), Err(CommitError::RetryLater(_))));
    connection.is_cut.set(false);
    assert_eq!(read(&mut consumer, 7_000, 1), [(0, 2)]);
    consumer.commit_sync(HOUR).unwrap();
    assert_eq!(setting.shown()[0], Some(2));
    assert!(!diary.read().iter().any(|line| line.ends_with("lost")), "it was a member throughout");
}

#[test]
fn a_partition_that_somebody_claims_is_lost_alone() {
    let setting = setting(2);
    let (mut consumer, diary) = setting.alone(setup("a"));
    read(&mut consumer, 0, 20);
    consumer.processed(&tp(0), 3).unwrap();
    consumer.processed(&tp(1), 3).unwrap();
    diary.read();
    let coordinator = setting.net.coordinator.borrow().clone();
    drop(coordinator.claim(1, GROUP, "tool", &[tp(0)]).unwrap());
    // The other one is committed, and still it says that this one is not.
    let error = consumer.commit_sync(HOUR).unwrap_err();
    assert!(matches!(error, CommitError::Rejoin { lost, .. } if lost == [tp(0)]));
    assert_eq!(diary.read(), ["t-0 lost", "t-0 unstored 4"]);
    assert_eq!(setting.shown(), [None, Some(4)]);
    assert_eq!(consumer.assigned().cloned().collect::<Vec<_>>(), [tp(1)]);
}
