//! How far a run is, in one line of a terminal. Pure: the width is an argument.

use super::numbers::Numbers;

/// Smallest and largest inner width of the bar.
const BAR: std::ops::RangeInclusive<usize> = 6..=24;

/// A line of at most `width` columns. If the terminal is narrow, the line leaves out the speed first,
/// then the records, the bar and the elapsed time, and the time left last.
pub fn bar_line(numbers: &Numbers, width: usize) -> String {
    let (done, speed) = (Some(numbers.done()), numbers.speed());
    let (elapsed, left) = (Some(numbers.elapsed()), numbers.left());
    let texts = [
        vec![&done, &speed, &elapsed, &left],
        vec![&done, &elapsed, &left],
        vec![&elapsed, &left],
    ];
    let texts = texts.map(|parts| {
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join(", ")
    });
    if let Some(share) = numbers.share() {
        let percent = format!("{:3.0}%", (share * 100.0).floor());
        // Brackets and two spaces.
        let taken = percent.len() + 4;
        for text in &texts {
            let space = width.saturating_sub(taken + text.len());
            if space >= *BAR.start() {
                return format!("[{}] {percent} {text}", bar(share, space.min(*BAR.end())));
            }
        }
        let percent = percent.trim_start();
        let both = texts.last().map(|text| format!("{percent} {text}"));
        let short = left.map(|left| format!("{percent} {left}"));
        return both
            .filter(|text| text.len() <= width)
            .or(short)
            .unwrap_or_else(|| percent.to_owned());
    }
    let fits = texts.iter().find(|text| text.len() <= width);
    fits.or(texts.last()).cloned().unwrap_or_default()
}

/// `=====>    `
fn bar(share: f64, width: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * width as f64) as usize).min(width);
    let head = if full < width { ">" } else { "" };
    let rest = width.saturating_sub(full + head.len());
    format!("{}{head}{}", "=".repeat(full), " ".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Amount, SoFar};
    use super::*;
    use esm_embed::pipeline::Totals;

    fn numbers(total: u64) -> Numbers {
        let so_far = SoFar {
            totals: Totals {
                records: Some(4_391),
                residues: Some(total),
                duplicates: 0,
                ..Totals::default()
            },
            computed: Amount {
                records: 1_974,
                residues: 609_391,
            },
            restored: Amount::default(),
            seconds: 22.4,
            work_seconds: 22.4,
        };
        so_far.into()
    }

    #[test]
    fn every_width_keeps_the_time_left() {
        let numbers = numbers(1_354_179);
        for (width, expected) in [
            (
                118,
                "[==========>             ]  45% 1,974 of 4,391 records, 27.2 k residues/s, \
                 22 s elapsed, 27 s left",
            ),
            (
                78,
                "[==========>            ]  45% 1,974 of 4,391 records, 22 s elapsed, 27 s left",
            ),
            (
                58,
                "[==========>             ]  45% 22 s elapsed, 27 s left",
            ),
            (38, "[===>   ]  45% 22 s elapsed, 27 s left"),
            (30, "45% 22 s elapsed, 27 s left"),
            (20, "45% 27 s left"),
            (3, "45% 27 s left"),
        ] {
            assert_eq!(bar_line(&numbers, width), expected, "{width}");
        }
        for width in 20..200 {
            let line = bar_line(&numbers, width);
            assert!(
                line.len() <= width && line.contains("27 s left"),
                "{width}: {line}"
            );
        }
    }

    #[test]
    fn a_stream_has_no_bar() {
        let numbers = Numbers {
            records_total: None,
            residues_total: None,
            seconds_left: None,
            ..numbers(1)
        };
        assert_eq!(
            bar_line(&numbers, 78),
            "1,974 records, 609,391 residues, 27.2 k residues/s, 22 s elapsed"
        );
        assert_eq!(
            bar_line(&numbers, 50),
            "1,974 records, 609,391 residues, 22 s elapsed"
        );
        assert_eq!(bar_line(&numbers, 30), "22 s elapsed");
    }

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0.0, 4), ">   ");
        assert_eq!(bar(0.5, 4), "==> ");
        assert_eq!(bar(0.99, 4), "===>");
        assert_eq!(bar(1.0, 4), "====");
        assert!(bar_line(&numbers(609_392), 78).contains(" 99% "));
        assert!(bar_line(&numbers(609_391), 78).contains("] 100% "));
    }
}
