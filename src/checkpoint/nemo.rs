//! BioNeMo's `.nemo` of ESM2nv: a tar archive, perhaps compressed by gzip, of `model_config.yaml` and
//! `model_weights.ckpt`, a file of `torch.save`.
//!
//! Nothing is unpacked under a name that the archive gives. The weights of a plain archive are read where
//! they are in it; those of a compressed one from a temporary file without a name.

use std::io::{self, Read, Write};
use std::path::Path;

use super::config::{EsmConfig, contradiction};
use super::error::CheckpointError;
use super::file::WeightFile;
use super::foreign;
use crate::numerals::bytes;
use crate::printable;

const CONFIG: &str = "model_config.yaml";
const WEIGHTS: &str = "model_weights.ckpt";
/// Bytes of a block: each entry has a header of one, and is padded to whole ones.
const BLOCK: usize = 512;
/// A `.nemo` has a handful of entries.
const MOST_ENTRIES: usize = 10_000;
/// Configurations and extended headers take a few kilobytes.
const MOST_TEXT: usize = 1 << 20;
/// How many times its size a compressed archive may grow. Weights hardly shrink.
const MOST_GROWTH: u64 = 50;

/// What is read of `model_config.yaml`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NemoConfig {
    layers: Option<String>,
    heads: Option<String>,
    dim: Option<String>,
    eps: Option<String>,
    /// Whether the scale of embeddings by their masked tokens, ×0.88 without any, is switched off.
    no_token_dropout: bool,
}

/// The parts of a `.nemo`.
#[derive(Debug)]
pub(super) struct Nemo {
    /// The torch file inside it.
    pub(super) weights: WeightFile,
    pub(super) config: NemoConfig,
}

/// Whether a file is one by its name.
pub(super) fn is_nemo(path: &Path) -> bool {
    let end = path.extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("nemo"))
}

/// Opens the archive and finds its two files.
///
/// # Errors
/// The archive is damaged, has entries that no `.nemo` has, lacks a file, or holds another model.
pub(super) fn open(file: WeightFile) -> Result<Nemo, CheckpointError> {
    let file = match file.start() {
        [0x1f, 0x8b, ..] => inflated(file)?,
        _ => file,
    };
    if !foreign::is_tar(file.start()) {
        return Err(file.damaged("is not a tar archive, as .nemo files are"));
    }
    let (mut config, mut weights) = (None, None);
    let mut names = Vec::new();
    let mut entries = Entries { file: &file, at: 0 };
    while let Some(entry) = entries.next()? {
        if names.len() == MOST_ENTRIES {
            return Err(file.damaged(format!("holds more than {MOST_ENTRIES} entries")));
        }
        let place = match entry.name.as_str() {
            CONFIG => &mut config,
            WEIGHTS => &mut weights,
            _ => {
                names.push(entry.name);
                continue;
            }
        };
        if place.replace((entry.start, entry.length)).is_some() {
            let name = printable::name(&entry.name);
            return Err(file.damaged(format!("holds two entries named `{name}`")));
        }
    }
    let lacks = |name: &str| {
        let held = match names.as_slice() {
            [] => "nothing else".to_owned(),
            names => printable::list(names),
        };
        let of_ranks = names.iter().any(|name| name.ends_with(WEIGHTS));
        CheckpointError::NotWeights {
            path: file.path().to_path_buf(),
            found: format!("is a .nemo archive without `{name}`; it holds {held}"),
            remedy: match of_ranks {
                true => {
                    "its weights are in parts: merge them with NeMo's \
                         megatron_change_num_partitions.py (to 1 tensor and 1 pipeline partition)"
                }
                false => {
                    "use a .nemo of ESM2nv by BioNeMo 1, or the TransformerEngine export \
                          nvidia/esm2_*"
                }
            }
            .into(),
        }
    };
    let (start, length) = config.ok_or_else(|| lacks(CONFIG))?;
    if length > MOST_TEXT {
        return Err(file.damaged(format!("has a `{CONFIG}` of {}", bytes(length as u64))));
    }
    let text = file.read(start, length)?;
    let config = NemoConfig::parse(&String::from_utf8_lossy(&text)).map_err(|found| {
        CheckpointError::Unsupported {
            path: file.path().to_path_buf(),
            found,
        }
    })?;
    let (start, length) = weights.ok_or_else(|| lacks(WEIGHTS))?;
    if length == 0 {
        return Err(file.damaged(format!("has an empty `{WEIGHTS}`")));
    }
    let weights = file.part(start, length)?;
    Ok(Nemo { weights, config })
}

