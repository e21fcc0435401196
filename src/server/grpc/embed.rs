//! `esm_embed.v1.Embedder/Embed`: a stream of sequences in, a stream of answers in the same order out.
//!
//! ```text
//! messages ──> admission ──> Window ──> queue ──> turns, in order ──> answers
//!                              │                                        │
//!                              └─────────── freed as they are sent <────┘
//! ```
//!
//! One task reads and answers. It reads a message only when the sequence before it and its answer fit
//! into the window of the stream, so neither a client that sends fast nor one that reads slowly fills
//! the queue or the memory for answers. When the client goes away, the task ends, and its work is given
//! up.

use super::answer::{embedding, failed};
use super::deadline::Deadline;
use super::products::products;
use super::proto::esm_embed::embedder_server::Embedder;
use super::proto::esm_embed::{Embedding, Options, Sequence};
use super::status;
use super::window::{Share, Window};
use crate::numerals;
use crate::product::Product;
use crate::server::byte_budget::Taken;
use crate::server::facts::Truncate;
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::{Admitted, Pending, Service};
use crate::server::shared::{Shared, ending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of the largest message of protobuf.
const LARGEST_MESSAGE: u64 = i32::MAX as u64;
/// More than everything in an answer but its id and its numbers takes.
const OTHER_FIELDS: u64 = 64 << 10;

/// The service.
pub struct Streams {
    /// What all requests share.
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Embedder for Streams {
    type EmbedStream = Answers;

    async fn embed(
        &self,
        request: Request<Streaming<Sequence>>,
    ) -> Result<Response<Answers>, Status> {
        // A stream may take as long as its client wants.
        let deadline = Deadline::of(request.metadata(), None)?;
        let permit = self.shared.enter()?;
        let loaded = async { Ok(self.shared.service().await?) };
        let service = deadline.limit(loaded).await?;
        let (sender, receiver) = mpsc::channel(1);
        let dialogue = Dialogue {
            taken: request.extensions().get::<Arc<Taken>>().cloned(),
            window: Window::new(&service, self.shared.limits.max_queue_tokens),
            service,
            shared: Arc::clone(&self.shared),
            _permit: permit,
        };
        tokio::spawn(dialogue.run(request.into_inner(), sender, deadline));
        Ok(Response::new(Answers {
            receiver,
            sent: None,
        }))
    }
}

/// An answer with what it holds until it has been sent, or why there are no more.
type Item = Result<(Embedding, Held), Status>;
type Held = (Option<Share>, Option<Taken>);

/// What the client receives.
pub struct Answers {
    receiver: mpsc::Receiver<Item>,
    /// What the last answer holds.
    sent: Option<Held>,
}

impl Stream for Answers {
    type Item = Result<Embedding, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The next answer is asked for when the last one is in the buffer of the connection.
        self.sent = None;
        Poll::Ready(match ready!(self.receiver.poll_recv(context)) {
            Some(Ok((embedding, held))) => {
                self.sent = Some(held);
                Some(Ok(embedding))
            }
            Some(Err(status)) => Some(Err(status)),
            None => None,
        })
    }
}

/// A sequence whose answer has not been sent.
struct Turn {
    id: String,
    index: u64,
    work: Work,
    share: Option<Share>,
}

/// What there is to answer, with the memory for it.
enum Work {
    Pending(Pending),
    Refused(Refusal, Option<Taken>),
}

/// One stream.
struct Dialogue {
    /// Memory of messages that arrive.
    taken: Option<Arc<Taken>>,
    service: Arc<Service>,
    shared: Arc<Shared>,
    window: Window,
    _permit: OwnedSemaphorePermit,
}

impl Dialogue {
    async fn run(
        self,
        messages: Streaming<Sequence>,
        answers: mpsc::Sender<Item>,
        deadline: Deadline,
    ) {
        let (turns, waiting) = mpsc::unbounded_channel();
        let work = async {
            // What was read before an error is answered.
            let reading = async { Ok(self.read(messages, turns).await) };
            let answering = self.answer(waiting, &answers);
            let (read, ()) = tokio::try_join!(reading, answering)?;
            read
        };
        let ended = tokio::select! {
            ended = work => ended,
            status = deadline.reached() => Err(status),
            // The client has gone.
            () = answers.closed() => return,
        };
        if let Err(status) = ended {
            // If this fails, there is nobody to read it.
            let _ = answers.send(Err(status)).await;
        }
    }

    /// Reads messages while there is room for them in the window.
    async fn read(
        &self,
        mut messages: Streaming<Sequence>,
        turns: mpsc::UnboundedSender<Turn>,
    ) -> Result<(), Status> {
        let mut wanted = products(&self.service, &Options::default());
        for index in 0.. {
            let message = tokio::select! {
                message = self.next(&mut messages) => message?,
                () = self.shared.ending() => return Err(ending().into()),
            };
            let Some(message) = message else {
                return Ok(());
            };
            if let Some(options) = &message.options {
                wanted = products(&self.service, options);
            }
            let admitted = wanted.as_ref().map_err(Refusal::clone);
            let admitted = admitted.and_then(|products| self.admit(&message, products));
            let (work, share) = self.enter(admitted, message.id.len() as u64).await?;
            let turn = Turn {
                id: message.id,
                index,
                work,
                share,
            };
            if turns.send(turn).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The next message.
    async fn next(&self, messages: &mut Streaming<Sequence>) -> Result<Option<Sequence>, Status> {
        let patience = self.shared.limits.timeout;
        loop {
            match tokio::time::timeout(patience, messages.message()).await {
                Ok(message) => {
                    // From here on, what is kept of it counts in the window and with its answer.
                    self.taken.iter().for_each(|taken| taken.clear());
                    return message.map_err(status::of_reading);
                }
                Err(_) if self.window.is_free() => {
                    let text = format!("no sequence arrived within {} s", patience.as_secs());
                    return Err(Status::deadline_exceeded(text));
                }
                // The client waits for answers.
                Err(_) => {}
            }
        }
    }

    fn admit(&self, message: &Sequence, products: &Arc<[Product]>) -> Result<Admitted, Refusal> {
        let sequence = message.sequence.as_bytes();
        let admitted = self
            .service
            .admit(sequence, Truncate::NotOffered, products)?;
        fits_message(admitted.answer_bytes(), message)?;
        Ok(admitted)
    }

    /// Queues a sequence when there is room for it and its answer, which an identifier is part of.
    async fn enter(
        &self,
        admitted: Result<Admitted, Refusal>,
        id: u64,
    ) -> Result<(Work, Option<Share>), Refusal> {
        Ok(match admitted {
            Ok(admitted) => {
                let admitted = admitted.beside(id);
                let (tokens, bytes) = (admitted.tokens(), admitted.answer_bytes());
                let share = self.window.enter(tokens, bytes).await;
                match self.service.submit_when_room(admitted).await {
                    Ok(pending) => (Work::Pending(pending), share),
                    Err(refusal) => (Work::Refused(refusal, None), share),
                }
            }
            Err(refusal) => {
                let share = self.window.enter(0, id).await;
                let taken = self.service.reserve_when_free(id).await?;
                (Work::Refused(refusal, Some(taken)), share)
            }
        })
    }

    /// Sends answers in the order of their sequences.
    async fn answer(
        &self,
        mut waiting: mpsc::UnboundedReceiver<Turn>,
        answers: &mpsc::Sender<Item>,
    ) -> Result<(), Status> {
        let patience = self.shared.limits.timeout;
        while let Some(turn) = waiting.recv().await {
            let Turn {
                id,
                index,
                work,
                share,
            } = turn;
            let (outcome, taken) = match work {
                Work::Pending(pending) => (pending.answer().await, None),
                Work::Refused(refusal, taken) => (Err(refusal), taken),
            };
            let item = match outcome {
                Ok(answer) => {
                    let embedding = embedding(id, index, &answer, self.service.facts());
                    (embedding, (share, Some(answer.into_taken())))
                }
                Err(refusal) if refusal.kind == Kind::Unavailable => return Err(refusal.into()),
                Err(refusal) => (failed(id, index, refusal), (share, taken)),
            };
            match tokio::time::timeout(patience, answers.send(Ok(item))).await {
                Ok(Ok(())) => {}
                // The client has gone.
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    let text = format!("the client took no answer within {} s", patience.as_secs());
                    return Err(Status::deadline_exceeded(text));
                }
            }
        }
        Ok(())
    }
}

/// Whether an answer fits into one message.
fn fits_message(bytes: u64, message: &Sequence) -> Result<(), Refusal> {
    let id = message.id.len() as u64;
    match bytes.saturating_add(id + OTHER_FIELDS) > LARGEST_MESSAGE {
        true => Err(Refusal::new(
            Kind::TooLarge,
            format!(
                "the answer would take {}, more than a message may have: ask for fewer arrays",
                numerals::bytes(bytes)
            ),
        )),
        false => Ok(()),
    }
}
