//! How variants are scored, and in which windows.

use crate::checkpoint::Positions;
use std::fmt;
use thiserror::Error;

/// How a variant is scored. `lp[i, a]` is the log-probability of residue a at position i.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Σ `lp[i, mutant] − lp[i, wild type]` over its mutations, in a copy of the protein whose residue
    /// i is `<mask>`.
    #[default]
    MaskedMarginals,
    /// The same in the protein as it is.
    WtMarginals,
    /// PLL(variant) − PLL(protein), where PLL is Σ `lp[i, residue i]` over all residues i of a
    /// sequence, each in a copy whose residue i is `<mask>`.
    Pll,
    /// The same with the sequence as it is.
    PllUnmasked,
}

impl Method {
    /// Whether residues are masked one by one.
    pub fn is_masked(self) -> bool {
        matches!(self, Method::MaskedMarginals | Method::Pll)
    }

    /// Whether it is a sum over all residues of a sequence.
    pub fn is_pll(self) -> bool {
        matches!(self, Method::Pll | Method::PllUnmasked)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::MaskedMarginals => "masked-marginals",
            Method::WtMarginals => "wt-marginals",
            Method::Pll => "pll",
            Method::PllUnmasked => "pll-unmasked",
        })
    }
}

/// What the model sees of a sequence of more than 1,022 residues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All of it.
    None,
    /// For each position, the window with most context on both sides.
    Optimal,
    /// Windows that overlap, whose log-probabilities are averaged.
    Overlapping,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Window::None => "none",
            Window::Optimal => "optimal",
            Window::Overlapping => "overlapping",
        })
    }
}

/// Windows and a method that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "overlapping windows average unmasked passes, but {method} masks each residue\n\
     hint: use `window=optimal`, or `method=wt-marginals`"
)]
pub struct NotTogether {
    method: Method,
}

impl Window {
    /// The windows of a method, as asked or by default: none for rotary models, which take any length,
    /// and ProteinGym's for learned positions.
    ///
    /// # Errors
    /// Overlapping windows for a method that masks.
    pub fn resolve(
        asked: Option<Window>,
        method: Method,
        positions: Positions,
    ) -> Result<Window, NotTogether> {
        match (asked, positions) {
            (Some(Window::Overlapping), _) if method.is_masked() => Err(NotTogether { method }),
            (Some(window), _) => Ok(window),
            (None, Positions::Rotary) => Ok(Window::None),
            (None, Positions::Learned { .. }) if method.is_masked() => Ok(Window::Optimal),
            (None, Positions::Learned { .. }) => Ok(Window::Overlapping),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_method_and_positions() {
        let learned = Positions::Learned { rows: 1026 };
        let default = |method, positions| Window::resolve(None, method, positions);
        for method in [Method::MaskedMarginals, Method::Pll] {
            assert_eq!(default(method, learned), Ok(Window::Optimal));
            assert_eq!(default(method, Positions::Rotary), Ok(Window::None));
            let refused = Window::resolve(Some(Window::Overlapping), method, learned);
            assert_eq!(refused, Err(NotTogether { method }));
        }
        for method in [Method::WtMarginals, Method::PllUnmasked] {
            assert_eq!(default(method, learned), Ok(Window::Overlapping));
            assert_eq!(
                Window::resolve(Some(Window::Optimal), method, learned),
                Ok(Window::Optimal)
            );
        }
    }
}
