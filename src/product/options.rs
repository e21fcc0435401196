//! How rows are pooled, how numbers are stored, and where residue rows go.

use serde::{Deserialize, Serialize};

/// How the residue rows of one record become a single row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Mean over the residues.
    Mean,
    /// The `<cls>` row.
    Bos,
    /// Largest value over the residues, feature by feature.
    Max,
}

impl Pool {
    /// Every pool, in the order of their names in `run.json`.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Bos, Self::Max];

    /// The first part of the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Bos => "bos",
            Self::Max => "max",
        }
    }
}

/// How a number is stored in the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutDtype {
    /// 32 bits, little-endian.
    #[default]
    F32,
    /// 16 bits (IEEE half precision), little-endian.
    F16,
}

impl OutDtype {
    /// Its name in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// NumPy's name of the type.
    pub fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F16 => "<f2",
        }
    }
}

/// Where residue rows go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residues {
    /// One matrix per layer, records one after the other.
    #[default]
    Packed,
    /// One file per record and layer.
    Files,
    /// Nowhere.
    None,
}

impl Residues {
    /// Its name in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Files => "files",
            Self::None => "none",
        }
    }
}
