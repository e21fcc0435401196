//! Messages on the wire. As tonic's codec for prost, but a message that cannot be read is the client's
//! mistake: INVALID_ARGUMENT, not INTERNAL.

use super::request_memory::take_for_message;
use prost::Message;
use prost::bytes::Buf;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{self, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Writes messages `T` and reads messages `U`.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(ProstDecoder::default())
    }
}

/// Reads messages.
pub struct Reader<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message is one chunk.
        take_for_message(buf.chunk())?;
        let read = self.0.decode(buf);
        read.map_err(|status| Status::invalid_argument(status.message()))
    }
}
