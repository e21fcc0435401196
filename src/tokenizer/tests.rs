use super::*;
use proptest::prelude::*;

fn ids(sequence: &str) -> Vec<TokenId> {
    tokenize(sequence.as_bytes(), UnknownPolicy::Unk)
        .unwrap()
        .ids
}

#[test]
fn the_alphabet_has_its_numbers() {
    let residues = "LAGVSERTIDPKQNFYMHWCXBUZO.-";
    let expected: Vec<TokenId> = [0].into_iter().chain(4..=30).chain([2]).collect();
    assert_eq!(ids(residues), expected);
    assert_eq!(VOCABULARY.len(), 33);
    assert_eq!(VOCABULARY[usize::from(CLS)], "<cls>");
    assert_eq!(VOCABULARY[usize::from(PAD)], "<pad>");
    assert_eq!(VOCABULARY[usize::from(EOS)], "<eos>");
    assert_eq!(VOCABULARY[usize::from(UNK)], "<unk>");
    assert_eq!(VOCABULARY[usize::from(MASK)], "<mask>");
    assert_eq!(VOCABULARY[31], "<null_1>");
}

#[test]
fn digests_of_narrow_tokens_are_those_of_bytes() {
    assert_eq!(bytes_of(&[0, 20, 255, 2]), [0, 20, 255, 2]);
    assert_eq!(bytes_of(&[0, 256, 2]), [0, 0, 0, 1, 2, 0]);
}

#[test]
fn each_unknown_character_is_one_token() {
    assert_eq!(ids("MKJJT"), [0, 20, 15, 3, 3, 11, 2]);
    assert_eq!(ids("M1*K"), [0, 20, 3, 3, 15, 2]);
    assert_eq!(ids("Mé€𝄞K"), [0, 20, 3, 3, 3, 15, 2]);
    let latin1 = tokenize(b"M\xe9\xffK", UnknownPolicy::Unk).unwrap();
    assert_eq!(latin1.ids, [0, 20, 3, 3, 15, 2]);
    assert_eq!(latin1.unknown, 2);
}

#[test]
fn lower_case_is_read_and_counted() {
    let tokens = tokenize(b"mKtjx", UnknownPolicy::Unk).unwrap();
    assert_eq!(tokens.ids, [0, 20, 15, 11, 3, 24, 2]);
    assert_eq!((tokens.lower, tokens.unknown), (3, 1));
}

#[test]
fn named_tokens_are_one_residue_each() {
    let tokens = tokenize(b"KA<mask>ISQ", UnknownPolicy::Unk).unwrap();
    assert_eq!(tokens.ids, [0, 15, 5, 32, 12, 8, 16, 2]);
    assert_eq!((tokens.residues(), tokens.masks), (6, 1));
    let tokens = tokenize(b"<MASK><Unk><null_1><mask>", UnknownPolicy::Error).unwrap();
    assert_eq!(tokens.ids, [0, 32, 3, 31, 32, 2]);
    assert_eq!((tokens.masks, tokens.unknown, tokens.lower), (2, 0, 0));
}

#[test]
fn a_bracket_that_names_no_token_is_characters() {
    assert_eq!(ids("M<K"), [0, 20, 3, 15, 2]);
    assert_eq!(ids("<foo>"), [0, 3, 18, 28, 28, 3, 2]);
    assert_eq!(ids("<mask"), [0, 3, 20, 5, 8, 15, 2]);
    assert_eq!(ids("<<mask>"), [0, 3, 32, 2]);
}

#[test]
fn reserved_tokens_are_refused() {
    for (text, token) in [("<cls>", "<cls>"), ("<PAD>", "<pad>"), ("<eos>", "<eos>")] {
        let sequence = format!("MK<mask>{text}A");
        assert_eq!(
            tokenize(sequence.as_bytes(), UnknownPolicy::Unk),
            Err(TokenizerError::Reserved { token, position: 4 })
        );
    }
}

