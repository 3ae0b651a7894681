use bytes::{Buf, BufMut};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A codec for tonic from the two functions that write and read the protocol's messages. What is no message is `None`.
#[derive(Clone, Copy)]
pub(in crate::health) struct Messages<W, R> {
    write: fn(W) -> Vec<u8>,
    read: fn(&[u8]) -> Option<R>,
}

impl<W, R> Messages<W, R> {
    pub(in crate::health) const fn new(
        write: fn(W) -> Vec<u8>,
        read: fn(&[u8]) -> Option<R>,
    ) -> Self {
        Self { write, read }
    }
}

pub(in crate::health) struct Write<W>(fn(W) -> Vec<u8>);
pub(in crate::health) struct Read<R>(fn(&[u8]) -> Option<R>);

impl<W: Send + 'static, R: Send + 'static> Codec for Messages<W, R> {
    type Encode = W;
    type Decode = Option<R>;
    type Encoder = Write<W>;
    type Decoder = Read<R>;

    fn encoder(&mut self) -> Write<W> {
        Write(self.write)
    }

    fn decoder(&mut self) -> Read<R> {
        Read(self.read)
    }
}

impl<W> Encoder for Write<W> {
    type Item = W;
    type Error = Status;

    fn encode(&mut self, message: W, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&(self.0)(message));
        Ok(())
    }
}

impl<R> Decoder for Read<R> {
    type Item = Option<R>;
    type Error = Status;

    /// The whole message is there, and tonic has bounded it.
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Option<R>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some((self.0)(&message)))
    }
}
