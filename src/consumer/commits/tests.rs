//! The committer sentence by sentence.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use super::fake::{Answer, Failure, FakeTarget, position_at};
use super::*;
use crate::ErrorKind;

const HOUR: Duration = Duration::from_secs(3600);

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// A committer of two partitions, both of them committed at 0.
fn committer(policy: CommitPolicy) -> (Committer<FakeTarget>, FakeTarget) {
    let target = FakeTarget::default();
    let mut committer = Committer::new(target.clone(), policy, 0);
    (0..2).for_each(|p| committer.assign(tp(p), position_at(0)).unwrap());
    (committer, target)
}

fn done(committer: &mut Committer<FakeTarget>, p: i32, to: i64) {
    let mut partition = committer.partition(&tp(p)).unwrap();
    partition.advance(NextOffset(to), Some(7)).unwrap();
    assert!(partition.done(NextOffset(to)).unwrap());
}

fn is_retry(error: &CommitError) -> bool {
    matches!(error, CommitError::RetryLater(_))
}

#[test]
fn what_cannot_be_committed_is_refused_at_once() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    let kind = |result: Result<bool>| result.unwrap_err().kind();
    let mut partition = committer.partition(&tp(0)).unwrap();
    assert_eq!(kind(partition.done(NextOffset(-1))), ErrorKind::InvalidArgument);
    assert_eq!(kind(partition.done(NextOffset(1))), ErrorKind::AheadOfPosition);
    assert_eq!(committer.partition(&tp(2)).unwrap_err().kind(), ErrorKind::NotAssigned);
    committer.commit_sync(HOUR).unwrap();
    assert!(target.calls().is_empty(), "nothing has changed");
}

#[test]
fn the_epoch_and_the_metadata_travel() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    done(&mut committer, 0, 3);
    committer.partition(&tp(0)).unwrap().set_metadata("41");
    committer.commit_sync(HOUR).unwrap();
    let stored = target.value(0);
    assert_eq!((stored.offset, stored.epoch, stored.version), (3, Some(7), 41));
    // The same offset with other metadata is another commit.
    committer.partition(&tp(0)).unwrap().set_metadata("42");
    committer.commit_sync(HOUR).unwrap();
    assert_eq!(target.stored(0).1, 42);
    assert_eq!(target.calls(), [[(0, 3)], [(0, 3)]]);
}

#[test]
fn commits_behind_one_that_is_under_way_become_one() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    target.answer_next(Answer::Hold);
    done(&mut committer, 0, 1);
    let mut first = committer.commit_async();
    done(&mut committer, 0, 2);
    let second = committer.commit_async();
    done(&mut committer, 0, 3);
    done(&mut committer, 1, 9);
    let mut third = committer.commit_async();
    assert!(first.outcome().is_none() && third.outcome().is_none());
    target.release(None);
    third.wait(Duration::ZERO).unwrap().unwrap();
    assert!(matches!([first.outcome(), second.outcome()], [Some(Ok(())), Some(Ok(()))]));
    first.wait(Duration::ZERO).unwrap().unwrap();
    assert_eq!(target.calls(), [vec![(0, 1)], vec![(0, 3), (1, 9)]]);
}

#[test]
fn an_asynchronous_commit_is_tried_once_and_taken_along_by_the_next() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    target.answer_next(Answer::Refuse(Failure::RetryLater));
    done(&mut committer, 0, 1);
    let failed = committer.commit_async();
    assert!(is_retry(&failed.outcome().unwrap().unwrap_err()));
    committer.tick(1_000_000).unwrap();
    assert_eq!(target.calls().len(), 1);
    done(&mut committer, 1, 1);
    assert!(matches!(committer.commit_async().outcome(), Some(Ok(()))));
    assert_eq!(target.calls(), [[(0, 1), (1, 1)]]);
}

#[test]
fn behind_a_failure_it_is_not_known_what_is_stored() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    committer.partition(&tp(0)).unwrap().advance(NextOffset(2), None).unwrap();
    committer.partition(&tp(0)).unwrap().done(NextOffset(1)).unwrap();
    committer.commit_async().outcome().unwrap().unwrap();
    target.answer_next(Answer::Fail(Failure::RetryLater));
    committer.partition(&tp(0)).unwrap().done(NextOffset(2)).unwrap();
    committer.commit_async().outcome().unwrap().unwrap_err();
    // What was stored last may not be there any more.
    committer.partition(&tp(0)).unwrap().rewind(NextOffset(1)).unwrap();
    committer.commit_async().outcome().unwrap().unwrap();
    assert_eq!(target.calls(), [[(0, 1)], [(0, 2)], [(0, 1)]]);
}

