//! `--shard`.

use esm_embed::numerals::grouped;
use esm_embed::pipeline::Shard;
use esm_embed::settings::digits;

/// More parts than any scheduler has jobs for.
pub const MAX_SHARDS: usize = 100_000;

/// `I/N`.
pub fn shard(text: &str) -> Result<Shard, String> {
    let wrong = || {
        format!(
            "expected I/N, such as 2/8 for part 2 of 8: N is 1 to {}, and I is 1 to N, or 0 for \
             part N",
            grouped(MAX_SHARDS as u64)
        )
    };
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    let (number, of) = digits(number).zip(digits(of)).ok_or_else(wrong)?;
    if !(1..=MAX_SHARDS).contains(&of) || number > of {
        return Err(wrong());
    }
    Ok(Shard {
        number: if number == 0 { of } else { number } as u64,
        of: of as u64,
    })
}
