//! The kernels in the order of the forward pass, with the test's own matrix products between them,
//! against fair-esm's numbers for a small checkpoint.

use super::host::{Kernels, Launch};
use super::numbers::{Format, ints, poison};
use crate::common::fixture;
use esm_embed::checkpoint::{Checkpoint, Positions};
use esm_embed::tokenizer::TokenId;
use safetensors::SafeTensors;

/// The kernels that are compiled for widths up to 512.
const NORM: &str = "add_norm_f16_1";
const FINAL: &str = "final_norm_f16_1";

struct Model {
    kernels: Kernels,
    checkpoint: Checkpoint,
    format: Format,
}

impl Model {
    fn values(&self, name: &str) -> Vec<f32> {
        self.checkpoint.weight(name).unwrap().to_vec().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        Format::F32.bytes(&self.values(name))
    }

    /// x Wᵀ, summed in f64 from numbers rounded to the format.
    fn product(&self, x: &[u8], names: &[String]) -> Vec<u8> {
        let x = self.format.values(x);
        let weights: Vec<(usize, Vec<f32>)> = names
            .iter()
            .map(|name| {
                let name = format!("{name}.weight");
                let columns = self.checkpoint.weight(&name).unwrap().shape()[1];
                (columns, self.format.rounded(&self.values(&name)))
            })
            .collect();
        let mut y = Vec::new();
        for row in x.chunks_exact(weights[0].0) {
            for (columns, weight) in &weights {
                for output in weight.chunks_exact(*columns) {
                    let pairs = row.iter().zip(output);
                    let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    y.push(sum as f32);
                }
            }
        }
        self.format.bytes(&y)
    }

    /// Means, first rows and residue rows of the last representation.
    fn forward(&self, sequences: &[Vec<TokenId>]) -> [Vec<f32>; 3] {
        let config = self.checkpoint.config();
        let (dim, heads, head_dim) = (config.dim, config.heads, config.head_dim());
        let (kernels, format) = (self.kernels, self.format);
        let name = |kernel: &str| kernel.replace("f16", format.name());
        let tokens = sequences.concat();
        let count = tokens.len();
        let rows = Launch::rows(count);
        let (mut starts, mut positions, mut places, mut tiles) = (vec![0], vec![], vec![], vec![]);
        let mut residues = 0;
        for sequence in sequences {
            let start = starts[starts.len() - 1];
            for position in 0..sequence.len() {
                positions.push(position as i32);
                let is_residue = position > 0 && position + 1 < sequence.len();
                places.push(if is_residue { residues } else { -1 });
                residues += i32::from(is_residue);
            }
            for first in (0..sequence.len()).step_by(64) {
                tiles.extend([start, sequence.len() as i32, first as i32, 0]);
            }
            starts.push(start + sequence.len() as i32);
        }
        let scales = Format::F32.bytes(&vec![0.88; count]);
        let places_of_learned = match config.positions {
            Positions::Rotary => vec![],
            Positions::Learned { .. } => self.bytes("embed_positions.weight"),
        };
        let done = kernels.run(
            "embed",
            rows,
            &[dim as f64],
            &[
                poison(Format::F32, count * dim),
                self.bytes("embed_tokens.weight"),
                places_of_learned,
                tokens
                    .iter()
                    .flat_map(|token| token.to_le_bytes())
                    .collect(),
                scales,
                ints(positions.clone()),
            ],
        );
        let mut x = done[0].clone();
        let norm = |kernel: &str, x: &[u8], y: Vec<u8>, y_bias: Vec<u8>, norm: &str| {
            let done = kernels.run(
                &name(kernel),
                rows,
                &[dim as f64, f64::from(config.layer_norm_eps)],
                &[
                    x.to_vec(),
                    y,
                    y_bias,
                    self.bytes(&format!("{norm}.weight")),
                    self.bytes(&format!("{norm}.bias")),
                    poison(format, count * dim),
                ],
            );
            (done[0].clone(), done[5].clone())
        };
        if config.emb_layer_norm_before {
            x = norm(FINAL, &x, vec![], vec![], "emb_layer_norm_before").0;
        }
        let mut h = norm(NORM, &x, vec![], vec![], "layers.0.self_attn_layer_norm").1;
        for layer in 0..config.layers {
            let part = |part: &str| format!("layers.{layer}.{part}");
            let qkv = ["q", "k", "v"].map(|p| part(&format!("self_attn.{p}_proj")));
            let bias: Vec<u8> = qkv
                .iter()
                .flat_map(|n| self.bytes(&format!("{n}.bias")))
                .collect();
            let (mut cosines, mut sines) = (Vec::new(), Vec::new());
            if config.positions == Positions::Rotary {
                let frequencies = self.checkpoint.inv_freq(layer).unwrap().values;
                for position in 0..count {
                    let angles = frequencies.iter().map(|f| f64::from(position as f32 * f));
                    cosines.extend(angles.clone().map(|a| a.cos() as f32));
                    sines.extend(angles.map(|a| a.sin() as f32));
                }
            }
            let rotated = kernels.run(
                &name("bias_rotary_f16"),
                rows,
                &[
                    (head_dim as f64).powf(-0.5),
                    dim as f64,
                    (head_dim / 2) as f64,
                ],
                &[
                    self.product(&h, &qkv),
                    bias.clone(),
                    Format::F32.bytes(&cosines),
                    Format::F32.bytes(&sines),
                    ints(positions.clone()),
                ],
            );
            let attended = kernels.run(
                &format!("attention_{}_{head_dim}", format.name()),
                Launch {
                    grid: [tiles.len() / 4, heads],
                    shared: kernels.attention_shared(format, head_dim),
                },
                &[dim as f64],
                &[
                    poison(format, count * dim),
                    rotated[0].clone(),
                    bias,
                    ints(tiles.clone()),
                ],
            );
            let y = self.product(&attended[0], &[part("self_attn.out_proj")]);
            let bias = self.bytes(&part("self_attn.out_proj.bias"));
            (x, h) = norm(NORM, &x, y, bias, &part("final_layer_norm"));
            let inside = self.product(&h, &[part("fc1")]);
            let activated = kernels.run(
                &name("bias_gelu_f16"),
                rows,
                &[config.intermediate as f64],
                &[inside, self.bytes(&part("fc1.bias"))],
            );
            let y = self.product(&activated[0], &[part("fc2")]);
            let bias = self.bytes(&part("fc2.bias"));
            if layer + 1 == config.layers {
                x = norm(FINAL, &x, y, bias, "emb_layer_norm_after").0;
            } else {
                let next = format!("layers.{}.self_attn_layer_norm", layer + 1);
                (x, h) = norm(NORM, &x, y, bias, &next);
            }
        }
        let pooled = kernels.run(
            "pool",
            Launch {
                grid: [sequences.len(), dim.div_ceil(128)],
                shared: 0,
            },
            &[dim as f64],
            &[
                poison(Format::F32, sequences.len() * dim),
                vec![],
                poison(Format::F32, sequences.len() * dim),
                ints(sequences.iter().map(|_| 0)),
                x.clone(),
                ints(starts),
            ],
        );
        assert_eq!(pooled[3], ints(sequences.iter().map(|_| 0)));
        let taken = kernels.run(
            "take_rows_f32",
            rows,
            &[dim as f64],
            &[
                poison(Format::F32, residues as usize * dim),
                x,
                ints(places),
            ],
        );
        [&pooled[0], &pooled[2], &taken[0]].map(|bytes| Format::F32.values(bytes))
    }
}

