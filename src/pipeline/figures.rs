//! Sizes of outputs, as messages show them.

use crate::numerals::count;

/// A size on disk in units of 1,000, as shops and `ls --si` have it: `6.9 GB`.
pub fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = "bytes";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        // What would be shown as 1000.0 has the next unit.
        if number < 999.95 {
            break;
        }
        number /= 1000.0;
        unit = larger;
    }
    match unit {
        "bytes" => count(bytes, "byte"),
        _ => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (6_933_396_480, "6.9 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
