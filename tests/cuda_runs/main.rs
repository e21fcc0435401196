//! `run` and `doctor` with a card from end to end: `cargo test --features cards --test cuda_runs`.
//! Those with `--features stand-in` are about machines that have to be pretended: no card, several,
//! one with little memory. `.ci/stand_in.sh` runs them all on a stand-in for the driver.
#![cfg(feature = "cards")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../run/support.rs"]
mod support;

#[cfg(feature = "stand-in")]
mod algorithms;
mod card;
#[cfg(feature = "stand-in")]
mod cards;
#[cfg(feature = "stand-in")]
mod failing;
mod killed;
#[cfg(feature = "stand-in")]
mod memory;
mod numbers;
mod overflow;
mod residues;
mod same_bits;
