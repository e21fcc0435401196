//! What there is to say on standard error, as a plain line and as a JSON line.

use super::super::message::{ERROR, Message, WARNING};
use super::super::text;
use super::tally::{SoFar, Transfer};
use esm_embed::numerals::{count, grouped};
use esm_embed::pipeline::{Level, Phase, Totals};
use esm_embed::printable;
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// A message.
    Message {
        #[serde(serialize_with = "level_name")]
        level: Level,
        #[serde(flatten)]
        message: &'a Message,
    },
    /// What ended the command.
    Error {
        #[serde(flatten)]
        message: &'a Message,
    },
    /// What the run does before and after it embeds.
    Phase {
        #[serde(serialize_with = "phase_name")]
        phase: Phase<'a>,
    },
    /// Embedding begins.
    Start {
        records_total: Option<u64>,
        residues_total: Option<u64>,
        duplicates: u64,
        records_restored: u64,
        residues_restored: u64,
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

/// How far a run is. Sequences that occur several times count once.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// Done, by this process or an earlier one.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
    /// To be done in all.
    pub records_total: Option<u64>,
    /// Their residues.
    pub residues_total: Option<u64>,
    /// Of those done, the ones that an earlier process computed.
    pub records_restored: u64,
    /// Their residues.
    pub residues_restored: u64,
    /// Since embedding began.
    pub seconds: f64,
    /// Computed by this process.
    pub residues_per_second: Option<f64>,
    /// At this speed.
    pub seconds_left: Option<f64>,
}

