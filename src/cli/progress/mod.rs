//! Messages and progress on standard error: a bar, plain lines or JSON lines.

mod bar;
mod event;
mod line;
mod tally;

use super::message::Message;
use super::options::DisplayArgs;
use super::options::display::ProgressArg;
use anstream::{AutoStream, ColorChoice};
use bar::Bar;
use esm_embed::hub::DownloadProgress;
use esm_embed::numerals::count;
use esm_embed::pipeline::{Level, Phase, Reporter, Totals};
use event::Event;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tally::{Pace, Tally, Transfer};

/// How often it is looked whether a sign of progress is due.
const TICK: Duration = Duration::from_millis(250);

/// Time between two lines in a log.
const MINUTE: Duration = Duration::from_secs(60);

/// Shows what a command does.
pub struct Progress {
    /// The least important level that is shown.
    shown: Level,
    screen: Arc<Screen>,
    ticker: Mutex<Option<Ticker>>,
}

/// Standard error and what stands there.
struct Screen {
    style: Style,
    begin: Instant,
    state: Mutex<State>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bar,
    Plain,
    Json,
    None,
}

impl Style {
    /// The style asked for, or the one that standard error can show.
    fn choose(asked: ProgressArg, is_quiet: bool, is_terminal: bool) -> Style {
        match asked {
            ProgressArg::Json => Style::Json,
            ProgressArg::None => Style::None,
            ProgressArg::Auto if is_quiet => Style::None,
            ProgressArg::Auto | ProgressArg::Bar if is_terminal => Style::Bar,
            // What a bar is drawn with would be noise in a file.
            ProgressArg::Auto | ProgressArg::Bar | ProgressArg::Plain => Style::Plain,
        }
    }

    /// Time between two signs of progress, at least.
    fn period(self) -> Duration {
        match self {
            Style::Bar => Duration::from_millis(100),
            Style::Json => Duration::from_secs(1),
            Style::Plain | Style::None => MINUTE,
        }
    }
}

#[derive(Default)]
struct State {
    check: Option<Pace>,
    run: Option<(Tally, Pace)>,
    transfer: Option<(Transfer, Pace)>,
    bar: Option<Bar>,
}

impl Progress {
    /// As asked for on the command line.
    pub fn new(args: DisplayArgs) -> Progress {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stderr().is_terminal() && !is_dumb;
        Progress {
            shown: match (args.quiet, args.verbose) {
                (true, _) => Level::Warning,
                (_, true) => Level::Detail,
                _ => Level::Info,
            },
            screen: Arc::new(Screen {
                style: Style::choose(args.progress, args.quiet, is_terminal),
                begin: Instant::now(),
                state: Mutex::default(),
            }),
            ticker: Mutex::default(),
        }
    }

    /// Shows what ended the command.
    pub fn error(&self, message: &Message) {
        let screen = &self.screen;
        screen.show(&screen.state(), &Event::Error { message });
    }

    /// Takes what is drawn off the terminal.
    pub fn clear(&self) {
        self.screen.state().bar = None;
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.screen.style == Style::Json
    }

    fn set_ticker(&self, ticker: Option<Ticker>) {
        let mut held = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        *held = ticker;
    }
}

