//! `--device`.

use super::digits;
use esm_embed::device::{DeviceChoice, GpuChoice};

/// `auto`, `cpu`, `cuda`, `cuda:0`, `cuda:0,1`, `all`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
