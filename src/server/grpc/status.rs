//! A reason why there is no answer, as a status of gRPC.

use crate::server::refusal::{Kind, Refusal};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// The header of a status.
pub const HEADER: &str = "grpc-status";
/// Metadata in which a server says when to try again, in milliseconds; negative for never.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The name of a code.
pub fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The code of a reason.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Empty
        | Kind::Malformed
        | Kind::NotAcceptable
        | Kind::MediaType
        | Kind::Invalid
        | Kind::Character => Code::InvalidArgument,
        Kind::Unauthorized => Code::Unauthenticated,
        Kind::NotFound => Code::NotFound,
        Kind::Method => Code::Unimplemented,
        Kind::SlowBody | Kind::Deadline => Code::DeadlineExceeded,
        Kind::TooLarge | Kind::Busy => Code::ResourceExhausted,
        Kind::Failed => Code::Internal,
        Kind::NotServed => Code::FailedPrecondition,
        Kind::Unavailable => Code::Unavailable,
    }
}

/// The status of a message that could not be read. A message beyond the limit is RESOURCE_EXHAUSTED, as
/// in other servers; tonic says OUT_OF_RANGE.
pub fn of_reading(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let mut metadata = MetadataMap::new();
        let pushback = match (refusal.kind, refusal.retry_after) {
            (_, Some(time)) => Some(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            // The same request would be refused again.
            (Kind::TooLarge, None) => Some(-1),
            _ => None,
        };
        if let Some(milliseconds) = pushback {
            metadata.insert(PUSHBACK, MetadataValue::from(milliseconds));
        }
        Status::with_metadata(code(refusal.kind), refusal.message, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_may_succeed_later_is_worth_another_try() {
        let pushback = |refusal: Refusal| {
            let status = Status::from(refusal);
            let value = status.metadata().get(PUSHBACK);
            (
                status.code(),
                value.map(|value| value.to_str().unwrap().to_owned()),
            )
        };
        let busy = Refusal::new(Kind::Busy, "full").retry_after(Duration::from_secs(2));
        let exhausted = Code::ResourceExhausted;
        assert_eq!(pushback(busy), (exhausted, Some("2000".to_owned())));
        let large = Refusal::new(Kind::TooLarge, "large");
        assert_eq!(pushback(large), (exhausted, Some("-1".to_owned())));
        let wrong = Refusal::new(Kind::Character, "residue 5: `J`");
        assert_eq!(pushback(wrong), (Code::InvalidArgument, None));
    }
}
