//! Values of flags: text → what it means, or what is wrong with it and what to write instead.

use esm_embed::admission::Long;
use esm_embed::checkpoint::TRAINING_MAXIMUM;
use esm_embed::device::{Cards, DeviceChoice, Dtype};
use esm_embed::hub::ModelRef;
use esm_embed::ops::CpuPath;
use esm_embed::output::{OutDtype, Pool, Residues};
use esm_embed::pipeline::{Layers, Shard};
use std::str::FromStr;

/// Residues that neighbouring windows share if nothing else is asked for.
const OVERLAP: usize = 256;

/// More parts than any scheduler has jobs for.
const MOST_SHARDS: usize = 100_000;

/// A model as typed, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelArg {
    /// As typed.
    pub text: String,
    /// A known name, a repository or a path.
    pub reference: ModelRef,
}

/// `--pool`: one of the pools, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PoolArg {
    /// Mean over the residues
    Mean,
    /// The `<cls>` row
    #[value(alias = "cls")]
    Bos,
    /// Largest value over the residues, column by column
    Max,
    /// No pooled rows
    None,
}

impl PoolArg {
    /// The pool; None for `none`.
    pub fn pool(self) -> Option<Pool> {
        match self {
            PoolArg::Mean => Some(Pool::Mean),
            PoolArg::Bos => Some(Pool::Bos),
            PoolArg::Max => Some(Pool::Max),
            PoolArg::None => None,
        }
    }
}

/// `--model`.
pub fn model(text: &str) -> Result<ModelArg, String> {
    let reference = ModelRef::parse(text).map_err(|error| error.to_string())?;
    Ok(ModelArg {
        text: text.to_owned(),
        reference,
    })
}

/// One part of `--layer`, between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerArg(pub Layers);

/// One part of `--layer`: `12`, `-1`, `3-5`, `all`, `last`.
pub fn layer(text: &str) -> Result<LayerArg, String> {
    let wrong = || {
        "a layer is a whole number: 0 for the embedding, 1, 2, … for the blocks, -1 or last for the \
         last one; several are written 0,12,-1 or 3-5, and all means every layer"
            .to_owned()
    };
    let number = |text: &str| match text.trim() {
        "last" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| wrong()),
    };
    let text = text.trim();
    // A sign at the start is that of a number.
    let dash = text.char_indices().skip(1).find(|&(_, c)| c == '-');
    let layers = match dash {
        _ if text == "all" => Layers::ALL,
        None => Layers::One(number(text)?),
        Some((at, _)) => {
            let (first, last) = text.split_at(at);
            let last = last.strip_prefix('-').unwrap_or(last);
            if first == "last" && !matches!(last, "last" | "-1") {
                return Err(format!("last is the highest layer: write {last}-last"));
            }
            match (number(first)?, number(last)?) {
                (first, last) if (0..first).contains(&last) => {
                    return Err(format!("write the lower layer first: {last}-{first}"));
                }
                (first, last) => Layers::Span(first, last),
            }
        }
    };
    Ok(LayerArg(layers))
}

/// `--residues`.
pub fn residues(text: &str) -> Result<Residues, String> {
    match text {
        "packed" => Ok(Residues::Packed),
        "files" => Ok(Residues::Files),
        "none" => Ok(Residues::None),
        _ => Err("write packed, files or none".to_owned()),
    }
}

/// `--dtype`.
pub fn dtype(text: &str) -> Result<Dtype, String> {
    match text {
        "f32" | "fp32" | "float32" => Ok(Dtype::F32),
        "f16" | "fp16" | "float16" | "half" => Ok(Dtype::F16),
        "bf16" | "bfloat16" => Ok(Dtype::Bf16),
        "tf32" => Ok(Dtype::Tf32),
        _ => Err("write f32, f16, bf16 or tf32".to_owned()),
    }
}

