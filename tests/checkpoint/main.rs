//! Checkpoints: every layout of the fixtures gives the same weights, and whatever is wrong with
//! a file is an error that names it.

mod damaged_safetensors;
mod damaged_torch;
mod files;
mod layouts;
mod settings;
mod support;
