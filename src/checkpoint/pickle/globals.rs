//! Which names a pickle may mention.
//!
//! No name is ever imported or called: the reader knows a handful of them and builds plain data,
//! and the rest become inert markers. The list decides only whether a file is worth reading at
//! all. A checkpoint has no use for `os.system`, so a pickle that mentions it, or anything else
//! that is not listed, is refused.

/// Libraries whose classes occur in training checkpoints beside the weights.
const LIBRARIES: [&str; 10] = [
    "accelerate",
    "esm",
    "fairscale",
    "fairseq",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "omegaconf",
    "pytorch_lightning",
    "transformers",
];

const BUILTINS: [&str; 14] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "range",
    "set",
    "str",
    "tuple",
];

/// Whether `module.name` names data rather than code.
pub(super) fn is_data(module: &str, name: &str) -> bool {
    match module {
        "collections" => ["Counter", "OrderedDict", "defaultdict", "deque"].contains(&name),
        "argparse" => name == "Namespace",
        "builtins" | "__builtin__" => BUILTINS.contains(&name),
        "copyreg" | "copy_reg" => name == "_reconstructor",
        "_codecs" => name == "encode",
        "typing" => name == "Any",
        "datetime" => ["date", "datetime", "timedelta"].contains(&name),
        "pathlib" => ["Path", "PosixPath", "PurePosixPath", "WindowsPath"].contains(&name),
        "torch" => is_torch_data(name),
        "torch._utils" => name.starts_with("_rebuild_"),
        "torch.storage" => ["TypedStorage", "UntypedStorage", "_LegacyStorage"].contains(&name),
        "torch.serialization" => name == "_get_layout",
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "torch.nn.parameter" => ["Buffer", "Parameter"].contains(&name),
        "numpy.core.multiarray" | "numpy._core.multiarray" => {
            ["_reconstruct", "scalar"].contains(&name)
        }
        "numpy" => ["dtype", "ndarray"].contains(&name),
        _ => module
            .split('.')
            .next()
            .is_some_and(|library| LIBRARIES.contains(&library)),
    }
}

fn is_torch_data(name: &str) -> bool {
    const DTYPES: [&str; 12] = [
        "bfloat16", "bool", "double", "float", "float16", "float32", "float64", "half", "int32",
        "int64", "int8", "uint8",
    ];
    name.ends_with("Storage")
        || ["Size", "Tensor", "device"].contains(&name)
        || DTYPES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_let_through_and_code_is_not() {
        for (module, name) in [
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("torch", "BFloat16Storage"),
            ("argparse", "Namespace"),
            ("collections", "OrderedDict"),
            ("omegaconf.dictconfig", "DictConfig"),
        ] {
            assert!(is_data(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("torch", "load"),
            ("torch.hub", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("esmeralda", "run"),
            ("", ""),
        ] {
            assert!(!is_data(module, name), "{module}.{name}");
        }
    }
}
