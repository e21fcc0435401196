//! Numbers in messages: thousands separated, plurals right, sizes with their units.

/// A whole number with its thousands separated: `1,354,179`.
pub fn grouped(number: u64) -> String {
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

/// A number of things: `1 record`, `4,391 records`. The plural adds an s.
pub fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", grouped(number)),
    }
}

/// A size in units of 1,000: `1 byte`, `812 bytes`, `6.9 GB`.
pub fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = None;
    for larger in ["kB", "MB", "GB", "TB"] {
        // What would be shown as 1,000.0 has the next unit.
        let least = if unit.is_none() { 1000.0 } else { 999.95 };
        if number < least {
            break;
        }
        number /= 1000.0;
        unit = Some(larger);
    }
    match unit {
        None => count(bytes, "byte"),
        Some(unit) => {
            // Only beyond 1,000 TB are there thousands to separate.
            let tenths = (number * 10.0).round() as u64;
            format!("{}.{} {unit}", grouped(tenths / 10), tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let all = [0, 7, 999, 1_000, 12_345, 123_456, 1_354_179, u64::MAX];
        assert_eq!(
            all.map(grouped),
            [
                "0",
                "7",
                "999",
                "1,000",
                "12,345",
                "123,456",
                "1,354,179",
                "18,446,744,073,709,551,615"
            ]
        );
    }

    #[test]
    fn one_is_singular() {
        let all = [0, 1, 2, 1_000].map(|n| count(n, "record"));
        assert_eq!(all, ["0 records", "1 record", "2 records", "1,000 records"]);
    }

    #[test]
    fn sizes_have_units() {
        for (number, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (1_536, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (6_933_396_480, "6.9 GB"),
            (u64::MAX, "18,446,744.1 TB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
