//! Weights that a file holds in another form: wrapped, split into factors, masked, quantized, or
//! moved to another file by the program that saved them.

use super::error::CheckpointError;
use super::tensors::TensorSet;
use crate::printable;

/// Parts of names below a module, what they mean, and what to do.
const FORMS: [(&[&str], &str, &str); 8] = [
    (
        &["qweight", "qzeros", "g_idx", "scales"],
        "weights quantized by GPTQ or AWQ",
        "use the weights that they were made from",
    ),
    (
        &[
            "absmax",
            "quant_map",
            "quant_state",
            "nested_absmax",
            "SCB",
            "weight_format",
        ],
        "weights quantized by bitsandbytes",
        "use the weights that they were made from, or save them in Python after \
         `model.dequantize()`",
    ),
    (
        &[
            "weight_packed",
            "weight_scale",
            "weight_scale_inv",
            "weight_zero_point",
            "_packed_params",
            "zero_point",
        ],
        "quantized weights",
        "use the weights that they were made from",
    ),
    (
        &["original_module", "modules_to_save", "base_layer"],
        "weights that PEFT wraps",
        "merge them in Python with `model.merge_and_unload().save_pretrained(\"merged\")`, and use the \
         folder `merged`",
    ),
    (
        &["weight_mask", "bias_mask"],
        "pruned weights beside their masks",
        "make them permanent in Python, for each pruned module: \
         `torch.nn.utils.prune.remove(module, \"weight\")`, and save the model again",
    ),
    (
        &["weight_g", "weight_v"],
        "weights split by weight normalization",
        "combine them in Python, for each such module: \
         `torch.nn.utils.remove_weight_norm(module)`, and save the model again",
    ),
    (
        &["weight_u", "weight_orig"],
        "weights split by spectral normalization",
        "combine them in Python, for each such module: \
         `torch.nn.utils.remove_spectral_norm(module)`, and save the model again",
    ),
    (
        &["parametrizations"],
        "parametrized weights",
        "combine them in Python, for each such module: \
         `torch.nn.utils.parametrize.remove_parametrizations(module, \"weight\")`, and save the \
         model again",
    ),
];

/// The error of a weight that cannot be used, or what the file holds instead of the weight.
pub(super) fn explained(error: CheckpointError, tensors: &TensorSet) -> CheckpointError {
    let tensor = match &error {
        CheckpointError::MissingTensor { tensor, .. }
        | CheckpointError::Shape { tensor, .. }
        | CheckpointError::Unreadable { tensor, .. } => tensor.clone(),
        _ => return error,
    };
    let path = tensors.home(&tensor).to_path_buf();
    let is_empty = |name: &str| {
        tensors
            .get(name)
            .is_some_and(|found| found.shape.contains(&0))
    };
    if is_empty(&tensor) {
        return emptied(path);
    }
    let Some((module, "weight" | "bias")) = tensor.rsplit_once('.') else {
        return error;
    };
    let is_other = |name: &&str| {
        let rest = name
            .strip_prefix(module)
            .and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| !matches!(rest, "weight" | "bias"))
            && !name.ends_with("_extra_state")
    };
    let mut others: Vec<&str> = tensors.names().filter(is_other).collect();
    // NVIDIA's export keeps several weights in one module.
    let is_module = ["layernorm_qkv", "layernorm_mlp"]
        .iter()
        .any(|end| module.ends_with(end));
    if others.is_empty() || is_module {
        return error;
    }
    others.sort_unstable();
    let parts = |name: &&str, wanted: &[&str]| name.split('.').any(|part| wanted.contains(&part));
    let form = FORMS
        .iter()
        .find(|(wanted, ..)| others.iter().any(|name| parts(name, wanted)));
    // One other name beside may be a damaged one.
    let is_wrapped = |name: &&str| {
        name.get(module.len() + 1..)
            .is_some_and(|rest| rest.contains('.'))
    };
    if form.is_none() && !others.iter().any(is_wrapped) {
        return error;
    }
    let (what, remedy) = form.map_or(
        (
            "in a form that no known layout of ESM has",
            "if it is an adapter, merge it with the program that trained it; otherwise save the model \
             there with plain weights",
        ),
        |(_, what, remedy)| (*what, *remedy),
    );
    let what = match form {
        Some(_) => format!("holds {what}"),
        None => format!("holds a weight {what}"),
    };
    CheckpointError::NotWeights {
        path,
        found: format!(
            "{what}: instead of `{}` there {} {}",
            printable::name(&tensor),
            if others.len() == 1 { "is" } else { "are" },
            printable::list(&others)
        ),
        remedy: remedy.into(),
    }
}

/// A file whose tensors hold no numbers, as DeepSpeed's third stage leaves it.
pub(super) fn emptied(path: std::path::PathBuf) -> CheckpointError {
    CheckpointError::NotWeights {
        path,
        found:
            "holds tensors without numbers, as DeepSpeed ZeRO-3 leaves them: the weights are in \
                one file for each process"
                .into(),
        remedy: "join them with the script that DeepSpeed saves beside them: `python \
                 zero_to_fp32.py . whole`, and use the file that it writes to `whole`"
            .into(),
    }
}
