//! `doctor --gpu`: how fast the first GPU computes the parts of a model.

use anyhow::{Context, anyhow};
use esm_embed::cuda::{self, MeasuredModel, MeasuredProduct};
use esm_embed::device::Gpu;
use esm_embed::hub::{KnownModel, known_models};
use esm_embed::numerals::grouped;
use serde::Serialize;

/// What `--gpu` measures if it names no sizes.
pub const SIZES: &str = "8M,35M,150M,650M,3B";

/// The published model with this short name.
pub fn size(name: &str) -> Result<&'static KnownModel, String> {
    let mut known = known_models().iter();
    known
        .find(|known| known.short == Some(name))
        .ok_or_else(|| "not a size of ESM-2, such as 8M or 650M".to_owned())
}

/// The first GPU, before it is measured.
pub struct Measuring {
    gpu: Gpu,
}

/// One size of ESM-2 on it.
#[derive(Debug, Serialize)]
pub struct SizeReport {
    /// Its short name.
    size: &'static str,
    #[serde(flatten)]
    found: MeasuredModel,
}

impl Measuring {
    /// # Errors
    /// There is no GPU that can be used.
    pub fn new() -> anyhow::Result<Measuring> {
        let gpus = cuda::gpus().map_err(|why| anyhow!("`gpu` cannot be measured: {why}"))?;
        let gpu = gpus.into_iter().next().context("there is no GPU")?;
        Ok(Measuring { gpu })
    }

    /// # Errors
    /// The GPU cannot compute this shape, or fails.
    pub fn size(&self, known: &'static KnownModel) -> anyhow::Result<SizeReport> {
        let size = known.short.unwrap_or(known.name);
        let found = cuda::measure(&self.gpu, known.dim as usize, known.heads as usize);
        let found = found.map_err(|why| anyhow!("measuring ESM-2 {size}: {why}"))?;
        Ok(SizeReport { size, found })
    }
}

impl SizeReport {
    /// As text.
    pub fn text(&self) -> String {
        let found = &self.found;
        let mut text = format!(
            "\nGPU 0, f16: ESM-2 {} ({} wide, {} heads), {} tokens\n",
            self.size,
            found.dim,
            found.heads,
            grouped(found.tokens as u64)
        );
        for product in &found.products {
            text += &of_product(product);
        }
        for row in &found.rows {
            text += &format!(
                "  {:<22} {:.3} ms, {:.0} GB/s\n",
                row.kernel, row.milliseconds, row.gb_per_second
            );
        }
        for each in &found.attention {
            text += &format!(
                "  attention, L = {:<7} {:.3} ms, {:.1} TFLOP/s\n",
                grouped(each.length as u64),
                each.milliseconds,
                each.tflop_per_second
            );
        }
        text
    }
}

fn of_product(product: &MeasuredProduct) -> String {
    let shape = format!(
        "weights {} × {}",
        grouped(product.outputs as u64),
        grouped(product.inputs as u64)
    );
    let mut text = format!(
        "  {shape:<22} cuBLASLt: {} algorithms offered, {} tested, {} passed; used: {}\n",
        product.offered, product.tested, product.passed, product.used
    );
    for time in &product.times {
        let rows = format!("  {} rows", grouped(time.rows as u64));
        text += &format!(
            "  {rows:<22} {:.4} ms, {:.1} TFLOP/s\n",
            time.milliseconds, time.tflop_per_second
        );
    }
    if let Some(time) = product.milliseconds_with_next {
        text += &format!("    with what follows    {time:.4} ms\n");
    }
    for own in &product.own {
        let tiles = format!("  own, tiles of {}", own.tile_rows);
        text += &format!("  {tiles:<22} {:.4} ms\n", own.milliseconds);
    }
    text
}
