//! The inverse frequencies of rotary position embeddings.

/// Where inverse frequencies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvFreqSource {
    /// The checkpoint holds them. Published ones were rounded to float16, and the model was trained or
    /// converted with exactly these.
    Stored,
    /// The checkpoint holds none; they were computed.
    Computed,
}

impl std::fmt::Display for InvFreqSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::Computed => "computed",
        })
    }
}

/// The inverse frequencies of one layer: half the head width of them.
#[derive(Clone, Debug, PartialEq)]
pub struct InvFreq {
    /// Radians per token.
    pub values: Vec<f32>,
    /// Read or computed.
    pub source: InvFreqSource,
}

impl InvFreq {
    /// 1 / theta^(2i/d) with the exponent, the power and the quotient each rounded to `f32`, as
    /// fair-esm and transformers compute it.
    pub(super) fn computed(head_dim: usize, theta: f64) -> Self {
        let frequency = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / libm::pow(theta, f64::from(exponent)) as f32
        };
        Self {
            values: (0..head_dim / 2).map(frequency).collect(),
            source: InvFreqSource::Computed,
        }
    }
}
