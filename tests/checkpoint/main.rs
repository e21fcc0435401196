//! Checkpoints: every layout of the fixtures gives the same weights, and whatever is wrong with
//! a file is an error that names it.

mod alphabet;
mod damaged_safetensors;
mod damaged_torch;
mod files;
mod hostile;
mod keys;
mod layouts;
mod settings;
mod support;
mod unused;
