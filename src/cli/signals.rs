//! Signals: the first asks the run to stop, the second ends the process.

use super::progress::Progress;
use anyhow::Context;
use esm_embed::pipeline::{Level, Reporter, Stop};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Time that a run has to save its work. Batches that are not finished by then are lost; finished
/// ones are in the journal anyway.
const GRACE: Duration = Duration::from_secs(7);

/// Listens, in a separate thread, for the signals that end a run.
///
/// If the run has nothing to save, already the first signal ends the process at once, with exit code
/// 128 + its number.
pub fn listen(progress: &Arc<Progress>) -> anyhow::Result<Stop> {
    let mut kinds = vec![SIGTERM, SIGINT, SIGUSR1];
    // Under nohup, the hangup stays ignored.
    if !is_ignored(SIGHUP) {
        kinds.push(SIGHUP);
    }
    let mut signals = Signals::new(kinds).context("cannot listen for signals")?;
    let stop = Stop::default();
    let ours = stop.clone();
    let progress = Arc::clone(progress);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if stop.is_asked() || !stop.has_work() {
                low_level::exit(exit_code(signal).into());
            }
            stop.ask(signal);
            std::thread::spawn(move || {
                std::thread::sleep(GRACE);
                low_level::exit(exit_code(signal).into());
            });
            // In a thread, because standard error may be a pipe that nobody reads.
            let progress = Arc::clone(&progress);
            std::thread::spawn(move || {
                progress.message(
                    Level::Info,
                    "stopping: saving finished work (Ctrl-C again to quit now)",
                );
            });
        }
    });
    Ok(ours)
}

/// Holds the first signal that ends the process, or 0. The second ends it at once.
///
/// # Errors
/// Signals cannot be listened for.
pub fn first() -> anyhow::Result<Arc<AtomicUsize>> {
    let (first, is_asked) = (Arc::default(), Arc::default());
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        if is_ignored(signal) {
            continue;
        }
        // Handlers run in this order.
        flag::register_conditional_default(signal, Arc::clone(&is_asked))
            .and_then(|_| flag::register(signal, Arc::clone(&is_asked)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&first), signal as usize))
            .context("cannot listen for signals")?;
    }
    Ok(first)
}

/// 128 + the number of the signal, as a shell reports it.
pub fn exit_code(signal: i32) -> u8 {
    u8::try_from(signal).map_or(1, |number| number.saturating_add(128))
}

/// A file that grows beyond a limit (`ulimit -f`) gives an error instead of ending the process.
pub fn fail_on_full_files() {
    // With any handler, the system call returns EFBIG. If there is no handler, the process ends, as
    // before.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// Whether the process was started with this signal ignored; false if the system does not tell.
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

fn ignores(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(
            [SIGHUP, SIGINT, SIGUSR1, SIGTERM].map(exit_code),
            [129, 130, 138, 143]
        );
    }

    #[test]
    fn the_mask_of_ignored_signals() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, SIGHUP));
        assert!(ignores(status, 13));
        assert!(!ignores(status, SIGINT));
        assert!(!ignores("SigIgn:\tjunk\n", SIGHUP));
        assert!(!ignores("", SIGHUP));
    }
}
