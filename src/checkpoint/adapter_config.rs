//! Reads the configuration of an adapter.

use super::adapter::Adapter;
use super::error::CheckpointError;
use super::file_names::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use super::json;
use super::locate::locate;
use std::path::Path;

/// The adapter that the configuration in a folder describes, if there is one.
pub fn configured_adapter(folder: &Path) -> Option<Adapter> {
    let config = json::read(&folder.join(ADAPTER_CONFIG)).ok()?;
    Some(Adapter::new(config, folder))
}

/// The adapter of a folder, as far as its configuration says.
pub fn adapter_of(folder: &Path) -> Adapter {
    configured_adapter(folder).unwrap_or_else(|| Adapter::unknown(folder))
}

/// The adapter in a folder or file that holds no complete weights.
pub fn lone_adapter(path: &Path) -> Option<Adapter> {
    match locate(path) {
        Err(CheckpointError::Adapter { adapter, .. }) => Some(*adapter),
        _ => None,
    }
}

/// The adapter in a folder, or the one that a file belongs to.
///
/// # Errors
/// There is none, or its configuration cannot be read.
pub fn read_adapter(path: &Path) -> Result<Adapter, CheckpointError> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new("")),
    };
    let config = folder.join(ADAPTER_CONFIG);
    let is_there = path.symlink_metadata().is_ok();
    if !is_there || config.symlink_metadata().is_err() {
        return Err(CheckpointError::NotWeights {
            path: path.to_path_buf(),
            found: match is_there {
                true => format!("is not an adapter: it has no {ADAPTER_CONFIG}"),
                false => "no such file or folder".into(),
            },
            remedy: format!(
                "name the folder that PEFT saved, with {ADAPTER_CONFIG} and {}",
                ADAPTER_WEIGHTS[0]
            )
            .into(),
        });
    }
    Ok(Adapter::new(json::read(&config)?, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_configuration_has_no_known_adapter() {
        assert_eq!(configured_adapter(Path::new("/nowhere")), None);
        assert_eq!(adapter_of(Path::new("/nowhere")).method, None);
    }
}
