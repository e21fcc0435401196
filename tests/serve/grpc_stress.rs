//! gRPC under stress: broken messages, clients that leave or do not read, deadlines, and the end.

use crate::grpc_client::{
    BIONEMO, EMBED, INFER, call, call_with, connect, embed, message, run, stream, with,
};
use crate::support::{Server, protein};
use esm_embed::server::grpc::proto::bionemo::{InputSpec, OutputSpec};
use esm_embed::server::grpc::proto::esm_embed::{Options, Sequence};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

async fn answers(server: &Server) {
    let found = embed(&connect(server).await, vec![message("", "MKT")])
        .await
        .unwrap();
    assert_eq!(found[0].error, None);
}

#[test]
fn a_message_that_is_none_is_the_fault_of_its_client() {
    let server = Server::start("");
    run(async {
        let channel = connect(&server).await;
        for path in [EMBED, BIONEMO, INFER] {
            for bytes in [
                // A field that ends early; a tag that there is not; text that is not UTF-8; too deep.
                b"\x0a\xff\xff\xff\xff\x0f".to_vec(),
                b"\x0f".to_vec(),
                b"\x0a\x02\xff\xfe".to_vec(),
                b"\x23".repeat(500),
                vec![0; 64],
            ] {
                let status = call_with(&channel, path, bytes).await.unwrap_err();
                assert_eq!(status.code(), Code::InvalidArgument, "{path} {status:?}");
                assert!(!status.message().is_empty());
            }
        }
        answers(&server).await;
    });
    assert!(!server.messages().contains("panicked"));
}

#[test]
fn a_message_beyond_the_limit_is_refused() {
    let server = Server::start("--max-body-mb 1");
    run(async {
        let channel = connect(&server).await;
        let long = "A".repeat(1_000_001);
        let status = embed(&channel, vec![message("", "MKT"), message("", &*long)])
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let input = InputSpec { seqs: vec![long] };
        let found: Result<OutputSpec, Status> = call(&channel, BIONEMO, Request::new(input)).await;
        let status = found.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("1000000 bytes"), "{status:?}");
        // The limit is for one message, not for a stream of them.
        let many = (0..8)
            .map(|_| message("A".repeat(300_000), "MKT"))
            .collect();
        assert_eq!(embed(&channel, many).await.unwrap().len(), 8);
    });
}

#[test]
fn the_work_of_a_client_that_goes_away_is_given_up() {
    let server = Server::start("--threads 1");
    run(async {
        let channel = connect(&server).await;
        let (sender, receiver) = mpsc::channel(1);
        let running = stream(&channel, ReceiverStream::new(receiver))
            .await
            .unwrap();
        // One pass of many seconds.
        sender.send(message("", protein(30_000, 1))).await.unwrap();
        let wait = || server.wait_for("esm_embed_requests_in_progress", |active| active == 2.0);
        tokio::task::block_in_place(wait);
        let taken = || server.metric("esm_embed_queue_tokens") == 0.0;
        while !tokio::task::block_in_place(taken) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop((sender, running));
        answers(&server).await;
    });
    assert!(server.metric("esm_embed_tokens_total") < 30_000.0);
}

#[test]
fn a_full_queue_refuses_a_call_and_lets_a_stream_wait() {
    let options = "--threads 1 --max-queue-tokens 5000 --max-tokens 302 --bionemo-pooled";
    let server = Server::start(options);
    run(async {
        let channel = connect(&server).await;
        // More than the queue holds, taken while nothing waits.
        let much = InputSpec {
            seqs: (0..60).map(|i| protein(300, i)).collect(),
        };
        let running = tokio::spawn({
            let channel = channel.clone();
            async move { call::<InputSpec, OutputSpec>(&channel, BIONEMO, Request::new(much)).await }
        });
        let full = || server.wait_for("esm_embed_queue_tokens", |tokens| tokens > 5000.0);
        tokio::task::block_in_place(full);
        let one = InputSpec {
            seqs: vec!["MKT".to_owned()],
        };
        let found: Result<OutputSpec, Status> = call(&channel, BIONEMO, Request::new(one)).await;
        let status = found.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "the queue is full: too many tokens wait already"
        );
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        let milliseconds: u64 = pushback.to_str().unwrap().parse().unwrap();
        assert!((1000..=60_000).contains(&milliseconds), "{milliseconds}");
        // A stream is not refused: it is answered when there is room.
        let found = embed(&channel, vec![message("", "MKT")]).await.unwrap();
        assert_eq!(found[0].error, None);
        running.await.unwrap().unwrap();
    });
}

