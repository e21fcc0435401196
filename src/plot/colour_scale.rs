//! The colours of probabilities: white for 0, then ever darker blue.

use super::drawing::Colour;

/// Colours at 0, 1/4, 1/2, 3/4 and 1. Their luminance falls evenly, so that the scale can be read in
/// grey as well and by people who see no red or green.
const STOPS: [[f32; 3]; 5] = [
    [255.0, 255.0, 255.0],
    [181.0, 208.0, 237.0],
    [98.0, 155.0, 210.0],
    [34.0, 96.0, 162.0],
    [8.0, 38.0, 84.0],
];

/// The colour of a probability; of the nearest one if it is not within 0 and 1.
pub(super) fn colour(probability: f32) -> Colour {
    let steps = (STOPS.len() - 1) as f32;
    let at = probability.clamp(0.0, 1.0) * steps;
    let first = (at as usize).min(STOPS.len() - 2);
    let (Some(low), Some(high)) = (STOPS.get(first), STOPS.get(first + 1)) else {
        return Colour::WHITE;
    };
    let part = at - first as f32;
    let mix = |low: f32, high: f32| (low + (high - low) * part + 0.5) as u8;
    let [[r0, g0, b0], [r1, g1, b1]] = [*low, *high];
    Colour(mix(r0, r1), mix(g0, g1), mix(b0, b1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_is_darker() {
        assert_eq!(colour(0.0), Colour(255, 255, 255));
        assert_eq!(colour(0.25), Colour(181, 208, 237));
        assert_eq!(colour(0.125), Colour(218, 232, 246));
        assert_eq!(colour(1.0), Colour(8, 38, 84));
        assert_eq!(colour(-1.0), colour(0.0));
        assert_eq!(colour(7.0), colour(1.0));
        let luminance =
            |Colour(r, g, b)| 2126 * u32::from(r) + 7152 * u32::from(g) + 722 * u32::from(b);
        for step in 0..100 {
            let at = |step| luminance(colour(step as f32 / 100.0));
            assert!(at(step) > at(step + 1), "{step}");
        }
    }
}