#[test]
fn a_synchronous_commit_is_tried_again_and_ends_behind_those_before_it() {
    let (mut committer, target) = committer(CommitPolicy::manual().retry_backoff(Duration::ZERO));
    target.answer_next(Answer::Hold);
    done(&mut committer, 0, 1);
    let first = committer.commit_async();
    // Nothing new: waits for what is under way, until the time is over.
    let error = committer.commit_sync(Duration::ZERO).unwrap_err();
    assert!(is_retry(&error) && error.to_string().contains("in time"), "{error}");
    [Answer::Refuse(Failure::RetryLater), Answer::Fail(Failure::RetryLater)]
        .into_iter()
        .for_each(|answer| target.answer_next(answer));
    done(&mut committer, 0, 2);
    target.release(None);
    committer.commit_sync(HOUR).unwrap();
    assert!(matches!(first.outcome(), Some(Ok(()))));
    assert_eq!(target.calls(), [[(0, 1)], [(0, 2)], [(0, 2)], [(0, 2)]]);
    assert_eq!(committer.partition(&tp(0)).unwrap().position().committed(), Some(NextOffset(2)));
}

#[test]
fn automatic_commits_come_at_intervals_also_when_nothing_is_read() {
    let (mut committer, target) = committer(CommitPolicy::automatic());
    done(&mut committer, 0, 1);
    committer.tick(4_999).unwrap();
    assert!(target.calls().is_empty());
    committer.tick(5_000).unwrap();
    assert_eq!(target.calls(), [[(0, 1)]]);
    committer.tick(50_000).unwrap();
    assert!(target.calls().is_empty(), "nothing has changed");
    // A clock that goes back by a day puts the next commit off by an interval, not by a day.
    done(&mut committer, 0, 2);
    committer.tick(50_000 - 86_400_000).unwrap();
    committer.tick(55_000 - 86_400_000).unwrap();
    assert_eq!(target.calls(), [[(0, 2)]]);
}

#[test]
fn automatic_commits_come_after_so_many_records() {
    let policy = CommitPolicy::manual().every(10);
    let (mut committer, target) = committer(policy);
    for to in 1..=25 {
        done(&mut committer, (to % 2) as i32, to);
        committer.tick(0).unwrap();
    }
    // 1, then 1 in the other partition: 2; then the differences are 2.
    assert_eq!(
        target.calls(),
        [
            vec![(0, 6), (1, 5)],
            vec![(0, 10), (1, 11)],
            vec![(0, 16), (1, 15)],
            vec![(0, 20), (1, 21)]
        ]
    );
}

#[test]
fn an_automatic_commit_that_fails_is_tried_again_after_the_backoff() {
    let (mut committer, target) = committer(CommitPolicy::automatic().every(1));
    target.answer_next(Answer::Refuse(Failure::RetryLater));
    target.answer_next(Answer::Hold);
    done(&mut committer, 0, 1);
    assert!(is_retry(&committer.tick(1_000).unwrap_err()));
    done(&mut committer, 0, 2);
    committer.tick(1_099).unwrap();
    assert_eq!(target.calls().len(), 1);
    committer.tick(1_100).unwrap();
    assert_eq!(target.calls(), [[(0, 2)]]);
    target.release(Some(Failure::Refused));
    assert!(matches!(committer.tick(1_200), Err(CommitError::Refused(_))));
    committer.tick(1_300).unwrap();
    assert_eq!(target.calls(), [[(0, 2)]]);
    assert_eq!(target.stored(0).0, 2);
}

#[test]
fn only_a_rewind_takes_a_commit_back() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    done(&mut committer, 0, 5);
    committer.commit_sync(HOUR).unwrap();
    committer.partition(&tp(0)).unwrap().seek(NextOffset(2)).unwrap();
    committer.commit_sync(HOUR).unwrap();
    assert_eq!(target.stored(0).0, 5);
    committer.partition(&tp(0)).unwrap().rewind(NextOffset(2)).unwrap();
    committer.commit_sync(HOUR).unwrap();
    assert_eq!(target.stored(0).0, 2);
}

#[test]
fn partitions_that_are_lost_are_neither_committed_nor_forgotten() {
    let (mut committer, target) =
        committer(CommitPolicy::automatic().retry_backoff(Duration::ZERO));
    target.answer_next(Answer::Refuse(Failure::Lost(0)));
    done(&mut committer, 0, 5);
    done(&mut committer, 1, 6);
    assert!(matches!(committer.tick(5_000), Err(CommitError::Rejoin { .. })));
    assert_eq!(committer.partition(&tp(0)).unwrap_err().kind(), ErrorKind::NotAssigned);
    let left = committer.close(HOUR).unwrap_err();
    let [Unstored { partition, offset: NextOffset(5), error: CommitError::Rejoin { .. }, .. }] =
        left.partitions()
    else {
        panic!("{left}")
    };
    assert_eq!(*partition, tp(0));
    assert_eq!(target.calls(), [vec![(0, 5), (1, 6)], vec![(1, 6)]]);
}