/// The archive in a temporary file without a name.
fn inflated(file: WeightFile) -> Result<WeightFile, CheckpointError> {
    let failed = |source| CheckpointError::Io {
        path: file.path().to_path_buf(),
        source,
    };
    let mut to = tempfile::tempfile().map_err(failed)?;
    let most = (file.length() as u64).saturating_mul(MOST_GROWTH);
    let mut from = flate2::read::MultiGzDecoder::new(file.reader()).take(most + 1);
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(file.damaged(format!("cannot be decompressed: {error}"))),
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        length += read as u64;
        to.write_all(bytes).map_err(failed)?;
    }
    if length > most {
        return Err(file.damaged(format!(
            "grows to more than {MOST_GROWTH} times its size, as no weights do"
        )));
    }
    drop(from);
    file.with_content(to, length)
}

/// A file in the archive.
struct Entry {
    /// Without a leading `./`.
    name: String,
    start: usize,
    length: usize,
}

/// The files of an archive, one after the other. The `tar` crate (0.4.46) does not do this in fewer lines: it
/// reads names of any length into memory and takes a missing end for the end, unless all of what is below is
/// done around its raw entries.
struct Entries<'a> {
    file: &'a WeightFile,
    at: usize,
}

impl Entries<'_> {
    /// The next file; directories are passed over.
    fn next(&mut self) -> Result<Option<Entry>, CheckpointError> {
        let (mut long_name, mut long_size) = (None, None);
        let file = self.file;
        loop {
            if self.at == self.file.length() {
                return Err(self.file.damaged("is a tar archive without its end"));
            }
            let header = self.file.read(self.at, BLOCK)?;
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let at = self.at;
            let damaged =
                |what: &str| file.damaged(format!("has a tar header at byte {at} {what}"));
            if !has_its_sum(&header) {
                return Err(damaged("without its checksum"));
            }
            let kind = header.get(156).copied().unwrap_or_default();
            let own = number(header.get(124..136).unwrap_or_default());
            let is_file = matches!(kind, 0 | b'0' | b'7');
            let length = match long_size {
                Some(size) if is_file => Some(size),
                _ => own,
            };
            let start = self.at + BLOCK;
            let end = length.and_then(|length| start.checked_add(length));
            let (Some(length), Some(end)) = (length, end) else {
                return Err(damaged("with a length that cannot be"));
            };
            if end > self.file.length() {
                return Err(self.file.damaged(format!(
                    "claims an entry of {}, past its end",
                    bytes(length as u64)
                )));
            }
            self.at = end
                .checked_next_multiple_of(BLOCK)
                .filter(|next| *next <= self.file.length())
                .unwrap_or(self.file.length());
            let text = || {
                if length > MOST_TEXT {
                    return Err(damaged("of a name that is too long"));
                }
                file.read(start, length)
            };
            match kind {
                b'x' => {
                    let (name, size) = extended(&text()?);
                    long_name = name.or(long_name);
                    long_size = size.or(long_size);
                    continue;
                }
                b'g' => continue,
                b'L' => {
                    long_name = Some(until_zero(&text()?));
                    continue;
                }
                _ => {}
            }
            let name = long_name.take().unwrap_or_else(|| short_name(&header));
            check_name(self.file, &name)?;
            match kind {
                b'5' => long_size = None,
                _ if is_file => {
                    let name = name.trim_start_matches("./").to_owned();
                    return Ok(Some(Entry {
                        name,
                        start,
                        length,
                    }));
                }
                _ => {
                    let what = match kind {
                        b'1' | b'2' => "a link",
                        _ => "neither a file nor a folder",
                    };
                    let name = printable::name(&name);
                    return Err(self
                        .file
                        .damaged(format!("holds `{name}`, which is {what}")));
                }
            }
        }
    }
}

/// Refuses names that lead out of the archive. No name is ever used as a path; a sound archive has none.
fn check_name(file: &WeightFile, name: &str) -> Result<(), CheckpointError> {
    let leads_out = name.starts_with('/') || name.split('/').any(|part| part == "..");
    match leads_out {
        true => Err(file.damaged(format!(
            "holds `{}`, a name that leads out of the archive",
            printable::name(name)
        ))),
        false => Ok(()),
    }
}

