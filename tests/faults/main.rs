//! Runs that are killed, stopped, out of disk or tampered with, and then resumed: the finished folder
//! always equals that of an undisturbed run, byte for byte.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod changed_input;
mod damaged;
mod export;
mod full_disk;
mod injected;
mod interrupted_shards;
mod killed;
mod known;
mod memory_changed;
mod merge;
mod other_path;
mod other_users;
mod plan;
mod refused;
mod score;
mod short_writes;
mod signals;
mod status;

use common::{bench, tools};
