//! Why a request gets no answer.

use std::time::Duration;
use thiserror::Error;

/// What kind of reason it is. Each protocol has its status for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request holds nothing to compute, or an empty sequence.
    Empty,
    /// The body is not JSON, or not UTF-8.
    Malformed,
    /// The key is missing or wrong.
    Unauthorized,
    /// There is nothing at this path.
    NotFound,
    /// The path has another method.
    Method,
    /// No requested format fits the answer.
    NotAcceptable,
    /// The body did not arrive in time.
    SlowBody,
    /// A body, an answer or a sequence is larger than the server takes.
    TooLarge,
    /// The body is not in a format that is read.
    MediaType,
    /// The body asks for what there is not.
    Invalid,
    /// A sequence has a character that is refused.
    Character,
    /// There is too much to do already; the same request may be sent again.
    Busy,
    /// The pass failed.
    Failed,
    /// The model is loaded without what it takes.
    NotServed,
    /// The model is not loaded yet, or the server is about to end.
    Unavailable,
    /// There was no answer in time.
    Deadline,
}

/// Why a request gets no answer, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: Kind,
    /// The reason. For a sequence, it opens with its number in the request.
    pub message: String,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A reason.
    pub fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same, worth another try after this time.
    pub fn retry_after(self, time: Duration) -> Refusal {
        Refusal {
            retry_after: Some(time),
            ..self
        }
    }

    /// The same about an input of a request, counted from 0.
    pub fn of_input(self, name: &str, index: usize) -> Refusal {
        Refusal {
            message: format!("{name}[{index}]: {}", self.message),
            ..self
        }
    }
}
