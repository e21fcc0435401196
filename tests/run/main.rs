//! `run` from end to end: the binary is given files and streams, and every file it writes, every
//! message and every exit code is compared with what is due.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
mod support;
#[path = "../common/tools.rs"]
mod tools;

mod exist;
mod failing;
mod giants;
mod identifiers;
mod ids;
mod inputs;
mod long;
mod memory;
mod nasty;
mod options;
mod refused;
mod remembered;
mod residues;
mod same_bytes;
mod shards;
mod threads;
mod values;
mod written;