#[test]
fn one_stop_at_the_end_is_dropped() {
    for (sequence, expected, unknown, dropped) in [
        ("MK*", &[0, 20, 15, 2][..], 0, true),
        ("MK**", &[0, 20, 15, 3, 2], 1, true),
        ("M*K", &[0, 20, 3, 15, 2], 1, false),
        ("*", &[0, 2], 0, true),
        ("", &[0, 2], 0, false),
        ("MK* ", &[0, 20, 15, 2], 0, true),
    ] {
        let tokens = tokenize(sequence.as_bytes(), UnknownPolicy::Unk).unwrap();
        assert_eq!(tokens.ids, expected, "{sequence}");
        assert_eq!((tokens.unknown, tokens.stop_dropped), (unknown, dropped));
    }
}

#[test]
fn white_space_is_not_a_residue() {
    assert_eq!(
        ids("K A <mask>\tI\nS\r\n\x0b\x0cQ"),
        [0, 15, 5, 32, 12, 8, 16, 2]
    );
}

#[test]
fn unknown_characters_are_named_with_their_position() {
    for (sequence, character, position) in [
        (&b"MK<mask>JJ"[..], "J", 4),
        (b"mj", "j", 2),
        (b"*M", "*", 1),
        ("MKé".as_bytes(), "é", 3),
        ("M\u{202e}\u{a0}\u{301}".as_bytes(), "\u{301}", 2),
        (b"M\x1b", "\\u{1b}", 2),
        (b"M\xe9", "\\xE9", 2),
        (b"M <K", "<", 2),
    ] {
        assert_eq!(
            tokenize(sequence, UnknownPolicy::Error),
            Err(TokenizerError::Unknown {
                alphabet: Alphabet::Esm,
                character: character.to_owned(),
                position
            })
        );
    }
    let error = tokenize(b"MJ", UnknownPolicy::Error).unwrap_err();
    assert_eq!(
        error.to_string(),
        "residue 2: `J` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-)\n\
         hint: correct it, or write X for an unknown residue\n\
         hint: use `unknown=unk`, which embeds it as <unk>"
    );
}

#[test]
fn white_space_and_invisible_characters_of_unicode_are_not_residues() {
    let unseen = "\u{a0}\u{ad}\u{200b}\u{2007}\u{202f}\u{2060}\u{feff}\u{202e}\u{85}";
    for text in [
        format!("MK{unseen}T*"),
        format!("{unseen}MKT*"),
        format!("MKT*{unseen} "),
        format!("M{unseen}k{unseen}T{unseen}*"),
    ] {
        let tokens = tokenize(text.as_bytes(), UnknownPolicy::Error).unwrap();
        assert_eq!(tokens.ids, [0, 20, 15, 11, 2], "{text:?}");
        assert_eq!(tokens.invisible, text.matches('\u{200b}').count() * 9);
        assert!(tokens.stop_dropped);
    }
    let tokens = tokenize("<ma\u{ad}sk>".as_bytes(), UnknownPolicy::Error).unwrap();
    assert_eq!((tokens.ids, tokens.masks), (vec![0, 32, 2], 1));
    // Each byte that is not UTF-8 is still one unknown character.
    let tokens = tokenize(b"M\xc2\xa0\xe9\xc2", UnknownPolicy::Unk).unwrap();
    assert_eq!(tokens.ids, [0, 20, 3, 3, 2]);
    assert_eq!((tokens.unknown, tokens.invisible), (2, 1));
}

#[test]
fn gaps_are_tokens_that_are_counted_and_can_be_taken_out() {
    let tokens = tokenize(b"-M.K<mask>--T.", UnknownPolicy::Error).unwrap();
    assert_eq!(tokens.ids, [0, 30, 20, 29, 15, 32, 30, 30, 11, 29, 2]);
    assert_eq!((tokens.gaps, tokens.masks), (5, 1));
    let text = b"-M.K<mask>--T*.";
    let tokens = Alphabet::Esm.tokenize_without_gaps(text, UnknownPolicy::Error);
    let tokens = tokens.unwrap();
    assert!(tokens.stop_dropped);
    assert_eq!(tokens.ids, [0, 20, 15, 32, 11, 2]);
    assert_eq!((tokens.gaps, tokens.residues()), (5, 4));
}