#[test]
fn calls_end_at_the_deadline_of_the_server() {
    let server = Server::start("--threads 1 --timeout 0.1 --bionemo-pooled");
    run(async {
        let channel = connect(&server).await;
        let long = InputSpec {
            seqs: vec![protein(15_000, 1)],
        };
        let found: Result<OutputSpec, Status> = call(&channel, BIONEMO, Request::new(long)).await;
        let status = found.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "there was no answer in time")
        );
        let mut request = Request::new(InputSpec {
            seqs: vec!["MKT".to_owned()],
        });
        let soon = MetadataValue::from_static("soon");
        request.metadata_mut().insert("grpc-timeout", soon);
        let found: Result<OutputSpec, Status> = call(&channel, BIONEMO, request).await;
        assert_eq!(found.unwrap_err().code(), Code::InvalidArgument);
    });
    assert_eq!(server.metric("esm_embed_tokens_total"), 0.0);
}

#[test]
fn a_stream_may_take_longer_than_a_call_but_not_do_nothing() {
    let server = Server::start("--timeout 2");
    run(async {
        let channel = connect(&server).await;
        let (sender, receiver) = mpsc::channel(1);
        let mut answers = stream(&channel, ReceiverStream::new(receiver))
            .await
            .unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(900)).await;
            sender.send(message("", "MKT")).await.unwrap();
            assert_eq!(answers.message().await.unwrap().unwrap().error, None);
        }
        let status = answers.message().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "no sequence arrived within 2 s")
        );
        drop(sender);
    });
}

#[test]
fn too_many_calls_at_a_time_are_refused() {
    let server = Server::start("--max-concurrent-requests 1");
    run(async {
        let channel = connect(&server).await;
        let (sender, receiver) = mpsc::channel(1);
        let mut running = stream(&channel, ReceiverStream::new(receiver))
            .await
            .unwrap();
        sender.send(message("", "MKT")).await.unwrap();
        assert!(running.message().await.unwrap().is_some());
        let status = embed(&channel, vec![message("", "MKT")]).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        drop((sender, running));
    });
}

/// The memory of the process at its peak, in bytes.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    1024 * kilobytes
}

/// 2,000 sequences of 500 residues, with 128 MB of answers. The client first takes none of them, and the
/// server then neither computes nor reads on.
#[test]
fn a_million_residues_take_bounded_memory_on_both_sides() {
    let server = Server::start("--layer 0 --max-queue-tokens 20000 --threads 2");
    let begin = peak(&server);
    run(async {
        let channel = connect(&server).await;
        let taken = Arc::new(AtomicUsize::new(0));
        let options = Options {
            residues: true,
            ..Options::default()
        };
        let counter = Arc::clone(&taken);
        let messages = (0..2000).map(move |i| -> Sequence {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut message = with(options.clone(), protein(500, i));
            // So that requests are large too, beyond what connections hold.
            message.id = format!("{i:0>20000}");
            message
        });
        let mut answers = stream(&channel, tokio_stream::iter(messages))
            .await
            .unwrap();
        // Until nothing moves any more.
        let mut before = usize::MAX;
        while before != taken.load(Ordering::Relaxed) {
            before = taken.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(before < 1000, "{before}");
        let mut residues = 0;
        for index in 0.. {
            let Some(answer) = answers.next().await else {
                break;
            };
            let answer = answer.unwrap();
            assert_eq!((answer.index, answer.arrays.len()), (index, 1));
            residues += answer.residues;
        }
        assert_eq!(residues, 1_000_000);
    });
    let grown = peak(&server) - begin;
    assert!(grown < 64 << 20, "{grown}");
}

#[test]
fn a_server_that_ends_finishes_what_it_has_read() {
    let server = Server::start("--threads 1");
    run(async {
        let channel = connect(&server).await;
        let mut client = HealthClient::new(channel.clone());
        let service = "esm_embed.v1.Embedder".to_owned();
        let watched = client.watch(HealthCheckRequest { service }).await;
        let mut watched = watched.unwrap().into_inner();
        let status = watched.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::Serving);
        let (sender, receiver) = mpsc::channel(4);
        let mut running = stream(&channel, ReceiverStream::new(receiver))
            .await
            .unwrap();
        for i in 0..3 {
            sender
                .send(message(i.to_string(), protein(2000, i)))
                .await
                .unwrap();
        }
        // All of them have been read when the first is answered or waits behind another.
        let first = running.message().await.unwrap().unwrap();
        assert_eq!(first.id, "0");
        server.signal(Signal::TERM);
        let status = watched.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::NotServing);
        assert_eq!(watched.message().await.unwrap(), None);
        let mut ids = Vec::new();
        let ended = loop {
            match running.message().await {
                Ok(Some(answer)) => {
                    assert_eq!(answer.error, None);
                    ids.push(answer.id);
                }
                Ok(None) => panic!("the stream has no status"),
                Err(status) => break status,
            }
        };
        assert_eq!(ids, ["1", "2"]);
        assert_eq!(
            (ended.code(), ended.message()),
            (Code::Unavailable, "the server is shutting down")
        );
    });
    let (code, messages) = server.wait();
    assert_eq!(code, Some(0), "{messages}");
}

