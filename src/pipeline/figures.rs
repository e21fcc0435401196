//! Numbers as messages show them.

/// A number with its thousands separated: `1,354,179`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, `1 record` or `4,391 records`.
pub fn things(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", count(number))
}

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
        "bytes" => things(bytes, "byte"),
        _ => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_354_179, "1,354,179"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(things(1, "record"), "1 record");
        assert_eq!(things(0, "record"), "0 records");
        assert_eq!(things(4_391, "record"), "4,391 records");
    }

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
