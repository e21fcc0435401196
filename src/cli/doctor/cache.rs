//! The Hugging Face cache and the variables that set it up.

use super::super::text;
use super::Line;
use esm_embed::hub::HubSettings;
use rustix::fs::{Access, access, statvfs};
use std::path::Path;

/// Variables that are shown as they are.
const VARIABLES: [&str; 4] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
];

/// Where models lie and how much room there is.
pub fn lines(hub: &Result<HubSettings, String>) -> Vec<Line> {
    let mut lines: Vec<Line> = match hub {
        Ok(hub) => vec![
            ("folder", hub.cache.display().to_string()),
            ("state", state(&hub.cache)),
            ("free space", free_space(&hub.cache)),
            (
                "access token",
                if hub.token.is_some() {
                    "set"
                } else {
                    "not set"
                }
                .to_owned(),
            ),
        ],
        Err(why) => vec![("folder", why.clone())],
    };
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            lines.push((name, value.to_string_lossy().into_owned()));
        }
    }
    lines
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

fn state(folder: &Path) -> String {
    let is_writable = |folder: &Path| access(folder, Access::WRITE_OK).is_ok();
    let words = match (folder.is_dir(), nearest(folder)) {
        (true, _) if is_writable(folder) => "exists, writable",
        (true, _) => "exists, cannot be written: complete models in it can be used",
        (false, Some(above)) if above == folder => {
            "is not a folder: set HF_HOME to a folder of yours"
        }
        (false, Some(above)) if is_writable(above) => {
            "does not exist yet; the first download creates it"
        }
        (false, _) => "does not exist and cannot be created: set HF_HOME to a folder of yours",
    };
    words.to_owned()
}

fn free_space(folder: &Path) -> String {
    nearest(folder)
        .and_then(|folder| statvfs(folder).ok())
        .map_or_else(
            || "unknown".to_owned(),
            |disk| text::bytes(disk.f_bavail.saturating_mul(disk.f_frsize)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_cache() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(state(home.path()), "exists, writable");
        let missing = home.path().join("a/b");
        assert_eq!(
            state(&missing),
            "does not exist yet; the first download creates it"
        );
        assert_eq!(nearest(&missing), Some(home.path()));
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            state(&file),
            "is not a folder: set HF_HOME to a folder of yours"
        );
    }
}
