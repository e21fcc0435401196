//! Recognises nucleotide sequences, whose letters are all residues too.
//!
//! A, C, G, T, U and N are a quarter of the residues of an average protein; 18 of them in a row occur by
//! chance once in 10^10 positions. What remains are proteins of low complexity. They are recognised by the
//! letters that they lack: poly-alanine, silk, collagen and antifreeze proteins do not have all of A, C,
//! G and T with so few other letters.

use crate::tokenizer::{DASH, DOT, MASK, TokenId, UNK, VOCABULARY, number_of};

/// Fewest bases of a nucleotide sequence, not counting N; in primers, codes of two bases count too.
/// Primers are about this long.
const LEAST: u64 = 18;
/// Tokens of the alphabet.
const TOKENS: usize = VOCABULARY.len();

const A: TokenId = number_of(b'A');
const B: TokenId = number_of(b'B');
const C: TokenId = number_of(b'C');
const D: TokenId = number_of(b'D');
const G: TokenId = number_of(b'G');
const H: TokenId = number_of(b'H');
const K: TokenId = number_of(b'K');
const M: TokenId = number_of(b'M');
const N: TokenId = number_of(b'N');
const R: TokenId = number_of(b'R');
const S: TokenId = number_of(b'S');
const T: TokenId = number_of(b'T');
const U: TokenId = number_of(b'U');
const V: TokenId = number_of(b'V');
const W: TokenId = number_of(b'W');
const X: TokenId = number_of(b'X');
const Y: TokenId = number_of(b'Y');
const NULL: TokenId = 31;

