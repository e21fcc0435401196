//! `esm_embed.v1.Embedder/Embed`: bits, options, notes, and errors of single sequences.

use crate::bench::Bench;
use crate::grpc_client::{bits, connect, embed, message, run, stream, with};
use crate::same_bits;
use crate::support::{Server, protein};
use esm_embed::server::grpc::proto::esm_embed::{Embedding, Notes, Options};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

#[test]
fn sixteen_streams_at_once_get_the_bits_of_run() {
    let sequences = same_bits::sequences();
    let expected = same_bits::run(&sequences);
    let server = Server::start("--include logits,contacts --max-tokens 128 --threads 2");
    let options = Options {
        pools: vec![1],
        residues: true,
        logits: true,
        contacts: true,
        ..Options::default()
    };
    run(async {
        let streams = (0..16).map(async |seed| {
            let channel = connect(&server).await;
            let n = sequences.len();
            // Another order for each, all of them in it.
            let order: Vec<usize> = (0..n).map(|i| (i * (2 * seed + 1) + seed) % n).collect();
            let given = order.iter().map(|&i| {
                let mut message = with(options.clone(), &*sequences[i]);
                message.id = format!("s{i}");
                message
            });
            let answers = embed(&channel, given.collect()).await.unwrap();
            assert_eq!(answers.len(), n);
            for (at, (answer, &i)) in answers.iter().zip(&order).enumerate() {
                assert_eq!(answer.error, None);
                assert_eq!((&*answer.id, answer.index), (&*format!("s{i}"), at as u64));
                let of = &expected[i];
                let wanted = [
                    ("mean.layer2", &of.mean),
                    ("residues.layer2", &of.rows),
                    ("logits", &of.logits),
                    ("contacts", &of.contacts),
                ];
                assert_eq!(answer.arrays.len(), wanted.len());
                for (array, (name, wanted)) in answer.arrays.iter().zip(wanted) {
                    assert_eq!(array.name, name);
                    assert!(bits(array) == *wanted, "stream {seed}, {i}, {name}");
                }
            }
        });
        let streams: Vec<_> = streams.collect();
        join_all(streams).await;
    });
}

