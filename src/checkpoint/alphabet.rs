//! The alphabet of the embedding's rows, and what proves it.
//!
//! Structure-aware, codon and RNA models have ESM's layout, but their token 4 is not leucine. The
//! structure-aware alphabet of SaProt is known here; only a list of its tokens proves it. For ESM's, the proof is `vocab.txt`, else `tokenizer.json`, else an embedding of exactly 33 rows; nothing
//! beside the weights may contradict it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::config::ALPHABET_SIZE;
use super::error::CheckpointError;
use super::json;
use super::locate::Located;
use crate::printable;
use crate::tokenizer::Alphabet;

/// A token that no sequence contains and some tokenizers omit.
const NULL: &str = "<null_1>";

/// What proves that the rows of the embedding are the tokens of the model's alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlphabetProof {
    /// `vocab.txt` lists them.
    VocabTxt,
    /// `tokenizer.json` lists them.
    TokenizerJson,
    /// There are 33 rows, and nothing beside the weights contradicts it.
    Rows,
    /// There are 64 rows in a model with the tensors of ESM C, and nothing beside the weights contradicts it.
    RowsOfEsmC,
    /// There are more rows, but `vocab_size` is 33: the export pads them.
    PaddedRows,
    /// The file is BioNeMo's `.nemo` of ESM2nv, which pads the 33 rows.
    RowsOfEsm2nv,
}

impl fmt::Display for AlphabetProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VocabTxt => "vocab.txt",
            Self::TokenizerJson => "tokenizer.json",
            Self::Rows => "33 rows",
            Self::RowsOfEsmC => "64 rows of ESM C",
            Self::RowsOfEsm2nv => "33 rows of ESM2nv, the others being padding",
            Self::PaddedRows => "33 rows by vocab_size, the others being padding",
        })
    }
}

/// What the weights and the configuration say about the alphabet.
pub(super) struct Claims<'a> {
    /// The file of weights, for errors.
    pub(super) path: &'a Path,
    /// That of the model's family.
    pub(super) alphabet: Alphabet,
    /// Rows of the embedding that are tokens, not padding.
    pub(super) tokens: usize,
    /// Whether there are padding rows after them.
    pub(super) is_padded: bool,
    /// Whether the weights have the names of ESM2nv in a `.nemo`.
    pub(super) is_esm2nv: bool,
    /// What in `config.json` contradicts ESM's alphabet, even if another file lists the tokens.
    pub(super) against: Option<String>,
    /// What contradicts it if no other file lists the tokens.
    pub(super) contrary: Option<String>,
    /// Tokens that `config.json` lists.
    pub(super) listed: Option<&'a [String]>,
}

/// A proven alphabet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proven {
    pub(super) alphabet: Alphabet,
    pub(super) proof: AlphabetProof,
    /// Tokens that the model has beside those of the alphabet, each with the file that lists it. No sequence is
    /// tokenized to them.
    pub(super) others: Vec<(String, PathBuf)>,
}

impl Proven {
    /// A warning about the tokens that are not used.
    pub(super) fn warning(&self) -> Option<String> {
        let (_, path) = self.others.first()?;
        let count = self.others.len();
        let (tokens, rows, them) = match count {
            1 => ("a token", "a row", "it"),
            _ => ("tokens", "rows", "them"),
        };
        let tokens_shown: Vec<&String> = self.others.iter().map(|(token, _)| token).collect();
        Some(format!(
            "{}: the model has {tokens} beside {}, with {rows} that this program \
             does not use: {}; in a sequence, {them} would be read as <unk>\n\
             hint: to embed {them}, use transformers",
            path.display(),
            match self.alphabet {
                Alphabet::Esm | Alphabet::EsmC => format!("ESM's {ALPHABET_SIZE}"),
                Alphabet::SaProt => "SaProt's 446".to_owned(),
            },
            printable::list(&tokens_shown)
        ))
    }
}

