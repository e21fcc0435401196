//! Arguments → job.

use super::RunArgs;
use crate::cli::options::output::PoolArg;
use esm_embed::device::Tested;
use esm_embed::output::{Existing, Pool};
use esm_embed::pipeline::{
    Caches, ChecksumCache, Inputs, Job, MapOptions, Model, OutputOptions, SequenceOptions,
};
use esm_embed::plan::Plan;
use esm_embed::product::Product;
use std::path::PathBuf;
use std::sync::Arc;

/// What the arguments ask for.
pub fn job(args: &RunArgs, plan: Option<Arc<Plan>>, model: Model) -> Job {
    let RunArgs {
        output,
        records,
        compute,
        ..
    } = args;
    Job {
        inputs: Inputs {
            paths: match &plan {
                Some(plan) if args.inputs.is_empty() => plan.facts.paths(),
                _ => args.inputs.clone(),
            },
            shard: args.shard,
            plan,
            on_duplicate_id: records.on_duplicate_id.into(),
            known: args.known.clone(),
        },
        model: Model {
            contact_regression: args.contact_regression.clone(),
            ..model
        },
        output: OutputOptions {
            folder: args.out.clone(),
            existing: Existing::asked(args.resume, args.force),
            layers: each_once(output.layers.iter().map(|arg| arg.0)),
            pools: pools(&output.pools),
            stack_layers: output.stack_layers,
            residues: output.residues.into(),
            include: included(&output.include),
            maps: MapOptions {
                layers: each_once(output.attention_layers.iter().map(|arg| arg.0)),
                heads: output.attention_heads.map(Into::into).unwrap_or_default(),
            },
            dtype: output.out_dtype.into(),
        },
        sequences: SequenceOptions {
            long: records.sequences.long,
            unknown: records.sequences.unknown.into(),
            gaps: records.sequences.gaps.into(),
            on_invalid: records.on_invalid.into(),
        },
        compute: compute.options(),
    }
}

/// The caches in this folder; without a folder, there are none.
pub fn caches(args: &RunArgs, folder: Option<PathBuf>) -> Caches {
    Caches {
        self_tests: Tested {
            folder: folder.clone(),
            again: args.compute.check_device,
        },
        checksums: folder.map(|folder| ChecksumCache {
            again: args.model.check_model,
            ..ChecksumCache::new(folder)
        }),
    }
}

/// The pools in one order, so that the order in which they are typed does not show in the output.
fn pools(asked: &[PoolArg]) -> Vec<Pool> {
    let asked: Vec<Pool> = asked.iter().filter_map(|pool| pool.pool()).collect();
    Pool::ALL
        .into_iter()
        .filter(|pool| asked.contains(pool))
        .collect()
}

/// The same for what is included.
fn included(asked: &[Product]) -> Vec<Product> {
    let mut asked = asked.to_vec();
    asked.sort_unstable();
    asked.dedup();
    asked
}

