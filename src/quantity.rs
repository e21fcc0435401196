//! Numbers as people read them: thousands separated, units, singular and plural.

/// A whole number with a comma between thousands: `1,354,179`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 record`, `1,354,179 records`.
pub fn counted(number: u64, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{} {noun}", thousands(number))
}

/// A size: `1 byte`, `812 bytes`, `5.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = None;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = Some(larger);
    }
    match unit {
        None => counted(bytes, "byte", "bytes"),
        Some(unit) => {
            // Only beyond 1,000 TiB are there thousands to separate.
            let tenths = (number * 10.0).round() as u64;
            format!("{}.{} {unit}", thousands(tenths / 10), tenths % 10)
        }
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
            (12_345, "12,345"),
            (1_354_179, "1,354,179"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(counted(0, "record", "records"), "0 records");
        assert_eq!(counted(1, "record", "records"), "1 record");
        assert_eq!(counted(4_391, "entry", "entries"), "4,391 entries");
    }

    #[test]
    fn sizes() {
        for (number, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1,023 bytes"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (5 << 40, "5.0 TiB"),
            (1 << 60, "1,048,576.0 TiB"),
            (u64::MAX, "16,777,216.0 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
