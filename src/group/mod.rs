//! Consumer groups: who reads what.
//!
//! A group shares the partitions of its topics among its members, so that each partition is read by
//! one of them. [`assign`] decides who gets which, with the rules of Kafka's assignors. What a group
//! refuses, it refuses with a [`GroupError`].

pub mod assign;
mod error;

pub use error::{Advice, GroupError};
