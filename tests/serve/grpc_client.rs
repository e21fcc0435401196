//! A client of gRPC.

use crate::support::{LONG, Server};
use esm_embed::server::grpc::proto::esm_embed::{Array, Embedding, Options, Sequence};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use std::future::Future;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

pub const EMBED: &str = "/esm_embed.v1.Embedder/Embed";
pub const BIONEMO: &str = "/bionemo.model.protein.esm1nv.grpc.GenerativeSampler/SeqToEmbedding";
pub const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Runs a client to its end. It fails after a long time.
pub fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG, client).await.unwrap() })
}

/// A connection of its own.
pub async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    endpoint.connect().await.unwrap()
}

async fn grpc(channel: &Channel) -> Grpc<Channel> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.unwrap();
    grpc
}

/// One message for one.
pub async fn call<A, B>(
    channel: &Channel,
    path: &'static str,
    request: Request<A>,
) -> Result<B, Status>
where
    A: Message + 'static,
    B: Message + Default + 'static,
{
    let codec = ProstCodec::<A, B>::default();
    let path = PathAndQuery::from_static(path);
    let answer = grpc(channel).await.unary(request, path, codec).await?;
    Ok(answer.into_inner())
}

/// A stream of sequences.
pub async fn stream(
    channel: &Channel,
    messages: impl Stream<Item = Sequence> + Send + 'static,
) -> Result<Streaming<Embedding>, Status> {
    let codec = ProstCodec::<Sequence, Embedding>::default();
    let path = PathAndQuery::from_static(EMBED);
    let request = Request::new(messages);
    let answers = grpc(channel).await.streaming(request, path, codec).await?;
    Ok(answers.into_inner())
}

/// All answers to these messages.
pub async fn embed(channel: &Channel, messages: Vec<Sequence>) -> Result<Vec<Embedding>, Status> {
    let mut answers = stream(channel, tokio_stream::iter(messages)).await?;
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// Sends bytes as one message.
pub async fn call_with(
    channel: &Channel,
    path: &'static str,
    message: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let path = PathAndQuery::from_static(path);
    let messages = Request::new(tokio_stream::once(message));
    let mut grpc = grpc(channel).await;
    let mut answers = grpc.streaming(messages, path, Raw).await?.into_inner();
    let answer = answers.message().await?;
    Ok(answer.unwrap_or_default())
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// A message of a stream.
pub fn message(id: impl Into<String>, sequence: impl Into<String>) -> Sequence {
    Sequence {
        id: id.into(),
        sequence: sequence.into(),
        options: None,
    }
}

/// The same with options.
pub fn with(options: Options, sequence: impl Into<String>) -> Sequence {
    Sequence {
        options: Some(options),
        ..message("", sequence)
    }
}

/// The bits of an array.
pub fn bits(array: &Array) -> Vec<u32> {
    assert_eq!(array.dtype, "<f4");
    let numbers: u64 = array.shape.iter().product();
    assert_eq!(array.data.len() as u64, 4 * numbers);
    let numbers = array.data.chunks_exact(4);
    let bits = numbers.map(|four| u32::from_le_bytes(four.try_into().unwrap()));
    bits.collect()
}