/// Whether a header has the sum of its bytes, for which the field of the sum counts as spaces.
fn has_its_sum(header: &[u8]) -> bool {
    let sum: usize = header
        .iter()
        .enumerate()
        .map(|(at, &byte)| match at {
            148..156 => usize::from(b' '),
            _ => usize::from(byte),
        })
        .sum();
    number(header.get(148..156).unwrap_or_default()) == Some(sum)
}

/// A number in octal digits; or, after a byte of 0x80, in base 256.
fn number(field: &[u8]) -> Option<usize> {
    if let [0x80, digits @ ..] = field {
        return digits.iter().try_fold(0usize, |number, &digit| {
            number.checked_mul(256)?.checked_add(digit.into())
        });
    }
    let text = str::from_utf8(field).ok()?;
    let text = text.trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).ok()
}

fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// Name and prefix of a header.
fn short_name(header: &[u8]) -> String {
    let name = until_zero(header.get(..100).unwrap_or_default());
    let prefix = until_zero(header.get(345..500).unwrap_or_default());
    match prefix.is_empty() {
        true => name,
        false => format!("{prefix}/{name}"),
    }
}

/// Path and size of an extended header, whose lines are `LENGTH KEY=VALUE`.
fn extended(text: &[u8]) -> (Option<String>, Option<usize>) {
    let text = String::from_utf8_lossy(text);
    let (mut name, mut size) = (None, None);
    for line in text.lines() {
        let pair = line
            .split_once(' ')
            .and_then(|(_, pair)| pair.split_once('='));
        match pair {
            Some(("path", value)) => name = Some(value.to_owned()),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
    }
    (name, size)
}

impl NemoConfig {
    /// Reads the settings at the top level, one a line: `hidden_size: 1280`. An error is a model that is
    /// not supported.
    fn parse(text: &str) -> Result<NemoConfig, String> {
        let value = |key: &str| {
            text.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix(':')?;
                let value = value.split(" #").next().unwrap_or_default();
                let value = value.trim().trim_matches(['"', '\'']);
                (!value.is_empty()).then(|| value.to_owned())
            })
        };
        let target = value("target").unwrap_or_default();
        let name = target.rsplit('.').next().unwrap_or_default();
        if name.to_ascii_lowercase().contains("esm1nv") {
            return Err("ESM-1nv, an earlier model of NVIDIA's with other positions,".into());
        }
        if !target.is_empty() && !name.to_ascii_lowercase().contains("esm2nv") {
            return Err(format!("the NeMo model `{}`", printable::name(name)));
        }
        if let Some(kind) = value("position_embedding_type").filter(|kind| kind != "rope") {
            let kind = printable::name(kind);
            return Err(format!("a NeMo model with the positions `{kind}`"));
        }
        let is_off = |key: &str| value(key).is_some_and(|text| text.eq_ignore_ascii_case("false"));
        for of_esm in ["use_esm_attention", "esm_gelu"] {
            if is_off(of_esm) {
                return Err(format!("a NeMo model with {of_esm} false"));
            }
        }
        Ok(NemoConfig {
            layers: value("num_layers"),
            heads: value("num_attention_heads"),
            dim: value("hidden_size"),
            eps: value("layernorm_epsilon"),
            no_token_dropout: is_off("embedding_token_dropout"),
        })
    }

    /// Checks the architecture of the tensors against the settings, and takes over what they do not show.
    ///
    /// # Errors
    /// They contradict each other.
    pub(super) fn complete(
        &self,
        config: &mut EsmConfig,
        path: &Path,
    ) -> Result<(), CheckpointError> {
        let all = [
            ("num_layers", &self.layers, config.layers),
            ("num_attention_heads", &self.heads, config.heads),
            ("hidden_size", &self.dim, config.dim),
        ];
        for (name, said, found) in all {
            let Some(said) = said else { continue };
            if said.parse() != Ok(found) {
                let said = printable::name(said);
                let found = format!("{name} is {said}, but the weights have {found}");
                return Err(contradiction(path, found));
            }
        }
        if self.no_token_dropout {
            config.token_dropout = false;
        }
        if let Some(eps) = &self.eps {
            let number = eps.parse().ok();
            config.layer_norm_eps = number.ok_or_else(|| {
                let eps = printable::name(eps);
                contradiction(path, format!("layernorm_epsilon is {eps}, not a number"))
            })?;
            config.check(path)?;
        }
        Ok(())
    }
}
