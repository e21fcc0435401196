//! Files of adapters, `.nemo` and each layout of ESM C with bytes changed, taken out, repeated or put in, or
//! cut: each opens or is refused in a short sentence, and takes little memory. `tests/fuzz` does the same for
//! longer.

use std::fs;
use std::path::Path;

use esm_embed::checkpoint::{Additions, Checkpoint};

use crate::hostile::bounded;
use crate::nemo;
use crate::support::{archive, copy, entries, fixture, header_length, open, written};

/// The part of a file that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// The header of a safetensors file, whose length is corrected.
    Header,
    /// The pickle of a torch file, whose checksum is corrected.
    Pickle,
    /// The configuration in a `.nemo`.
    NemoConfig,
    /// The header of the weights in a `.nemo`, whose checksum is corrected.
    NemoHeader,
    /// The pickle of the weights in a `.nemo`, likewise.
    NemoPickle,
}

/// A folder of fixtures, its changed file, the part, and the base if it is an adapter.
const CASES: [(&str, &str, Part, Option<&str>); 15] = [
    (
        "adapters/lora",
        "adapter_config.json",
        Part::Whole,
        Some("esm2_hd16"),
    ),
    (
        "adapters/esm_c",
        "adapter_config.json",
        Part::Whole,
        Some("esmc_1x64_sdk"),
    ),
    (
        "adapters/lora",
        "adapter_model.safetensors",
        Part::Header,
        Some("esm2_hd16"),
    ),
    (
        "adapters/esm_c",
        "adapter_model.safetensors",
        Part::Header,
        Some("esmc_1x64"),
    ),
    (
        "adapters/rslora_bin",
        "adapter_model.bin",
        Part::Pickle,
        Some("esm2_hd16"),
    ),
    ("nemo", "esm2_hd16.nemo", Part::NemoConfig, None),
    ("nemo", "esm2_hd16.nemo", Part::NemoHeader, None),
    ("nemo", "esm2_hd16.nemo", Part::NemoPickle, None),
    ("esmc_1x64", "config.json", Part::Whole, None),
    ("esmc_1x64", "model.safetensors", Part::Header, None),
    ("esmc_1x64_research", "config.json", Part::Whole, None),
    (
        "esmc_1x64_research",
        "model.safetensors.index.json",
        Part::Whole,
        None,
    ),
    (
        "esmc_1x64_research",
        "model-00002-of-00003.safetensors",
        Part::Header,
        None,
    ),
    (
        "esmc_1x64_plusplus",
        "model.safetensors",
        Part::Header,
        None,
    ),
    (
        "esmc_1x64_sdk/data/weights",
        "esmc_tiny_2024_12_v0.pth",
        Part::Pickle,
        None,
    ),
];

/// The sound part of a file.
fn sound(file: &Path, part: Part) -> Vec<u8> {
    let pickle = |file: &Path| {
        let mut entries = entries(file).into_iter();
        entries
            .find(|(name, _)| name.ends_with("data.pkl"))
            .unwrap()
            .1
    };
    match part {
        Part::Whole => fs::read(file).unwrap(),
        Part::Header => {
            let bytes = fs::read(file).unwrap();
            bytes[8..8 + header_length(&bytes)].to_vec()
        }
        Part::Pickle => pickle(file),
        Part::NemoConfig => nemo::part("model_config.yaml"),
        Part::NemoHeader => nemo::sound()[1][..512].to_vec(),
        Part::NemoPickle => {
            let (_folder, weights) = written("w.ckpt", &nemo::part("model_weights.ckpt"));
            pickle(&weights)
        }
    }
}

/// The file with another part.
fn with(file: &Path, part: Part, new: Vec<u8>) -> Vec<u8> {
    let pickled = |file: &Path| {
        let mut entries = entries(file);
        let pickle = entries
            .iter_mut()
            .find(|(name, _)| name.ends_with("data.pkl"));
        pickle.unwrap().1.clone_from(&new);
        archive(&entries)
    };
    let [config, weights] = nemo::sound();
    match part {
        Part::Whole => new,
        Part::Header => {
            let bytes = fs::read(file).unwrap();
            let body = &bytes[8 + header_length(&bytes)..];
            [&(new.len() as u64).to_le_bytes(), new.as_slice(), body].concat()
        }
        Part::Pickle => pickled(file),
        Part::NemoConfig => nemo::tar(&[nemo::entry("model_config.yaml", b'0', &new), weights]),
        Part::NemoHeader => {
            let mut header = new;
            header.resize(512, 0);
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            nemo::tar(&[config, [&header, &weights[512..]].concat()])
        }
        Part::NemoPickle => {
            let (_folder, file) = written("w.ckpt", &nemo::part("model_weights.ckpt"));
            nemo::tar(&[
                config,
                nemo::entry("model_weights.ckpt", b'0', &pickled(&file)),
            ])
        }
    }
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What hostile files say.
const WORDS: [&str; 12] = [
    "18446744073709551615",
    "9223372036854775807",
    "99999999999999999999999",
    "1e999",
    "-1",
    "0",
    "null",
    "[]",
    "{}",
    "../",
    "\u{1b}[31m",
    "777777777777",
];

/// The bytes with some of them changed, taken out, repeated or put in.
fn mutated(sound: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len());
        let length = chance.below(24).min(bytes.len() - at);
        match chance.below(7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part.repeat(1 + chance.below(20)));
            }
            4 => {
                // A number becomes another.
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                if let Some(start) = bytes[at..].iter().position(is_digit) {
                    let rest = bytes[at + start..].iter();
                    let end = at + start + rest.take_while(|byte| is_digit(byte)).count();
                    let word = WORDS[chance.below(WORDS.len())].bytes();
                    bytes.splice(at + start..end, word);
                }
            }
            5 => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].bytes())),
            _ => {
                let new: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
                bytes.splice(at..at + length, new);
            }
        }
    }
    bytes
}

