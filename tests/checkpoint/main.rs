//! Checkpoints: every layout gives the same weights, and any fault of a file is an error that names
//! the file.

mod adapters;
mod alphabet;
mod contacts;
mod damaged_safetensors;
mod damaged_torch;
mod esm_c;
mod files;
mod hostile;
mod keys;
mod layouts;
mod mutated;
mod nemo;
mod settings;
mod support;
mod unused;