/// `--out-dtype`.
pub fn out_dtype(text: &str) -> Result<OutDtype, String> {
    match text {
        "f32" | "fp32" | "float32" => Ok(OutDtype::F32),
        "f16" | "fp16" | "float16" | "half" => Ok(OutDtype::F16),
        _ => Err("write f32 or f16".to_owned()),
    }
}

/// `--device`.
pub fn device(text: &str) -> Result<DeviceChoice, String> {
    let wrong = || "write auto, cpu, cuda, cuda:0, cuda:0,1 or all".to_owned();
    match (text, text.split_once(':')) {
        ("auto", _) => Ok(DeviceChoice::Auto),
        ("cpu", _) => Ok(DeviceChoice::Cpu),
        ("cuda" | "gpu", _) => Ok(DeviceChoice::Cuda(Cards::These(vec![0]))),
        ("all", _) => Ok(DeviceChoice::Cuda(Cards::All)),
        (_, Some(("cuda" | "gpu", numbers))) => {
            let numbers: Option<Vec<usize>> = numbers.split(',').map(count).collect();
            let mut numbers = numbers.ok_or_else(wrong)?;
            numbers.sort_unstable();
            numbers.dedup();
            Ok(DeviceChoice::Cuda(Cards::These(numbers)))
        }
        _ => Err(wrong()),
    }
}

/// `--cpu-path`.
pub fn cpu_path(text: &str) -> Result<CpuPath, String> {
    CpuPath::from_str(text)
}

