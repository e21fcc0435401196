//! Runs that are killed, stopped, out of disk or tampered with, and then resumed: the finished folder
//! always equals that of an undisturbed run, byte for byte.

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
