//! Kernels on the CPU: `host.cpp` runs one of them over buffers. `card.cu` does the same on a GPU; the
//! tests use it if `ESM_EMBED_KERNEL_LAUNCHER` or `ESM_EMBED_KERNEL_LAUNCHER_TURING` names its program.

use super::numbers::Format;
use crate::tools;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
}

/// The kernels of a generation of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Compute capability 7.5, without bf16.
    Turing,
    /// 8.0 and newer.
    Ampere,
}

impl Kernels {
    /// All that can be run: with a launcher only those of its GPU, and without a C++ compiler none. Then
    /// the calling test is skipped.
    pub fn all() -> Vec<Kernels> {
        let both = [Kernels::Turing, Kernels::Ampere];
        let launched = both
            .into_iter()
            .filter(|kernels| kernels.launcher().is_some());
        let launched: Vec<Kernels> = launched.collect();
        match launched.is_empty() {
            true if can_compile() => both.to_vec(),
            _ => launched,
        }
    }

    fn launcher(self) -> Option<OsString> {
        let named = std::env::var_os(match self {
            Kernels::Turing => "ESM_EMBED_KERNEL_LAUNCHER_TURING",
            Kernels::Ampere => "ESM_EMBED_KERNEL_LAUNCHER",
        });
        named.filter(|program| !program.is_empty())
    }

    pub fn formats(self) -> &'static [Format] {
        match self {
            Kernels::Turing => &[Format::F16, Format::F32],
            Kernels::Ampere => &Format::ALL,
        }
    }

    /// Bytes of shared memory of a block of attention.
    pub fn attention_shared(self, format: Format, head_dim: usize) -> usize {
        let copies = match self {
            Kernels::Turing => 1,
            Kernels::Ampere => 2,
        };
        match format {
            Format::F32 => 4 * ((64 + copies * 32) * (head_dim + 1) + 64 * 33),
            _ => 2 * copies * 2 * 64 * (head_dim.next_multiple_of(16) + 8),
        }
    }

    /// The compiled program.
    pub fn program(self) -> PathBuf {
        static COMPILED: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        let compiled = || {
            COMPILED[self as usize]
                .get_or_init(|| self.compile())
                .clone()
        };
        self.launcher().map_or_else(compiled, PathBuf::from)
    }

    fn compile(self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kernels-{self:?}"));
        let compiler = compiler();
        let compiled = Command::new(&compiler)
            // Where fibers switch stacks by longjmp, its fortified version would refuse.
            .args([
                "-std=c++17",
                "-O2",
                "-march=native",
                "-w",
                "-U_FORTIFY_SOURCE",
            ])
            .args((self == Kernels::Turing).then_some("-DTURING"))
            .arg(root.join("tests/cuda/kernels/host.cpp"))
            .arg("-o")
            .arg(&out)
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{compiler}: {said}");
        out
    }
}

/// Whether there is a C++ compiler; if not, the calling test is skipped.
fn can_compile() -> bool {
    tools::is_there(&compiler()) || tools::skip("a C++ compiler (c++, or what CXX names)")
}

#[test]
fn without_a_compiler_a_test_is_skipped() {
    tools::assert_skips(
        "kernels::rows::gelu_is_the_erf_form",
        &[
            ("CXX", "no-such-compiler"),
            ("ESM_EMBED_KERNEL_LAUNCHER", ""),
            ("ESM_EMBED_KERNEL_LAUNCHER_TURING", ""),
        ],
        "a C++ compiler (c++, or what CXX names)",
    );
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

impl Kernels {
    /// Runs a kernel with these numbers and buffers, and returns the buffers.
    pub fn run(
        self,
        kernel: &str,
        launch: Launch,
        numbers: &[f64],
        buffers: &[Vec<u8>],
    ) -> Vec<Vec<u8>> {
        let mut input = Vec::new();
        for buffer in buffers {
            input.extend((buffer.len() as u64).to_le_bytes());
            input.extend(buffer);
        }
        let mut child = Command::new(self.program())
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
}
