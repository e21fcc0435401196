//! `run` and `doctor` with a GPU from end to end, on the stand-in for the driver and cuBLASLt.
//!
//! `ESM_EMBED_TEST_GPU=1 cargo test --test cuda --test cuda_runs -- gpu` runs those that a real GPU can
//! run on that of this machine; the others need a machine that is pretended.
#![cfg(target_os = "linux")]

mod card;
#[path = "../common/mod.rs"]
mod common;
/// What a GPU does.
mod gpu {
    mod killed;
    mod numbers;
    mod overflow;
    mod residues;
    pub mod same_bits;
}
/// What a machine can be like.
mod machine {
    mod algorithms;
    mod cards;
    mod failing;
    mod libraries;
    mod memory;
    mod stand_in_itself;
}
#[path = "../common/stand_in.rs"]
mod stand_in;
#[allow(dead_code)]
#[path = "../run/support.rs"]
mod support;
