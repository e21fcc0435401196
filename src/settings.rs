//! Texts of settings that the command line and Python share.

use crate::admission::{Gaps, Long};
use crate::checkpoint::TRAINING_MAXIMUM;
use crate::device::{DeviceChoice, Dtype, GpuChoice};
use crate::product::Pool;
use crate::tokenizer::UnknownPolicy;

/// A number in digits only: no sign, no space.
pub fn digits(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// `device`: `auto`, `cpu`, `cuda`, `cuda:0`, `cuda:0,1`, `all`.
///
/// # Errors
/// What is expected.
pub fn device(text: &str) -> Result<DeviceChoice, String> {
    let wrong = || "expected auto, cpu, cuda, cuda:0, cuda:0,1 or all".to_owned();
    match (text, text.split_once(':')) {
        ("auto", _) => Ok(DeviceChoice::Auto),
        ("cpu", _) => Ok(DeviceChoice::Cpu),
        ("cuda" | "gpu", _) => Ok(DeviceChoice::Cuda(GpuChoice::These(vec![0]))),
        ("all", _) => Ok(DeviceChoice::Cuda(GpuChoice::All)),
        (_, Some(("cuda" | "gpu", numbers))) => {
            let numbers: Option<Vec<usize>> = numbers.split(',').map(digits).collect();
            let mut numbers = numbers.ok_or_else(wrong)?;
            numbers.sort_unstable();
            numbers.dedup();
            Ok(DeviceChoice::Cuda(GpuChoice::These(numbers)))
        }
        _ => Err(wrong()),
    }
}

/// `dtype`: `f32`, `f16`, `bf16` or `tf32`, and the names that other tools have for them.
///
/// # Errors
/// What is expected.
pub fn dtype(text: &str) -> Result<Dtype, String> {
    match text {
        "f32" | "fp32" | "float32" => Ok(Dtype::F32),
        "f16" | "fp16" | "float16" | "half" => Ok(Dtype::F16),
        "bf16" | "bfloat16" => Ok(Dtype::Bf16),
        "tf32" => Ok(Dtype::Tf32),
        _ => Err("expected f32, f16, bf16 or tf32".to_owned()),
    }
}

/// `pool`: `mean`, `bos` or `max`; `cls` is another name for `bos`.
///
/// # Errors
/// What is expected.
pub fn pool(text: &str) -> Result<Pool, String> {
    let name = if text == "cls" { "bos" } else { text };
    let pool = Pool::ALL.into_iter().find(|pool| pool.name() == name);
    pool.ok_or_else(|| "expected mean, bos or max".to_owned())
}

/// `unknown`: `unk` or `error`.
///
/// # Errors
/// What is expected.
pub fn unknown(text: &str) -> Result<UnknownPolicy, String> {
    match text {
        "unk" => Ok(UnknownPolicy::Unk),
        "error" => Ok(UnknownPolicy::Error),
        _ => Err("expected unk or error".to_owned()),
    }
}

/// `gaps`: `keep` or `drop`.
///
/// # Errors
/// What is expected.
pub fn gaps(text: &str) -> Result<Gaps, String> {
    match text {
        "keep" => Ok(Gaps::Keep),
        "drop" => Ok(Gaps::Drop),
        _ => Err("expected keep or drop".to_owned()),
    }
}

/// Default overlap of neighbouring windows, in residues.
const OVERLAP: usize = 256;

/// `long`: `full`, `error`, `truncate[:N]`, `window[:N[:OVERLAP]]`.
///
/// # Errors
/// What is expected.
pub fn long(text: &str) -> Result<Long, String> {
    let wrong = || {
        "expected full, error, truncate, truncate:N, window, window:N or window:N:OVERLAP, where N \
         and OVERLAP are numbers of residues"
            .to_owned()
    };
    let mut parts = text.split(':');
    let kind = parts.next().unwrap_or_default();
    let numbers: Vec<usize> = parts
        .map(|part| digits(part).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    match (kind, numbers.as_slice()) {
        (_, [0, ..]) => Err("N must be at least 1 residue".to_owned()),
        ("full", []) => Ok(Long::Full),
        ("error", []) => Ok(Long::Error),
        ("truncate", []) => Ok(Long::Truncate(TRAINING_MAXIMUM)),
        ("truncate", &[size]) => Ok(Long::Truncate(size)),
        ("window", []) => Ok(window(TRAINING_MAXIMUM)),
        ("window", &[size]) => Ok(window(size)),
        ("window", &[size, overlap]) if overlap >= size => Err(format!(
            "windows of {size} residues cannot overlap by {overlap}: OVERLAP must be from 0 to {}",
            size - 1
        )),
        ("window", &[size, overlap]) => Ok(Long::Window { size, overlap }),
        _ => Err(wrong()),
    }
}

/// Windows with the default overlap: 256 residues, or a quarter of a window of at most 256.
fn window(size: usize) -> Long {
    let overlap = if size > OVERLAP { OVERLAP } else { size / 4 };
    Long::Window { size, overlap }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_messages_have() {
        for format in [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Tf32] {
            assert_eq!(dtype(format.name()), Ok(format));
        }
        for kind in Pool::ALL {
            assert_eq!(pool(kind.name()), Ok(kind));
        }
        assert_eq!(pool("cls"), Ok(Pool::Bos));
        assert_eq!(unknown("unk"), Ok(UnknownPolicy::Unk));
        assert_eq!(unknown("error"), Ok(UnknownPolicy::Error));
        for policy in [Gaps::Keep, Gaps::Drop] {
            assert_eq!(gaps(&policy.to_string()), Ok(policy));
        }
        assert_eq!(
            dtype("F32"),
            Err("expected f32, f16, bf16 or tf32".to_owned())
        );
        assert_eq!(pool("none"), Err("expected mean, bos or max".to_owned()));
        assert!(unknown("").is_err() && gaps("").is_err());
    }

    #[test]
    fn devices() {
        assert_eq!(device("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(device("cpu"), Ok(DeviceChoice::Cpu));
        let cuda = |numbers: &[usize]| Ok(DeviceChoice::Cuda(GpuChoice::These(numbers.to_vec())));
        assert_eq!(device("cuda"), cuda(&[0]));
        assert_eq!(device("cuda:3"), cuda(&[3]));
        assert_eq!(device("gpu"), cuda(&[0]));
        assert_eq!(device("gpu:3"), cuda(&[3]));
        assert_eq!(device("cuda:3,0,3"), cuda(&[0, 3]));
        assert_eq!(device("all"), Ok(DeviceChoice::Cuda(GpuChoice::All)));
        for text in [
            "", "GPU", "gpu:", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cuda:1:2",
            "cuda:0,", "all:1",
        ] {
            assert!(device(text).is_err(), "{text}");
        }
    }

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
                "windows of 600 residues cannot overlap by 600: OVERLAP must be from 0 to 599"
                    .to_owned()
            )
        );
    }

    #[test]
    fn other_values_are_refused() {
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
}
