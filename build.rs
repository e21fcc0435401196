//! With the feature `cuda`: compiles the kernels for every card that they run on. Without it there
//! is nothing to do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cards that get machine code; newer ones compile the PTX of the last when they load it.
const CARDS: [&str; 4] = ["80", "86", "89", "90"];

const KERNELS: [&str; 2] = ["rows", "attention"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=src/cuda/kernels");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let nvcc = env::var_os("NVCC").map_or_else(
        || match env::var_os("CUDA_HOME") {
            Some(home) => PathBuf::from(home).join("bin/nvcc"),
            None => PathBuf::from("nvcc"),
        },
        PathBuf::from,
    );
    let Some(version) = version(&nvcc) else {
        fail(&nvcc, "does not say its version");
        return;
    };
    println!("cargo::rustc-env=ESM_EMBED_NVCC={version}");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in KERNELS {
        let mut command = Command::new(&nvcc);
        command.args(["-std=c++17", "-O3", "-fatbin"]);
        for card in CARDS {
            command.arg(format!("-gencode=arch=compute_{card},code=sm_{card}"));
        }
        if let Some(last) = CARDS.last() {
            command.arg(format!("-gencode=arch=compute_{last},code=compute_{last}"));
        }
        command.arg(format!("src/cuda/kernels/{name}.cu"));
        command.arg("-o").arg(out.join(format!("{name}.fatbin")));
        if !command.status().is_ok_and(|status| status.success()) {
            fail(
                &nvcc,
                &format!("could not compile src/cuda/kernels/{name}.cu"),
            );
            return;
        }
    }
}

/// What nvcc calls its release: `13.0`.
fn version(nvcc: &Path) -> Option<String> {
    let said = Command::new(nvcc).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let release = said.split("release ").nth(1)?;
    Some(release.split(',').next()?.trim().to_owned())
}

fn fail(nvcc: &Path, what: &str) {
    println!(
        "cargo::error={} {what}: install a CUDA toolkit and put its nvcc on PATH or set CUDA_HOME, \
         or build with .ci/build_cuda.sh",
        nvcc.display()
    );
}
