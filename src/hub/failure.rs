//! Why a file or a snapshot did not come.

use super::client::RequestFailure;
use super::error::HubError;

/// Why a snapshot was left.
pub(super) enum SnapshotFailure {
    /// The branch is at another commit than it was a file ago: start over.
    Moved,
    Error(Box<HubError>),
}

impl From<HubError> for SnapshotFailure {
    fn from(error: HubError) -> Self {
        SnapshotFailure::Error(Box::new(error))
    }
}

/// A file the repository does not hold.
pub(super) struct Missing {
    pub(super) code: String,
    pub(super) said: String,
}

/// Why an attempt at a file did not end with the file.
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