#[test]
fn a_commit_that_loses_partitions_on_its_way_says_so_at_its_end() {
    let (mut committer, target) = committer(CommitPolicy::manual().retry_backoff(Duration::ZERO));
    committer.assign(tp(2), position_at(0)).unwrap();
    for failure in [Failure::Lost(0), Failure::RetryLater, Failure::Lost(2)] {
        target.answer_next(Answer::Refuse(failure));
    }
    (0..3).for_each(|p| done(&mut committer, p, 5));
    let Err(CommitError::Rejoin { mut lost, .. }) = committer.commit_sync(HOUR) else {
        panic!("two partitions belong to others")
    };
    lost.sort();
    assert_eq!(lost, [tp(0), tp(2)]);
    assert_eq!(target.stored(1).0, 5, "the rest is committed");
    committer.commit_sync(HOUR).unwrap();
}

#[test]
fn a_partition_is_committed_before_it_is_revoked_and_not_behind_that() {
    let (mut committer, target) = committer(CommitPolicy::automatic());
    done(&mut committer, 0, 5);
    committer.revoke(&[tp(0), tp(7)], HOUR).unwrap();
    assert_eq!(target.calls(), [[(0, 5)]]);
    done(&mut committer, 1, 6);
    target.answer_next(Answer::Hold);
    let held = committer.commit_async();
    done(&mut committer, 1, 7);
    let queued = committer.commit_async();
    let left = committer.revoke(&[tp(1)], Duration::ZERO).unwrap_err();
    assert_eq!(left.partitions()[0].offset, NextOffset(7));
    target.release(None);
    committer.close(HOUR).unwrap();
    // It was not given away in time, so it is not committed, and nobody is told that it is.
    assert!(matches!(held.outcome(), Some(Err(CommitError::RetryLater(_)))));
    assert!(matches!(queued.outcome(), Some(Err(CommitError::RetryLater(_)))));
    assert_eq!(target.calls(), [[(1, 6)]]);
}

#[test]
fn close_says_what_is_not_stored_and_why() {
    let (mut committer, target) = committer(CommitPolicy::automatic());
    target.answer_next(Answer::Fail(Failure::Stop));
    done(&mut committer, 0, 5);
    let left = committer.close(HOUR).unwrap_err();
    assert_eq!(
        left.to_string(),
        "not known to be stored: t-0 at 5 (no commit will succeed any more: never)"
    );
    assert_eq!(target.calls().len(), 1);
}

#[test]
fn without_a_close_the_target_is_given_what_is_left() {
    for policy in [CommitPolicy::automatic(), CommitPolicy::manual()] {
        let is_manual = !policy.on_close;
        let (mut committer, target) = committer(policy);
        done(&mut committer, 0, 5);
        if is_manual {
            target.answer_next(Answer::Refuse(Failure::RetryLater));
            assert!(committer.commit_async().outcome().unwrap().is_err());
            done(&mut committer, 0, 6);
        }
        drop(committer);
        assert_eq!(target.stored(0).0, 5, "what was asked for, and no more");
    }
}

#[test]
fn a_drop_gives_the_target_what_waits_behind_a_commit_that_is_under_way() {
    for failure in [None, Some(Failure::RetryLater)] {
        let (mut committer, target) = committer(CommitPolicy::manual());
        target.answer_next(Answer::Hold);
        done(&mut committer, 0, 1);
        let first = committer.commit_async();
        done(&mut committer, 1, 2);
        let mut second = committer.commit_async();
        target.give_up();
        drop(committer);
        assert_eq!(target.calls(), [[(0, 1)], [(1, 2)]]);
        assert!(first.outcome().is_none() && second.outcome().is_none());
        target.release(failure);
        // The second one stands for what the first one was to store, too.
        let outcome = second.wait(Duration::ZERO).unwrap();
        assert_eq!(outcome.is_err(), failure.is_some());
        assert_eq!(first.outcome().unwrap().is_err(), failure.is_some());
    }
}

#[test]
fn a_partition_does_not_come_back_before_its_last_commit_is_over() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    let assign = |committer: &mut Committer<FakeTarget>, p: i32| {
        let assigned = committer.assign(tp(p), position_at(target.stored(p).0));
        assigned.map_err(|error| error.kind())
    };
    target.answer_next(Answer::Hold);
    done(&mut committer, 0, 5);
    let _first = committer.commit_async();
    committer.lose(&[tp(0), tp(1)]).unwrap_err();
    assert_eq!(assign(&mut committer, 0), Err(ErrorKind::CommitUnderWay));
    assert_eq!(assign(&mut committer, 1), Ok(()), "nothing of it was under way");
    target.release(None);
    // Over, but whoever asks may have read what is stored before that.
    assert_eq!(assign(&mut committer, 0), Err(ErrorKind::CommitUnderWay));
    assert_eq!(assign(&mut committer, 0), Ok(()));
    let position = committer.partition(&tp(0)).unwrap().position().next();
    assert_eq!(position, NextOffset(5));
}

#[test]
fn a_receipt_that_is_dropped_leaves_nothing_behind() {
    let (mut committer, target) = committer(CommitPolicy::manual());
    target.answer_next(Answer::Hold);
    done(&mut committer, 0, 1);
    let mut receipt = committer.commit_async();
    let parker = Arc::new(wait::Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert_eq!(Arc::strong_count(&parker), 2);
    drop(receipt);
    assert_eq!(Arc::strong_count(&parker), 1);
}
