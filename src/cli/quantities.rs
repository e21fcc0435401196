//! Large numbers and lengths of time as people read them.

use esm_embed::numerals::grouped;

/// A large number in thousands, millions or billions, for rates and sizes of models.
pub fn scaled(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1} B", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n if n >= 10.0 => grouped(n.round() as u64),
        n => format!("{n:.1}"),
    }
}

/// A length of time, to about two digits.
pub fn seconds(seconds: f64) -> String {
    // Beyond u64 the cast saturates.
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min", (whole + 30) / 60),
        7_200..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} days", grouped(whole / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(scaled(7_512_353.0), "7.5 M");
        assert_eq!(scaled(9_999.0), "9,999");
        assert_eq!(scaled(12_345.0), "12.3 k");
        assert_eq!(scaled(1.25), "1.2");
        assert_eq!(seconds(0.0), "0.0 s");
        assert_eq!(seconds(9.94), "9.9 s");
        assert_eq!(seconds(9.96), "10 s");
        assert_eq!(seconds(119.4), "119 s");
        assert_eq!(seconds(150.0), "3 min");
        assert_eq!(seconds(7_260.0), "2 h 1 min");
        assert_eq!(seconds(200_000.0), "2 days");
        assert_eq!(seconds(f64::INFINITY), "213,503,982,334,601 days");
    }
}
