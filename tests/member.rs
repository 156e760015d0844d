//! Consumers that are members of a group, above a coordinator, a store and a disk that fail.

mod support;

#[path = "member/net.rs"]
mod net;
#[path = "member/rules.rs"]
mod rules;
#[path = "member/simulation.rs"]
mod simulation;
#[path = "member/topic.rs"]
mod topic;
#[path = "member/world.rs"]
mod world;
