//! `run` from end to end: the binary is given files and streams, and every file it writes, every
//! message and every exit code is compared with what is due.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod earlier_versions;
mod exist;
mod failing;
mod forecast;
mod giants;
mod identifiers;
mod ids;
mod inputs;
mod long;
mod memory_limit;
mod merge;
mod models;
mod odd_fasta;
mod options;
mod parity;
mod refused;
mod remembered;
mod reports;
mod residues;
mod same_bits;
mod same_bytes;
mod shards;
mod stand_in_8m;
mod streams;
mod threads;
mod usage;
mod values;
mod verify;
mod written;

use common::{bench, tools};
