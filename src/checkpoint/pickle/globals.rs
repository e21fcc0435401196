//! Which names a pickle must not mention.
//!
//! No name is ever imported or called: the reader knows a handful of them and builds plain data,
//! and the rest become inert objects. A name that is merely unknown, such as the enum of a training
//! script, does no harm. One that would run something in Python has no place in a checkpoint, and a
//! file that mentions it is refused.

/// Modules in which everything runs, reads or fetches something, or makes code.
const MODULES: [&str; 28] = [
    "_pickle",
    "asyncio",
    "cffi",
    "cloudpickle",
    "ctypes",
    "dill",
    "ftplib",
    "http",
    "importlib",
    "marshal",
    "nt",
    "os",
    "pdb",
    "pickle",
    "pkgutil",
    "posix",
    "pty",
    "requests",
    "runpy",
    "shelve",
    "shutil",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "webbrowser",
];

/// The same, without what lies below them: scripts of users have such names too.
const PLAIN_MODULES: [&str; 6] = ["code", "codeop", "commands", "imp", "pip", "trace"];

/// Names of such modules that are data.
const DATA: [(&str, &str); 3] = [
    ("os", "_Environ"),
    ("os", "stat_result"),
    ("posix", "stat_result"),
];

const BUILTINS: [&str; 20] = [
    "__build_class__",
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "exit",
    "getattr",
    "globals",
    "help",
    "input",
    "locals",
    "open",
    "quit",
    "reload",
    "setattr",
    "vars",
];

/// Single names of other modules.
const FUNCTIONS: [(&str, &str); 16] = [
    ("_io", "open"),
    ("bdb", "Bdb"),
    ("io", "open"),
    ("joblib", "load"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("operator", "methodcaller"),
    ("pandas", "read_pickle"),
    ("platform", "popen"),
    ("pydoc", "locate"),
    ("pydoc", "pipepager"),
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
];

/// Parts of torch that load or build programs.
const TORCH: [&str; 4] = [
    "torch._dynamo",
    "torch.hub",
    "torch.jit",
    "torch.utils.cpp_extension",
];

/// Whether `module.name` runs something, or makes something that runs.
pub(super) fn is_code(module: &str, name: &str) -> bool {
    let first = module.split('.').next().unwrap_or_default();
    let below = |parent: &str| {
        module
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // Since protocol 4 a name may itself have parts.
    let outer = name.split('.').next().unwrap_or_default();
    match module {
        "builtins" | "__builtin__" => BUILTINS.contains(&outer),
        _ if DATA.contains(&(module, name)) => false,
        _ => {
            MODULES.contains(&first)
                || PLAIN_MODULES.contains(&module)
                || FUNCTIONS.contains(&(module, outer))
                || TORCH.iter().any(|parent| below(parent))
                || (module == "torch" && ["hub", "jit"].contains(&outer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_known_by_name_and_the_unknown_is_not_code() {
        for (module, name) in [
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("argparse", "Namespace"),
            ("collections", "OrderedDict"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("__main__", "Mode"),
            ("__builtin__", "slice"),
            ("builtins", "ValueError"),
            ("_io", "BytesIO"),
            ("torch.optim.sgd", "SGD"),
            ("torch.nn.modules.linear", "Linear"),
            ("types", "SimpleNamespace"),
            ("functools", "partial"),
            ("os", "_Environ"),
            ("numpy.random._pickle", "__randomstate_ctor"),
            ("osmosis", "x"),
            ("code.train", "Config"),
            ("", ""),
        ] {
            assert!(!is_code(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("builtins", "eval.__call__"),
            ("__builtin__", "getattr"),
            ("importlib.util", "find_spec"),
            ("code", "interact"),
            ("torch", "load"),
            ("torch", "hub.load"),
            ("torch.hub", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("urllib.request", "urlopen"),
            ("types", "CodeType"),
        ] {
            assert!(is_code(module, name), "{module}.{name}");
        }
    }
}
