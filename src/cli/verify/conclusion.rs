//! The last lines of the report.

use esm_embed::numerals::grouped;
use esm_embed::printable;

/// The last lines of the report: the outcome and, if it is bad, what it means.
pub fn conclusion(compared: usize, failed: usize, failed_files: usize, model: &str) -> String {
    let all = grouped(compared as u64);
    let noun = match compared {
        1 => "comparison",
        _ => "comparisons",
    };
    if failed == 0 {
        return match compared {
            1 => "the comparison passed\n".to_owned(),
            _ => format!("all {all} comparisons passed\n"),
        };
    }
    let meaning = match failed_files {
        0 => "Either the values belong to other weights, or this build does not compute correctly on \
             this machine. If the files are intact (`esm-embed fetch` verifies them), please report \
             this with the output of `esm-embed doctor`."
            .to_owned(),
        _ => format!(
            "A file of {} differs from the published one: download it again, or, if the model was \
             changed on purpose, rename it.",
            printable::text(model)
        ),
    };
    format!(
        "{} of {all} {noun} failed\n{meaning}\n",
        grouped(failed as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        assert_eq!(conclusion(1, 0, 0, "8M"), "the comparison passed\n");
        assert_eq!(conclusion(16, 0, 0, "8M"), "all 16 comparisons passed\n");
        assert_eq!(
            conclusion(17, 1, 1, "8M"),
            "1 of 17 comparisons failed\nA file of 8M differs from the published one: download it \
             again, or, if the model was changed on purpose, rename it.\n"
        );
        assert!(
            conclusion(1, 1, 0, "8M")
                .starts_with("1 of 1 comparison failed\nEither the values belong")
        );
    }
}
