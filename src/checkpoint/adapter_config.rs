//! Reads the configuration of an adapter.

use super::adapter::Adapter;
use super::file_names::ADAPTER_CONFIG;
use super::json;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_configuration_has_no_known_adapter() {
        assert_eq!(configured_adapter(Path::new("/nowhere")), None);
        assert_eq!(adapter_of(Path::new("/nowhere")).method, None);
    }
}
