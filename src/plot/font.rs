//! Glyphs of Noto Sans Mono, and how wide text is.

use super::drawing::TextSize;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar};
use noto_sans_mono_bitmap::{get_raster, get_raster_width};

/// Shown for characters without a glyph.
const UNKNOWN: char = '\u{fffd}';
/// Ends a text that was cut.
const CUT: &str = "...";

impl TextSize {
    fn raster(self) -> RasterHeight {
        match self {
            TextSize::Small => RasterHeight::Size20,
            TextSize::Medium => RasterHeight::Size24,
            TextSize::Large => RasterHeight::Size32,
        }
    }

    /// Height of a line in pixels.
    pub(super) fn line_height(self) -> i32 {
        self.raster().val() as i32
    }

    /// Width of a character in pixels.
    pub(super) fn character_width(self) -> i32 {
        get_raster_width(FontWeight::Regular, self.raster()) as i32
    }

    /// Width of a text in pixels.
    pub(super) fn width(self, text: &str) -> i32 {
        i32::try_from(text.chars().count())
            .unwrap_or(i32::MAX)
            .saturating_mul(self.character_width())
    }

    /// The text, or as much of it as fits into this width, with three dots at its end.
    pub(super) fn cut(self, text: &str, width: i32) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let fitting = (width / self.character_width()).max(0) as usize;
        let kept = text.chars().take(fitting.saturating_sub(CUT.len()));
        kept.collect::<String>() + CUT
    }
}

/// The glyph of a character; that of U+FFFD if the font has none.
pub(super) fn glyph(character: char, size: TextSize) -> Option<RasterizedChar> {
    let raster = |character| get_raster(character, FontWeight::Regular, size.raster());
    raster(character).or_else(|| raster(UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut() {
        let size = TextSize::Medium;
        let width = size.character_width();
        assert_eq!(size.cut("abcdefgh", 8 * width), "abcdefgh");
        assert_eq!(size.cut("abcdefghi", 8 * width), "abcde...");
        assert_eq!(size.cut("日本語日本語日本語", 8 * width), "日本語日本...");
        assert_eq!(size.cut("abcdefgh", -5), "...");
    }

    #[test]
    fn every_size_has_glyphs() {
        for size in [TextSize::Small, TextSize::Medium, TextSize::Large] {
            for character in ['a', 'é', 'ő', '·', '\u{fffd}', '蛋'] {
                let glyph = glyph(character, size).unwrap();
                assert_eq!(glyph.height() as i32, size.line_height());
                assert_eq!(glyph.width() as i32, size.character_width());
                assert!(
                    glyph.pixels().iter().any(|&pixel| pixel > 200),
                    "{character}"
                );
            }
        }
    }
}