#[test]
fn a_mutated_file_opens_or_is_refused_in_a_sentence() {
    let mut chance = Chance(20);
    for (from, name, part, base) in CASES {
        let folder = copy(from);
        let file = folder.path().join(name);
        let path = match name.ends_with("json") || name.ends_with("safetensors") || base.is_some() {
            true => folder.path(),
            false => &file,
        };
        let open_it = || match base {
            None => Checkpoint::open(path),
            Some(base) => {
                let adapter = Some(path);
                Checkpoint::open_with(
                    &fixture(base),
                    Additions {
                        adapter,
                        ..Additions::default()
                    },
                )
            }
        };
        let original = fixture(from).join(name);
        let seed = sound(&original, part);
        fs::write(&file, with(&original, part, seed.clone())).unwrap();
        open_it().unwrap_or_else(|error| panic!("{from} {name} {part:?}: {error}"));
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..200 {
            let new = mutated(&seed, &mut chance);
            fs::write(&file, with(&original, part, new)).unwrap();
            match bounded(open_it) {
                Ok(checkpoint) => {
                    opened += 1;
                    let _ = checkpoint.check_finite(|_| true);
                    let _ = checkpoint.lm_head();
                }
                Err(_) => refused += 1,
            }
        }
        assert!(
            refused >= 20,
            "{from} {name} {part:?}: {opened} were opened"
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for (from, name, base) in [
        ("adapters/lora", "adapter_config.json", Some("esm2_hd16")),
        (
            "adapters/lora",
            "adapter_model.safetensors",
            Some("esm2_hd16"),
        ),
        (
            "adapters/rslora_bin",
            "adapter_model.bin",
            Some("esm2_hd16"),
        ),
        ("nemo", "esm2_hd16.nemo", None),
        ("esmc_1x64", "model.safetensors", None),
        ("esmc_1x64_plusplus", "model.safetensors", None),
        (
            "esmc_1x64_research",
            "model-00003-of-00003.safetensors",
            None,
        ),
    ] {
        let folder = copy(from);
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // JSON may end in white space; a tar archive ends in zeros.
        let is_needed = |byte: &u8| *byte != 0 && !byte.is_ascii_whitespace();
        let last = bytes.iter().rposition(is_needed).unwrap() as u64;
        for cut in (0..60).map(|step| last * step / 59).rev() {
            file.set_len(cut).unwrap();
            let opened = bounded(|| match base {
                None => Checkpoint::open(folder.path()),
                Some(base) => {
                    let adapter = Some(folder.path());
                    Checkpoint::open_with(
                        &fixture(base),
                        Additions {
                            adapter,
                            ..Additions::default()
                        },
                    )
                }
            });
            let found = opened
                .err()
                .unwrap_or_else(|| panic!("{name} cut at {cut} opened"));
            assert!(found.contains(name), "{name} cut at {cut}: {found}");
        }
    }
}

/// A torch file with NaN as the first number of its largest storage.
fn with_nan(file: &Path) -> Vec<u8> {
    let mut entries = entries(file);
    let storages = entries
        .iter_mut()
        .filter(|(name, _)| name.contains("/data/"));
    let (_, bytes) = storages.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    // In float32 and in float16.
    bytes[..4].copy_from_slice(&[0, 0x7e, 0xff, 0x7f]);
    archive(&entries)
}

#[test]
fn numbers_that_are_not_finite_name_tensor_and_file() {
    let (_ckpt, weights) = written("w.ckpt", &nemo::part("model_weights.ckpt"));
    let [config, _] = nemo::sound();
    let weights = nemo::entry("model_weights.ckpt", b'0', &with_nan(&weights));
    let (_nemo, nemo) = written("m.nemo", &nemo::tar(&[config, weights]));
    let sdk = fixture("esmc_1x64_sdk/data/weights/esmc_tiny_2024_12_v0.pth");
    let (_sdk, sdk) = written("esmc.pth", &with_nan(&sdk));
    for (path, file, tensor) in [
        (nemo, "m.nemo", "model.language_model."),
        (sdk, "esmc.pth", "transformer.blocks."),
    ] {
        let found = open(&path).check_finite(|_| true).unwrap_err().to_string();
        assert!(
            found.contains(&format!("{file}: the tensor `{tensor}")),
            "{found}"
        );
        assert!(found.contains(" holds NaN at row "), "{found}");
    }
}