/// Proves the alphabet.
///
/// # Errors
/// What contradicts it, or that nothing proves it.
pub(super) fn prove(located: &Located, claims: &Claims<'_>) -> Result<Proven, CheckpointError> {
    let refuse = |path: &Path, tokens: usize, found: String| CheckpointError::Alphabet {
        than: match claims.alphabet {
            Alphabet::Esm => "",
            Alphabet::EsmC => " than that of ESM C",
            Alphabet::SaProt => " than that of SaProt",
        },
        ours: match claims.alphabet {
            Alphabet::Esm | Alphabet::EsmC => "ESM's 33 in ESM's order",
            Alphabet::SaProt => "SaProt's 446 in SaProt's order",
        },
        path: path.to_path_buf(),
        tokens,
        found,
    };
    let alphabet = claims.alphabet;
    let is_size = match alphabet {
        Alphabet::Esm => claims.tokens >= ALPHABET_SIZE,
        Alphabet::EsmC => claims.tokens == alphabet.rows().len(),
        Alphabet::SaProt => claims.tokens >= alphabet.rows().len(),
    };
    if !is_size {
        let found = format!("its embedding has {} rows", claims.tokens);
        return Err(refuse(claims.path, claims.tokens, found));
    }
    if let Some(found) = &claims.against {
        return Err(refuse(claims.path, claims.tokens, found.clone()));
    }
    let mut proof = None;
    let mut others = Vec::new();
    if let Some(path) = &located.tokenizer {
        match from_tokenizer(path) {
            Ok(numbers) => {
                let count = numbers.len();
                let found = lacking(alphabet, &numbers).or_else(|| moved(alphabet, &numbers));
                if let Some(found) = found {
                    return Err(refuse(path, count, found));
                }
                keep_others(alphabet, &mut others, numbers, path);
                proof = Some(AlphabetProof::TokenizerJson);
            }
            // vocab.txt is the proof; without it, this file would have to be read.
            Err(_) if located.vocabulary.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(path) = &located.vocabulary {
        let lines = lines(path)?;
        if let Some(found) = out_of_order(alphabet, &lines) {
            return Err(refuse(path, lines.len(), found));
        }
        let extra = lines.into_iter().enumerate().skip(alphabet.tokens().len());
        let extra = extra.map(|(number, token)| (token, number)).collect();
        keep_others(alphabet, &mut others, extra, path);
        proof = Some(AlphabetProof::VocabTxt);
    }
    for (path, numbers) in added(located)? {
        if let Some(found) = moved(alphabet, &numbers) {
            return Err(refuse(&path, claims.tokens, found));
        }
        keep_others(alphabet, &mut others, numbers, &path);
    }
    if let Some(tokens) = claims.listed
        && let Some(found) = out_of_order(alphabet, tokens)
    {
        return Err(refuse(claims.path, tokens.len(), found));
    }
    let proof = match proof {
        Some(proof) => proof,
        None if claims.tokens != alphabet.rows().len() || alphabet == Alphabet::SaProt => {
            let found = format!("its embedding has {} rows", claims.tokens);
            return Err(refuse(claims.path, claims.tokens, found));
        }
        None => match (&claims.contrary, foreign_tokenizer(located)) {
            (Some(found), _) => return Err(refuse(claims.path, claims.tokens, found.clone())),
            (None, Some((path, found))) => return Err(refuse(&path, claims.tokens, found)),
            (None, None) if alphabet == Alphabet::EsmC => AlphabetProof::RowsOfEsmC,
            (None, None) if claims.is_esm2nv => AlphabetProof::RowsOfEsm2nv,
            (None, None) if claims.is_padded => AlphabetProof::PaddedRows,
            (None, None) => AlphabetProof::Rows,
        },
    };
    others.retain(|(_, number, _)| *number < claims.tokens);
    others.sort_by_key(|(_, number, _)| *number);
    others.dedup_by(|(a, ..), (b, ..)| a == b);
    Ok(Proven {
        alphabet,
        proof,
        others: others
            .into_iter()
            .map(|(token, _, path)| (token, path))
            .collect(),
    })
}

/// A token that tells the structure-aware alphabet from ESM's.
const TELLING: &str = "Ap";

/// Whether the files beside the weights list the tokens of SaProt, in whatever order.
pub(super) fn is_structure_aware(located: &Located) -> bool {
    let listed =
        |path: &PathBuf| lines(path).is_ok_and(|lines| lines.iter().any(|line| line == TELLING));
    let numbered = |path: &PathBuf| from_tokenizer(path).is_ok_and(|all| all.contains_key(TELLING));
    match &located.vocabulary {
        Some(vocabulary) => listed(vocabulary),
        None => located.tokenizer.as_ref().is_some_and(numbered),
    }
}

/// Tokens by name with their numbers.
type Numbers = BTreeMap<String, usize>;

/// The number of one of the alphabet's tokens.
fn number_of(alphabet: Alphabet, token: &str) -> Option<usize> {
    alphabet.tokens().iter().position(|ours| *ours == token)
}

fn keep_others(
    alphabet: Alphabet,
    others: &mut Vec<(String, usize, PathBuf)>,
    numbers: Numbers,
    path: &Path,
) {
    let count = alphabet.tokens().len();
    let foreign = numbers
        .into_iter()
        .filter(|(token, number)| number_of(alphabet, token).is_none() && *number >= count);
    others.extend(foreign.map(|(token, number)| (token, number, path.to_path_buf())));
}

/// How a list does not begin with ESM's tokens in order, or gives one of them a second number.
fn out_of_order(alphabet: Alphabet, tokens: &[String]) -> Option<String> {
    for (number, ours) in alphabet.tokens().iter().enumerate() {
        match tokens.get(number) {
            Some(token) if token == ours => {}
            Some(token) => {
                let token = printable::name(token);
                return Some(format!("token {number} is `{token}`, not `{ours}`"));
            }
            None => {
                return Some(match number {
                    0 => "it lists no tokens".into(),
                    1 => "it lists 1 token and ends".into(),
                    _ => format!("it lists {number} tokens and ends"),
                });
            }
        }
    }
    let mut extra = tokens.iter().enumerate().skip(alphabet.tokens().len());
    extra.find_map(|(number, token)| {
        let ours = number_of(alphabet, token)?;
        Some(format!("`{token}` is token {ours} and token {number}"))
    })
}

/// One of ESM's tokens that has no number.
fn lacking(alphabet: Alphabet, numbers: &Numbers) -> Option<String> {
    let ours = alphabet.tokens().iter().filter(|token| **token != NULL);
    let mut lacking = ours.filter(|token| !numbers.contains_key(**token));
    let first = lacking.next()?;
    Some(format!("it has no token `{first}`"))
}

/// One of ESM's tokens with another number, or another token with the number of one of ESM's.
fn moved(alphabet: Alphabet, numbers: &Numbers) -> Option<String> {
    let ours = alphabet
        .tokens()
        .iter()
        .enumerate()
        .find_map(|(number, token)| {
            let found = *numbers.get(*token)?;
            (found != number).then(|| format!("`{token}` is token {found}, not token {number}"))
        });
    ours.or_else(|| {
        numbers.iter().find_map(|(token, number)| {
            let ours = alphabet.tokens().get(*number)?;
            let is_other =
                number_of(alphabet, token).is_none() && !token.eq_ignore_ascii_case(ours);
            let token = printable::name(token);
            is_other.then(|| format!("token {number} is `{token}`, not `{ours}`"))
        })
    })
}

/// How a list of tokens in a torch file contradicts ESM's alphabet.
pub(super) fn against_list(tokens: &[String]) -> Option<String> {
    out_of_order(Alphabet::Esm, tokens)
}

/// How a table of tokens and their numbers in a torch file contradicts ESM's alphabet.
pub(super) fn against_table(table: impl Iterator<Item = (String, usize)>) -> Option<String> {
    let numbers: Numbers = table.collect();
    lacking(Alphabet::Esm, &numbers).or_else(|| moved(Alphabet::Esm, &numbers))
}

/// The tokens of `vocab.txt`, one a line; as in transformers, the line's number is the token's.
fn lines(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let bytes = json::bytes(path)?;
    super::file::refuse_stand_in(path, &bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    Ok(lines)
}

/// The tokens of `tokenizer.json`, added ones included.
fn from_tokenizer(path: &Path) -> Result<Numbers, CheckpointError> {
    let bytes = json::bytes(path)?;
    super::file::refuse_stand_in(path, &bytes)?;
    let tokenizer =
        tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| CheckpointError::Config {
            path: path.to_path_buf(),
            found: format!("is not a tokenizer that can be read: {error}"),
        })?;
    let numbers = tokenizer.get_vocab(true).into_iter();
    let numbers = numbers.map(|(token, number)| {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        (token, number)
    });
    Ok(numbers.collect())
}

/// What is read of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, Value>,
    tokenizer_class: Option<Value>,
    #[serde(flatten)]
    special: Special,
}

/// The special tokens that `special_tokens_map.json` and `tokenizer_config.json` name.
#[derive(Deserialize, Default)]
struct Special {
    #[serde(default)]
    cls_token: Value,
    #[serde(default)]
    pad_token: Value,
    #[serde(default)]
    eos_token: Value,
    #[serde(default)]
    unk_token: Value,
    #[serde(default)]
    mask_token: Value,
}

impl Special {
    /// One that is not spelled as ESM's.
    fn other(&self) -> Option<String> {
        let all = [
            ("cls_token", &self.cls_token, "<cls>"),
            ("pad_token", &self.pad_token, "<pad>"),
            ("eos_token", &self.eos_token, "<eos>"),
            ("unk_token", &self.unk_token, "<unk>"),
            ("mask_token", &self.mask_token, "<mask>"),
        ];
        all.into_iter().find_map(|(name, value, ours)| {
            let found = value.get("content").unwrap_or(value).as_str()?;
            let found = (found != ours).then(|| printable::name(found))?;
            Some(format!("its {name} is `{found}`, not `{ours}`"))
        })
    }
}

fn tokenizer_config(located: &Located) -> Result<TokenizerConfig, CheckpointError> {
    match &located.tokenizer_config {
        Some(path) => json::read(path),
        None => Ok(TokenizerConfig::default()),
    }
}

/// Tokens that were added to a tokenizer, by file.
fn added(located: &Located) -> Result<Vec<(PathBuf, Numbers)>, CheckpointError> {
    let mut all = Vec::new();
    if let Some(path) = &located.added_tokens {
        let json::Unique(numbers) = json::read::<json::Unique<usize>>(path)?;
        all.push((path.clone(), numbers.into_iter().collect()));
    }
    // Tokenizers of other kinds keep their tokens here; those of ESM do not have this file.
    if let (Some(path), None) = (&located.vocabulary_json, &located.vocabulary)
        && let Ok(json::Unique(numbers)) = json::read::<json::Unique<usize>>(path)
    {
        all.push((path.clone(), numbers.into_iter().collect()));
    }
    if let Some(path) = &located.tokenizer_config {
        let config = tokenizer_config(located)?;
        let numbers = config.added_tokens_decoder.iter();
        let numbers = numbers.filter_map(|(number, token)| {
            let content = token.get("content").unwrap_or(token).as_str()?;
            Some((content.to_owned(), number.parse().ok()?))
        });
        all.push((path.clone(), numbers.collect()));
    }
    Ok(all)
}

/// How the tokenizer differs from ESM's, for models without a list of tokens.
fn foreign_tokenizer(located: &Located) -> Option<(PathBuf, String)> {
    if let Some(path) = &located.special_tokens
        && let Some(found) = json::read::<Special>(path)
            .ok()
            .and_then(|special| special.other())
    {
        return Some((path.clone(), found));
    }
    let path = located.tokenizer_config.as_ref()?;
    let config = tokenizer_config(located).ok()?;
    if let Some(found) = config.special.other() {
        return Some((path.clone(), found));
    }
    let class = config.tokenizer_class?;
    let class = class.as_str()?;
    let is_ours = class.to_ascii_lowercase().starts_with("esm");
    let found = format!("its tokenizer is `{}`", printable::name(class));
    (!is_ours).then(|| (path.clone(), found))
}

#[cfg(test)]
#[path = "alphabet_tests.rs"]
mod tests;
