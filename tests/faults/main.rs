//! Runs that are killed, stopped, starved of disk or tampered with, and gone on with: the finished
//! folder is always, byte for byte, that of a run that nothing happened to.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod changed;
mod damaged;
mod full;
mod injected;
mod interrupted_shards;
mod killed;
mod memory_changed;
mod merged;
mod others;
mod refused;
mod short;
mod signals;

use common::{bench, tools};
