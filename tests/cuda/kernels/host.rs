//! Kernels on the CPU: `host.cpp` runs one of them over buffers. `card.cu` does the same on a GPU; the
//! tests use it if `ESM_EMBED_KERNEL_LAUNCHER` names its program.

use crate::tools;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
}

/// Whether there is a C++ compiler; if not, the calling test returns.
pub fn can_compile() -> bool {
    tools::is_there(&compiler()) || tools::skip("a C++ compiler (c++, or what CXX names)")
}

#[test]
fn without_a_compiler_a_test_is_skipped() {
    tools::assert_skips(
        "kernels::rows::gelu_is_the_erf_form",
        &[("CXX", "no-such-compiler")],
        "a C++ compiler (c++, or what CXX names)",
    );
}

/// The compiled program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(launcher) = std::env::var_os("ESM_EMBED_KERNEL_LAUNCHER") {
            return launcher.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels-on-the-host");
        let compiler = compiler();
        let compiled = Command::new(&compiler)
            // Fibers switch stacks by longjmp, which the fortified version refuses.
            .args(["-std=c++17", "-O2", "-w", "-U_FORTIFY_SOURCE"])
            .arg(root.join("tests/cuda/kernels/host.cpp"))
            .arg("-o")
            .arg(&out)
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{compiler}: {said}");
        out
    })
}

/// A launch: blocks in both dimensions and bytes of shared memory.
#[derive(Clone, Copy)]
pub struct Launch {
    pub grid: [usize; 2],
    pub shared: usize,
}

impl Launch {
    /// One block for each row.
    pub fn rows(rows: usize) -> Launch {
        Launch {
            grid: [rows, 1],
            shared: 0,
        }
    }
}

/// Runs a kernel with these numbers and buffers, and returns the buffers.
pub fn run(kernel: &str, launch: Launch, numbers: &[f64], buffers: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut input = Vec::new();
    for buffer in buffers {
        input.extend((buffer.len() as u64).to_le_bytes());
        input.extend(buffer);
    }
    let mut child = Command::new(program())
        .arg(kernel)
        .args(launch.grid.map(|n| n.to_string()))
        .arg(launch.shared.to_string())
        .args(numbers.iter().map(f64::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It reads everything before it writes anything.
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{kernel}: {said}");
    let mut rest = done.stdout.as_slice();
    let mut all = Vec::new();
    while let Some((size, after)) = rest.split_first_chunk::<8>() {
        let (buffer, after) = after.split_at(u64::from_le_bytes(*size) as usize);
        all.push(buffer.to_vec());
        rest = after;
    }
    assert_eq!(all.len(), buffers.len());
    all
}
