//! Random numbers, and numbers as bytes.

use half::{bf16, f16};
use std::time::SystemTime;

/// A number format of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    F16,
    Bf16,
    F32,
}

impl Format {
    pub const ALL: [Format; 3] = [Format::F16, Format::Bf16, Format::F32];

    pub fn name(self) -> &'static str {
        match self {
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::F32 => "f32",
        }
    }

    /// Half the relative distance between neighbouring numbers, plus a little for the f32 arithmetic.
    pub fn rounding(self) -> f64 {
        match self {
            Format::F16 => 1.01 / 2048.0,
            Format::Bf16 => 1.01 / 256.0,
            Format::F32 => 4.0e-7,
        }
    }

    pub fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Format::F16 => values
                .iter()
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
            Format::Bf16 => values
                .iter()
                .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
                .collect(),
            Format::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            Format::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Format::Bf16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Format::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|b| f32::from_le_bytes(*b)).collect()
            }
        }
    }

    /// The values rounded to the format.
    pub fn rounded(self, values: &[f32]) -> Vec<f32> {
        self.values(&self.bytes(values))
    }
}

/// Whole numbers as bytes.
pub fn ints(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// Content that a kernel must overwrite: NaN in every format.
pub fn poison(format: Format, count: usize) -> Vec<u8> {
    format.bytes(&vec![f32::NAN; count])
}

/// Random numbers from a seed (splitmix64).
pub struct Random(u64);

impl Random {
    /// With a new seed, which is printed, or with `ESM_EMBED_SEED`.
    pub fn fresh() -> Random {
        let seed = match std::env::var("ESM_EMBED_SEED") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                now.unwrap().as_nanos() as u64
            }
        };
        println!("ESM_EMBED_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from` … `to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + (self.next() % (to - from + 1) as u64) as usize
    }

    /// Approximately normal: mean 0, standard deviation `size`.
    pub fn normal(&mut self, size: f32) -> f32 {
        let sum: f64 = (0..12)
            .map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64)
            .sum();
        (sum - 6.0) as f32 * size
    }

    pub fn normals(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal(size)).collect()
    }
}

/// Fails unless every value is within its bound of the reference.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(
            error <= bound(i),
            "{what}, number {i}: {found} instead of {expected}, {error:.3e} off, {:.3e} allowed",
            bound(i)
        );
    }
}
