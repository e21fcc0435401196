//! How long a client waits for the answer of a call: the header `grpc-timeout`.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Longer than any call: an unlimited one ends then.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// When a call has to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline of the client, or that of the server if it is earlier.
    ///
    /// # Errors
    /// The client's is not a time.
    pub fn of(metadata: &MetadataMap, server: Option<Duration>) -> Result<Deadline, Status> {
        let asked = match metadata.get("grpc-timeout") {
            None => FOREVER,
            Some(value) => timeout(value.as_encoded_bytes())
                .ok_or_else(|| Status::invalid_argument("the header grpc-timeout is not a time"))?,
        };
        let time = asked.min(server.unwrap_or(FOREVER)).min(FOREVER);
        Ok(Deadline(Instant::now() + time))
    }

    /// The result of the work if it is there in time. Otherwise the work is dropped.
    ///
    /// # Errors
    /// The work failed, or took too long.
    pub async fn limit<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let done = tokio::time::timeout_at(self.0, work).await;
        done.unwrap_or_else(|_| Err(self.passed()))
    }

    /// Waits for the deadline.
    pub async fn reached(self) -> Status {
        tokio::time::sleep_until(self.0).await;
        self.passed()
    }

    fn passed(self) -> Status {
        Status::deadline_exceeded("there was no answer in time")
    }
}

/// Up to eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = match is_number {
        true => std::str::from_utf8(digits).ok()?.parse().ok()?,
        false => return None,
    };
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_up_to_eight_digits_and_a_unit() {
        for (text, time) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("100000000S", None),
            ("+1S", None),
            ("1.5S", None),
            ("1s", None),
            ("1", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), time, "{text}");
        }
    }
}
