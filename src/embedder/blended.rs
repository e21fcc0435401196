//! Long sequences: passes over windows, and their rows put together.

use super::{EmbedError, Embedder, Numbers, Representation, Sequence};
use crate::batching;
use crate::device::ResidueRows;
use crate::tokenizer::{CLS, EOS};
use crate::windows::Blend;

impl Embedder {
    pub(super) fn embed_windows<E: From<EmbedError>>(
        &self,
        index: usize,
        sequence: &Sequence<'_>,
        each: &mut impl FnMut(Representation<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let blended = match self.blend(sequence, Numbers::Own) {
            // One window in another number format would stand beside others: all of them have it.
            Ok(blended) if blended.mixed => self.blend(sequence, Numbers::Bf16),
            other => other,
        }
        .map_err(|error| error.of_sequence(index))?;
        for (layer, (blend, bos)) in blended.layers.into_iter().enumerate() {
            each(Representation {
                sequence: index,
                layer,
                bos: &bos,
                residues: &blend.finish(),
                halves: &[],
                mean: None,
                max: None,
                in_bf16: blended.in_bf16,
            })?;
        }
        Ok(())
    }

    /// Passes over the windows of a sequence.
    fn blend(&self, sequence: &Sequence<'_>, numbers: Numbers) -> Result<Blended, EmbedError> {
        let dim = self.config().dim;
        let length = sequence.tokens.len().saturating_sub(2);
        let in_bf16 = numbers == Numbers::Bf16;
        let mut blended = Blended {
            layers: Vec::new(),
            in_bf16,
            mixed: false,
        };
        blended
            .layers
            .resize_with(self.layers.len(), || (Blend::new(length, dim), Vec::new()));
        let pieces: Vec<Vec<u8>> = sequence
            .windows
            .iter()
            .map(|w| {
                let residues = sequence.tokens.get(w.start + 1..w.end + 1);
                let mut piece = vec![CLS];
                piece.extend_from_slice(residues.unwrap_or_default());
                piece.push(EOS);
                piece
            })
            .collect();
        // Windows of one sequence have one length: batches keep their order.
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        for group in batching::batches(&lengths, self.max_tokens, false) {
            let tokens: Vec<&[u8]> = group.iter().map(|&w| pieces[w].as_slice()).collect();
            self.run(
                &tokens,
                ResidueRows::F32,
                numbers,
                |i, layer, rows| -> Result<(), EmbedError> {
                    blended.mixed |= rows.in_bf16 && !in_bf16;
                    let (blend, bos) = &mut blended.layers[layer];
                    if bos.is_empty() {
                        *bos = rows.bos.to_vec();
                    }
                    let window = sequence.windows[group[i]].clone();
                    blend.add(window, rows.residues);
                    Ok(())
                },
            )?;
            if blended.mixed {
                break;
            }
        }
        Ok(blended)
    }
}

/// The windows of a sequence, put together.
struct Blended {
    /// For each layer, its residue rows and its `<cls>` row.
    layers: Vec<(Blend, Vec<f32>)>,
    /// Whether all of it was computed in bf16.
    in_bf16: bool,
    /// Whether some of it was, and the rest was not.
    mixed: bool,
}
