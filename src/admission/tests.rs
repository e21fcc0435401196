use super::*;
use crate::checkpoint::{EsmConfig, Positions, TRAINING_MAXIMUM};
use crate::memory::{LimitedBy, MemoryLimit};
use crate::model::PassMemory;
use crate::ops::{Activation, CpuPath, WeightType};
use crate::tokenizer::{Alphabet, UnknownPolicy};

fn policy(long: Long, model_limit: Option<usize>) -> Policy {
    Policy {
        alphabet: Alphabet::Esm,
        unknown: UnknownPolicy::Unk,
        gaps: Gaps::Keep,
        long,
        model_limit,
    }
}

#[test]
fn truncation_keeps_the_first_residues_and_both_ends() {
    let done = policy(Long::Truncate(3), None).prepare(b"MKTAY").unwrap();
    assert_eq!(done.tokens, [0, 20, 15, 11, 2]);
    assert_eq!(done.truncated_from, Some(5));
    let whole = policy(Long::Truncate(3), None).prepare(b"MKT").unwrap();
    assert_eq!(whole.truncated_from, None);
}

#[test]
fn windows_only_where_they_are_needed() {
    let long = Long::Window {
        size: 4,
        overlap: 2,
    };
    let done = policy(long, None).prepare(b"MKTAYI").unwrap();
    assert_eq!(done.windows, [0..4, 2..6]);
    assert_eq!(done.residues(), 6);
    assert!(
        policy(long, None)
            .prepare(b"MKTA")
            .unwrap()
            .windows
            .is_empty()
    );
}

#[test]
fn gaps_are_kept_or_removed_before_anything_else() {
    let keep = policy(Long::Truncate(4), None);
    let drop = Policy {
        gaps: Gaps::Drop,
        ..keep
    };
    let kept = keep.prepare(b"-M.KT--AY").unwrap();
    assert_eq!(kept.tokens, [0, 30, 20, 29, 15, 2]);
    assert_eq!((kept.gaps, kept.truncated_from), (4, Some(9)));
    let dropped = drop.prepare(b"-M.KT--AY").unwrap();
    assert_eq!(dropped.tokens, [0, 20, 15, 11, 5, 2]);
    assert_eq!((dropped.gaps, dropped.truncated_from), (4, Some(5)));
    for policy in [keep, drop] {
        for text in [
            "-",
            "...---",
            "--.*",
            "-\u{a0}-",
            "--*--",
            "*.",
            "- * -\u{a0}",
        ] {
            let unfit = policy.prepare(text.as_bytes());
            assert_eq!(unfit, Err(Unfit::OnlyGaps), "{text}");
        }
        assert!(policy.prepare(b"-<mask>").is_ok());
    }
}

#[test]
fn gaps_are_removed_before_a_stop_is_looked_for() {
    let drop = Policy {
        gaps: Gaps::Drop,
        ..policy(Long::Full, None)
    };
    let plain = drop.prepare(b"MKTAY*").unwrap();
    for (text, gaps) in [
        ("MKTAY*--", 2),
        ("MKTAY*. -\u{200b}", 2),
        ("-M-KTAY-*-", 4),
        ("MKTAY--*", 2),
    ] {
        let done = drop.prepare(text.as_bytes()).unwrap();
        assert_eq!(done.tokens, plain.tokens, "{text}");
        assert_eq!((done.stop, done.gaps, done.unknown), (true, gaps, 0));
    }
    // Only one stop is dropped, and only at the end.
    let two = drop.prepare(b"MK*T**--").unwrap();
    assert_eq!((two.residues(), two.unknown), (5, 2));
    // fair-esm reads it as <unk>, and gaps that are kept are read as fair-esm reads them.
    let kept = policy(Long::Full, None).prepare(b"MKTAY*--").unwrap();
    assert_eq!((kept.residues(), kept.unknown, kept.stop), (8, 1, false));
}

#[test]
fn the_reason_for_a_refusal_is_given() {
    let full = policy(Long::Full, None);
    assert_eq!(full.prepare(b""), Err(Unfit::Empty));
    assert_eq!(full.prepare(b"*"), Err(Unfit::Empty));
    assert_eq!(full.prepare("\u{200b}*".as_bytes()), Err(Unfit::Empty));
    let long = vec![b'A'; 1023];
    assert!(full.prepare(&long).is_ok());
    let learned = policy(Long::Full, Some(1022)).prepare(&long).unwrap_err();
    assert_eq!(
        learned.to_string(),
        "the sequence has 1,023 residues, and this model's learned positions end at 1,022\n\
         hint: use `long=window` or `long=truncate`"
    );
    let asked = policy(Long::Error, None).prepare(&long).unwrap_err();
    assert_eq!(
        asked.to_string(),
        "the sequence has 1,023 residues, more than the limit of 1,022\n\
         hint: use `long=full`, `long=window` or `long=truncate`"
    );
    assert!(policy(Long::Error, None).prepare(&long[1..]).is_ok());
}

