//! How long the GPU takes for one launch.

use super::error::{CudaError, While};
use cudarc::driver::CudaStream;
use std::time::{Duration, Instant};

/// A measurement takes about this long, so that starting and waiting hardly count, but has no more
/// launches than [`MOST_LAUNCHES`].
const MEASURED: Duration = Duration::from_millis(10);
const MOST_LAUNCHES: u32 = 32;
const ROUNDS: usize = 3;
/// A launch that takes so long is not repeated.
const LONG: Duration = Duration::from_millis(100);

/// The time of one launch: the shortest of a few measurements of launches one after another.
pub(super) fn of_launch(
    stream: &CudaStream,
    mut launch: impl FnMut() -> Result<(), CudaError>,
) -> Result<Duration, CudaError> {
    let one = of_single_launch(stream, &mut launch)?;
    if one > LONG {
        return Ok(one);
    }
    let launches = launches(one);
    let mut shortest = Duration::MAX;
    for _ in 0..ROUNDS {
        shortest = shortest.min(measure(stream, &mut launch, launches)?);
    }
    Ok(shortest)
}

/// The time of one launch by itself, with starting it and waiting for it.
pub(super) fn of_single_launch(
    stream: &CudaStream,
    mut launch: impl FnMut() -> Result<(), CudaError>,
) -> Result<Duration, CudaError> {
    // The first also loads the code.
    measure(stream, &mut launch, 1)?;
    measure(stream, &mut launch, 1)
}

/// The time of one of several launches.
fn measure(
    stream: &CudaStream,
    launch: &mut impl FnMut() -> Result<(), CudaError>,
    launches: u32,
) -> Result<Duration, CudaError> {
    let begin = Instant::now();
    for _ in 0..launches {
        launch()?;
    }
    stream.synchronize().while_("timing a launch")?;
    Ok(begin.elapsed() / launches)
}

/// Launches of a measurement, if one of them takes this long.
fn launches(one: Duration) -> u32 {
    let all = MEASURED.as_nanos() / one.as_nanos().max(1);
    u32::try_from(all).map_or(MOST_LAUNCHES, |all| all.clamp(1, MOST_LAUNCHES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_launches_are_measured_together() {
        let of = |micros| launches(Duration::from_micros(micros));
        assert_eq!([0, 20, 1000, 4000].map(of), [32, 32, 10, 2]);
        assert_eq!(of(50_000), 1);
    }
}