/// Relative L2 of two lists.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let squares: f64 = pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    let size: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
    (squares / size).sqrt()
}

/// fair-esm's complete last representations of the shortest sequences that have one, `<cls>` and
/// `<eos>` rows included, with their tokens and means.
fn references(name: &str, layer: usize, count: usize) -> Vec<(Vec<TokenId>, Vec<f32>, Vec<f32>)> {
    let file = fixture("reference").join(format!("{name}.safetensors"));
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| Some(Format::F32.values(tensors.tensor(name).ok()?.data()));
    let mut all: Vec<_> = (0..200)
        .filter_map(|k| {
            let tokens = tensors.tensor(&format!("seq{k}.tokens")).ok()?;
            let rows = values(&format!("seq{k}.layer{layer}"))?;
            let mean = values(&format!("seq{k}.layer{layer}.mean"))?;
            // Token dropout's factor is written here for sequences without a mask.
            let tokens: Vec<TokenId> = tokens.data().iter().map(|&id| id.into()).collect();
            let fits = tokens.len() > 2 && !tokens.contains(&32);
            fits.then_some((tokens, rows, mean))
        })
        .collect();
    all.sort_by_key(|(tokens, _, _)| tokens.len());
    assert!(all.len() >= count, "{name} has hardly any reference");
    all.truncate(count);
    all
}

#[test]
fn a_whole_pass_gives_the_numbers_of_fair_esm() {
    for kernels in Kernels::all() {
        for model in ["esm2_hd16", "esm2_hd24", "esm1b"] {
            assert_near_fair_esm(kernels, model);
        }
    }
}

fn assert_near_fair_esm(kernels: Kernels, model: &str) {
    let checkpoint = Checkpoint::open(&fixture(model)).unwrap();
    let (layers, dim) = (checkpoint.config().layers, checkpoint.config().dim);
    let references = references(model, layers, 3);
    let sequences: Vec<Vec<TokenId>> = references.iter().map(|(t, _, _)| t.clone()).collect();
    let mut model_on_host = Model {
        kernels,
        checkpoint,
        format: Format::F32,
    };
    for &format in kernels.formats() {
        let limit = match format {
            Format::F32 => 2e-6,
            Format::F16 => 5e-3,
            Format::Bf16 => 3e-2,
        };
        model_on_host.format = format;
        let [means, firsts, residues] = model_on_host.forward(&sequences);
        let mut start = 0;
        for (s, (tokens, rows, mean)) in references.iter().enumerate() {
            let at = s * dim..(s + 1) * dim;
            let count = (tokens.len() - 2) * dim;
            let found = [
                difference(&residues[start..start + count], &rows[dim..dim + count]),
                difference(&firsts[at.clone()], &rows[..dim]),
                difference(&means[at], mean),
            ];
            start += count;
            let worst = found.into_iter().fold(0.0, f64::max);
            assert!(
                worst <= limit,
                "{kernels:?}, {model}, {format:?}, sequence {s}: {found:?}"
            );
            println!("{kernels:?}, {model}, {format:?}: {worst:.1e} of {limit:.0e}");
        }
    }
}
