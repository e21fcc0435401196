//! What contacts and attention maps ask of a run.

use super::layer_indices;
use crate::admission::{Long, MapCost, MapLimit};
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::DeviceChoice;
use crate::pipeline::job::{Job, Layers};
use crate::product::{AttentionMaps, MapHeads, Product};
use anyhow::{Result, bail};

/// Why a run with maps uses no GPU.
const CPU_ONLY: &str = "contacts and attentions are computed on the CPU only";

/// Whether a job has products that are made of attention maps.
pub fn are_wanted(job: &Job) -> bool {
    let of_maps = |product: &Product| matches!(product, Product::Contacts | Product::Attentions);
    job.output.include.iter().any(of_maps)
}

/// The device that a job uses instead of the one that was asked for if maps are wanted, and why.
///
/// # Errors
/// A GPU was asked for.
pub fn device(
    choice: &DeviceChoice,
    are_wanted: bool,
) -> Result<Option<(DeviceChoice, &'static str)>> {
    match (choice, are_wanted) {
        (_, false) | (DeviceChoice::Cpu, _) => Ok(None),
        (DeviceChoice::Auto, true) => Ok(Some((DeviceChoice::Cpu, CPU_ONLY))),
        (DeviceChoice::Cuda(gpus), true) => {
            bail!("`device={gpus}`: {CPU_ONLY}\nhint: use `device=cpu`")
        }
    }
}

/// The maps of a job.
///
/// # Errors
/// A block that the model does not have.
pub fn resolve(job: &Job, config: &EsmConfig) -> Result<AttentionMaps> {
    let asked = match job.output.maps.layers.as_slice() {
        [] => &[Layers::ALL],
        layers => layers,
    };
    let last = config.layers.saturating_sub(1);
    let index = |layer: i64| {
        let layer = match layer {
            ..0 => layer.checked_add(config.layers as i64)?,
            0.. => layer,
        };
        usize::try_from(layer).ok().filter(|layer| *layer <= last)
    };
    let which = format!(
        "the maps of this model have layers 0 to {last} (or -{} to -1, counted from the end)",
        config.layers
    );
    Ok(AttentionMaps {
        layers: layer_indices("attention_layers", asked, index, &which)?,
        heads: job.output.maps.heads,
    })
}

/// Checks that the model has what the products need, and that sequences are embedded whole.
///
/// # Errors
/// No contact regression, or windows.
pub fn check(job: &Job, checkpoint: &Checkpoint, long: Long) -> Result<()> {
    if job.output.include.contains(&Product::Contacts) {
        checkpoint.contact_regression()?;
    }
    if let Long::Window { .. } = long
        && are_wanted(job)
    {
        bail!(
            "`long={long}` cannot be combined with `include=contacts` or `include=attentions`: a \
             residue of one window does not attend to those of another\n\
             hint: use `long=full`, which embeds a sequence in one pass\n\
             hint: use `long=truncate` or `long=error`"
        );
    }
    Ok(())
}

/// What maps cost a pass; None without any.
pub fn cost(job: &Job, config: &EsmConfig) -> Option<MapCost> {
    let has = |product| job.output.include.contains(&product);
    are_wanted(job).then(|| MapCost {
        channels: has(Product::Contacts).then_some(config.layers * config.heads),
        mean: has(Product::Attentions) && job.output.maps.heads == MapHeads::Mean,
    })
}

/// How large the maps of a record may be; None without attentions.
pub fn limit(job: &Job, config: &EsmConfig, maps: &AttentionMaps) -> Option<MapLimit> {
    let has_attentions = job.output.include.contains(&Product::Attentions);
    has_attentions.then(|| MapLimit {
        maps: maps.layers.len() as u64 * maps.heads.stored(config.heads).unwrap_or(1) as u64,
        dtype: job.output.dtype,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::GpuChoice;

    #[test]
    fn maps_are_computed_on_the_cpu() {
        let gpu = DeviceChoice::Cuda(GpuChoice::These(vec![0]));
        for choice in [&DeviceChoice::Auto, &DeviceChoice::Cpu, &gpu] {
            assert_eq!(device(choice, false).unwrap(), None);
        }
        assert_eq!(device(&DeviceChoice::Cpu, true).unwrap(), None);
        let instead = Some((DeviceChoice::Cpu, CPU_ONLY));
        assert_eq!(device(&DeviceChoice::Auto, true).unwrap(), instead);
        assert_eq!(
            device(&gpu, true).unwrap_err().to_string(),
            "`device=cuda:0`: contacts and attentions are computed on the CPU only\n\
             hint: use `device=cpu`"
        );
    }
}
