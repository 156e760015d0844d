//! Consumer groups: who reads what.
//!
//! A group shares the partitions of its topics among its members, so that each partition is read by
//! one of them. [`assign`] decides who gets which, with the rules of Kafka's assignors. Who is a member,
//! and how partitions are handed over, is either of two protocols: [`classic`], whose members assign
//! themselves, and [`modern`], whose members only send heartbeats. What a group refuses, it refuses
//! with a [`GroupError`]. [`consumer_protocol`] has the bytes in which members of the classic protocol say
//! what they read and are told what they get.
//!
//! [`Coordinator`] keeps all groups of a store, by either protocol, and lets only those commit who may;
//! [`claims`] fence single partitions. [`host`] is a coordinator whose calls wait for their answers.

pub mod assign;
pub mod claims;
pub mod classic;
pub mod consumer_protocol;
pub mod coordinator;
mod error;
pub mod host;
pub mod modern;

pub use coordinator::Coordinator;
pub use error::{Advice, GroupError};

/// How far apart the times of two calls may be the wrong way around without the clock having been set:
/// callers read it before they get hold of the group.
const CLOCK_JITTER_MS: i64 = 1_000;
