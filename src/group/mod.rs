//! Consumer groups: who reads what.
//!
//! A group shares the partitions of its topics among its members, so that each partition is read by
//! one of them. [`assign`] decides who gets which, with the rules of Kafka's assignors, and [`classic`]
//! who is a member. What a group refuses, it refuses with a [`GroupError`].

pub mod assign;
pub mod classic;
mod error;

pub use error::{Advice, GroupError};