#[test]
fn idle_streams_of_tools_do_not_delay_the_end() {
    let server = Server::start("--grace 200");
    run(async {
        let channel = connect(&server).await;
        let mut client = HealthClient::new(channel.clone());
        let mut watched = Vec::new();
        for service in ["", "nix"] {
            let service = service.to_owned();
            let stream = client.watch(HealthCheckRequest { service }).await;
            let mut stream = stream.unwrap().into_inner();
            assert!(stream.message().await.unwrap().is_some());
            watched.push(stream);
        }
        let mut reflected = Vec::new();
        for _ in 0..2 {
            let (sender, receiver) = mpsc::channel(1);
            let mut client = ServerReflectionClient::new(channel.clone());
            let answers = client.server_reflection_info(ReceiverStream::new(receiver));
            let mut answers = answers.await.unwrap().into_inner();
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest {
                message_request,
                ..ServerReflectionRequest::default()
            };
            sender.send(request).await.unwrap();
            assert!(answers.message().await.unwrap().is_some());
            // The client waits, and asks nothing more.
            reflected.push((sender, answers));
        }
        server.signal(Signal::TERM);
        for (_, answers) in &mut reflected {
            let status = answers.message().await.unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::Unavailable, "the server is shutting down")
            );
        }
        drop(watched);
    });
    let (code, messages) = server.wait();
    assert_eq!(code, Some(0), "{messages}");
    assert!(!messages.contains("not finished in time"), "{messages}");
}

#[test]
fn metrics_have_the_status_of_each_call() {
    let server = Server::start("");
    run(async {
        let channel = connect(&server).await;
        answers(&server).await;
        let empty = InputSpec::default();
        let found: Result<OutputSpec, Status> = call(&channel, BIONEMO, Request::new(empty)).await;
        assert_eq!(found.unwrap_err().code(), Code::InvalidArgument);
        let found = call_with(&channel, EMBED, b"\x0f".to_vec()).await;
        assert_eq!(found.unwrap_err().code(), Code::InvalidArgument);
        let found = call_with(&channel, "/esm_embed.v1.Embedder/Nix", Vec::new()).await;
        assert_eq!(found.unwrap_err().code(), Code::Unimplemented);
        let found = call_with(&channel, "/nix.Nix/Nix", Vec::new()).await;
        assert_eq!(found.unwrap_err().code(), Code::Unimplemented);
        let found = call_with(
            &channel,
            "/grpc.health.v1.Health/Check",
            b"\x0a\x03nix".to_vec(),
        )
        .await;
        assert_eq!(found.unwrap_err().code(), Code::NotFound);
    });
    for (route, status, count) in [
        (EMBED, "OK", 1),
        (EMBED, "INVALID_ARGUMENT", 1),
        (BIONEMO, "INVALID_ARGUMENT", 1),
        ("other", "UNIMPLEMENTED", 2),
        ("/grpc.health.v1.Health", "NOT_FOUND", 1),
    ] {
        server.wait_for_line(&format!(
            "esm_embed_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
        ));
    }
}