/// Polls all of them until they are done.
async fn join_all(futures: Vec<impl Future<Output = ()>>) {
    let mut left: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        left.retain_mut(|one| one.as_mut().poll(context).is_pending());
        match left.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

fn names(answer: &Embedding) -> Vec<&str> {
    answer.arrays.iter().map(|array| &*array.name).collect()
}

#[test]
fn options_hold_until_others_come() {
    let server = Server::start("--layer 1,2");
    let pooled = Options {
        layers: vec![-1, 1, 2],
        pools: vec![3, 1],
        ..Options::default()
    };
    let rows = Options {
        layers: vec![1],
        residues: true,
        ..Options::default()
    };
    let answers = run(async {
        let given = vec![
            message("a", "MKT"),
            with(pooled, "MKT"),
            message("c", "MK"),
            with(rows, "MKTA"),
            with(Options::default(), "M"),
        ];
        embed(&connect(&server).await, given).await.unwrap()
    });
    assert_eq!(names(&answers[0]), ["mean.layer2"]);
    let four = ["mean.layer1", "max.layer1", "mean.layer2", "max.layer2"];
    assert_eq!(names(&answers[1]), four);
    assert_eq!(names(&answers[2]), four);
    assert_eq!(names(&answers[3]), ["residues.layer1"]);
    assert_eq!(answers[3].arrays[0].shape, [4, 32]);
    assert_eq!(names(&answers[4]), ["mean.layer2"]);
    assert_eq!(bits(&answers[0].arrays[0]), bits(&answers[1].arrays[2]));
}

#[test]
fn what_was_done_to_a_sequence_is_noted() {
    let server = Server::start("--long truncate:10");
    let answers = run(async {
        let given = vec![
            message("plain", "MKT"),
            message("odd", "mkt-a.yJz*"),
            message("long", "MKTAYIAKQRQISF"),
        ];
        embed(&connect(&server).await, given).await.unwrap()
    });
    assert_eq!(answers[0].notes, None);
    let odd = Notes {
        lower: 6,
        gaps: 2,
        unknown: 1,
        stop_dropped: true,
        ..Notes::default()
    };
    assert_eq!(answers[1].notes, Some(odd));
    assert_eq!(answers[2].residues, 10);
    assert_eq!(answers[2].notes.as_ref().unwrap().truncated_from, 14);
}

/// The sentence in which `run` refuses a record.
fn refusal_of_run(sequence: &str) -> String {
    let bench = Bench::new();
    bench.write("a.fasta", format!(">a\n{sequence}\n"));
    let options = "--unknown error --long error -q";
    let ended = bench.run(&format!("a.fasta --out emb --model $MODEL {options}"));
    assert_eq!(ended.code, 1);
    let line = ended.err.lines().next().unwrap().to_owned();
    let place = "error: a.fasta, line 1, record 1 (a): ";
    line.strip_prefix(place)
        .unwrap_or_else(|| panic!("{line}"))
        .to_owned()
}

#[test]
fn a_sequence_is_refused_in_the_words_of_run_and_the_stream_continues() {
    let server = Server::start("--unknown error --long error");
    let wrong = [
        ("MKJT", Code::InvalidArgument),
        ("MK<eos>T", Code::InvalidArgument),
        ("*", Code::InvalidArgument),
        ("--..", Code::InvalidArgument),
        (&*protein(1023, 1), Code::ResourceExhausted),
    ];
    let answers = run(async {
        let mut given = Vec::new();
        for (sequence, _) in wrong {
            given.extend([message("wrong", sequence), message("right", "MKT")]);
        }
        given.push(message("header", ">sp|P1\nMKT"));
        embed(&connect(&server).await, given).await.unwrap()
    });
    for ((sequence, code), answers) in wrong.iter().zip(answers.chunks(2)) {
        let error = answers[0].error.as_ref().unwrap();
        assert_eq!(error.code, *code as i32);
        // Without a remedy that only other protocols have.
        assert_eq!(error.message, refusal_of_run(sequence));
        assert_eq!((names(&answers[0]), &*answers[0].id), (vec![], "wrong"));
        assert_eq!(answers[1].error, None);
        assert_eq!(names(&answers[1]), ["mean.layer2"]);
    }
    let header = answers.last().unwrap().error.as_ref().unwrap();
    assert_eq!(
        header.message,
        "the sequence begins with `>`: send it without the header line of FASTA"
    );
}

#[test]
fn options_that_cannot_be_served_are_errors_until_others_come() {
    let server = Server::start("");
    let layer = |layer| Options {
        layers: vec![layer],
        ..Options::default()
    };
    let pool = Options {
        pools: vec![1, 9],
        ..Options::default()
    };
    let logits = Options {
        logits: true,
        ..Options::default()
    };
    let answers = run(async {
        let given = vec![
            with(layer(1), "MKT"),
            message("", "MKT"),
            with(layer(i32::MIN), "MKT"),
            with(pool, "MKT"),
            with(logits, "MKT"),
            with(layer(-1), "MKT"),
        ];
        embed(&connect(&server).await, given).await.unwrap()
    });
    let says = |i: usize| {
        let error = answers[i].error.as_ref().unwrap();
        (error.code, error.message.as_str())
    };
    let invalid = Code::InvalidArgument as i32;
    let layer = "layer 1 is not served; this server has only layer 2";
    assert_eq!(says(0), (invalid, layer));
    assert_eq!(says(1), (invalid, layer));
    assert_eq!(says(2).0, invalid);
    assert_eq!(
        says(3),
        (
            invalid,
            "pool 9: there are POOL_MEAN (1), POOL_BOS (2) and POOL_MAX (3)"
        )
    );
    assert_eq!(says(4).0, Code::FailedPrecondition as i32);
    assert_eq!(names(&answers[5]), ["mean.layer2"]);
}

/// A conversation: the next sequence is sent when there is an answer to the last one.
#[test]
fn an_answer_comes_without_waiting_for_the_next_sequence() {
    let server = Server::start("");
    run(async {
        let (sender, receiver) = mpsc::channel(1);
        let channel = connect(&server).await;
        let mut answers = stream(&channel, ReceiverStream::new(receiver))
            .await
            .unwrap();
        for i in 0..5 {
            sender
                .send(message(i.to_string(), protein(i + 1, 3)))
                .await
                .unwrap();
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!((answer.id, answer.residues), (i.to_string(), i as u64 + 1));
        }
        drop(sender);
        assert_eq!(answers.message().await.unwrap(), None);
    });
}

/// More than the 4 MiB to which gRPC libraries limit messages unless they are told otherwise.
#[test]
fn a_large_answer_is_one_message() {
    let server = Server::start("--include contacts");
    let options = Options {
        contacts: true,
        ..Options::default()
    };
    let answers = run(async {
        let given = vec![with(options, protein(1100, 5))];
        embed(&connect(&server).await, given).await.unwrap()
    });
    let contacts = &answers[0].arrays[0];
    assert_eq!(contacts.shape, [1100, 1100]);
    assert!(contacts.data.len() > 4 << 20);
    let bits = bits(contacts);
    // They are symmetric, and no part is missing.
    for (i, j) in [(0, 1099), (7, 550), (1098, 1)] {
        assert_eq!(bits[1100 * i + j], bits[1100 * j + i]);
        assert!((0.0..=1.0).contains(&f32::from_bits(bits[1100 * i + j])));
    }
    assert_ne!(bits[1100 * 1099], 0);
}
