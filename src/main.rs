//! The `esm-embed` command.
fn main() {}
