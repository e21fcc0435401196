//! Invisible characters: white space and format characters beyond ASCII.
//!
//! They get into sequences by copy and paste. None of them is a residue, and messages escape them.

/// Format characters (general category Cf), those that Unicode says to ignore if they cannot be displayed
/// (`Default_Ignorable_Code_Point`), control characters from U+0080 on, and the blank braille pattern,
/// which is a symbol by category but shows nothing.
const UNSEEN: [(char, char); 34] = [
    ('\u{80}', '\u{9F}'),
    ('\u{AD}', '\u{AD}'),
    ('\u{34F}', '\u{34F}'),
    ('\u{600}', '\u{605}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{6DD}', '\u{6DD}'),
    ('\u{70F}', '\u{70F}'),
    ('\u{890}', '\u{891}'),
    ('\u{8E2}', '\u{8E2}'),
    ('\u{115F}', '\u{1160}'),
    ('\u{17B4}', '\u{17B5}'),
    ('\u{180B}', '\u{180F}'),
    ('\u{200B}', '\u{200F}'),
    ('\u{2028}', '\u{202E}'),
    ('\u{2060}', '\u{206F}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{FE00}', '\u{FE0F}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFA0}', '\u{FFA0}'),
    ('\u{FFF0}', '\u{FFF8}'),
    ('\u{FFF9}', '\u{FFFB}'),
    ('\u{110BD}', '\u{110BD}'),
    ('\u{110CD}', '\u{110CD}'),
    ('\u{13430}', '\u{1343F}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{E0000}', '\u{E0FFF}'),
    // The white space of Unicode that is not among the above.
    ('\u{A0}', '\u{A0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200A}'),
    ('\u{202F}', '\u{202F}'),
    ('\u{205F}', '\u{205F}'),
    ('\u{3000}', '\u{3000}'),
];

/// White space, format characters and other invisible characters beyond ASCII.
pub(crate) fn is_unseen(character: char) -> bool {
    !character.is_ascii()
        && UNSEEN
            .iter()
            .any(|&(first, last)| (first..=last).contains(&character))
}

/// What a message escapes: control characters and invisible characters.
pub(crate) fn is_invisible(character: char) -> bool {
    character.is_control() || is_unseen(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_white_space_beyond_ascii_is_unseen() {
        let spaces = (0x80..=0x10_FFFF)
            .filter_map(char::from_u32)
            .filter(|character| character.is_whitespace());
        let mut count = 0;
        for space in spaces {
            assert!(is_unseen(space), "U+{:04X}", u32::from(space));
            count += 1;
        }
        assert_eq!(count, 19);
    }

    #[test]
    fn visible_characters_and_ascii_are_not_unseen() {
        for text in [
            "é", "α", "蛋", "\u{301}", "€", "–", "−", "·", "𝄞", "\u{FFFD}",
        ] {
            assert!(!text.chars().any(is_unseen), "{text}");
        }
        assert!(!(0..0x80).any(|byte: u8| is_unseen(char::from(byte))));
        assert!(is_invisible('\u{1b}') && !is_invisible(' '));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// The classes as the crate regex-syntax knows them.
        #[test]
        fn format_and_ignorable_characters_are_unseen(
            text in "[\\p{Cf}--[\\x{E0000}-\\x{E0FFF}]][\\p{Default_Ignorable_Code_Point}--[\\x{E0000}-\\x{E0FFF}]]\\p{Default_Ignorable_Code_Point}",
        ) {
            for character in text.chars() {
                prop_assert!(is_unseen(character), "U+{:04X}", u32::from(character));
            }
        }

        #[test]
        fn other_characters_are_not_unseen(
            text in "[^\\p{Cf}\\p{Default_Ignorable_Code_Point}\\p{White_Space}\\p{Cc}\\x{2800}]{8}",
        ) {
            prop_assert!(!text.chars().any(is_unseen), "{text}");
        }
    }
}