/// `--long`.
pub fn long(text: &str) -> Result<Long, String> {
    let wrong = || {
        "write full, error, truncate, truncate:N, window, window:N or window:N:OVERLAP, with \
         numbers of residues"
            .to_owned()
    };
    let mut parts = text.split(':');
    let kind = parts.next().unwrap_or_default();
    let numbers: Vec<usize> = parts
        .map(|part| count(part).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    match (kind, numbers.as_slice()) {
        (_, [0, ..]) => {
            Err("a sequence keeps at least 1 residue: write a number from 1".to_owned())
        }
        ("full", []) => Ok(Long::Full),
        ("error", []) => Ok(Long::Error),
        ("truncate", []) => Ok(Long::Truncate(TRAINING_MAXIMUM)),
        ("truncate", &[size]) => Ok(Long::Truncate(size)),
        ("window", []) => Ok(window(TRAINING_MAXIMUM)),
        ("window", &[size]) => Ok(window(size)),
        ("window", &[size, overlap]) if overlap >= size => Err(format!(
            "windows of {size} residues cannot overlap by {overlap}: write an overlap from 0 to {}",
            size - 1
        )),
        ("window", &[size, overlap]) => Ok(Long::Window { size, overlap }),
        _ => Err(wrong()),
    }
}

/// `--shard`.
pub fn shard(text: &str) -> Result<Shard, String> {
    let wrong = || {
        format!(
            "write I/N, such as 2/8 for the second of eight parts: N from 1 to {MOST_SHARDS}, I \
             from 1 to N, or from 0 to N-1 with 0 for the last part"
        )
    };
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    let (number, of) = count(number).zip(count(of)).ok_or_else(wrong)?;
    if !(1..=MOST_SHARDS).contains(&of) || number > of {
        return Err(wrong());
    }
    Ok(Shard {
        number: if number == 0 { of } else { number } as u64,
        of: of as u64,
    })
}

/// Windows with the overlap that is usual for their size: 256 residues, or a quarter of a window
/// that is not longer than that.
fn window(size: usize) -> Long {
    let overlap = if size > OVERLAP { OVERLAP } else { size / 4 };
    Long::Window { size, overlap }
}

/// A number written with digits alone: no sign, no space.
fn count(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sequences() {
        assert_eq!(long("full"), Ok(Long::Full));
        assert_eq!(long("error"), Ok(Long::Error));
        assert_eq!(long("truncate"), Ok(Long::Truncate(1022)));
        assert_eq!(long("truncate:1"), Ok(Long::Truncate(1)));
        let window = |size, overlap| Ok(Long::Window { size, overlap });
        assert_eq!(long("window"), window(1022, 256));
        assert_eq!(long("window:257"), window(257, 256));
        assert_eq!(long("window:256"), window(256, 64));
        assert_eq!(long("window:1"), window(1, 0));
        assert_eq!(long("window:600:0"), window(600, 0));
        assert_eq!(long("window:600:599"), window(600, 599));
        assert_eq!(
            long("window:600:600"),
            Err(
                "windows of 600 residues cannot overlap by 600: write an overlap from 0 to 599"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_is_no_way_to_treat_long_sequences() {
        for text in [
            "",
            "Full",
            "full:3",
            "error:1",
            "truncate:",
            "truncate:0",
            "truncate:-1",
            "truncate:+1",
            "truncate:1:2",
            "window:0",
            "window:0:0",
            "window:5:",
            "window:5:1:1",
            "window: 5",
            "truncate:99999999999999999999999",
        ] {
            assert!(long(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices() {
        assert_eq!(device("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(device("cpu"), Ok(DeviceChoice::Cpu));
        let cuda = |numbers: &[usize]| Ok(DeviceChoice::Cuda(Cards::These(numbers.to_vec())));
        assert_eq!(device("cuda"), cuda(&[0]));
        assert_eq!(device("cuda:3"), cuda(&[3]));
        assert_eq!(device("gpu"), cuda(&[0]));
        assert_eq!(device("gpu:3"), cuda(&[3]));
        assert_eq!(device("cuda:3,0,3"), cuda(&[0, 3]));
        assert_eq!(device("all"), Ok(DeviceChoice::Cuda(Cards::All)));
        for text in [
            "", "GPU", "gpu:", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cuda:1:2",
            "cuda:0,", "all:1",
        ] {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn layers() {
        use Layers::{One, Span};
        for (text, expected) in [
            ("33", One(33)),
            ("-1", One(-1)),
            (" 0", One(0)),
            ("last", One(-1)),
            ("all", Span(0, -1)),
            ("0-last", Span(0, -1)),
            ("3-5", Span(3, 5)),
            ("7-7", Span(7, 7)),
            ("-3--1", Span(-3, -1)),
            ("2--2", Span(2, -2)),
            ("-3-last", Span(-3, -1)),
        ] {
            assert_eq!(layer(text), Ok(LayerArg(expected)), "{text}");
        }
        for text in [
            "",
            "1.5",
            "--pool",
            "1..3",
            "99999999999999999999",
            "5-3",
            "-",
            "3-",
            "all-3",
            "Last",
            "3-4-5",
            "0-9223372036854775808",
        ] {
            assert!(layer(text).is_err(), "{text}");
        }
        for (text, meant) in [("last-0", "0-last"), ("last--2", "-2-last")] {
            let answer = format!("last is the highest layer: write {meant}");
            assert_eq!(layer(text), Err(answer));
        }
        assert_eq!(
            layer("5-3"),
            Err("write the lower layer first: 3-5".to_owned())
        );
    }

    #[test]
    fn number_formats_have_the_names_of_other_tools() {
        for text in ["f32", "fp32", "float32"] {
            assert_eq!(dtype(text), Ok(Dtype::F32), "{text}");
            assert_eq!(out_dtype(text), Ok(OutDtype::F32), "{text}");
        }
        for text in ["f16", "fp16", "float16", "half"] {
            assert_eq!(dtype(text), Ok(Dtype::F16), "{text}");
            assert_eq!(out_dtype(text), Ok(OutDtype::F16), "{text}");
        }
        for text in ["bf16", "bfloat16"] {
            assert_eq!(dtype(text), Ok(Dtype::Bf16), "{text}");
            assert!(out_dtype(text).is_err(), "{text}");
        }
        for text in ["", "F32", "16", "float", "double", "int8"] {
            assert!(dtype(text).is_err(), "{text}");
        }
    }
}