fn each_once<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut kept, one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line::{Cli, Command};
    use clap::Parser;
    use esm_embed::admission::{Gaps, Long};
    use esm_embed::device::{DeviceChoice, Dtype, available_threads};
    use esm_embed::ops::CpuPath;
    use esm_embed::output::{OutDtype, Residues};
    use esm_embed::pipeline::{ComputeOptions, Layers, OnDuplicateId, OnInvalid, OnVarying};
    use esm_embed::product::MapHeads;
    use esm_embed::tokenizer::UnknownPolicy;

    fn model() -> Model {
        Model {
            asked: "8M".to_owned(),
            path: PathBuf::from("/m"),
            repo: None,
            revision: None,
            contact_regression: None,
            adapter: None,
        }
    }

    fn args(line: &str) -> RunArgs {
        let words = ["esm-embed", "run"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).map(|args| args.command) {
            Ok(Command::Run(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn job_of(line: &str) -> Job {
        job(&args(line), None, model())
    }

    fn caches_of(line: &str) -> Caches {
        caches(&args(line), Some(PathBuf::from("/c")))
    }

    #[test]
    fn defaults() {
        let expected = Job {
            inputs: Inputs {
                paths: vec![PathBuf::from("a.fasta")],
                shard: None,
                plan: None,
                on_duplicate_id: OnDuplicateId::Warn,
                known: vec![],
            },
            model: model(),
            output: OutputOptions {
                folder: PathBuf::from("emb"),
                existing: Existing::Refuse,
                layers: vec![],
                pools: vec![Pool::Mean],
                stack_layers: false,
                residues: Residues::Packed,
                include: vec![],
                maps: MapOptions::default(),
                dtype: OutDtype::F32,
            },
            sequences: SequenceOptions {
                long: None,
                unknown: UnknownPolicy::Unk,
                gaps: Gaps::Keep,
                on_invalid: OnInvalid::Fail,
            },
            compute: ComputeOptions {
                device: DeviceChoice::Auto,
                dtype: None,
                cpu_path: None,
                threads: available_threads(),
                max_tokens: None,
                deterministic: false,
                on_varying: OnVarying::Alone,
            },
        };
        assert_eq!(job_of("a.fasta --out emb"), expected);
        let remembered = Caches {
            checksums: Some(ChecksumCache::new("/c")),
            self_tests: Tested {
                folder: Some(PathBuf::from("/c")),
                again: false,
            },
        };
        assert_eq!(caches_of("a.fasta --out emb"), remembered);
    }

    #[test]
    fn every_flag() {
        let line = "a.fasta - -o emb -m 8M --layer -1,0,-1 --layer=3 --pool max,mean,max --residues files \
             --include attentions,logits,contacts,logits --attention-layers -1,0,-1 \
             --attention-heads mean --contact-regression r.pt \
             --dtype bf16 --out-dtype f16 --device cpu --threads 3 --max-tokens 4096 \
             --deterministic --long window:100:10 --unknown error --gaps drop --on-invalid skip \
             --on-duplicate-id fail --force --known old --known older \
             --cpu-path portable --check-model --check-device --on-varying fail --progress none -q";
        let expected = Job {
            inputs: Inputs {
                paths: vec![PathBuf::from("a.fasta"), PathBuf::from("-")],
                shard: None,
                plan: None,
                on_duplicate_id: OnDuplicateId::Fail,
                known: vec![PathBuf::from("old"), PathBuf::from("older")],
            },
            model: Model {
                contact_regression: Some(PathBuf::from("r.pt")),
                ..model()
            },
            output: OutputOptions {
                folder: PathBuf::from("emb"),
                existing: Existing::Replace,
                layers: [-1, 0, 3].map(Layers::One).to_vec(),
                pools: vec![Pool::Mean, Pool::Max],
                stack_layers: false,
                residues: Residues::Files,
                include: vec![Product::Logits, Product::Contacts, Product::Attentions],
                maps: MapOptions {
                    layers: [-1, 0].map(Layers::One).to_vec(),
                    heads: MapHeads::Mean,
                },
                dtype: OutDtype::F16,
            },
            sequences: SequenceOptions {
                long: Some(Long::Window {
                    size: 100,
                    overlap: 10,
                }),
                unknown: UnknownPolicy::Error,
                gaps: Gaps::Drop,
                on_invalid: OnInvalid::Skip,
            },
            compute: ComputeOptions {
                device: DeviceChoice::Cpu,
                dtype: Some(Dtype::Bf16),
                cpu_path: Some(CpuPath::Portable),
                threads: 3,
                max_tokens: Some(4096),
                deterministic: true,
                on_varying: OnVarying::Fail,
            },
        };
        assert_eq!(job_of(line), expected);
        let remembered = Caches {
            checksums: Some(ChecksumCache {
                again: true,
                ..ChecksumCache::new("/c")
            }),
            self_tests: Tested {
                folder: Some(PathBuf::from("/c")),
                again: true,
            },
        };
        assert_eq!(caches_of(line), remembered);
    }

    #[test]
    fn an_existing_output_is_kept_replaced_or_resumed() {
        let existing = |flag: &str| job_of(&format!("a.fasta -o emb{flag}")).output.existing;
        assert_eq!(existing(""), Existing::Refuse);
        assert_eq!(existing(" --force"), Existing::Replace);
        assert_eq!(existing(" --resume"), Existing::Resume);
    }

    #[test]
    fn a_negative_layer_needs_no_equals_sign() {
        let layers = |text: &str| {
            job_of(&format!("--layer{text} a.fasta -o emb"))
                .output
                .layers
        };
        assert_eq!(layers(" -1"), [Layers::One(-1)]);
        assert_eq!(layers("=-1,0"), [-1, 0].map(Layers::One));
        assert_eq!(
            layers(" 0,3-5,last,-1"),
            [Layers::One(0), Layers::Span(3, 5), Layers::One(-1)]
        );
        assert_eq!(layers(" -2-last,all"), [Layers::Span(-2, -1), Layers::ALL]);
        assert!(job_of("--pool none a.fasta -o emb").output.pools.is_empty());
    }
}
