//! The `esm-embed` command: parse, run, exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    esm_embed::memory::spare_addresses();
    cli::fail_on_full_files();
    let args = match cli::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match cli::execute(&args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            cli::report_error(&args, &error);
            ExitCode::FAILURE
        }
    }
}
