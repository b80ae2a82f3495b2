//! A connection whose first bytes have been read and are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection with what was read of it put back in front.
#[derive(Debug)]
pub struct Rewound<S> {
    /// What comes first, the next byte last.
    first: Vec<u8>,
    io: S,
}

impl<S> Rewound<S> {
    /// `io` with `first` in front of what it still gives.
    pub fn new(mut first: Vec<u8>, io: S) -> Self {
        first.reverse();
        Self { first, io }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(context, out);
        }
        let count = this.first.len().min(out.remaining());
        let rest = this.first.len() - count;
        for byte in this.first.drain(rest..).rev() {
            out.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn everything_is_read_in_order() {
        for step in 1..12 {
            let mut rewound = Rewound::new(b"first ".to_vec(), &b"and then"[..]);
            let mut all: Vec<u8> = Vec::new();
            let mut some = vec![0; step];
            loop {
                let read = rewound.read(&mut some).await.expect("no error");
                if read == 0 {
                    break;
                }
                all.extend(&some[..read]);
            }
            assert_eq!(all, b"first and then");
        }
    }
}