/// Whether a sequence, as `<cls>`, residues, `<eos>`, consists of nucleotides. Gaps, masks, X and
/// characters outside the alphabet, such as position numbers, do not count.
///
/// One of these holds, in a sequence of at least 18 bases:
///
/// | | A, C, G, T, U and N | other letters | bases |
/// |---|---|---|---|
/// | as sequenced | at least 95 % | any | A, C, G and T or U; or U and two others |
/// | repeats, bisulfite | all | none | three of them, each 10 % of at least 60 |
/// | primers | at least 85 % | codes of two bases: R Y S W K M | A, C, G and T or U |
/// | consensus, back-translated | at least 70 %, of at least 60 | codes of two or three bases, and 1 % others | A, C, G and T or U, each 2 % |
pub(crate) fn is_nucleotides(tokens: &[TokenId]) -> bool {
    let mut counts = [0_u64; TOKENS];
    let residues = tokens.get(1..tokens.len().saturating_sub(1));
    for &token in residues.unwrap_or_default() {
        if let Some(count) = counts.get_mut(usize::from(token)) {
            *count += 1;
        }
    }
    let of = |tokens: &[TokenId]| -> u64 {
        let count = |token: &TokenId| counts.get(usize::from(*token)).copied().unwrap_or(0);
        tokens.iter().map(count).sum()
    };
    let all = counts.iter().sum::<u64>() - of(&[UNK, DOT, DASH, MASK, NULL, X]);
    let bases = [of(&[A]), of(&[C]), of(&[G]), of(&[T, U])];
    let plain = bases.iter().sum::<u64>() + of(&[N]);
    let of_two = of(&[R, Y, S, W, K, M]);
    let of_three = of(&[B, D, H, V]);
    let others = all - plain - of_two - of_three;
    let has_at_least = |percent: u64| {
        let has = |base: &&u64| **base * 100 >= all * percent && **base > 0;
        bases.iter().filter(has).count()
    };
    let sure = bases.iter().sum::<u64>();
    if sure + of_two < LEAST {
        return false;
    }
    let as_sequenced =
        plain * 100 >= all * 95 && (has_at_least(0) == 4 || (has_at_least(0) == 3 && of(&[U]) > 0));
    let repeats = plain == all && all >= 60 && has_at_least(10) == 3;
    let primer = plain * 100 >= all * 85 && plain + of_two == all && has_at_least(0) == 4;
    let consensus =
        plain * 100 >= all * 70 && others * 100 <= all && all >= 60 && has_at_least(2) == 4;
    primer || sure >= LEAST && (as_sequenced || repeats || consensus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{UnknownPolicy, tokenize};

    fn is(sequence: &str) -> bool {
        is_nucleotides(
            &tokenize(sequence.as_bytes(), UnknownPolicy::Unk)
                .unwrap()
                .ids,
        )
    }

    #[test]
    fn the_numbers_are_those_of_the_letters() {
        let letters = [A, B, C, D, G, H, K, M, N, R, S, T, U, V, W, X, Y];
        let text: String = letters.map(|id| VOCABULARY[usize::from(id)]).concat();
        assert_eq!(text, "ABCDGHKMNRSTUVWXY");
        assert_eq!(VOCABULARY[usize::from(NULL)], "<null_1>");
    }

    #[test]
    fn nucleotides_of_every_kind() {
        for sequence in [
            // A gene in DNA and in RNA, in lower case, masked, in a row of an alignment.
            "ATGAAACGCATTAGCACCACCATTACCACCACCATCACCATTACCACAGGTAACGGTGCG",
            "AUGAAACGCAUUAGCACCACCAUUACCACCACCAUCACCAUUACCACAGGUAACGGUGCG",
            "atgaaacgcattagcaccaccattaccaccaccatcaccattaccacaggtaacggtgcg",
            "GTAGCNGCNANTGTNCGTCACNNGCGNGAACTNTTNGNCCAGANNTNGGANTTCAGGNAG",
            "NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNGGCATTAGCACCACCATTAC",
            "ATGXXXXXXXXXXXXXXXXXXXXXXXAAACGCATTAGCXXXXXXCACC",
            "ATG---AAACG--CATTAGC...ACCACCATTAC",
            // With numbers, as GenBank has them.
            "1 atgaaacgca ttagcaccac 21 cattaccacc 31",
            // A primer, one with ambiguous bases, a guide, a microRNA without C.
            "AAACTTAAAGGAATTGACGG",
            "AAACTYAAAKGAATTGRCGG",
            "GAGTCCGAGCAGAAGAAGAA",
            "UGAGGUAGUAGGUUGUAUAGUU",
            // Telomeres, and DNA after bisulfite.
            &"TTAGGG".repeat(10),
            // A consensus with ambiguous bases, and a protein back-translated to them.
            "ATGRAACGYATTAGSACCWCCATKACCMCCACCATCACYATTACCRCAGGTAACGGTGCG",
            &"ATGGCNWSNYTNMGN".repeat(5),
            // One letter in twenty that is none of a nucleotide's.
            "ATGAAACGCATTAGCACCAE",
        ] {
            assert!(is(sequence), "{sequence}");
        }
    }

    #[test]
    fn proteins_of_few_letters_are_not_nucleotides() {
        for sequence in [
            "GACT",
            "ACATA",
            "GATTACA",
            "CATTAGACT",
            "GCCTGNCAGACTAGCAT",
            "",
            &"A".repeat(300),
            &"G".repeat(300),
            &"N".repeat(300),
            &"T".repeat(300),
            &"AG".repeat(100),
            &"NT".repeat(100),
            // Antifreeze glycoprotein, silk, spider silk, collagen.
            &"AAT".repeat(40),
            &"GAGAGSGAGAGSGAGAGY".repeat(10),
            &"GGAGQGGYGGLGSQGAGRGGLGGQGAGAAAAAAA".repeat(5),
            &"GPPGPAGKNGDDGEAGKPGRPGERGPPGPQ".repeat(5),
            // The beetle's antifreeze protein, and its repeats.
            "QCTGGADCTSCTGACTGCGNCPNAVTCTNSQHCVKANTCTGSTDCNTAQTCTNSKDCFEANTCTDSTNCYKATACTNSSGCPGH",
            "CTGGADCTSCTGACTGCGNC",
            "TCTGSTNCYKATACTNSTGC",
            // Metallothioneins, a snow flea's antifreeze protein, a keratin-associated protein.
            "MDPNCSCATGGSCTCTGSCKCKECKCTSCKKSCCSCCPMSCAKCAQGCICKGASEKCSCCA",
            "MPCPCGSGCKCASQATKGSCNCGSDCKCGGDKKSACGCSE",
            "CKGADGAHGVNGCPGTAGAAGSVGGPGCDGGHGGNGGNGNPGCAGGVGGAGGASGGTGVGGRGGKGGSGTPKGADGAPGAP",
            "MSYYGSYYGGLGYGCGGFGGLGYGYGCGCGSFRRLGSGCGYGGYGYGSGFGGYGYGSGFGGYGYGCYRPSYYGGYGFSGFY",
            // Antimicrobial peptides rich in G, C, N and T.
            "VGIGGGGGGGGGGSCGGQGGGCGGCSNGCSGGNGGSGGSGSH",
            "ANAMNACSGGNNANGTISPNS",
            "SATNTNAGKTTCA",
            // Asparagine-rich stretches, unknown residues, masks.
            &"NNNNTNNNDNKNNNNYN".repeat(6),
            &"X".repeat(100),
            &"<mask>".repeat(100),
            &"-".repeat(100),
            "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV",
        ] {
            assert!(!is(sequence), "{sequence}");
        }
    }
}
