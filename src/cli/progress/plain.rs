//! Events as lines for people.

use super::super::message::{ERROR, WARNING};
use super::event::Event;
use esm_embed::numerals;
use esm_embed::pipeline::{Level, Phase};
use esm_embed::printable;

impl Event<'_> {
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
            Event::Start(start) => start.plain(),
            Event::Progress(numbers) => numbers.so_far(),
            Event::End(numbers) => numbers.in_total(),
            Event::Download {
                state,
                file,
                bytes,
                bytes_total,
            } => printable::text(&match (*state, bytes_total) {
                ("start", None) => format!("downloading {file}"),
                ("start", Some(total)) => {
                    format!("downloading {file}, {}", numerals::bytes(*total))
                }
                (_, None) => format!("{file}: {}", numerals::bytes(*bytes)),
                (_, Some(total)) => {
                    format!(
                        "{file}: {} of {}",
                        numerals::bytes(*bytes),
                        numerals::bytes(*total)
                    )
                }
            }),
        }
    }
}

/// A phase for people.
pub fn phase_text(phase: Phase<'_>) -> String {
    match phase {
        Phase::Reading => "reading the input".to_owned(),
        Phase::Planning => "sharing the records out".to_owned(),
        Phase::Loading(model) => format!("loading {model}"),
        Phase::Measuring(model) => format!("measuring the speed of {model}"),
        Phase::Finishing => "finishing: syncing files and computing checksums".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Message;
    use super::super::tally::example::{TOTALS, computing, so_far};
    use super::super::tally::{Amount, SoFar, Transfer};
    use super::*;
    use esm_embed::device::Device;
    use esm_embed::ops::CpuPath;
    use esm_embed::pipeline::Totals;

    #[test]
    fn lines_for_people() {
        crate::cli::message::spell_flags_of(&<crate::cli::Cli as clap::CommandFactory>::command());
        let plain = |event: Event<'_>| event.plain();
        let cpu = Device::cpu(CpuPath::Portable);
        assert_eq!(
            plain(Event::start(computing(&cpu), TOTALS)),
            "embedding 10 records, 1,000 residues"
        );
        let one = Totals {
            records: Some(1),
            residues: Some(1),
            duplicates: 1,
            ..Totals::default()
        };
        assert_eq!(
            plain(Event::start(computing(&cpu), one)),
            "embedding 1 record, 1 residue; 1 more record repeats one of these sequences"
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
                "finishing: syncing files and computing checksums"
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

    #[test]
    fn restored_work_does_not_count_as_speed() {
        let resumed = SoFar {
            totals: Totals {
                records: Some(4_391),
                residues: Some(1_354_179),
                restored_records: 2_000,
                restored_residues: 652_179,
                ..Totals::default()
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
        let cpu = Device::cpu(CpuPath::Portable);
        assert_eq!(
            Event::start(computing(&cpu), resumed.totals).plain(),
            "embedding 2,391 records, 702,000 residues; already finished: 2,000 \
             records, 652,179 residues"
        );
        assert_eq!(
            Event::progress(resumed).plain(),
            "2,100 of 4,391 records, 27.0 k residues/s, 1.3 s elapsed, 25 s left"
        );
        assert_eq!(
            Event::end(resumed).plain(),
            "2,100 of 4,391 records, 679,179 residues; computed in this run: 100 \
             records, 27,000 residues in 1.3 s, 27.0 k residues/s"
        );
    }
}
