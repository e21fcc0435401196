//! NVIDIA GPUs: the kernels' sources compiled for the CPU, the library and `run` and `doctor` from
//! end to end on the stand-in for the driver and cuBLASLt.
//!
//! `ESM_EMBED_TEST_GPU=1 cargo test --test cuda -- gpu:: embedder::` runs those that a real GPU can run, on
//! the GPU of this machine; the others need a simulated machine.

#[cfg(target_os = "linux")]
mod check_script;
#[cfg(target_os = "linux")]
mod command;
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod embedder;
/// What a GPU computes.
#[cfg(target_os = "linux")]
mod gpu {
    mod killed;
    mod logits;
    mod numbers;
    pub mod overflow;
    mod residues;
    pub mod same_bits;
}
mod kernels;
/// All kinds of machines.
#[cfg(target_os = "linux")]
mod machine {
    mod algorithms;
    mod failing;
    mod gpus;
    mod libraries;
    mod little_memory;
    mod stand_in_itself;
    mod turing;
}
#[cfg(target_os = "linux")]
mod stand_in;

#[cfg(target_os = "linux")]
use common::bench;
use common::tools;
