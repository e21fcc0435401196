//! What is shown on standard error, as JSON lines.

use super::super::message::Message;
use super::numbers::Numbers;
use super::start::Start;
use super::tally::{SoFar, Transfer};
use esm_embed::pipeline::{Computing, Level, Phase, Totals};
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
    /// The error that ended the command.
    Error {
        #[serde(flatten)]
        message: &'a Message,
    },
    /// What the run does before and after embedding.
    Phase {
        #[serde(serialize_with = "phase_name")]
        phase: Phase<'a>,
    },
    /// Embedding begins.
    Start(Start),
    /// Embedding is under way.
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

impl<'a> Event<'a> {
    /// Embedding begins.
    pub fn start(computing: Computing<'_>, totals: Totals) -> Self {
        Event::Start(Start::new(computing, totals))
    }

    /// Embedding is under way.
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
}

fn phase_name<S: serde::Serializer>(phase: &Phase<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match phase {
        Phase::Reading => "reading",
        Phase::Planning => "planning",
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
    use super::super::tally::example::{TOTALS, computing, so_far};
    use super::*;
    use esm_embed::device::{Device, Gpu};
    use esm_embed::ops::CpuPath;

    #[test]
    fn lines_for_programs() {
        crate::cli::message::spell_flags_of(&<crate::cli::Cli as clap::CommandFactory>::command());
        let avx2 = Device::cpu(CpuPath::Avx2);
        assert_eq!(
            Event::start(computing(&avx2), Totals::default()).json(),
            concat!(
                r#"{"event":"start","device":"cpu","cpu_path":"avx2","dtype":"f32","#,
                r#""records_total":null,"residues_total":null,"duplicates":0,"#,
                r#""records_restored":0,"residues_restored":0}"#
            )
        );
        let gpu = Device {
            gpus: vec![Gpu {
                number: 0,
                name: "NVIDIA H100".to_owned(),
                capability: (9, 0),
                memory: 0,
                multiprocessors: 132,
                cache: 50 << 20,
                driver: 13000,
                driver_version: None,
            }],
            ..avx2.clone()
        };
        let start = Event::start(computing(&gpu), TOTALS).json();
        let device = r#""device":"cuda (NVIDIA H100)","cpu_path":null,"dtype":"f32","#;
        assert!(start.contains(device), "{start}");
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
