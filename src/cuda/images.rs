//! The kernels that are built into the program: machine code for known kinds of GPUs, and PTX for newer
//! ones, which the driver compiles. `.ci/kernel_images.py` makes the file.

use super::error::CudaError;
use crate::sha256::sha256_of;
use std::sync::OnceLock;

/// A zstd stream: a line `NAME BYTES` for each image, an empty line, and the images.
const IMAGES: &[u8] = include_bytes!("images.zst");

/// The SHA-256 of the images of this build, in hexadecimal.
pub(super) fn digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| sha256_of(IMAGES))
}

/// An image and its name: `sm_90` is machine code for compute capability 9.0, and `compute_80` is PTX
/// for 8.0 and newer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The image for a compute capability.
///
/// # Errors
/// There is none.
pub(super) fn image(capability: (i32, i32)) -> Result<Image, CudaError> {
    let damaged = || CudaError::Images;
    let all = zstd::decode_all(IMAGES).map_err(|_| damaged())?;
    let all = parse(&all).ok_or_else(damaged)?;
    let name = {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        choose(&names, capability)
    };
    let found = all.into_iter().find(|(n, _)| Some(*n) == name);
    let (name, bytes) = found.ok_or_else(damaged)?;
    Ok(Image {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    })
}

/// The images by name.
fn parse(content: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let end = content.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, rest) = content.split_at_checked(end)?;
    let mut rest = rest.get(2..)?;
    let mut all = Vec::new();
    for line in std::str::from_utf8(head).ok()?.lines() {
        let (name, bytes) = line.split_once(' ')?;
        let image;
        (image, rest) = rest.split_at_checked(bytes.parse().ok()?)?;
        all.push((name, image));
    }
    rest.is_empty().then_some(all)
}

/// The image that a GPU runs: machine code for its major version and the highest minor version up to its
/// own, else the newest PTX that it can run.
fn choose<'a>(names: &[&'a str], capability: (i32, i32)) -> Option<&'a str> {
    let best = |prefix: &str, fits: &dyn Fn((i32, i32)) -> bool| {
        let all = names.iter().filter_map(|name| {
            let number: i32 = name.strip_prefix(prefix)?.parse().ok()?;
            let found = (number / 10, number % 10);
            fits(found).then_some((found, *name))
        });
        all.max().map(|(_, name)| name)
    };
    best("sm_", &|found| {
        found.0 == capability.0 && found.1 <= capability.1
    })
    .or_else(|| best("compute_", &|found| found <= capability))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_run_code_of_their_own_major_version_and_newer_ones_ptx() {
        let names = [
            "sm_75",
            "sm_80",
            "sm_86",
            "sm_89",
            "sm_90",
            "sm_100",
            "compute_80",
        ];
        for (capability, expected) in [
            ((8, 0), Some("sm_80")),
            ((8, 6), Some("sm_86")),
            ((8, 7), Some("sm_86")),
            ((8, 9), Some("sm_89")),
            ((9, 0), Some("sm_90")),
            ((10, 3), Some("sm_100")),
            ((11, 0), Some("compute_80")),
            ((7, 5), Some("sm_75")),
            ((7, 0), None),
        ] {
            assert_eq!(choose(&names, capability), expected, "{capability:?}");
        }
    }

    #[test]
    fn the_images_of_this_build() {
        let content = zstd::decode_all(IMAGES).unwrap();
        let names: Vec<&str> = parse(&content).unwrap().iter().map(|(n, _)| *n).collect();
        let expected = [
            "sm_75",
            "sm_80",
            "sm_86",
            "sm_89",
            "sm_90",
            "sm_100",
            "sm_120",
            "compute_80",
        ];
        assert_eq!(names, expected);
        for (capability, name) in [
            ((7, 5), "sm_75"),
            ((8, 6), "sm_86"),
            ((9, 0), "sm_90"),
            ((12, 1), "sm_120"),
        ] {
            let image = image(capability).unwrap();
            assert_eq!(image.name, name);
            assert!(image.bytes.starts_with(b"\x7fELF"), "{name}");
        }
        let ptx = image((13, 0)).unwrap();
        assert_eq!(ptx.name, "compute_80");
        // The driver reads up to the zero at its end.
        assert!(ptx.bytes.ends_with(b"\0"));
        assert!(String::from_utf8_lossy(&ptx.bytes).contains("\n.version 8.0\n.target sm_80\n"));
        assert!(matches!(image((7, 0)), Err(CudaError::Images)));
        assert_eq!(digest().len(), 64);
    }

    #[test]
    fn damaged_files_have_no_images() {
        let parsed = parse(b"sm_80 2\ncompute_80 1\n\nabc").unwrap();
        assert_eq!(parsed, [("sm_80", &b"ab"[..]), ("compute_80", &b"c"[..])]);
        for bad in [
            &b"sm_80 2\n\na"[..],
            b"sm_80 2\n\nabc",
            b"sm_80 x\n\nabc",
            b"sm_80\n\nabc",
            b"sm_80 2",
        ] {
            assert_eq!(parse(bad), None);
        }
    }
}
