//! Runs that are killed, stopped, starved of disk or tampered with, and gone on with: the finished
//! folder is always, byte for byte, that of a run that nothing happened to.

#[path = "../common/mod.rs"]
mod common;
#[path = "../run/support.rs"]
#[allow(dead_code)]
mod support;
#[path = "../common/tools.rs"]
mod tools;

mod case;
mod changed;
mod damaged;
mod full;
mod injected;
mod killed;
mod memory;
mod merged;
mod others;
mod refused;
mod shards;
mod short;
mod signals;
