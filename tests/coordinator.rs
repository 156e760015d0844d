//! The coordinator: members, fenced commits and claims of all groups of one store.

mod support;

#[path = "coordinator/assignments.rs"]
mod assignments;
#[path = "coordinator/claims.rs"]
mod claims;
#[path = "classic/clients.rs"]
mod clients;
#[path = "coordinator/flushes.rs"]
mod flushes;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "coordinator/host.rs"]
mod host;
#[path = "coordinator/modern.rs"]
mod modern;
#[path = "classic/oracle.rs"]
mod oracle;
#[path = "support/random.rs"]
mod random;
#[path = "coordinator/rules.rs"]
mod rules;
#[path = "coordinator/simulation.rs"]
mod simulation;
#[path = "coordinator/stored.rs"]
mod stored;
#[path = "coordinator/threads.rs"]
mod threads;
