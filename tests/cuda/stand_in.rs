//! The stand-in for the NVIDIA driver and cuBLASLt (`tests/cuda/stand_in`), compiled with the machine's
//! C++ compiler. Its GPU is the CPU: the kernels are those of the crate, and all of the Rust code is
//! the same as on a real GPU.
//!
//! Without a compiler its tests are skipped with one line, unless `ESM_EMBED_REQUIRE_TOOLS=1` requires
//! them. With `ESM_EMBED_TEST_GPU=1` they use the machine's GPU, driver and cuBLASLt instead.
#![allow(dead_code)]

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const FLAGS: [&str; 7] = [
    "-std=c++17",
    "-O2",
    "-march=native",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
];

/// As on a GPU, misaligned accesses and integer overflow end the process. Where fibers switch stacks by
/// longjmp, its fortified version would refuse.
const FOR_KERNELS: [&str; 7] = [
    "-O3",
    "-Wno-unknown-pragmas",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-U_FORTIFY_SOURCE",
    "-fsanitize=alignment,signed-integer-overflow",
    "-fsanitize-undefined-trap-on-error",
];

/// Compiles the kernels of GPUs of compute capability 7.5.
const TURING: Option<&str> = Some("-DTURING");

/// The versions of cuBLASLt, each in a folder of its name beside the driver.
pub const VERSIONS: [&str; 2] = ["12", "13"];

/// Whether the tests use this machine's GPU.
pub fn is_real() -> bool {
    std::env::var_os("ESM_EMBED_TEST_GPU").is_some_and(|value| value == "1")
}

/// The folder with `libcuda.so.1`, and `12/libcublasLt.so.12` and `13/libcublasLt.so.13` in it.
/// Without a compiler the process ends, as no GPU test can run.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Err(why) = Command::new(compiler()).arg("--version").output() {
            let why = format!("the tests of the CUDA engine need a C++ compiler ({why})");
            let demanded = std::env::var_os("ESM_EMBED_REQUIRE_TOOLS");
            assert!(demanded.is_none_or(|value| value != "1"), "{why}");
            // Directly, because the harness captures what a test prints.
            let _ = writeln!(std::io::stderr(), "skipped: {why}");
            std::process::exit(0);
        }
        make()
    })
}

/// LD_LIBRARY_PATH with the driver and cuBLASLt of this version.
pub fn library_path(version: &str) -> String {
    let folder = folder();
    format!("{}:{}", folder.display(), folder.join(version).display())
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
}

/// Compiles, and fails with the compiler's messages.
pub fn compile(build: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut command = Command::new(compiler());
    let output = build(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// Files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

/// Builds the libraries for these sources unless they exist.
fn make() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = root.join("tests/cuda/stand_in");
    let kernels = root.join("src/cuda/kernels");
    let mut hash = DefaultHasher::new();
    (FLAGS, FOR_KERNELS, env!("CARGO_MANIFEST_DIR")).hash(&mut hash);
    for file in files(&sources).iter().chain(&files(&kernels)) {
        fs::read(file).unwrap().hash(&mut hash);
    }
    let name = format!("stand-in-{:016x}", hash.finish());
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if made.exists() {
        return made;
    }
    // Several test programs may build at the same time.
    let part = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = part.path();
    list_kernels(&kernels, out, None, "kernels_listed.h");
    list_kernels(&kernels, out, TURING, "kernels_listed_turing.h");
    let source = |name: &str| sources.join(format!("{name}.cpp"));
    let object = |name: &str| out.join(format!("{name}.o"));
    let parts = [
        "machine", "device", "stream", "memory", "module", "kernels", "turing",
    ];
    let build = |name: &str| {
        let (source, more, turing): (_, &[&str], _) = match name {
            "kernels" => (source(name), &FOR_KERNELS, None),
            "turing" => (source("kernels"), &FOR_KERNELS, TURING),
            _ => (source(name), &[], None),
        };
        compile(|c| {
            c.args(FLAGS)
                .args(more)
                .args(turing)
                .arg("-I")
                .arg(out)
                .arg("-I")
                .arg(&sources);
            c.arg("-c").arg(source).arg("-o").arg(object(name))
        });
    };
    // Most of the time goes into the two sets of kernels.
    std::thread::scope(|scope| {
        for name in parts {
            scope.spawn(move || build(name));
        }
    });
    let driver = out.join("libcuda.so.1");
    compile(|c| {
        c.args(["-shared", "-Wl,-soname,libcuda.so.1", "-Wl,-z,defs"]);
        c.args(parts.map(object)).arg("-o").arg(&driver)
    });
    // Ahead of the machine's own, if it has one.
    std::os::unix::fs::symlink("libcuda.so.1", out.join("libcuda.so")).unwrap();
    for version in VERSIONS {
        fs::create_dir(out.join(version)).unwrap();
        let name = format!("libcublasLt.so.{version}");
        compile(|c| {
            c.args(FLAGS)
                .args(["-O3", "-shared", "-Wl,-z,defs", "-Wl,-rpath,$ORIGIN/.."]);
            c.arg(format!("-Wl,-soname,{name}"))
                .arg(format!("-DVERSION={version}0400"));
            c.arg("-I").arg(&sources).arg(source("blaslt")).arg(&driver);
            c.arg("-o").arg(out.join(version).join(name))
        });
    }
    compile(|c| {
        c.args(FLAGS)
            .arg("-I")
            .arg(&sources)
            .arg(source("check"))
            .arg(&driver);
        c.arg("-o").arg(out.join("check"))
    });
    let part = part.keep();
    // The other program has built the same.
    if fs::rename(&part, &made).is_err() {
        assert!(made.exists());
        fs::remove_dir_all(&part).unwrap();
    }
    made
}

/// Lists the kernels with their threads, from the preprocessor's output.
fn list_kernels(kernels: &Path, out: &Path, turing: Option<&str>, list: &str) {
    let (mut included, mut listed) = (String::new(), String::new());
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cu");
    for file in files(kernels).into_iter().filter(is_source) {
        included += &format!("#include \"{}\"\n", file.display());
        let text = compile(|c| {
            c.args(["-std=c++17", "-E", "-P", "-x", "c++"]).args(turing);
            c.arg("-DKERNEL(threads)=A_KERNEL threads void").arg(&file)
        });
        let text = String::from_utf8(text.stdout).unwrap();
        for kernel in text.split("A_KERNEL ").skip(1) {
            let mut words = kernel.split(|c: char| c.is_whitespace() || c == '(');
            let (threads, name) = (words.next().unwrap(), words.nth(1).unwrap());
            listed += &format!("ENTRY({name}, {threads})\n");
        }
    }
    fs::write(out.join("kernels_included.h"), included).unwrap();
    fs::write(out.join(list), listed).unwrap();
}
