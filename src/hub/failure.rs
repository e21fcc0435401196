//! Why a file or a snapshot could not be downloaded.

use super::client::RequestFailure;
use super::error::HubError;

/// Why a snapshot was not completed.
pub(super) enum SnapshotFailure {
    /// The branch moved between two files: start over.
    Moved,
    Error(Box<HubError>),
}

impl From<HubError> for SnapshotFailure {
    fn from(error: HubError) -> Self {
        SnapshotFailure::Error(Box::new(error))
    }
}

/// A file that the repository does not have.
pub(super) struct Missing {
    pub(super) code: String,
    pub(super) said: String,
}

/// Why an attempt at a file failed.
pub(super) enum FileFailure {
    Snapshot(SnapshotFailure),
    Request(RequestFailure),
    Restart(&'static str),
}

impl From<HubError> for FileFailure {
    fn from(error: HubError) -> Self {
        FileFailure::Snapshot(error.into())
    }
}

impl From<RequestFailure> for FileFailure {
    fn from(failure: RequestFailure) -> Self {
        FileFailure::Request(failure)
    }
}
