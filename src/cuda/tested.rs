//! Self-tests that a GPU has passed, remembered for later runs.
//!
//! A test holds for the same kind of GPU, driver, cuBLASLt, kernels, program and number format, which form
//! its key, and for the shape in its name. Only passed tests are remembered.

use super::images;
use super::slab::Heights;
use crate::device::{Dtype, Gpu, Tested};
use crate::disk_cache::DiskCache;

/// The tests of one kind of GPU.
#[derive(Debug)]
pub(super) struct Tests {
    tested: Tested,
    key: String,
}

impl Tests {
    pub(super) fn new(tested: &Tested, gpu: &Gpu, dtype: Dtype, cublaslt: Option<usize>) -> Tests {
        Tests {
            tested: tested.clone(),
            key: key(gpu, dtype, cublaslt, images::digest()),
        }
    }

    /// The result of a test that was passed; None if it has to be run.
    pub(super) fn find(&self, test: &str) -> Option<String> {
        let folder = self.tested.folder.as_ref()?;
        if self.tested.again {
            return None;
        }
        let value = DiskCache(folder).find(&self.key_of(test))?;
        let found = value.strip_prefix("passed ")?.strip_suffix('\n')?;
        Some(found.to_owned())
    }

    /// Remembers that a test was passed, with its result on one line.
    pub(super) fn pass(&self, test: &str, found: &str) {
        if let Some(folder) = &self.tested.folder {
            // If this fails, the next run tests again.
            let _ = DiskCache(folder).write(&self.key_of(test), &format!("passed {found}\n"));
        }
    }

    fn key_of(&self, test: &str) -> String {
        format!("{}test {test}\n", self.key)
    }
}

/// Everything that can change a bit of a product or a kernel, as text.
fn key(gpu: &Gpu, dtype: Dtype, cublaslt: Option<usize>, kernels: &str) -> String {
    let Gpu {
        name,
        capability: (major, minor),
        memory,
        multiprocessors,
        driver,
        driver_version,
        ..
    } = gpu;
    let name = name.escape_debug();
    let cublaslt = cublaslt.map_or("none".to_owned(), |version| version.to_string());
    let heights = Heights::of(*multiprocessors);
    let heights: Vec<String> = heights.all().iter().map(usize::to_string).collect();
    let heights = heights.join(" ");
    let driver_version = driver_version
        .as_deref()
        .unwrap_or("unknown")
        .escape_debug();
    format!(
        "esm-embed self-test 1\nprogram {}\nkernels {kernels}\ncard {name}\ncapability \
         {major}.{minor}\nmemory {memory}\ndriver {driver} {driver_version}\ncublaslt \
         {cublaslt}\nrows {heights}\ndtype {dtype}\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn gpu() -> Gpu {
        Gpu {
            number: 0,
            name: "NVIDIA H200".to_owned(),
            capability: (9, 0),
            memory: 150_323_855_360,
            multiprocessors: 132,
            cache: 50 << 20,
            driver: 13000,
            driver_version: Some("580.95.05".to_owned()),
        }
    }

    fn tests(folder: Option<&std::path::Path>, gpu: &Gpu, dtype: Dtype) -> Tests {
        Tests {
            tested: Tested {
                folder: folder.map(Into::into),
                again: false,
            },
            key: key(gpu, dtype, Some(130_100), "00ff"),
        }
    }

    #[test]
    fn a_key_names_everything_that_can_change_bits() {
        assert_eq!(
            key(&gpu(), Dtype::F16, Some(130_100), "00ff"),
            format!(
                "esm-embed self-test 1\nprogram {}\nkernels 00ff\ncard NVIDIA H200\ncapability \
                 9.0\nmemory 150323855360\ndriver 13000 580.95.05\ncublaslt 130100\nrows 256 \
                 1024 4096 16896\ndtype f16\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn a_test_holds_only_for_the_same_gpu_driver_and_format() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/there/yet");
        let same = tests(Some(&folder), &gpu(), Dtype::F16);
        assert_eq!(same.find("a"), None);
        same.pass("a", "0123");
        assert_eq!(same.find("a").as_deref(), Some("0123"));
        assert_eq!(same.find("b"), None);
        let without = Tests {
            key: key(&gpu(), Dtype::F16, None, "00ff"),
            ..tests(Some(&folder), &gpu(), Dtype::F16)
        };
        assert_eq!(without.find("a"), None);
        let others = [
            Gpu {
                name: "NVIDIA H100".to_owned(),
                ..gpu()
            },
            Gpu {
                driver: 12090,
                ..gpu()
            },
            Gpu {
                driver_version: None,
                ..gpu()
            },
            Gpu { memory: 1, ..gpu() },
            Gpu {
                multiprocessors: 114,
                ..gpu()
            },
        ];
        for other in others {
            assert_eq!(tests(Some(&folder), &other, Dtype::F16).find("a"), None);
        }
        assert_eq!(tests(Some(&folder), &gpu(), Dtype::Bf16).find("a"), None);
        let mut again = tests(Some(&folder), &gpu(), Dtype::F16);
        again.tested.again = true;
        assert_eq!(again.find("a"), None);
    }

    #[test]
    fn a_damaged_entry_is_tested_again() {
        let folder = tempfile::tempdir().unwrap();
        let tests = tests(Some(folder.path()), &gpu(), Dtype::F32);
        tests.pass("a", "0123");
        let path = DiskCache(folder.path()).path(&tests.key_of("a")).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(tests.find("a"), None, "{at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(tests.find("a"), None, "{at}");
        }
        tests.pass("a", "4567");
        assert_eq!(tests.find("a").as_deref(), Some("4567"));
    }

    #[test]
    fn without_a_usable_folder_every_run_tests() {
        let none = tests(None, &gpu(), Dtype::F16);
        none.pass("a", "0123");
        assert_eq!(none.find("a"), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let unusable = tests(Some(&file.join("r")), &gpu(), Dtype::F16);
        unusable.pass("a", "0123");
        assert_eq!(unusable.find("a"), None);
    }
}
