//! What bodies take of the memory for bodies, from their first byte until the request is answered.

use super::byte_budget::Taken;
use super::refusal::{Kind, Refusal};
use crate::numerals::count;
use std::time::Duration;

/// Memory of a body for each of its bytes: as it was sent, and its sequences.
pub const COPIES: u64 = 2;
/// Memory of a short element of a list beside its bytes, while the list grows.
const ELEMENT: u64 = 256;

/// Takes the memory for elements of lists before they are made.
///
/// # Errors
/// There are more than the server can ever take, or other bodies take all the memory.
pub fn take_for_elements(taken: &Taken, elements: usize) -> Result<(), Refusal> {
    let needed = (elements as u64).saturating_mul(ELEMENT);
    match taken.grow(needed) {
        true => Ok(()),
        false if needed > taken.limit() => {
            let text = format!(
                "the body has about {}, more than this server has memory for: send several requests",
                count(elements as u64, "element")
            );
            Err(Refusal::new(Kind::TooLarge, text))
        }
        false => Err(no_memory()),
    }
}

/// Inputs that a body of this many bytes can have where there is this much memory for bodies.
pub fn most_inputs(body_bytes: usize, memory: u64) -> usize {
    // An input has a letter, two quotes and a comma.
    let by_body = body_bytes / 4;
    let by_memory = memory / (ELEMENT + 4 * COPIES);
    by_body.min(usize::try_from(by_memory).unwrap_or(usize::MAX))
}

/// Why a body cannot be read now.
pub fn no_memory() -> Refusal {
    let text = "the bodies of other requests take all the memory for bodies";
    Refusal::new(Kind::Busy, text).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::byte_budget::ByteBudget;

    #[test]
    fn what_never_fits_is_too_large_and_what_does_not_fit_now_is_busy() {
        let budget = ByteBudget::new(10 * ELEMENT);
        let taken = budget.nothing();
        assert_eq!(take_for_elements(&taken, 6), Ok(()));
        let refusal = take_for_elements(&taken, 5).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.retry_after.is_some()),
            (Kind::Busy, true)
        );
        let refusal = take_for_elements(&taken, 11).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the body has about 11 elements, more than this server has memory for: send several requests"
        );
        assert_eq!(refusal.kind, Kind::TooLarge);
        assert!(take_for_elements(&taken, usize::MAX).is_err());
    }
}
