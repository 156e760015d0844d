//! Every event in every state: what is answered, and which state follows.

use pagemark::group::GroupError::{self, *};
use pagemark::group::classic::ClassicState::{self, *};
use pagemark::group::classic::{ClassicConfig, JoinRequest, MemberIdentity, Reply, RequestId};

use super::host::{Host, REBALANCE_MS, SESSION_MS, join, join_static, protocol};

/// What happens to a group whose leader is dynamic and whose other member is static.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    NewMemberAsksForAnId,
    NewMemberJoins,
    LeaderJoins,
    FollowerJoins,
    FollowerJoinsWithOtherTopics,
    FollowerStartsAnew,
    StrangerJoins,
    OtherProtocolTypeJoins,
    LeaderSyncs,
    FollowerSyncs,
    OldGenerationSyncs,
    LeaderSendsHeartbeat,
    OldGenerationSendsHeartbeat,
    LeaderLeaves,
    FollowerIsRemovedByInstanceId,
    StrangerLeaves,
    FollowerFallsSilent,
    RebalanceTimeoutPasses,
    LeaderCommits,
    NobodyCommits,
    GroupIsDeleted,
    OffsetsOfItsTopicAreDeleted,
}

use Event::*;

const EVENTS: [Event; 22] = [
    NewMemberAsksForAnId,
    NewMemberJoins,
    LeaderJoins,
    FollowerJoins,
    FollowerJoinsWithOtherTopics,
    FollowerStartsAnew,
    StrangerJoins,
    OtherProtocolTypeJoins,
    LeaderSyncs,
    FollowerSyncs,
    OldGenerationSyncs,
    LeaderSendsHeartbeat,
    OldGenerationSendsHeartbeat,
    LeaderLeaves,
    FollowerIsRemovedByInstanceId,
    StrangerLeaves,
    FollowerFallsSilent,
    RebalanceTimeoutPasses,
    LeaderCommits,
    NobodyCommits,
    GroupIsDeleted,
    OffsetsOfItsTopicAreDeleted,
];

/// What the one who caused the event hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Joined,
    Waits,
    No(GroupError),
}

use Answer::*;

