"""Shows that the tests notice the mistakes that ports of ESM make.

    python3 tests/mutations.py [WORDS]

Applies each mistake, or each that has these words in its description, to a copy of the source, runs
the tests that must notice it, and prints one line per mistake. Exits with 1 if a mistake goes unnoticed or no longer applies. Uses the
build folder `target/mutations`; needs git, cargo and Python's standard library.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutations" / "source"

# what, file, text, replacement, test binary (and a filter)
MISTAKES = [
    (
        "no token-dropout scale (x1 instead of x0.88)",
        "src/model/embedding.rs",
        "(mask, (1.0 - 0.15 * 0.8) / (1.0 - observed))",
        "(mask, 1.0 / (1.0 - observed).max(1.0))",
        "run parity::",
    ),
    (
        "<mask> rows not zeroed",
        "src/model/embedding.rs",
        "Some((mask, _)) if token == mask => x.extend",
        "Some((mask, _)) if token == mask + 1000 => x.extend",
        "run parity::",
    ),
    (
        "SaProt: the number of ESM's mask",
        "src/tokenizer/alphabet.rs",
        "Alphabet::SaProt => structure_aware::MASK,",
        "Alphabet::SaProt => MASK,",
        "run saprot::every",
    ),
    (
        "ESM2nv: query, key and value not taken head by head",
        "src/checkpoint/mod.rs",
        "let interleaved = !is_esm_c && hf",
        "let interleaved = !is_esm_c && hf.is_some() && hf",
        "checkpoint nemo::every",
    ),
    (
        "inv_freq recomputed instead of read",
        "src/model/blocks.rs",
        "let found = checkpoint.inv_freq(block)?;",
        """let mut found = checkpoint.inv_freq(block)?;
            let count = found.values.len() as f32;
            for (i, value) in found.values.iter_mut().enumerate() {
                *value = 10000f32.powf(-(i as f32) / count);
            }""",
        "run parity::",
    ),
    (
        "tanh GELU instead of erf",
        "src/ops/math.rs",
        "let p = S::scale2(polynomial::<S, 7>(S::fraction(q), &EXP2), q);",
        """let cube = S::mul(S::mul(a, a), a);
        let u = S::fma(cube, S::splat(0.044_715), a);
        let t = exp::<S>(S::mul(u, S::splat(1.595_769_1)));
        let p = S::div(S::splat(1.0), S::add(t, S::add(S::splat(1.0), S::mul(q, S::splat(0.0)))));""",
        "run parity::",
    ),
    (
        "ESM C: residual scale left out",
        "src/model/load.rs",
        "scale: config.residual_scale,",
        "scale: 1.0,",
        "run esm_c::every_l",
    ),
    (
        "ESM C: norms of queries and keys by head",
        "src/ops/layer_norm.rs",
        """        self.path.dispatch(Normalize {
            norm: self,
            task: Task::InChunks(x, first),
        });""",
        """        let mut x = x;
        for head in 0..self.weight.len() / 64 {
            let of_head = head * 64..(head + 1) * 64;
            let (weight, bias) = (&self.weight[of_head.clone()], &self.bias[of_head]);
            let norm = LayerNorm::new(self.path, weight.to_vec(), bias.to_vec(), self.eps);
            let task = Task::InChunks(x.reborrow(), first + head * 64);
            self.path.dispatch(Normalize { norm: &norm, task });
        }""",
        "run esm_c::every_l",
    ),
    (
        "ESM C: halves of SwiGLU swapped",
        "src/ops/linear/matmul.rs",
        "S::mul(math::silu::<S>(a), g)",
        "S::mul(math::silu::<S>(g), a)",
        "run esm_c::every_l",
    ),
    (
        "ESM C: embeddings x0.88",
        "src/checkpoint/esm_c.rs",
        "token_dropout: false,",
        "token_dropout: true,",
        "run esm_c::every_l",
    ),
    (
        "ESM C: no norm after the last block",
        "src/model/mod.rs",
        "Some(norm) if index == self.config.layers",
        "Some(norm) if index > self.config.layers",
        "run esm_c::every_l",
    ),
    (
        "no LayerNorm after the last block",
        "src/model/mod.rs",
        "Some(norm) if index == self.config.layers",
        "Some(norm) if index > self.config.layers",
        "run parity::",
    ),
    (
        "logits with tanh GELU in the language-model head",
        "src/model/lm_head.rs",
        "map(self.path, Function::Gelu, &mut x);",
        """for x in &mut x {
                *x *= 0.5 * (1.0 + (0.797_884_56 * (*x + 0.044_715 * x.powi(3))).tanh());
            }""",
        "run logits::",
    ),
    (
        "logits without LayerNorm in the language-model head",
        "src/model/lm_head.rs",
        "let x = x.apply_op1_no_bwd(&&self.norm)?;",
        "let _ = &self.norm;",
        "run logits::",
    ),
    (
        "adapter scale alpha instead of alpha / r",
        "src/checkpoint/lora/config.rs",
        "false => (alpha / rank) as f32,",
        "false => *alpha as f32,",
        "run adapters::",
    ),
    (
        "rsLoRA scaled as LoRA",
        "src/checkpoint/lora/config.rs",
        "true => (alpha / rank.sqrt()) as f32,",
        "true => (alpha / rank) as f32,",
        "run adapters::",
    ),
    (
        "logits that ignore an untied decoder",
        "src/checkpoint/lm_head.rs",
        "find(DECODER).or_else(|_| find(EMBEDDING))?",
        "find(EMBEDDING)?",
        "run logits::",
    ),
    (
        "logits with the <mask> row of ESM-1b's decoder not zeroed",
        "src/checkpoint/mod.rs",
        "for name in [EMBEDDING, resolve::DECODER] {",
        "for name in [EMBEDDING] {",
        "run logits::",
    ),
    (
        "contacts without the correction for the average product",
        "src/model/contact_head.rs",
        "let logit = both - correction[k - first] + f64::from(bias);",
        "let logit = both - 0.0 * correction[k - first] + f64::from(bias);",
        "run maps::",
    ),
    (
        "contacts of attention maps that are not made symmetric",
        "src/model/contact_head.rs",
        "self.weighted[i * n + k] + self.weighted[k * n + i];",
        "2.0 * self.weighted[i * n + k];",
        "run maps::",
    ),
    (
        "contacts with <eos> instead of the first residue",
        "src/model/contact_head.rs",
        "let row = &row[1..=n];",
        "let row = &row[2..=n + 1];",
        "run maps::",
    ),
    (
        "contacts with the weights in the wrong order of heads",
        "src/model/contact_head.rs",
        "let at = block * self.heads + head;",
        "let at = block * self.heads + self.heads - 1 - head;",
        "run maps::",
    ),
    (
        "attention maps that are not divided by their sums",
        "src/ops/attention/probabilities.rs",
        "S::store(at, S::div(S::load(at), S::splat(total)));",
        "S::store(at, S::mul(S::load(at), S::splat(total)));",
        "run maps::",
    ),
    (
        "logits off by one residue",
        "src/pooling.rs",
        "hidden.get(dim..end).unwrap_or_default()",
        "hidden.get(..end.saturating_sub(dim)).unwrap_or_default()",
        "run logits::",
    ),
    (
        "scores look one residue too far, as fair-esm's pseudo-ppl does",
        "src/score/piece.rs",
        "let row = residue.checked_sub(self.window.start)?;",
        "let row = (residue + 1).checked_sub(self.window.start)?;",
        "run score::",
    ),
    (
        "scores of masked copies that are not masked",
        "src/score/piece.rs",
        "let masked = self.masked.map(|residue| (residue, MASK));",
        "let masked = self.masked.map(|residue| (residue, 24));",
        "run score::",
    ),
    (
        "scores of overlapping windows with equal weights",
        "src/score/windows.rs",
        "1..=256 => sigmoid(place_from(128.0)),",
        "1..=256 => 1.0 + 0.0 * sigmoid(place_from(128.0)),",
        "run score::",
    ),
    (
        "scores of masked copies whose neighbour is masked",
        "src/score/piece.rs",
        "let at = (residue + 1).checked_sub(self.window.start);",
        "let at = residue.checked_sub(self.window.start);",
        "run score::",
    ),
    (
        "scores with wild type and mutant swapped",
        "src/score/scorer.rs",
        "lp.token(mutation.mutant) - lp.token(mutation.wild)",
        "lp.token(mutation.wild) - lp.token(mutation.mutant)",
        "run score::",
    ),
    (
        "scores of variants without the wild type's",
        "src/score/scorer.rs",
        "lp.token(mutation.mutant) - lp.token(mutation.wild)",
        "lp.token(mutation.mutant)",
        "run score::",
    ),
    (
        "residue rows off by one (<cls> kept, last residue lost)",
        "src/pooling.rs",
        "hidden.get(dim..end).unwrap_or_default()",
        "hidden.get(..end.saturating_sub(dim)).unwrap_or_default()",
        "run parity::",
    ),
    (
        "rows off by one in the packed file",
        "src/output/write/ledger.rs",
        "residue_offset,\n            length: entry.length,\n            file,",
        "residue_offset: residue_offset + 1,\n            length: entry.length,\n            file,",
        "run",
    ),
    (
        "queries not scaled",
        "src/ops/attention/geometry.rs",
        "let scale = score_scale(self.head_dim) * std::f32::consts::LOG2_E;",
        "let scale = std::f32::consts::LOG2_E;",
        "run parity::",
    ),
    (
        "learned positions off by one",
        "src/model/embedding.rs",
        "const FIRST_POSITION: usize = 2;",
        "const FIRST_POSITION: usize = 1;",
        "run parity::",
    ),
    (
        "a row's sum order depends on its place in the batch",
        "src/ops/linear/matmul.rs",
        "let y = S::add(S::load(sums.add(i * width + j)), bias);",
        "let y = S::add(S::load(sums.add(i * width + j)), bias);\n"
        "                    let y = match rows % 2 {\n"
        "                        1 => S::fma(y, S::splat(1e-7), y),\n"
        "                        _ => y,\n"
        "                    };",
        "run same_bits::",
    ),
    (
        "rows of an interrupted run taken without their checksum",
        "src/pipeline/run/finished_rows.rs",
        "let has = self.rows.holds(&entered.place, done.rows)?;",
        "let has = true;",
        "faults",
    ),
    (
        "the input of an interrupted run not compared",
        "src/pipeline/run/finished_rows.rs",
        "if done.input != entered.input {",
        "if done.rows == 0 && done.input != entered.input {",
        "faults",
    ),
    (
        "a shorter stream not noticed",
        "src/pipeline/run/finished_rows.rs",
        "if self.journal.find(row)?.is_some() {",
        "if self.journal.find(row)?.is_none() && row == u64::MAX {",
        "faults",
    ),
    (
        "records in the journal before their rows are whole",
        "src/pipeline/run/work.rs",
        "self.journal.enter(item.place.row, item.input, proof)?;",
        "self.journal.enter(item.place.row, item.input, &Proof::default())?;",
        "faults",
    ),
    (
        "a touched model taken for the same",
        "src/pipeline/run/resume.rs",
        "if before.model_stamps != stamps {",
        "if before.model_stamps.len() != stamps.len() {",
        "faults",
    ),
    (
        "run.json moved before the files",
        "src/output/publish/mod.rs",
        "    for folder in &manifest.folders {\n        let from",
        """    disk::remove_if_there(&dir.join(RUN_JSON)).ok();
    std::fs::copy(partial.join(RUN_JSON), dir.join(RUN_JSON)).ok();
    for folder in &manifest.folders {\n        let from""",
        "faults",
    ),
    (
        "the list of the replaced run lost while its files are removed",
        "src/output/publish/mod.rs",
        "        rename(&old, &replaced)?;",
        "        remove(&old)?;",
        "faults",
    ),
    (
        "a stop request respected only between batches",
        "src/model/mod.rs",
        "if cancel.is_cancelled() {",
        "if cancel.is_cancelled() && index == 0 {",
        "faults",
    ),
    (
        "two runs in one folder",
        "src/flock.rs",
        "match file.try_lock() {",
        "match Ok::<(), TryLockError>(()) {",
        "faults",
    ),
]


def main():
    words = " ".join(sys.argv[1:])
    chosen = [mistake for mistake in MISTAKES if words in mistake[0]]
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(COPY)], check=True)
    unnoticed = 0
    for what, file, text, replacement, test in chosen:
        path = COPY / file
        source = path.read_text()
        if source.count(text) != 1:
            print(f"does not apply   {what}: {file}", flush=True)
            unnoticed += 1
            continue
        path.write_text(source.replace(text, replacement))
        command = ["cargo", "test", "-q", "--test", *test.split(), "--target-dir", COPY.parent / "target"]
        done = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
        path.write_text(source)
        if done.returncode == 0 or "test result" not in done.stdout:
            print(f"NOT NOTICED      {what}", done.stderr[-500:], flush=True)
            unnoticed += 1
        else:
            print(f"noticed by {test:15} {what}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} mistakes noticed")
    sys.exit(1 if unnoticed or not chosen else 0)


if __name__ == "__main__":
    main()
