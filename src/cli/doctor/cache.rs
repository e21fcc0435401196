//! The Hugging Face cache and the variables that configure it.

use super::ReportLine;
use super::environment::{self, variable};
use esm_embed::hub::HubSettings;
use esm_embed::numerals;
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;
use std::path::Path;

/// Where models are stored, and how much space is left.
#[derive(Debug, Default, Serialize)]
pub struct Cache {
    /// The folder; null if the settings name none.
    folder: Option<String>,
    /// What is wrong with the settings; null if nothing is.
    error: Option<String>,
    /// Its state in words.
    state: Option<&'static str>,
    /// Whether it exists.
    exists: bool,
    /// Whether models can be downloaded into it.
    writable: bool,
    /// Free bytes of its disk.
    free_bytes: Option<u64>,
    /// Whether there is an access token.
    access_token: bool,
}

impl Cache {
    /// Looks at the folder that the settings name.
    pub fn look(hub: &Result<HubSettings, String>) -> Cache {
        match hub {
            Ok(hub) => {
                let (state, writable) = state(&hub.cache);
                Cache {
                    folder: Some(hub.cache.to_string_lossy().into_owned()),
                    error: None,
                    state: Some(state),
                    exists: hub.cache.is_dir(),
                    writable,
                    free_bytes: free_bytes(&hub.cache),
                    access_token: hub.token.is_some(),
                }
            }
            Err(why) => Cache {
                error: Some(why.clone()),
                ..Cache::default()
            },
        }
    }

    /// As text, with the variables that configure it.
    pub fn lines(self) -> Vec<ReportLine> {
        let token = if self.access_token { "set" } else { "not set" };
        let mut lines: Vec<ReportLine> = match (self.folder, self.error) {
            (Some(folder), _) => vec![
                ("folder", folder),
                ("state", self.state.unwrap_or_default().to_owned()),
                (
                    "free space",
                    self.free_bytes
                        .map_or_else(|| "unknown".to_owned(), numerals::bytes),
                ),
                ("access token", token.to_owned()),
            ],
            (None, why) => vec![("folder", why.unwrap_or_default())],
        };
        for name in environment::CACHE {
            lines.extend(variable(name).map(|value| (name, value)));
        }
        lines
    }
}

/// The folder itself, or the nearest one above it that exists.
fn nearest(folder: &Path) -> Option<&Path> {
    let here = Path::new(".");
    folder
        .ancestors()
        .map(|folder| {
            if folder.as_os_str().is_empty() {
                here
            } else {
                folder
            }
        })
        .find(|folder| folder.exists())
}

/// The state of a folder in words, and whether it can be written to or created.
fn state(folder: &Path) -> (&'static str, bool) {
    let is_writable = |folder: &Path| access(folder, Access::WRITE_OK).is_ok();
    match (folder.is_dir(), nearest(folder)) {
        (true, _) if is_writable(folder) => ("exists, writable", true),
        (true, _) => (
            "exists, but is not writable: only complete models in it can be used",
            false,
        ),
        (false, Some(above)) if above == folder => (
            "is not a folder: set HF_HOME to a folder that you can write to",
            false,
        ),
        (false, Some(above)) if is_writable(above) => {
            ("does not exist yet; the first download creates it", true)
        }
        (false, _) => (
            "does not exist and cannot be created: set HF_HOME to a folder that you can write to",
            false,
        ),
    }
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = statvfs(nearest(folder)?).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_cache() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(state(home.path()), ("exists, writable", true));
        let missing = home.path().join("a/b");
        assert_eq!(
            state(&missing),
            ("does not exist yet; the first download creates it", true)
        );
        assert_eq!(nearest(&missing), Some(home.path()));
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            state(&file),
            (
                "is not a folder: set HF_HOME to a folder that you can write to",
                false
            )
        );
    }
}