/// The table. In `PreparingRebalance` the leader has joined and the follower has not; in
/// `CompletingRebalance` nobody has synced.
fn row(state: ClassicState, event: Event) -> (Answer, ClassicState) {
    match state {
        Empty => match event {
            NewMemberAsksForAnId => (No(MemberIdRequired), Empty),
            NewMemberJoins | FollowerStartsAnew => (Waits, PreparingRebalance),
            LeaderJoins | FollowerJoins | FollowerJoinsWithOtherTopics | StrangerJoins => {
                (No(UnknownMemberId), Empty)
            }
            // An empty group takes whatever type comes.
            OtherProtocolTypeJoins => (Waits, PreparingRebalance),
            LeaderSyncs | FollowerSyncs | OldGenerationSyncs => (No(UnknownMemberId), Empty),
            LeaderSendsHeartbeat | OldGenerationSendsHeartbeat => (No(UnknownMemberId), Empty),
            LeaderLeaves | FollowerIsRemovedByInstanceId | StrangerLeaves => {
                (No(UnknownMemberId), Empty)
            }
            FollowerFallsSilent | RebalanceTimeoutPasses => (Done, Empty),
            LeaderCommits => (No(UnknownMemberId), Empty),
            NobodyCommits => (Done, Empty),
            GroupIsDeleted => (Done, Dead),
            OffsetsOfItsTopicAreDeleted => (Done, Empty),
        },
        PreparingRebalance => match event {
            NewMemberAsksForAnId => (No(MemberIdRequired), PreparingRebalance),
            NewMemberJoins | LeaderJoins => (Waits, PreparingRebalance),
            FollowerJoins | FollowerJoinsWithOtherTopics | FollowerStartsAnew => {
                (Joined, CompletingRebalance)
            }
            StrangerJoins => (No(UnknownMemberId), PreparingRebalance),
            OtherProtocolTypeJoins => (No(InconsistentGroupProtocol), PreparingRebalance),
            LeaderSyncs | FollowerSyncs => (No(RebalanceInProgress), PreparingRebalance),
            OldGenerationSyncs | OldGenerationSendsHeartbeat => {
                (No(IllegalGeneration), PreparingRebalance)
            }
            LeaderSendsHeartbeat => (No(RebalanceInProgress), PreparingRebalance),
            LeaderLeaves => (Done, PreparingRebalance),
            FollowerIsRemovedByInstanceId => (Done, CompletingRebalance),
            StrangerLeaves => (No(UnknownMemberId), PreparingRebalance),
            FollowerFallsSilent | RebalanceTimeoutPasses => (Done, CompletingRebalance),
            LeaderCommits => (Done, PreparingRebalance),
            NobodyCommits => (No(UnknownMemberId), PreparingRebalance),
            GroupIsDeleted => (No(NonEmptyGroup), PreparingRebalance),
            OffsetsOfItsTopicAreDeleted => (No(GroupSubscribedToTopic), PreparingRebalance),
        },
        CompletingRebalance => match event {
            NewMemberAsksForAnId => (No(MemberIdRequired), CompletingRebalance),
            NewMemberJoins | FollowerJoinsWithOtherTopics | FollowerStartsAnew => {
                (Waits, PreparingRebalance)
            }
            LeaderJoins | FollowerJoins => (Joined, CompletingRebalance),
            StrangerJoins => (No(UnknownMemberId), CompletingRebalance),
            OtherProtocolTypeJoins => (No(InconsistentGroupProtocol), CompletingRebalance),
            LeaderSyncs => (Done, Stable),
            FollowerSyncs => (Waits, CompletingRebalance),
            OldGenerationSyncs | OldGenerationSendsHeartbeat => {
                (No(IllegalGeneration), CompletingRebalance)
            }
            LeaderSendsHeartbeat => (Done, CompletingRebalance),
            LeaderLeaves | FollowerIsRemovedByInstanceId => (Done, PreparingRebalance),
            StrangerLeaves => (No(UnknownMemberId), CompletingRebalance),
            FollowerFallsSilent => (Done, PreparingRebalance),
            // Nobody has synced, so nobody is left.
            RebalanceTimeoutPasses => (Done, Empty),
            LeaderCommits => (No(RebalanceInProgress), CompletingRebalance),
            NobodyCommits => (No(UnknownMemberId), CompletingRebalance),
            GroupIsDeleted => (No(NonEmptyGroup), CompletingRebalance),
            OffsetsOfItsTopicAreDeleted => (No(GroupSubscribedToTopic), CompletingRebalance),
        },
        Stable => match event {
            NewMemberAsksForAnId => (No(MemberIdRequired), Stable),
            NewMemberJoins | LeaderJoins | FollowerJoinsWithOtherTopics => {
                (Waits, PreparingRebalance)
            }
            FollowerJoins | FollowerStartsAnew => (Joined, Stable),
            StrangerJoins => (No(UnknownMemberId), Stable),
            OtherProtocolTypeJoins => (No(InconsistentGroupProtocol), Stable),
            LeaderSyncs | FollowerSyncs => (Done, Stable),
            OldGenerationSyncs | OldGenerationSendsHeartbeat => (No(IllegalGeneration), Stable),
            LeaderSendsHeartbeat => (Done, Stable),
            LeaderLeaves | FollowerIsRemovedByInstanceId => (Done, PreparingRebalance),
            StrangerLeaves => (No(UnknownMemberId), Stable),
            FollowerFallsSilent => (Done, PreparingRebalance),
            RebalanceTimeoutPasses => (Done, Stable),
            LeaderCommits => (Done, Stable),
            NobodyCommits => (No(UnknownMemberId), Stable),
            GroupIsDeleted => (No(NonEmptyGroup), Stable),
            OffsetsOfItsTopicAreDeleted => (No(GroupSubscribedToTopic), Stable),
        },
        Dead => match event {
            NewMemberAsksForAnId
            | NewMemberJoins
            | LeaderJoins
            | FollowerJoins
            | FollowerJoinsWithOtherTopics
            | FollowerStartsAnew
            | StrangerJoins
            | OtherProtocolTypeJoins
            | LeaderSyncs
            | FollowerSyncs
            | OldGenerationSyncs
            | LeaderSendsHeartbeat
            | OldGenerationSendsHeartbeat
            | LeaderLeaves
            | FollowerIsRemovedByInstanceId
            | StrangerLeaves
            | LeaderCommits
            | NobodyCommits => (No(CoordinatorNotAvailable), Dead),
            FollowerFallsSilent | RebalanceTimeoutPasses => (Done, Dead),
            GroupIsDeleted | OffsetsOfItsTopicAreDeleted => (No(GroupIdNotFound), Dead),
        },
    }
}

struct Pair {
    host: Host,
    leader: MemberIdentity,
    follower: MemberIdentity,
}

impl Pair {
    /// A group in one of its states, reached by what members do.
    fn in_state(state: ClassicState) -> Pair {
        let mut host = Host::new(ClassicConfig::new());
        let (id, leader_joins) = host.join_as_new(&join(""));
        let follower_joins = host.join(&join_static("", "f"));
        host.wait(6_000);
        let follower_id = host.joined(follower_joins).member_id.clone();
        assert_eq!(host.joined(leader_joins).leader, id);
        let (leader, follower) =
            (MemberIdentity::dynamic(id), MemberIdentity::fixed(follower_id, "f"));
        let mut pair = Pair { host, leader, follower };
        match state {
            Empty | Dead => {
                pair.host.leave(&[pair.leader.clone(), pair.follower.clone()]);
                if state == Dead {
                    let step = pair.host.group.delete(pair.host.now).unwrap();
                    pair.host.take(step);
                }
            }
            PreparingRebalance | Stable => {
                pair.host.sync(&pair.leader, 1, &[]);
                pair.host.sync(&pair.follower, 1, &[]);
                if state == PreparingRebalance {
                    pair.host.join(&pair.of_leader());
                }
            }
            CompletingRebalance => {}
        }
        assert_eq!(pair.host.group.state(), state);
        pair
    }

