//! The memory of requests while they are read: bytes as they arrive, and the elements of lists before
//! they are made.

use crate::server::body_memory::{COPIES, no_memory, take_for_elements};
use crate::server::byte_budget::{ByteBudget, Taken};
use crate::server::refusal::Refusal;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::Next;
use hyper::body::{Bytes, Frame, SizeHint};
use prost::encoding::{WireType, decode_key, decode_varint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Status;

tokio::task_local! {
    /// What the request that is decoded has taken.
    static TAKEN: Arc<Taken>;
}

/// Takes memory for the bytes of a request as they arrive. It is free again when the call is answered;
/// a stream gives it back message by message, from the extensions of its request.
pub async fn count(
    State(budget): State<ByteBudget>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let taken = Arc::new(budget.nothing());
    request.extensions_mut().insert(Arc::clone(&taken));
    let in_body = Arc::clone(&taken);
    let request = request.map(|body| {
        Body::new(Counted {
            body,
            taken: in_body,
        })
    });
    TAKEN.scope(taken, next.run(request)).await
}

/// A body that takes memory for what it yields.
struct Counted {
    body: Body,
    taken: Arc<Taken>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let bytes = match &frame {
            Ok(frame) => frame.data_ref().map_or(0, Bytes::len),
            Err(_) => 0,
        };
        Poll::Ready(Some(match self.taken.grow(COPIES * bytes as u64) {
            true => frame,
            false => Err(axum::Error::new(Status::from(no_memory()))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Takes the memory for the elements of a message before it is decoded.
///
/// # Errors
/// There is too little.
pub fn take_for_message(message: &[u8]) -> Result<(), Status> {
    Ok(take_for(elements(message))?)
}

/// Takes the memory for `elements` list elements of the current request.
///
/// # Errors
/// There is too little.
pub fn take_for(elements: usize) -> Result<(), Refusal> {
    let taken = TAKEN.try_with(|taken| take_for_elements(taken, elements));
    // Messages of streams, which are read beyond the call, have no long lists.
    taken.unwrap_or(Ok(()))
}

/// Fields of KServe's `ModelInferRequest` that hold lists.
const INPUTS: u32 = 5;
const OUTPUTS: u32 = 6;
/// The same of its inputs.
const SHAPE: u32 = 3;
const CONTENTS: u32 = 5;
/// Bytes of a number in a packed list, at most, once it is in memory.
const NUMBER: usize = 8;

/// About the elements of all lists of a message. Lists in other messages are looked for where requests
/// have them.
fn elements(message: &[u8]) -> usize {
    fields(message, |number, inside| match number {
        INPUTS => fields(inside, |number, inside| match number {
            CONTENTS => fields(inside, |_, inside| inside.len() / NUMBER),
            SHAPE => inside.len() / NUMBER,
            _ => 0,
        }),
        OUTPUTS => fields(inside, |_, _| 0),
        _ => 0,
    })
}

/// The fields of a message, and what `within` counts in each that has a length. What cannot be read is
/// not counted: it is refused when the message is decoded.
fn fields(mut message: &[u8], within: impl Fn(u32, &[u8]) -> usize) -> usize {
    let mut count: usize = 0;
    while !message.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut message) else {
            break;
        };
        count = count.saturating_add(1);
        let skipped = match wire_type {
            WireType::Varint => match decode_varint(&mut message) {
                Ok(_) => 0,
                Err(_) => break,
            },
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => match decode_varint(&mut message) {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(_) => break,
            },
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        let Some((inside, rest)) = message.split_at_checked(skipped) else {
            break;
        };
        if wire_type == WireType::LengthDelimited {
            count = count.saturating_add(within(number, inside));
        }
        message = rest;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::grpc::proto::bionemo::InputSpec;
    use crate::server::grpc::proto::kserve::ModelInferRequest;
    use crate::server::grpc::proto::kserve::model_infer_request::InferInputTensor;
    use crate::server::grpc::proto::kserve::{InferParameter, InferTensorContents};
    use proptest::prelude::*;
    use prost::Message;

    #[test]
    fn elements_are_counted_where_lists_are() {
        let seqs = vec![String::new(), "MKT".to_owned(), "A".to_owned()];
        assert_eq!(elements(&InputSpec { seqs }.encode_to_vec()), 3);
        let input = InferInputTensor {
            name: "sequences".to_owned(),
            shape: vec![1; 80],
            parameters: [("a".to_owned(), InferParameter::default())].into(),
            contents: Some(InferTensorContents {
                bytes_contents: vec![Default::default(); 100],
                int64_contents: vec![1; 160],
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = ModelInferRequest {
            inputs: vec![input, Default::default()],
            outputs: vec![Default::default(); 7],
            raw_input_contents: vec![Default::default(); 5],
            ..Default::default()
        };
        // Inputs, outputs and raw contents; the fields of the first input; its shape; its contents.
        let expected = (2 + 7 + 5) + 4 + 80 / 8 + (100 + 1 + 160 / 8);
        assert_eq!(elements(&request.encode_to_vec()), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(elements(&bytes) <= 3 * bytes.len());
        }
    }
}
