//! From the attention maps of a pass to the products that a request names.

use super::engine::{Computed, Out};
use crate::model::{AttentionMap, ContactHead, ContactSums, Packed};
use crate::ops::Team;
use crate::product::{MapHeads, Product, Request, Values};
use std::ops::ControlFlow;

/// What a pass keeps of its attention maps.
pub(super) struct MapProducts<'a> {
    request: &'a Request,
    /// Heads of a block.
    heads: usize,
    team: Team<'a>,
    contacts: Option<Contacts<'a>>,
    /// The sum over the heads of a block so far, where the mean is wanted.
    sum: Vec<f32>,
}

struct Contacts<'a> {
    head: &'a ContactHead,
    /// One for each sequence.
    sums: Vec<ContactSums>,
}

impl<'a> MapProducts<'a> {
    /// For a pass over `batch`; `head` is needed for contacts.
    pub(super) fn new(
        request: &'a Request,
        batch: &Packed,
        heads: usize,
        head: Option<&'a ContactHead>,
        team: Team<'a>,
    ) -> MapProducts<'a> {
        let head = head.filter(|_| request.has(Product::Contacts));
        MapProducts {
            request,
            heads,
            team,
            contacts: head.map(|head| Contacts {
                head,
                sums: batch
                    .ranges()
                    .map(|range| ContactSums::new(range.len().saturating_sub(2)))
                    .collect(),
            }),
            sum: Vec::new(),
        }
    }

    fn has_attentions(&self, block: usize) -> bool {
        self.request.has(Product::Attentions) && self.request.maps().layers.contains(&block)
    }

    /// Whether a map is needed.
    pub(super) fn wants(&self, block: usize, head: usize) -> bool {
        let contacts = self.contacts.as_ref();
        self.has_attentions(block) || contacts.is_some_and(|all| all.head.needs(block, head))
    }

    /// Takes the next map.
    pub(super) fn take(&mut self, map: AttentionMap<'_>, out: Out<'_>) -> ControlFlow<()> {
        let AttentionMap {
            sequence,
            block,
            head,
            probabilities,
        } = map;
        if let Some(Contacts { head: of, sums }) = &mut self.contacts
            && of.needs(block, head)
            && let Some(sums) = sums.get_mut(sequence)
        {
            sums.add(of.weight(block, head), probabilities, self.team);
        }
        if !self.has_attentions(block) {
            return ControlFlow::Continue(());
        }
        let values = match self.request.maps().heads {
            MapHeads::All => probabilities,
            MapHeads::Mean => {
                self.add_to_mean(head, probabilities);
                if head + 1 < self.heads {
                    return ControlFlow::Continue(());
                }
                &self.sum
            }
        };
        out(Computed {
            sequence,
            product: Product::Attentions,
            values: Values::F32(values),
            fallback: None,
        })
    }

    /// Adds the map of a head to the sum, which becomes the mean with the last of them.
    fn add_to_mean(&mut self, head: usize, map: &[f32]) {
        match head {
            0 => self.sum = map.to_vec(),
            _ => {
                for (sum, p) in self.sum.iter_mut().zip(map) {
                    *sum += p;
                }
            }
        }
        if head + 1 == self.heads {
            let heads = self.heads as f32;
            self.sum.iter_mut().for_each(|sum| *sum /= heads);
        }
    }

    /// Hands over what all maps are needed for.
    pub(super) fn finish(self, out: Out<'_>) -> ControlFlow<()> {
        let Some(Contacts { head, sums }) = self.contacts else {
            return ControlFlow::Continue(());
        };
        for (sequence, sums) in sums.into_iter().enumerate() {
            out(Computed {
                sequence,
                product: Product::Contacts,
                values: Values::F32(&sums.finish(head.bias(), self.team)),
                fallback: None,
            })?;
        }
        ControlFlow::Continue(())
    }
}
