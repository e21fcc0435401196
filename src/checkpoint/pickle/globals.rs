//! Which names a pickle must not mention.
//!
//! No name is ever imported or called: the reader knows a handful of them and builds plain data,
//! and the rest become inert objects. A name that is merely unknown, such as the enum of a training
//! script, does no harm. One that would run something in Python has no place in a checkpoint, and a
//! file that mentions it is refused.

/// Modules in which everything runs, reads or fetches something, or makes code.
const MODULES: [&str; 41] = [
    "_imp",
    "_pickle",
    "_posixsubprocess",
    "asyncio",
    "bdb",
    "cProfile",
    "cffi",
    "cloudpickle",
    "ctypes",
    "dill",
    "doctest",
    "ensurepip",
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
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "shelve",
    "shutil",
    "smtplib",
    "socket",
    "socketserver",
    "subprocess",
    "sys",
    "timeit",
    "telnetlib",
    "urllib",
    "venv",
    "webbrowser",
    "xmlrpc",
    "zipimport",
];

/// The same, without what lies below them: scripts of users have such names too.
const PLAIN_MODULES: [&str; 6] = ["code", "codeop", "commands", "imp", "pip", "trace"];

/// Names of such modules that are data.
const DATA: [(&str, &str); 3] = [
    ("os", "_Environ"),
    ("os", "stat_result"),
    ("posix", "stat_result"),
];

const BUILTINS: [&str; 19] = [
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
const FUNCTIONS: [(&str, &str); 17] = [
    ("_io", "open"),
    ("codecs", "open"),
    ("distutils.spawn", "spawn"),
    ("io", "open"),
    ("joblib", "load"),
    ("multiprocessing", "Process"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("operator", "methodcaller"),
    ("pandas", "eval"),
    ("pandas", "read_pickle"),
    ("platform", "popen"),
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

/// Attributes that run something, or lead to what does, whatever they are of.
const ATTRIBUTES: [&str; 14] = [
    "Popen",
    "check_call",
    "check_output",
    "eval",
    "exec",
    "import_module",
    "open",
    "popen",
    "rmtree",
    "spawn",
    "system",
    "unlink",
    "write_bytes",
    "write_text",
];

/// Whether an attribute of this name runs something, or leads to what does.
pub(super) fn is_code_attribute(name: &str) -> bool {
    let mut parts = name.split('.');
    parts.any(|part| ATTRIBUTES.contains(&part) || (part.starts_with("__") && part != "__init__"))
}

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
            ("builtins", "getattr"),
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
            ("cProfile", "run"),
            ("profile", "run"),
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

    #[test]
    fn attributes_that_run_something_are_known_by_name() {
        for name in ["system", "__globals__", "a.__class__", "write_text", "eval"] {
            assert!(is_code_attribute(name), "{name}");
        }
        for name in [
            "forward",
            "load_hook",
            "Inner",
            "Inner.Mode",
            "__init__",
            "run",
        ] {
            assert!(!is_code_attribute(name), "{name}");
        }
    }
}
