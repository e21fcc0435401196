//! The bar on a terminal; it is gone from the screen when it is dropped.

use super::super::text::printable;
use super::event::Numbers;
use super::tally::{SoFar, Transfer};
use esm_embed::pipeline::Totals;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const RECORDS: &str = "{spinner} [{bar:24}] {percent}% {wide_msg}";
const STREAM: &str = "{spinner} {wide_msg}";
const BYTES: &str =
    "{spinner} [{bar:24}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left, {wide_msg}";
const BYTES_STREAM: &str = "{spinner} {bytes}, {bytes_per_sec}, {wide_msg}";

/// A bar that counts residues or bytes.
pub struct Bar(ProgressBar);

impl Bar {
    /// For a run. Its length is that of the residues: they say more about time than records do.
    pub fn records(totals: Totals) -> Bar {
        Bar::new(totals.residues, RECORDS, STREAM)
    }

    /// For the download of a file.
    pub fn bytes(transfer: &Transfer) -> Bar {
        let bar = Bar::new(transfer.total, BYTES, BYTES_STREAM);
        bar.0.set_message(printable(&transfer.file));
        bar
    }

    fn new(length: Option<u64>, known: &str, unknown: &str) -> Bar {
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        let template = if length.is_some() { known } else { unknown };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = bar.with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// Shows how far the run is.
    pub fn records_are(&self, so_far: &SoFar) {
        self.0.set_position(so_far.residues);
        self.0.set_message(Numbers::from(*so_far).going_on());
    }

    /// Shows how far the download is.
    pub fn bytes_are(&self, transfer: &Transfer) {
        self.0.set_position(transfer.bytes);
    }

    /// Writes a line where the bar stood; the bar is drawn again below it.
    pub fn step_aside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
