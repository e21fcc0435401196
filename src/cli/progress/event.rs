//! What there is to say on standard error, as a plain line and as a JSON line.

use super::super::text;
use super::tally::{SoFar, Transfer};
use esm_embed::pipeline::{Level, Totals};
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// A message.
    Message {
        #[serde(serialize_with = "level_name")]
        level: Level,
        text: &'a str,
    },
    /// What ended the command.
    Error { text: &'a str },
    /// Embedding begins.
    Start {
        records_total: Option<u64>,
        residues_total: Option<u64>,
    },
    /// Embedding goes on.
    Progress(Numbers),
    /// Embedding is over.
    End(Numbers),
    /// A file is being downloaded.
    Download {
        state: &'static str,
        file: &'a str,
        bytes: u64,
        bytes_total: Option<u64>,
    },
}

/// How far a run is.
#[derive(Debug, Serialize)]
pub struct Numbers {
    records: u64,
    residues: u64,
    records_total: Option<u64>,
    residues_total: Option<u64>,
    seconds: f64,
    residues_per_second: Option<f64>,
    seconds_left: Option<f64>,
}

impl From<SoFar> for Numbers {
    fn from(so_far: SoFar) -> Numbers {
        Numbers {
            records: so_far.records,
            residues: so_far.residues,
            records_total: so_far.totals.records,
            residues_total: so_far.totals.residues,
            seconds: so_far.seconds,
            residues_per_second: so_far.rate(),
            seconds_left: so_far.seconds_left(),
        }
    }
}

impl<'a> Event<'a> {
    /// Embedding begins.
    pub fn start(totals: Totals) -> Self {
        Event::Start {
            records_total: totals.records,
            residues_total: totals.residues,
        }
    }

    /// Embedding goes on.
    pub fn progress(so_far: SoFar) -> Self {
        Event::Progress(so_far.into())
    }

    /// Embedding is over.
    pub fn end(so_far: SoFar) -> Self {
        Event::End(so_far.into())
    }

    /// A download's `start`, `progress` or `end`.
    pub fn download(state: &'static str, transfer: &'a Transfer) -> Self {
        Event::Download {
            state,
            file: &transfer.file,
            bytes: transfer.bytes,
            bytes_total: transfer.total,
        }
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        // Strings and numbers alone: there is nothing that JSON could not hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One line for people.
    pub fn plain(&self) -> String {
        match self {
            Event::Message {
                level: Level::Warning,
                text,
            } => format!("esm-embed: warning: {text}"),
            Event::Message { text, .. } => format!("esm-embed: {text}"),
            Event::Error { text } => format!("esm-embed: error: {text}"),
            Event::Start {
                records_total: Some(records),
                residues_total: Some(residues),
            } => format!("esm-embed: embedding {records} records, {residues} residues"),
            Event::Start { .. } => "esm-embed: embedding a stream of records".to_owned(),
            Event::Progress(numbers) => format!("esm-embed: {}", numbers.going_on()),
            Event::End(numbers) => format!("esm-embed: {}", numbers.over()),
            Event::Download {
                state,
                file,
                bytes,
                bytes_total,
            } => match (*state, bytes_total) {
                ("start", None) => format!("esm-embed: downloading {file}"),
                ("start", Some(total)) => {
                    format!("esm-embed: downloading {file}, {}", text::bytes(*total))
                }
                (_, None) => format!("esm-embed: {file}: {}", text::bytes(*bytes)),
                (_, Some(total)) => format!(
                    "esm-embed: {file}: {} of {}",
                    text::bytes(*bytes),
                    text::bytes(*total)
                ),
            },
        }
    }
}

impl Numbers {
    /// Records, rate and time left.
    pub fn going_on(&self) -> String {
        let mut line = match self.records_total {
            Some(total) => format!("{} of {total} records", self.records),
            None => format!("{} records, {} residues", self.records, self.residues),
        };
        if let Some(rate) = self.residues_per_second {
            line += &format!(", {} residues/s", text::scaled(rate));
        }
        if let Some(left) = self.seconds_left {
            line += &format!(", {} left", text::seconds(left));
        }
        line
    }

    fn over(&self) -> String {
        let of = match self.records_total {
            Some(total) if total != self.records => format!(" of {total}"),
            _ => String::new(),
        };
        let mut line = format!(
            "{}{of} records, {} residues in {}",
            self.records,
            self.residues,
            text::seconds(self.seconds)
        );
        if let Some(rate) = self.residues_per_second {
            line += &format!(", {} residues/s", text::scaled(rate));
        }
        line
    }
}

fn level_name<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match level {
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Detail => "detail",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn so_far(totals: Totals) -> SoFar {
        SoFar {
            totals,
            records: 3,
            residues: 250,
            seconds: 5.0,
        }
    }

    const TOTALS: Totals = Totals {
        records: Some(10),
        residues: Some(1000),
    };

    #[test]
    fn lines_for_people() {
        let plain = |event: Event<'_>| event.plain();
        assert_eq!(
            plain(Event::start(TOTALS)),
            "esm-embed: embedding 10 records, 1000 residues"
        );
        assert_eq!(
            plain(Event::progress(so_far(TOTALS))),
            "esm-embed: 3 of 10 records, 50 residues/s, 15 s left"
        );
        assert_eq!(
            plain(Event::progress(so_far(Totals::default()))),
            "esm-embed: 3 records, 250 residues, 50 residues/s"
        );
        assert_eq!(
            plain(Event::end(so_far(TOTALS))),
            "esm-embed: 3 of 10 records, 250 residues in 5.0 s, 50 residues/s"
        );
        let warning = Event::Message {
            level: Level::Warning,
            text: "w",
        };
        assert_eq!(plain(warning), "esm-embed: warning: w");
        let mut transfer = Transfer::new("m.bin", Some(2048));
        assert_eq!(
            plain(Event::download("start", &transfer)),
            "esm-embed: downloading m.bin, 2.0 KiB"
        );
        transfer.advance(1024);
        assert_eq!(
            plain(Event::download("progress", &transfer)),
            "esm-embed: m.bin: 1.0 KiB of 2.0 KiB"
        );
    }

    #[test]
    fn lines_for_programs() {
        assert_eq!(
            Event::start(Totals::default()).json(),
            r#"{"event":"start","records_total":null,"residues_total":null}"#
        );
        assert_eq!(
            Event::progress(so_far(TOTALS)).json(),
            concat!(
                r#"{"event":"progress","records":3,"residues":250,"records_total":10,"#,
                r#""residues_total":1000,"seconds":5.0,"residues_per_second":50.0,"#,
                r#""seconds_left":15.0}"#
            )
        );
        let message = Event::Message {
            level: Level::Detail,
            text: "a \"b\"\n\u{1b}",
        };
        assert_eq!(
            message.json(),
            r#"{"event":"message","level":"detail","text":"a \"b\"\n\u001b"}"#
        );
        assert_eq!(
            Event::Error { text: "e" }.json(),
            r#"{"event":"error","text":"e"}"#
        );
        assert_eq!(
            Event::download("end", &Transfer::new("f", None)).json(),
            r#"{"event":"download","state":"end","file":"f","bytes":0,"bytes_total":null}"#
        );
    }
}
