//! The outputs of all models as tensors.

use crate::product::{Pool, Product};
use crate::server::service::Answer;
use crate::server::wire::{self, F32};
use prost::bytes::Bytes;

/// What a model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The mean over the residues.
    Embeddings,
    /// A row for each residue, padded with zeros.
    Hiddens,
    /// Which rows are residues.
    Mask,
}

impl Output {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Output::Embeddings => "embeddings",
            Output::Hiddens => "hiddens",
            Output::Mask => "mask",
        }
    }

    /// The type of its elements.
    pub fn datatype(self) -> &'static str {
        match self {
            Output::Embeddings | Output::Hiddens => "FP32",
            Output::Mask => "BOOL",
        }
    }

    /// Its shape in metadata, for a model of width `dim`; -1 varies.
    pub fn sizes(self, dim: usize) -> Vec<i64> {
        let dim = i64::try_from(dim).unwrap_or(-1);
        match self {
            Output::Embeddings => vec![-1, dim],
            Output::Hiddens => vec![-1, -1, dim],
            Output::Mask => vec![-1, -1],
        }
    }

    fn element(self) -> usize {
        match self {
            Output::Embeddings | Output::Hiddens => F32,
            Output::Mask => 1,
        }
    }
}

/// An output with its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Which output it is.
    pub output: Output,
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, little-endian.
    pub data: Bytes,
}

/// The sequences of a request.
pub struct Batch {
    /// Residues of each.
    pub lengths: Vec<usize>,
    /// Width of a row.
    pub dim: usize,
    /// The layer of the rows.
    pub layer: usize,
}

impl Batch {
    /// Bytes of outputs together.
    pub fn bytes(&self, outputs: &[Output]) -> u64 {
        let bytes = outputs.iter().map(|output| {
            let sizes = self.shape(*output);
            let sizes = sizes.iter().map(|&size| size as u64);
            sizes.fold(output.element() as u64, u64::saturating_mul)
        });
        bytes.fold(0, u64::saturating_add)
    }

    fn shape(&self, output: Output) -> Vec<usize> {
        let (sequences, longest) = (self.lengths.len(), self.longest());
        match output {
            Output::Embeddings => vec![sequences, self.dim],
            Output::Hiddens => vec![sequences, longest, self.dim],
            Output::Mask => vec![sequences, longest],
        }
    }

    fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// An output of all sequences. Their answers are not needed for the mask.
    pub fn tensor(&self, output: Output, answers: &[Answer]) -> Tensor {
        let layer = self.layer;
        let shape = self.shape(output);
        let elements: usize = shape.iter().product();
        let mut data = vec![0; elements * output.element()];
        let of_each = data.len().checked_div(self.lengths.len()).unwrap_or(0);
        let parts = data.chunks_exact_mut(of_each.max(1));
        match output {
            Output::Mask => {
                for (part, length) in parts.zip(&self.lengths) {
                    part.iter_mut()
                        .take(*length)
                        .for_each(|is_residue| *is_residue = 1);
                }
            }
            Output::Embeddings | Output::Hiddens => {
                let product = match output {
                    Output::Embeddings => Product::Pooled {
                        layer,
                        pool: Pool::Mean,
                    },
                    _ => Product::Residues { layer },
                };
                for (part, answer) in parts.zip(answers) {
                    wire::write(answer.values(product), part);
                }
            }
        }
        Tensor {
            output,
            shape,
            data: data.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_mask_of_sequences_of_several_lengths() {
        let batch = Batch {
            lengths: vec![2, 3],
            dim: 4,
            layer: 1,
        };
        let all = [Output::Embeddings, Output::Hiddens, Output::Mask];
        assert_eq!(batch.bytes(&all), 4 * (2 * 4 + 2 * 3 * 4) + 2 * 3);
        assert_eq!(
            batch.tensor(Output::Mask, &[]),
            Tensor {
                output: Output::Mask,
                shape: vec![2, 3],
                data: Bytes::from_static(&[1, 1, 0, 1, 1, 1]),
            }
        );
        let huge = Batch {
            lengths: vec![usize::MAX, 1],
            dim: usize::MAX,
            layer: 1,
        };
        assert_eq!(huge.bytes(&all), u64::MAX);
    }
}
