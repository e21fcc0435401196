//! The built-in model and its sequences. Each number is an integer times a power of two, so every
//! machine makes the same ones.

use crate::tokenizer::TokenId;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const LAYERS: usize = 2;
const HEADS: usize = 6;
const HEAD_DIM: usize = 24;
const DIM: usize = HEADS * HEAD_DIM;
const INTERMEDIATE: usize = 4 * DIM;
const TOKENS: usize = 33;

/// Tokens of the sequences, on both sides of the tiles and blocks of the kernels.
const LENGTHS: [usize; 5] = [3, 17, 66, 263, 530];

const CLS: TokenId = 0;
const EOS: TokenId = 2;
const MASK: TokenId = 32;
/// The first residue, and the number of residues from there.
const RESIDUES: (TokenId, u64) = (4, 25);

const CONFIG: &str = r#"{"model_type": "esm", "hidden_size": 144, "num_hidden_layers": 2,
    "num_attention_heads": 6, "intermediate_size": 576, "vocab_size": 33, "hidden_act": "gelu",
    "layer_norm_eps": 1e-05, "position_embedding_type": "rotary", "token_dropout": true,
    "emb_layer_norm_before": false, "mask_token_id": 32, "pad_token_id": 1,
    "max_position_embeddings": 1026}"#;

/// xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// From -2^-`bits` to 2^-`bits`: 22 bits and a sign.
    fn float(&mut self, bits: u32) -> f32 {
        let integer = (self.next() >> 9) as i32 - (1 << 22);
        let unit = 1.0 / (1u64 << (22 + bits)) as f32;
        integer as f32 * unit
    }
}

/// Names and bytes of the files of the checkpoint.
pub(super) fn files() -> [(&'static str, Vec<u8>); 2] {
    [
        ("config.json", CONFIG.into()),
        ("model.safetensors", weights()),
    ]
}

/// Token ids of the sequences.
pub(super) fn sequences() -> Vec<Vec<TokenId>> {
    let mut numbers = Numbers(2);
    let (first, count) = RESIDUES;
    let mut residue = |_| match numbers.next() {
        n if n.is_multiple_of(61) => MASK,
        n => first + (n % count) as TokenId,
    };
    LENGTHS
        .into_iter()
        .map(|tokens| {
            let residues: Vec<TokenId> = (2..tokens).map(&mut residue).collect();
            [&[CLS], &*residues, &[EOS]].concat()
        })
        .collect()
}

fn weights() -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], value: &mut dyn FnMut(usize) -> f32| {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        tensors.push((name, shape.to_vec(), bytes));
    };
    let embedding = "esm.embeddings.word_embeddings.weight".to_owned();
    add(embedding, &[TOKENS, DIM], &mut |_| 2.0 * numbers.float(0));
    let mut norms = vec!["esm.encoder.emb_layer_norm_after".to_owned()];
    for layer in 0..LAYERS {
        let block = format!("esm.encoder.layer.{layer}");
        norms.extend(["attention.LayerNorm", "LayerNorm"].map(|norm| format!("{block}.{norm}")));
        // Queries and keys are large, so that attention is far from uniform.
        for (name, [inputs, outputs], bits) in [
            ("attention.self.query", [DIM, DIM], 2),
            ("attention.self.key", [DIM, DIM], 2),
            ("attention.self.value", [DIM, DIM], 3),
            ("attention.output.dense", [DIM, DIM], 3),
            ("intermediate.dense", [DIM, INTERMEDIATE], 3),
            ("output.dense", [INTERMEDIATE, DIM], 4),
        ] {
            let mut value = |_| numbers.float(bits);
            add(
                format!("{block}.{name}.weight"),
                &[outputs, inputs],
                &mut value,
            );
            add(format!("{block}.{name}.bias"), &[outputs], &mut value);
        }
        let name = format!("{block}.attention.self.rotary_embeddings.inv_freq");
        add(name, &[HEAD_DIM / 2], &mut |i| 1.0 / (1u32 << i) as f32);
    }
    for norm in norms {
        let (weight, bias) = (format!("{norm}.weight"), format!("{norm}.bias"));
        add(weight, &[DIM], &mut |_| 1.0 + numbers.float(2));
        add(bias, &[DIM], &mut |_| numbers.float(2));
    }
    let views = tensors.iter().filter_map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?;
        Some((name, view))
    });
    // Names are different and shapes fit; otherwise the checkpoint would be refused.
    safetensors::serialize(views, None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_both_signs_and_more_bits_than_a_half() {
        let mut numbers = Numbers(1);
        let all: Vec<f32> = (0..1000).map(|_| numbers.float(2)).collect();
        assert!(all.iter().all(|x| x.abs() <= 0.25));
        let count = |is: fn(&f32) -> bool| all.iter().filter(|x| is(x)).count();
        assert!(count(|x| *x > 0.125) > 200 && count(|x| *x < -0.125) > 200);
        assert!(count(|x| half::f16::from_f32(*x).to_f32() == *x) < 20);
        assert_eq!(numbers.float(0).to_bits(), 0xbf1f_b0e8);
    }

    #[test]
    fn sequences_have_masks() {
        let all = sequences();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), LENGTHS);
        let masks = all.iter().flatten().filter(|token| **token == MASK).count();
        assert_eq!(masks, 11);
    }
}