    fn of_leader(&self) -> JoinRequest {
        join(&self.leader.member_id)
    }

    fn of_follower(&self) -> JoinRequest {
        join_static(&self.follower.member_id, "f")
    }

    fn answer(&self, request: RequestId) -> Answer {
        match self.host.replies.get(&request) {
            None => Waits,
            Some(Reply::Join(Ok(_))) => Joined,
            Some(_) => self.host.refusal(request).map_or(Done, No),
        }
    }

    fn join(&mut self, join: &JoinRequest) -> Answer {
        let request = self.host.join(join);
        self.answer(request)
    }

    fn sync(&mut self, member: &MemberIdentity, generations_ago: i32) -> Answer {
        let generation = self.host.group.generation() - generations_ago;
        let request = self.host.sync(&member.clone(), generation, &[]);
        self.answer(request)
    }

    fn leave(&mut self, member: MemberIdentity) -> Answer {
        said(self.host.leave(&[member])[0])
    }

    /// Lets time go by, in which the members that are named send heartbeats.
    fn wait(&mut self, ms: i32, heard: &[&MemberIdentity]) -> Answer {
        for _ in 0..ms / 1_000 {
            for member in heard {
                // They go on whatever they are told.
                let _ = self.host.heartbeat(member);
            }
            self.host.wait(1_000);
        }
        Done
    }

    fn play(&mut self, event: Event) -> Answer {
        let (leader, follower) = (self.leader.clone(), self.follower.clone());
        let generation = self.host.group.generation();
        let now = self.host.now;
        match event {
            NewMemberAsksForAnId => self.join(&join("")),
            NewMemberJoins => {
                let first = self.host.join(&join(""));
                match self.host.replies.get(&first) {
                    Some(Reply::Join(Err(refusal))) if refusal.error == MemberIdRequired => {
                        let member_id = refusal.member_id.clone();
                        self.join(&join(&member_id))
                    }
                    _ => self.answer(first),
                }
            }
            LeaderJoins => self.join(&self.of_leader()),
            FollowerJoins => self.join(&self.of_follower()),
            FollowerJoinsWithOtherTopics => {
                let protocols = vec![protocol("range", &["orders", "refunds"])];
                self.join(&JoinRequest { protocols, ..self.of_follower() })
            }
            FollowerStartsAnew => self.join(&join_static("", "f")),
            StrangerJoins => self.join(&join("somebody")),
            OtherProtocolTypeJoins => {
                let protocol_type = "connect".into();
                self.join(&JoinRequest { protocol_type, ..join_static("", "other") })
            }
            LeaderSyncs => self.sync(&leader, 0),
            FollowerSyncs => self.sync(&follower, 0),
            OldGenerationSyncs => self.sync(&leader, 1),
            LeaderSendsHeartbeat => said(self.host.heartbeat(&leader)),
            OldGenerationSendsHeartbeat => {
                said(self.host.group.heartbeat(now, &leader, generation - 1))
            }
            LeaderLeaves => self.leave(leader),
            FollowerIsRemovedByInstanceId => self.leave(MemberIdentity::fixed("", "f")),
            StrangerLeaves => self.leave(MemberIdentity::dynamic("somebody")),
            FollowerFallsSilent => self.wait(SESSION_MS, &[&leader]),
            RebalanceTimeoutPasses => self.wait(REBALANCE_MS, &[&leader, &follower]),
            LeaderCommits => said(self.host.commit(&leader, generation, false)),
            NobodyCommits => said(self.host.commit(&MemberIdentity::default(), -1, false)),
            GroupIsDeleted => match self.host.group.delete(now) {
                Ok(step) => {
                    self.host.take(step);
                    Done
                }
                Err(error) => No(error),
            },
            OffsetsOfItsTopicAreDeleted => said(self.host.group.check_offset_delete("orders")),
        }
    }
}

fn said(result: Result<(), GroupError>) -> Answer {
    result.map_or_else(No, |()| Done)
}

#[test]
fn every_event_has_its_answer_in_every_state() {
    for state in ClassicState::ALL {
        for event in EVENTS {
            let mut pair = Pair::in_state(state);
            let generation = pair.host.group.generation();
            let answer = pair.play(event);
            let found = (answer, pair.host.group.state());
            assert_eq!(found, row(state, event), "{event:?} in {state}");
            let steps = pair.host.group.generation() - generation;
            let begins = [CompletingRebalance, Empty].contains(&found.1) && found.1 != state;
            assert_eq!(steps, i32::from(begins), "generations by {event:?} in {state}");
        }
    }
    assert!(
        EVENTS.iter().enumerate().all(|(i, event)| *event as usize == i),
        "an event is left out"
    );
}
