//! Consumer groups: who reads what.
//!
//! A group shares the partitions of its topics among its members, so that each partition is read by
//! one of them. [`assign`] decides who gets which, with the rules of Kafka's assignors.

pub mod assign;