#[test]
fn tokens_of_a_sequence() {
    let window = Long::Window {
        size: 100,
        overlap: 20,
    };
    for (residues, long, expected) in [
        (0, Long::Full, 2),
        (5000, Long::Full, 5002),
        (5000, Long::Error, 5002),
        (5000, Long::Truncate(1022), 1024),
        (50, Long::Truncate(1022), 52),
        (100, window, 102),
        // 0..100 and 1..101.
        (101, window, 204),
        // 0..100, 80..180, 100..200.
        (200, window, 306),
    ] {
        assert_eq!(long.tokens(residues), expected, "{residues} {long}");
    }
}

/// ESM-2 8M, or a model of its size with learned positions.
fn config(positions: Positions) -> EsmConfig {
    EsmConfig {
        layers: 6,
        dim: 320,
        heads: 20,
        intermediate: 1280,
        activation: Activation::Gelu,
        vocab: 33,
        alphabet: Alphabet::Esm,
        positions,
        emb_layer_norm_before: false,
        token_dropout: true,
        biases: true,
        qk_norm: false,
        residual_scale: 1.0,
        layer_norm_eps: 1e-5,
    }
}

const LEARNED: Positions = Positions::Learned { rows: 1026 };

#[test]
fn the_default_for_long_sequences_depends_on_the_positions() {
    let resolve = |positions, long| {
        let config = config(positions);
        Policy::new(&config, UnknownPolicy::Unk, Gaps::Keep, long)
    };
    let rotary = resolve(Positions::Rotary, None).unwrap();
    assert_eq!((rotary.long, rotary.model_limit), (Long::Full, None));
    let learned = resolve(LEARNED, None).unwrap();
    assert_eq!(learned.long, Long::Error);
    assert_eq!(learned.model_limit, Some(TRAINING_MAXIMUM));

    let long = Long::Truncate(1023);
    assert_eq!(resolve(Positions::Rotary, Some(long)).unwrap().long, long);
    assert_eq!(
        resolve(LEARNED, Some(long)).unwrap_err().to_string(),
        "`long=truncate:1023` asks for more residues than this model's learned positions, which \
         end at 1,022"
    );
    assert!(resolve(LEARNED, Some(Long::Truncate(1022))).is_ok());
}

fn cost(limits: PassLimits) -> PassCost {
    let config = config(Positions::Rotary);
    let memory = PassMemory::new(&config, CpuPath::Portable, WeightType::F32);
    PassCost::new(&config, memory, 1, limits)
}

const LIMITS: PassLimits = PassLimits {
    max_tokens: 1024,
    threads: 4,
    one_each: false,
};

fn budget(mib: u64, may_shrink: bool) -> Result<MemoryBudget, ModelTooLarge> {
    let config = config(Positions::Rotary);
    let model = ModelMemory::new(&config, 6, WeightType::F32, LIMITS.threads);
    let limit = MemoryLimit {
        bytes: mib << 20,
        by: LimitedBy::Cgroup,
    };
    MemoryBudget::new(limit, &model, 0, cost(LIMITS), may_shrink)
}

#[test]
fn batches_shrink_until_every_thread_can_work_on_one() {
    let wide = budget(4096, true).unwrap();
    assert_eq!(wide.cost.max_tokens(), 1024);
    let narrow = budget(80, true).unwrap();
    let tokens = narrow.cost.max_tokens();
    assert!((64..1024).contains(&tokens), "{tokens}");
    // Batches as large as asked leave less.
    let as_asked = budget(80, false).unwrap();
    assert_eq!(as_asked.cost.max_tokens(), 1024);
    assert!(as_asked.bytes < narrow.bytes);
}

#[test]
fn a_model_that_leaves_no_memory_is_refused() {
    let error = budget(32, true).unwrap_err();
    assert!(error.needed > 32 << 20);
    let text = error.to_string();
    let (sentence, hints) = text.split_once('\n').unwrap();
    assert!(sentence.starts_with("the model needs about 6"), "{text}");
    let limit = " MB of memory, but this process may use 33.6 MB (the limit of its control group)";
    assert!(sentence.ends_with(limit), "{text}");
    assert!(hints.lines().all(|line| line.starts_with("hint: ")));
}

#[test]
fn the_longest_sequence_that_fits_is_the_last_one_admitted() {
    for long in [
        Long::Full,
        Long::Window {
            size: 500,
            overlap: 100,
        },
    ] {
        let admission = Admission {
            maps: None,
            policy: policy(long, None),
            memory: Some(budget(80, true).unwrap()),
        };
        let longest = admission.longest();
        assert!((1000..1_000_000).contains(&longest), "{longest}");
        let text = vec![b'A'; longest + 1];
        assert!(admission.admit(&text[1..]).is_ok());
        let refused = admission.admit(&text).unwrap_err();
        assert!(matches!(refused, Unfit::TooLarge { .. }), "{refused}");
        assert_eq!(refused.residues(), Some(longest + 1));
    }
    let unlimited = Admission {
        maps: None,
        policy: policy(Long::Full, None),
        memory: None,
    };
    assert_eq!(unlimited.longest(), MAX_SEQUENCE);
}
