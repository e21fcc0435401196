//! The bar on a terminal. It disappears when it is dropped.

use super::super::quantities::seconds;
use super::bar_line::bar_line;
use super::numbers::Numbers;
use super::plain::phase_text;
use super::tally::{SoFar, Transfer};
use esm_embed::numerals::count;
use esm_embed::pipeline::Phase;
use esm_embed::printable;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

const LINE: &str = "{spinner} {wide_msg}";
const PHASE: &str = "{spinner} {msg}, {so_far} elapsed";
const BYTES: &str = "{spinner} [{bar:24}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left, {wide_msg}";
const BYTES_STREAM: &str = "{spinner} {decimal_bytes}, {decimal_bytes_per_sec}, {wide_msg}";

/// Columns of the spinner and the space after it.
const SPINNER: usize = 2;
/// Columns of a terminal of unknown width.
const DEFAULT_WIDTH: usize = 80;

/// A line that is redrawn.
pub struct Bar(ProgressBar);

impl Bar {
    /// For records as they are embedded.
    pub fn records() -> Bar {
        Bar::new(ProgressBar::new_spinner(), LINE, String::new())
    }

    /// For what a run does before and after embedding.
    pub fn phase(phase: Phase<'_>) -> Bar {
        let text = printable::text(&phase_text(phase));
        Bar::new(ProgressBar::new_spinner(), PHASE, text)
    }

    /// For the download of a file.
    pub fn bytes(transfer: &Transfer) -> Bar {
        let file = printable::text(&transfer.file);
        match transfer.total {
            Some(total) => Bar::new(ProgressBar::new(total), BYTES, file),
            None => Bar::new(ProgressBar::new_spinner(), BYTES_STREAM, file),
        }
    }

    fn new(bar: ProgressBar, template: &str, message: String) -> Bar {
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
            .with_key("so_far", |state: &ProgressState, out: &mut dyn Write| {
                // Writing to a string does not fail.
                let _ = out.write_str(&seconds(state.elapsed().as_secs_f64()));
            });
        let bar = bar.with_style(style).with_message(message);
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// Shows how far the run is, as wide as the terminal is now.
    pub fn set_counts(&self, so_far: &SoFar) {
        let width = columns().saturating_sub(SPINNER);
        self.0.set_message(bar_line(&Numbers::from(*so_far), width));
    }

    /// Shows how much of the input has been read.
    pub fn set_records_read(&self, records: u64) {
        let text = phase_text(Phase::Reading);
        self.0
            .set_message(format!("{text}: {}", count(records, "record")));
    }

    /// Shows how far the download is.
    pub fn set_bytes(&self, transfer: &Transfer) {
        self.0.set_position(transfer.bytes);
    }

    /// Writes a line in place of the bar, and draws the bar again below it.
    pub fn write_above(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Columns of the terminal on standard error.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    match size.map(|size| usize::from(size.ws_col)) {
        Ok(0) | Err(_) => DEFAULT_WIDTH,
        Ok(columns) => columns,
    }
}
