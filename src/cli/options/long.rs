//! `--long`.

use super::digits;
use esm_embed::admission::Long;
use esm_embed::checkpoint::TRAINING_MAXIMUM;

/// Default overlap of neighbouring windows, in residues.
const OVERLAP: usize = 256;

/// `full`, `error`, `truncate[:N]`, `window[:N[:OVERLAP]]`.
pub fn long(text: &str) -> Result<Long, String> {
    let wrong = || {
        "expected full, error, truncate, truncate:N, window, window:N or window:N:OVERLAP, where N \
         and OVERLAP are numbers of residues"
            .to_owned()
    };
    let mut parts = text.split(':');
    let kind = parts.next().unwrap_or_default();
    let numbers: Vec<usize> = parts
        .map(|part| digits(part).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    match (kind, numbers.as_slice()) {
        (_, [0, ..]) => Err("N must be at least 1 residue".to_owned()),
        ("full", []) => Ok(Long::Full),
        ("error", []) => Ok(Long::Error),
        ("truncate", []) => Ok(Long::Truncate(TRAINING_MAXIMUM)),
        ("truncate", &[size]) => Ok(Long::Truncate(size)),
        ("window", []) => Ok(window(TRAINING_MAXIMUM)),
        ("window", &[size]) => Ok(window(size)),
        ("window", &[size, overlap]) if overlap >= size => Err(format!(
            "windows of {size} residues cannot overlap by {overlap}: OVERLAP must be from 0 to {}",
            size - 1
        )),
        ("window", &[size, overlap]) => Ok(Long::Window { size, overlap }),
        _ => Err(wrong()),
    }
}

/// Windows with the default overlap: 256 residues, or a quarter of a window of at most 256.
fn window(size: usize) -> Long {
    let overlap = if size > OVERLAP { OVERLAP } else { size / 4 };
    Long::Window { size, overlap }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sequences() {
        assert_eq!(long("full"), Ok(Long::Full));
        assert_eq!(long("error"), Ok(Long::Error));
        assert_eq!(long("truncate"), Ok(Long::Truncate(1022)));
        assert_eq!(long("truncate:1"), Ok(Long::Truncate(1)));
        let window = |size, overlap| Ok(Long::Window { size, overlap });
        assert_eq!(long("window"), window(1022, 256));
        assert_eq!(long("window:257"), window(257, 256));
        assert_eq!(long("window:256"), window(256, 64));
        assert_eq!(long("window:1"), window(1, 0));
        assert_eq!(long("window:600:0"), window(600, 0));
        assert_eq!(long("window:600:599"), window(600, 599));
        assert_eq!(
            long("window:600:600"),
            Err(
                "windows of 600 residues cannot overlap by 600: OVERLAP must be from 0 to 599"
                    .to_owned()
            )
        );
    }

    #[test]
    fn other_values_are_refused() {
        for text in [
            "",
            "Full",
            "full:3",
            "error:1",
            "truncate:",
            "truncate:0",
            "truncate:-1",
            "truncate:+1",
            "truncate:1:2",
            "window:0",
            "window:0:0",
            "window:5:",
            "window:5:1:1",
            "window: 5",
            "truncate:99999999999999999999999",
        ] {
            assert!(long(text).is_err(), "{text}");
        }
    }
}