impl From<SoFar> for Numbers {
    fn from(so_far: SoFar) -> Numbers {
        let (done, totals) = (so_far.done(), so_far.totals);
        Numbers {
            records: done.records,
            residues: done.residues,
            records_total: totals.records.map(|total| total.max(done.records)),
            residues_total: totals.residues.map(|total| total.max(done.residues)),
            records_restored: so_far.restored.records,
            residues_restored: so_far.restored.residues,
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
            duplicates: totals.duplicates,
            records_restored: totals.restored_records,
            residues_restored: totals.restored_residues,
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
        // Strings and numbers only: there is nothing that JSON could not hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One line for people, and one for each hint; styled for a terminal.
    pub fn plain(&self) -> String {
        match self {
            Event::Message {
                level: Level::Warning,
                message,
            } => message.labelled("warning", WARNING),
            Event::Message { message, .. } => message.plain(),
            Event::Error { message } => message.labelled("error", ERROR),
            Event::Phase { phase } => printable::text(&phase_text(*phase)),
            Event::Start {
                records_total: Some(records),
                residues_total: Some(residues),
                duplicates,
                records_restored,
                residues_restored,
            } => {
                let copies = match duplicates {
                    0 => String::new(),
                    1 => "; 1 more record is a copy of one of these".to_owned(),
                    more => format!("; {} more records are copies of these", grouped(*more)),
                };
                let restored = match records_restored {
                    0 => String::new(),
                    _ => format!(
                        "; restored: {}, {}",
                        count(*records_restored, "record"),
                        count(*residues_restored, "residue")
                    ),
                };
                format!(
                    "embedding {}, {}{restored}{copies}",
                    count(records.saturating_sub(*records_restored), "record"),
                    count(residues.saturating_sub(*residues_restored), "residue")
                )
            }
            Event::Start { .. } => "embedding a stream of records".to_owned(),
            Event::Progress(numbers) => numbers.going_on(),
            Event::End(numbers) => numbers.over(),
            Event::Download {
                state,
                file,
                bytes,
                bytes_total,
            } => printable::text(&match (*state, bytes_total) {
                ("start", None) => format!("downloading {file}"),
                ("start", Some(total)) => {
                    format!("downloading {file}, {}", text::bytes(*total))
                }
                (_, None) => format!("{file}: {}", text::bytes(*bytes)),
                (_, Some(total)) => {
                    format!("{file}: {} of {}", text::bytes(*bytes), text::bytes(*total))
                }
            }),
        }
    }
}

impl Numbers {
    /// Records, and of a stream residues.
    pub fn done(&self) -> String {
        match self.records_total {
            Some(total) => format!("{} of {}", grouped(self.records), count(total, "record")),
            None => format!(
                "{}, {}",
                count(self.records, "record"),
                count(self.residues, "residue")
            ),
        }
    }

    /// Residues per second.
    pub fn speed(&self) -> Option<String> {
        let rate = self.residues_per_second?;
        Some(format!("{} residues/s", text::scaled(rate)))
    }

    /// Time so far.
    pub fn elapsed(&self) -> String {
        format!("{} elapsed", text::seconds(self.seconds))
    }

    /// Time left.
    pub fn left(&self) -> Option<String> {
        let left = self.seconds_left?;
        Some(format!("{} left", text::seconds(left)))
    }

    /// Residues that are done, of all.
    pub fn share(&self) -> Option<f64> {
        let total = self.residues_total.filter(|total| *total > 0)?;
        Some(self.residues as f64 / total as f64)
    }

    /// Records, rate, time so far and time left.
    fn going_on(&self) -> String {
        let parts = [
            Some(self.done()),
            self.speed(),
            Some(self.elapsed()),
            self.left(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn over(&self) -> String {
        let done = match self.records_total {
            Some(total) if total != self.records => self.done(),
            _ => count(self.records, "record"),
        };
        let mut line = format!("{done}, {}", count(self.residues, "residue"));
        if self.records_restored > 0 {
            line += &format!(
                "; computed now: {}, {}",
                count(self.records.saturating_sub(self.records_restored), "record"),
                count(
                    self.residues.saturating_sub(self.residues_restored),
                    "residue"
                )
            );
        }
        line += &format!(" in {}", text::seconds(self.seconds));
        if let Some(speed) = self.speed() {
            line += &format!(", {speed}");
        }
        line
    }
}

/// A phase for people.
pub fn phase_text(phase: Phase<'_>) -> String {
    match phase {
        Phase::Reading => "reading the input".to_owned(),
        Phase::Loading(model) => format!("loading {model}"),
        Phase::Measuring(model) => format!("measuring the speed of {model}"),
        Phase::Finishing => "finishing: syncing files and taking checksums".to_owned(),
    }
}

fn phase_name<S: serde::Serializer>(phase: &Phase<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match phase {
        Phase::Reading => "reading",
        Phase::Loading(_) => "loading",
        Phase::Measuring(_) => "measuring",
        Phase::Finishing => "finishing",
    })
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
    use super::super::tally::Amount;
    use super::*;

    fn so_far(totals: Totals) -> SoFar {
        SoFar {
            totals,
            computed: Amount {
                records: 3,
                residues: 250,
            },
            restored: Amount::default(),
            seconds: 6.0,
            work_seconds: 5.0,
        }
    }

    const TOTALS: Totals = Totals {
        records: Some(10),
        residues: Some(1000),
        duplicates: 0,
        restored_records: 0,
        restored_residues: 0,
    };

    #[test]
    fn lines_for_people() {
        let plain = |event: Event<'_>| event.plain();
        assert_eq!(
            plain(Event::start(TOTALS)),
            "embedding 10 records, 1,000 residues"
        );
        let one = Totals {
            records: Some(1),
            residues: Some(1),
            duplicates: 1,
            ..Totals::default()
        };
        assert_eq!(
            plain(Event::start(one)),
            "embedding 1 record, 1 residue; 1 more record is a copy of one of these"
        );
        assert_eq!(
            plain(Event::progress(so_far(TOTALS))),
            "3 of 10 records, 50 residues/s, 6.0 s elapsed, 15 s left"
        );
        assert_eq!(
            plain(Event::progress(so_far(Totals::default()))),
            "3 records, 250 residues, 50 residues/s, 6.0 s elapsed"
        );
        assert_eq!(
            plain(Event::end(so_far(TOTALS))),
            "3 of 10 records, 250 residues in 6.0 s, 50 residues/s"
        );
        let warning = Event::Message {
            level: Level::Warning,
            message: &Message::of("w\nhint: use `layer`"),
        };
        let warning = plain(warning);
        let warning = anstream::adapter::strip_str(&warning).to_string();
        assert_eq!(warning, "warning: w\n  hint: use --layer");
        let phases = [Phase::Reading, Phase::Loading("8M"), Phase::Finishing];
        assert_eq!(
            phases.map(|phase| plain(Event::Phase { phase })),
            [
                "reading the input",
                "loading 8M",
                "finishing: syncing files and taking checksums"
            ]
        );
        let mut transfer = Transfer::new("m.bin", Some(2048));
        assert_eq!(
            plain(Event::download("start", &transfer)),
            "downloading m.bin, 2.0 kB"
        );
        transfer.advance(1024);
        assert_eq!(
            plain(Event::download("progress", &transfer)),
            "m.bin: 1.0 kB of 2.0 kB"
        );
    }

    /// "504 k residues/s, 1.7 s left" was said where 27 k/s and 25 s were true.
    #[test]
    fn what_was_restored_is_not_computed_now() {
        let resumed = SoFar {
            totals: Totals {
                records: Some(4_391),
                residues: Some(1_354_179),
                duplicates: 0,
                restored_records: 2_000,
                restored_residues: 652_179,
            },
            computed: Amount {
                records: 100,
                residues: 27_000,
            },
            restored: Amount {
                records: 2_000,
                residues: 652_179,
            },
            seconds: 1.3,
            work_seconds: 1.0,
        };
        assert_eq!(
            Event::start(resumed.totals).plain(),
            "embedding 2,391 records, 702,000 residues; restored: 2,000 records, \
             652,179 residues"
        );
        assert_eq!(
            Event::progress(resumed).plain(),
            "2,100 of 4,391 records, 27.0 k residues/s, 1.3 s elapsed, 25 s left"
        );
        assert_eq!(
            Event::end(resumed).plain(),
            "2,100 of 4,391 records, 679,179 residues; computed now: 100 records, \
             27,000 residues in 1.3 s, 27.0 k residues/s"
        );
    }

    #[test]
    fn lines_for_programs() {
        assert_eq!(
            Event::start(Totals::default()).json(),
            concat!(
                r#"{"event":"start","records_total":null,"residues_total":null,"duplicates":0,"#,
                r#""records_restored":0,"residues_restored":0}"#
            )
        );
        assert_eq!(
            Event::progress(so_far(TOTALS)).json(),
            concat!(
                r#"{"event":"progress","records":3,"residues":250,"records_total":10,"#,
                r#""residues_total":1000,"records_restored":0,"residues_restored":0,"#,
                r#""seconds":6.0,"residues_per_second":50.0,"seconds_left":15.0}"#
            )
        );
        let phase = Phase::Loading("8M");
        assert_eq!(
            Event::Phase { phase }.json(),
            r#"{"event":"phase","phase":"loading"}"#
        );
        let message = Event::Message {
            level: Level::Detail,
            message: &Message::of("a \"b\"\n\u{1b}"),
        };
        assert_eq!(
            message.json(),
            r#"{"event":"message","level":"detail","text":"a \"b\"\n\u001b"}"#
        );
        assert_eq!(
            Event::Error {
                message: &Message::of("e\nhint: h\nhint: use `resume`")
            }
            .json(),
            r#"{"event":"error","text":"e","hints":["h","use --resume"]}"#
        );
        assert_eq!(
            Event::download("end", &Transfer::new("f", None)).json(),
            r#"{"event":"download","state":"end","file":"f","bytes":0,"bytes_total":null}"#
        );
    }
}
