//! The program from end to end: files and streams go in, and every file, message and exit status that
//! comes out is compared with the expected one.

#[path = "../common/mod.rs"]
mod common;

mod adapters;
mod any_cpu;
mod carried;
mod checksum_cache;
mod commands;
mod committed_bits;
mod earlier_versions;
mod esm_c;
mod existing_output;
mod export;
mod failing_work;
mod first_command;
mod forecast;
mod giants;
mod identifiers;
mod ids;
mod inputs;
mod known;
mod linked;
mod logits;
mod long;
mod map_files;
mod maps;
mod memory_limit;
mod merge;
mod models;
mod numbers;
mod odd_fasta;
mod options;
mod parity;
mod plan;
mod planned_shards;
mod plots;
mod reads;
mod refused;
mod reports;
mod residues;
mod same_bits;
mod same_bytes;
mod saprot;
mod score;
mod score_files;
mod shards;
mod slurm;
mod stacked;
mod stand_in_8m;
mod status;
mod streams;
mod templates;
mod threads;
mod usage;
mod verify;
mod written;

use common::{bench, tools};
