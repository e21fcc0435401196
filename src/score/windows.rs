//! Windows of sequences that are longer than ESM's 1,024 tokens, as ProteinGym cuts them. Pure.
//!
//! Positions and windows count tokens, `<cls>` being token 0. Inner windows have neither `<cls>` nor
//! `<eos>`.

use std::ops::Range;

/// Tokens of a window: what ESM was trained on.
pub const WIDTH: usize = 1024;
/// Tokens from one overlapping window to the next.
const STEP: usize = 511;

/// The window of `tokens` tokens in which the token at `position` has most context on both sides.
pub fn optimal(tokens: usize, position: usize) -> Range<usize> {
    const HALF: usize = WIDTH / 2;
    if tokens <= WIDTH {
        0..tokens
    } else if position < HALF {
        0..WIDTH
    } else if position >= tokens - HALF {
        tokens - WIDTH..tokens
    } else {
        position - HALF..position + HALF
    }
}

/// Windows that overlap: pairs from both ends, until they meet, and one in the middle if the last pair
/// overlaps little.
pub fn overlapping(tokens: usize) -> Vec<Range<usize>> {
    if tokens <= WIDTH {
        return std::iter::once(0..tokens).collect();
    }
    let mut all = Vec::new();
    let (mut left, mut right) = (0, tokens - WIDTH);
    loop {
        all.extend([left..left + WIDTH, right..right + WIDTH]);
        // The last token of the left window against the first of the right one.
        if left + WIDTH - 1 > right {
            break;
        }
        left += STEP;
        right -= STEP;
    }
    if left + WIDTH - right < STEP {
        let start = tokens / 2 - WIDTH / 2;
        all.push(start..start + WIDTH);
    }
    all
}

/// The weight of the token at `place` of an overlapping window: 1 in the middle and at the very ends,
/// and little near them.
pub fn weight(place: usize) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    let place_from = |middle: f64| (place as f64 - middle) / 16.0;
    match place {
        1..=256 => sigmoid(place_from(128.0)),
        766..=1022 => sigmoid(-place_from(894.0)),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_optimal_window_keeps_its_width_at_the_ends() {
        assert_eq!(optimal(1024, 1000), 0..1024);
        assert_eq!(optimal(3000, 511), 0..1024);
        assert_eq!(optimal(3000, 512), 0..1024);
        assert_eq!(optimal(3000, 513), 1..1025);
        assert_eq!(optimal(3000, 2487), 1975..2999);
        assert_eq!(optimal(3000, 2488), 1976..3000);
    }

    #[test]
    fn overlapping_windows_come_from_both_ends() {
        assert_eq!(overlapping(1024), vec![0..1024; 1]);
        assert_eq!(overlapping(1025), [0..1024, 1..1025]);
        // The first pair touches in one token only, which is not enough.
        assert_eq!(
            overlapping(2047),
            [0..1024, 1023..2047, 511..1535, 512..1536]
        );
        // 100 tokens of overlap: one window more.
        assert_eq!(overlapping(1948), [0..1024, 924..1948, 462..1486]);
        // With the second pair, windows pass each other.
        assert_eq!(
            overlapping(2500),
            [0..1024, 1476..2500, 511..1535, 965..1989]
        );
    }

    #[test]
    fn weights_fall_towards_the_ends() {
        assert_eq!([0, 257, 512, 765, 1023].map(weight), [1.0; 5]);
        assert_eq!([128, 894].map(weight), [0.5; 2]);
        assert!((weight(1) - 1.0 / (1.0 + (127.0f64 / 16.0).exp())).abs() < 1e-15);
        assert!((weight(1022) - 1.0 / (1.0 + 8.0f64.exp())).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn every_token_is_inside_its_windows(tokens in 3usize..6000, part in 0usize..6000) {
            let position = part % tokens;
            let window = optimal(tokens, position);
            prop_assert!(window.contains(&position));
            prop_assert_eq!(window.len(), tokens.min(WIDTH));
            let all = overlapping(tokens);
            prop_assert!(all.iter().any(|window| window.contains(&position)));
            for window in all {
                prop_assert!(window.end <= tokens && window.len() == tokens.min(WIDTH));
            }
        }
    }
}
