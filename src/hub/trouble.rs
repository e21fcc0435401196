//! Why a file or a snapshot did not come.

use super::client::Failure;
use super::error::HubError;

/// Why a snapshot was left.
pub(super) enum Stop {
    /// The branch is at another commit than it was a file ago: start over.
    Moved,
    Error(Box<HubError>),
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Stop::Error(Box::new(error))
    }
}

/// A file the repository does not hold.
pub(super) struct Missing {
    pub(super) code: String,
    pub(super) said: String,
}

/// Why an attempt at a file did not end with the file.
pub(super) enum Trouble {
    Stop(Stop),
    Failure(Failure),
    Restart(&'static str),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Trouble::Stop(error.into())
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failure(failure)
    }
}
