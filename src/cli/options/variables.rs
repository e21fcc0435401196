//! Environment variables that set the defaults of flags.

use clap::Command;
use clap::error::{ContextKind, ContextValue};
use std::ffi::OsString;

/// `--model`.
pub const MODEL: &str = "ESM_EMBED_MODEL";
/// `--device`.
pub const DEVICE: &str = "ESM_EMBED_DEVICE";
/// `--threads`.
pub const THREADS: &str = "ESM_EMBED_THREADS";
/// The key of `serve`, if no flag gives it.
pub const API_KEY: &str = "ESM_EMBED_API_KEY";

/// All that set flags, and hold no secret.
pub const ALL: [&str; 3] = [MODEL, DEVICE, THREADS];

/// Names the variable in an error over a value that was not typed, but taken from it.
pub fn name_variable(error: clap::Error, mut command: Command, words: &[OsString]) -> clap::Error {
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.clone(),
        _ => return error,
    };
    command.build();
    let mut arguments = command.get_subcommands().flat_map(|c| c.get_arguments());
    let Some(argument) = arguments.find(|argument| argument.to_string() == flag) else {
        return error;
    };
    let variable = argument.get_env().and_then(|name| name.to_str());
    let is_typed = |word: &OsString| {
        let word = word.to_string_lossy();
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        word.split('=').next() == long.as_deref()
            || short.is_some_and(|short| word.starts_with(&short) && !word.starts_with("--"))
    };
    match variable {
        Some(name) if std::env::var_os(name).is_some() && !words.iter().any(is_typed) => {
            let mut error = error;
            let named = format!("{flag} (from the environment variable {name})");
            error.insert(ContextKind::InvalidArg, ContextValue::String(named));
            error
        }
        _ => error,
    }
}
