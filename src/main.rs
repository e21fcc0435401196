//! The `esm-embed` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    esm_embed::memory::spare_addresses();
    ExitCode::from(esm_embed::cli::main(std::env::args_os()))
}
