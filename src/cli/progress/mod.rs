//! Messages and progress on standard error: a bar, plain lines or JSON lines.

mod bar;
mod bar_line;
mod event;
mod numbers;
mod plain;
mod start;
mod style;
mod tally;
mod ticker;

use super::message::Message;
use super::options::DisplayArgs;
use anstream::{AutoStream, ColorChoice};
use bar::Bar;
use esm_embed::hub::DownloadProgress;
use esm_embed::numerals::count;
use esm_embed::pipeline::{Computing, Level, Phase, Reporter, Totals};
use event::Event;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use style::Style;
use tally::{Interval, Tally, Transfer};
use ticker::Ticker;

/// Shows what a command does.
pub struct Progress {
    /// The least important level that is shown.
    shown: Level,
    screen: Arc<Screen>,
    ticker: Mutex<Option<Ticker>>,
}

/// Standard error and what is drawn there.
struct Screen {
    style: Style,
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reading: Option<Interval>,
    run: Option<(Tally, Interval)>,
    transfer: Option<(Transfer, Interval)>,
    bar: Option<Bar>,
}

impl Progress {
    /// As the command line asks for.
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

    /// Shows the error that ended the command.
    pub fn error(&self, message: &Message) {
        let screen = &self.screen;
        screen.show(&screen.state(), &Event::Error { message });
    }

    /// Removes what is drawn from the terminal.
    pub fn clear(&self) {
        self.screen.state().bar = None;
    }

    /// Whether progress is shown as JSON.
    pub fn is_json(&self) -> bool {
        self.screen.style == Style::Json
    }

    fn set_ticker(&self, ticker: Option<Ticker>) {
        let mut held = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        *held = ticker;
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
            Some(bar) => bar.write_above(write),
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
        let period = screen.style.reading_period();
        let interval = state
            .reading
            .get_or_insert_with(|| Interval::new(period, now));
        if !interval.is_due(now) {
            return;
        }
        if let Some(bar) = &state.bar {
            return bar.set_records_read(records);
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

    fn start(&self, computing: Computing<'_>, totals: Totals) {
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        let interval = Interval::new(screen.style.period(), now);
        state.run = Some((Tally::new(totals, now), interval));
        screen.show(&state, &Event::start(computing, totals));
        if screen.style == Style::Bar {
            // The previous bar goes first, because they would be drawn over each other.
            state.bar = None;
            state.bar = Some(Bar::records());
        }
        drop(state);
        if screen.style != Style::None {
            let screen = Arc::clone(screen);
            self.set_ticker(Ticker::new(move || screen.update(|_| {})));
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
    /// Changes the counts, and shows them if that is due.
    fn update(&self, change: impl FnOnce(&mut Tally)) {
        let (now, mut state) = (self.now(), self.state());
        let Some((tally, interval)) = &mut state.run else {
            return;
        };
        change(tally);
        if interval.is_due(now) {
            let so_far = tally.so_far(now);
            if let Some(bar) = &state.bar {
                bar.set_counts(&so_far);
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
        state.transfer = Some((transfer, Interval::new(screen.style.period(), now)));
    }

    fn advance(&self, bytes: u64) {
        let screen = &self.screen;
        let (now, mut state) = (screen.now(), screen.state());
        let Some((mut transfer, mut interval)) = state.transfer.take() else {
            return;
        };
        transfer.advance(bytes);
        if interval.is_due(now) {
            if let Some(bar) = &state.bar {
                bar.set_bytes(&transfer);
            }
            screen.show(&state, &Event::download("progress", &transfer));
        }
        state.transfer = Some((transfer, interval));
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
