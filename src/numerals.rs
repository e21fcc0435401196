//! Numbers in messages: thousands separated, plurals right.

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
}
