//! The body of a request to the server, or a message of its gRPC services; the sequences of one that is
//! read.

#![no_main]

use esm_embed::admission::{Admission, Gaps, Long, Policy};
use esm_embed::server::Dialect;
use esm_embed::tokenizer::{Alphabet, UnknownPolicy};
use esm_embed_fuzz::message;
use libfuzzer_sys::fuzz_target;

/// What every sequence passes, in the strictest way.
static ADMISSION: Admission = Admission {
    policy: Policy {
        alphabet: Alphabet::Esm,
        unknown: UnknownPolicy::Error,
        gaps: Gaps::Keep,
        long: Long::Error,
        model_limit: None,
    },
    memory: None,
    maps: None,
};

fuzz_target!(|data: &[u8]| {
    let Some((tag, body)) = data.split_first() else {
        return;
    };
    let Some(dialect) = Dialect::ALL.get(usize::from(*tag)) else {
        return;
    };
    match dialect.sequences(body) {
        Err(refusal) => message::check_short(&refusal),
        Ok(sequences) => {
            for sequence in sequences {
                if let Err(unfit) = ADMISSION.admit(&sequence) {
                    unfit.to_string().lines().for_each(|line| message::check_short(&line));
                }
            }
        }
    }
});
