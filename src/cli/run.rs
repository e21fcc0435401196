//! `run`: arguments → job.

use super::args::{GapsArg, OnDuplicateIdArg, OnInvalidArg, OnVaryingArg, RunArgs, UnknownArg};
use super::message::Message;
use super::progress::Progress;
use super::values::PoolArg;
use super::{Exit, print, signals, source};
use esm_embed::admission::Gaps;
use esm_embed::device::{Device, Tested, available_threads};
use esm_embed::fasta::Input;
use esm_embed::hub::HubSettings;
use esm_embed::output::{Existing, Pool};
use esm_embed::pipeline::{
    self, Caches, ChecksumCache, ComputeOptions, Inputs, Job, Model, OnDuplicateId, OnInvalid,
    OnVarying, OutputOptions, SequenceOptions, Stopped,
};
use esm_embed::tokenizer::UnknownPolicy;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Embeds, or with `--dry-run` says what would be done.
pub fn execute(args: &RunArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.show));
    let stop = signals::listen(&progress)?;
    // What is sure to fail fails before a model is downloaded.
    let compute = &args.compute;
    Device::resolve(&compute.device, compute.cpu_path, compute.dtype)?;
    check_inputs(&args.inputs)?;
    let model = source::resolve(&args.model.model, args.model.revision.as_deref(), &progress)?;
    let cache = HubSettings::from_env().ok();
    let caches = caches(args, cache.map(|cache| cache.remembered()));
    let job = job(args, model);
    if args.dry_run {
        let forecast = pipeline::dry_run(&job, &caches, progress.as_ref());
        progress.clear();
        let forecast = forecast?;
        match progress.is_json() {
            true => print(&format!("{}\n", forecast.json()))?,
            false => print(&forecast.to_string())?,
        }
        return Ok(Exit::Done);
    }
    let outcome = pipeline::run(&job, &caches, progress.as_ref(), &stop);
    progress.clear();
    let outcome = match outcome {
        Err(error) if error.is::<Stopped>() => {
            progress.error(&Message::of_error(&error));
            return Ok(Exit::Stopped(stop.signal()));
        }
        outcome => outcome?,
    };
    Ok(if outcome.skipped > 0 {
        Exit::Skipped
    } else {
        Exit::Done
    })
}

/// Opens what can be opened twice: files, and paths that lead nowhere.
fn check_inputs(inputs: &[PathBuf]) -> anyhow::Result<()> {
    for path in inputs {
        if path == Path::new("-") {
            continue;
        }
        let is_stream = path
            .metadata()
            .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if !is_stream {
            Input::open(path)?;
        }
    }
    Ok(())
}

fn job(args: &RunArgs, model: Model) -> Job {
    let RunArgs {
        output,
        records,
        compute,
        ..
    } = args;
    Job {
        inputs: Inputs {
            paths: args.inputs.clone(),
            shard: args.shard,
            on_duplicate_id: match records.on_duplicate_id {
                OnDuplicateIdArg::Warn => OnDuplicateId::Warn,
                OnDuplicateIdArg::Fail => OnDuplicateId::Fail,
            },
        },
        model,
        output: OutputOptions {
            folder: args.out.clone(),
            existing: match (args.resume, args.force) {
                (true, _) => Existing::Resume,
                (false, true) => Existing::Replace,
                (false, false) => Existing::Refuse,
            },
            layers: each_once(output.layers.iter().map(|arg| arg.0)),
            pools: pools(&output.pools),
            residues: output.residues,
            dtype: output.out_dtype,
        },
        sequences: SequenceOptions {
            long: records.long,
            unknown: match records.unknown {
                UnknownArg::Unk => UnknownPolicy::Unk,
                UnknownArg::Error => UnknownPolicy::Error,
            },
            gaps: match records.gaps {
                GapsArg::Keep => Gaps::Keep,
                GapsArg::Drop => Gaps::Drop,
            },
            on_invalid: match records.on_invalid {
                OnInvalidArg::Fail => OnInvalid::Fail,
                OnInvalidArg::Skip => OnInvalid::Skip,
            },
        },
        compute: ComputeOptions {
            device: compute.device.clone(),
            dtype: compute.dtype,
            cpu_path: compute.cpu_path,
            threads: compute.threads.unwrap_or_else(available_threads),
            max_tokens: compute.max_tokens,
            deterministic: compute.deterministic,
            on_varying: match compute.on_varying {
                OnVaryingArg::Alone => OnVarying::Alone,
                OnVaryingArg::Fail => OnVarying::Fail,
            },
        },
    }
}

/// What is remembered in this folder; without a folder, nothing is.
fn caches(args: &RunArgs, folder: Option<PathBuf>) -> Caches {
    Caches {
        self_tests: Tested {
            folder: folder.clone(),
            anew: args.compute.check_device,
        },
        checksums: folder.map(|folder| ChecksumCache {
            anew: args.model.check_model,
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
    use super::super::args::{Args, Command};
    use super::*;
    use clap::Parser;
    use esm_embed::admission::Long;
    use esm_embed::device::{DeviceChoice, Dtype};
    use esm_embed::ops::CpuPath;
    use esm_embed::output::{OutDtype, Residues};
    use esm_embed::pipeline::Layers;

    fn model() -> Model {
        Model {
            asked: "8M".to_owned(),
            path: PathBuf::from("/m"),
            repo: None,
            revision: None,
        }
    }

    fn args(line: &str) -> RunArgs {
        let words = ["esm-embed", "run"].into_iter().chain(line.split(' '));
        match Args::try_parse_from(words).map(|args| args.command) {
            Ok(Command::Run(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn job_of(line: &str) -> Job {
        job(&args(line), model())
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
                on_duplicate_id: OnDuplicateId::Warn,
            },
            model: model(),
            output: OutputOptions {
                folder: PathBuf::from("emb"),
                existing: Existing::Refuse,
                layers: vec![],
                pools: vec![Pool::Mean],
                residues: Residues::Packed,
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
                anew: false,
            },
        };
        assert_eq!(caches_of("a.fasta --out emb"), remembered);
    }

    #[test]
    fn every_flag() {
        let line = "a.fasta - -o emb -m 8M --layer -1,0,-1 --layer=3 --pool max,mean,max --residues files \
             --dtype bf16 --out-dtype f16 --device cpu --threads 3 --max-tokens 4096 \
             --deterministic --long window:100:10 --unknown error --gaps drop --on-invalid skip \
             --on-duplicate-id fail --force \
             --cpu-path portable --check-model --check-device --on-varying fail --progress none -q";
        let expected = Job {
            inputs: Inputs {
                paths: vec![PathBuf::from("a.fasta"), PathBuf::from("-")],
                shard: None,
                on_duplicate_id: OnDuplicateId::Fail,
            },
            model: model(),
            output: OutputOptions {
                folder: PathBuf::from("emb"),
                existing: Existing::Replace,
                layers: [-1, 0, 3].map(Layers::One).to_vec(),
                pools: vec![Pool::Mean, Pool::Max],
                residues: Residues::Files,
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
                anew: true,
                ..ChecksumCache::new("/c")
            }),
            self_tests: Tested {
                folder: Some(PathBuf::from("/c")),
                anew: true,
            },
        };
        assert_eq!(caches_of(line), remembered);
    }

    #[test]
    fn what_is_there_is_left_replaced_or_gone_on_with() {
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