/// Shows progress also while one long record is at work and nothing advances, until it is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn new(screen: Arc<Screen>) -> Option<Ticker> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                screen.update(|_| {});
            }
        });
        // Without the thread, progress is shown when there is some.
        Some(Ticker {
            stop: Some(stop),
            thread: Some(thread.ok()?),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Screen {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters at worst one step behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Writes one line, and one for each hint, at once. If standard error cannot be written to, there
    /// is nowhere to report it.
    fn show(&self, state: &State, event: &Event<'_>) {
        let mut line = match (self.style, event) {
            (Style::Json, event) => event.json(),
            (_, Event::Message { .. } | Event::Error { .. }) | (Style::Plain, _) => {
                colored(event.plain())
            }
            (Style::Bar, Event::End { .. }) => event.plain(),
            (Style::Bar | Style::None, _) => return,
        };
        line.push('\n');
        let write = || {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        };
        match &state.bar {
            Some(bar) => bar.step_aside(write),
            None => write(),
        }
    }
}

/// The text as it is on a terminal with colours, else without them: clap's rules, which respect
/// `NO_COLOR`.
fn colored(text: String) -> String {
    match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        _ => text,
    }
}

impl Reporter for Progress {
    fn message(&self, level: Level, text: &str) {
        if level <= self.shown {
            let screen = &self.screen;
            let message = &Message::of(text);
            screen.show(&screen.state(), &Event::Message { level, message });
        }
    }

    fn checked(&self, records: u64) {
        let screen = &self.screen;
        if screen.style == Style::None || self.shown < Level::Info {
            return;
        }
        let (now, mut state) = (screen.now(), screen.state());
        let period = match screen.style {
            Style::Bar => screen.style.period(),
            _ => MINUTE,
        };
        let pace = state.check.get_or_insert_with(|| Pace::new(period, now));
        if !pace.is_due(now) {
            return;
        }
        if let Some(bar) = &state.bar {
            return bar.checked_are(records);
        }
        let text = format!("reading the input: {} so far", count(records, "record"));
        let (level, message) = (Level::Info, &Message::of(&text));
        screen.show(&state, &Event::Message { level, message });
    }

    fn phase(&self, phase: Phase<'_>) {
        let screen = &self.screen;
        let mut state = screen.state();
        state.bar = None;
        if self.shown >= Level::Info || screen.style == Style::Json {
            screen.show(&state, &Event::Phase { phase });
        }
        if screen.style == Style::Bar {
            state.bar = Some(Bar::phase(phase));
        }
    }

    fn start(&self, totals: Totals) {
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        let pace = Pace::new(screen.style.period(), now);
        state.run = Some((Tally::new(totals, now), pace));
        screen.show(&state, &Event::start(totals));
        if screen.style == Style::Bar {
            // The one before goes first: they would be drawn over each other.
            state.bar = None;
            state.bar = Some(Bar::records());
        }
        drop(state);
        if screen.style != Style::None {
            self.set_ticker(Ticker::new(Arc::clone(screen)));
        }
    }

    fn working(&self) {
        let screen = &self.screen;
        screen.update(|tally| tally.work(screen.now()));
    }

    fn advance(&self, records: u64, residues: u64) {
        self.screen.update(|tally| tally.advance(records, residues));
    }

    fn restored(&self, records: u64, residues: u64) {
        self.screen.update(|tally| tally.restore(records, residues));
    }

    fn counted(&self, totals: Totals) {
        self.screen.update(|tally| tally.set_totals(totals));
    }

    fn finish(&self) {
        self.set_ticker(None);
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        state.bar = None;
        if let Some((tally, _)) = state.run.take() {
            screen.show(&state, &Event::end(tally.so_far(now)));
        }
    }
}

impl Screen {
    /// Changes what is done, and shows it if that is due.
    fn update(&self, change: impl FnOnce(&mut Tally)) {
        let (now, mut state) = (self.now(), self.state());
        let Some((tally, pace)) = &mut state.run else {
            return;
        };
        change(tally);
        if pace.is_due(now) {
            let so_far = tally.so_far(now);
            if let Some(bar) = &state.bar {
                bar.records_are(&so_far);
            }
            self.show(&state, &Event::progress(so_far));
        }
    }
}

impl DownloadProgress for Progress {
    fn start(&self, file: &str, bytes: Option<u64>) {
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        let transfer = Transfer::new(file, bytes);
        screen.show(&state, &Event::download("start", &transfer));
        if screen.style == Style::Bar {
            state.bar = Some(Bar::bytes(&transfer));
        }
        state.transfer = Some((transfer, Pace::new(screen.style.period(), now)));
    }

    fn advance(&self, bytes: u64) {
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        let Some((mut transfer, mut pace)) = state.transfer.take() else {
            return;
        };
        transfer.advance(bytes);
        if pace.is_due(now) {
            if let Some(bar) = &state.bar {
                bar.bytes_are(&transfer);
            }
            screen.show(&state, &Event::download("progress", &transfer));
        }
        state.transfer = Some((transfer, pace));
    }

    fn finish(&self) {
        let screen = &self.screen;
        let mut state = screen.state();
        state.bar = None;
        if let Some((transfer, _)) = state.transfer.take() {
            screen.show(&state, &Event::download("end", &transfer));
        }
    }

    fn note(&self, text: &str) {
        self.message(Level::Info, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_line_a_minute() {
        assert_eq!(Style::Plain.period(), Duration::from_secs(60));
    }

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
