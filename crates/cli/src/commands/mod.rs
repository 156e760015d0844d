//! One file for each command.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod import;
pub(crate) mod salvage;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod verify;