#[test]
fn esm_c_has_a_chain_break_and_a_mask_of_one_letter() {
    let esm_c = |text: &[u8]| Alphabet::EsmC.tokenize(text, UnknownPolicy::Error);
    let tokens = esm_c(b"MK|t_<MASK>").unwrap();
    assert_eq!(tokens.ids, [0, 20, 15, 31, 11, 32, 32, 2]);
    assert_eq!((tokens.masks, tokens.lower, tokens.residues()), (2, 1, 6));
    // They are characters like any other in the alphabet of ESM-2.
    assert_eq!(ids("MK|T_"), [0, 20, 15, 3, 11, 3, 2]);
    // `<null_1>` is ESM-2's, and rows without a token have no name.
    for text in ["<null_1>", "<unused_33>"] {
        let error = esm_c(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "residue 1: `<` is not in the ESM alphabet (LAGVSERTIDPKQNFYMHWCXBUZO.-|)"
            ),
            "{error}"
        );
    }
    assert_eq!(Alphabet::EsmC.rows().len(), 64);
    assert_eq!(
        Alphabet::EsmC.rows()[33..35],
        ["<unused_33>", "<unused_34>"]
    );
    assert_eq!(Alphabet::EsmC.rows()[63], "<unused_63>");
    for (id, (esm, esm_c)) in VOCABULARY.iter().zip(Alphabet::EsmC.tokens()).enumerate() {
        assert!(esm == esm_c || id == 31, "{id}");
    }
}

proptest! {
    #[test]
    fn every_visible_character_has_one_token(text in "[^\\s<*]{0,200}") {
        let tokens = tokenize(text.as_bytes(), UnknownPolicy::Unk).unwrap();
        prop_assert_eq!(tokens.residues() + tokens.invisible, text.chars().count());
        prop_assert_eq!(tokens.ids.first(), Some(&0));
        prop_assert_eq!(tokens.ids.last(), Some(&2));
        let unknown = tokens.ids.iter().filter(|&&id| id == 3).count();
        prop_assert_eq!(tokens.unknown, unknown);
        prop_assert_eq!(
            tokenize(text.as_bytes(), UnknownPolicy::Error).is_err(),
            unknown > 0
        );
    }

    #[test]
    fn tokens_read_back_as_their_text(
        ids in prop::collection::vec(3u16..33, 0..100)
    ) {
        let text: String = ids.iter().map(|&id| VOCABULARY[usize::from(id)]).collect();
        let tokens = tokenize(text.as_bytes(), UnknownPolicy::Error).unwrap();
        prop_assert_eq!(&tokens.ids[1..=ids.len()], &ids[..]);
        prop_assert_eq!(tokens.residues(), ids.len());
    }

    #[test]
    fn tokens_of_parts_join(
        left in "[A-Za-z.\\-]{0,50}",
        right in "[A-Za-z.\\-]{0,50}",
    ) {
        let one = tokenize(left.as_bytes(), UnknownPolicy::Unk).unwrap();
        let two = tokenize(right.as_bytes(), UnknownPolicy::Unk).unwrap();
        let whole = tokenize(format!("{left}{right}").as_bytes(), UnknownPolicy::Unk).unwrap();
        let joined = [&one.ids[..=left.len()], &two.ids[1..]].concat();
        prop_assert_eq!(whole.ids, joined);
        prop_assert_eq!(whole.lower, one.lower + two.lower);
    }

    #[test]
    fn any_bytes_give_tokens_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tokens) = tokenize(&bytes, UnknownPolicy::Unk) {
            prop_assert!(tokens.residues() <= bytes.len());
            prop_assert!(tokens.ids[1..=tokens.residues()].iter().all(|&id| (3..33).contains(&id)));
        }
    }
}
