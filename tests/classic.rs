//! The classic group protocol: its table of states, Kafka's rules of fencing, what a restart brings
//! back, and simulated groups whose members and coordinators fail.

#[path = "classic/bytes.rs"]
mod bytes;
#[path = "classic/clients.rs"]
mod clients;
#[path = "classic/clocks.rs"]
mod clocks;
#[path = "classic/commits.rs"]
mod commits;
#[path = "classic/host.rs"]
mod host;
#[path = "classic/members.rs"]
mod members;
#[path = "classic/oracle.rs"]
mod oracle;
#[path = "support/random.rs"]
mod random;
#[path = "classic/restarts.rs"]
mod restarts;
#[path = "classic/simulation.rs"]
mod simulation;
#[path = "classic/table.rs"]
mod table;
#[path = "classic/timeouts.rs"]
mod timeouts;
