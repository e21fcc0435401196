//! How progress is shown, and how often.

use super::super::options::display::ProgressArg;
use std::time::Duration;

/// Time between two lines in a log.
const MINUTE: Duration = Duration::from_secs(60);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Bar,
    Plain,
    Json,
    None,
}

impl Style {
    /// The style that is asked for, or the one that standard error can show.
    pub fn choose(asked: ProgressArg, is_quiet: bool, is_terminal: bool) -> Style {
        match asked {
            ProgressArg::Json => Style::Json,
            ProgressArg::None => Style::None,
            ProgressArg::Auto if is_quiet => Style::None,
            ProgressArg::Auto | ProgressArg::Bar if is_terminal => Style::Bar,
            // The control characters of a bar would be noise in a file.
            ProgressArg::Auto | ProgressArg::Bar | ProgressArg::Plain => Style::Plain,
        }
    }

    /// Shortest time between two updates.
    pub fn period(self) -> Duration {
        match self {
            Style::Bar => Duration::from_millis(100),
            Style::Json => Duration::from_secs(1),
            Style::Plain | Style::None => MINUTE,
        }
    }

    /// Shortest time between two updates while the input is read, which are messages except in a bar.
    pub fn reading_period(self) -> Duration {
        match self {
            Style::Json => MINUTE,
            style => style.period(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_needs_a_terminal() {
        use ProgressArg::{Auto, Bar, Json, None, Plain};
        assert_eq!(Style::choose(Auto, false, true), Style::Bar);
        assert_eq!(Style::choose(Auto, false, false), Style::Plain);
        assert_eq!(Style::choose(Auto, true, true), Style::None);
        assert_eq!(Style::choose(Bar, true, true), Style::Bar);
        assert_eq!(Style::choose(Bar, false, false), Style::Plain);
        assert_eq!(Style::choose(Plain, false, true), Style::Plain);
        assert_eq!(Style::choose(Json, true, true), Style::Json);
        assert_eq!(Style::choose(None, false, true), Style::None);
    }
}
