//! A connection, plain or inside TLS, accepted or opened.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::CommonState;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS in which we are the server.
    Server(Box<server::TlsStream<TcpStream>>),
    /// TLS in which we are the client.
    Client(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// The first bytes that the peer sent, without taking them; waits for at least one, and is
    /// empty at the end of the stream. `buffer` is room to work in.
    pub async fn peek<'b>(&'b mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        match self {
            Self::Plain(stream) => {
                let length = stream.peek(buffer).await?;
                Ok(buffer.get(..length).unwrap_or_default())
            }
            Self::Server(stream) => stream.fill_buf().await,
            Self::Client(stream) => stream.fill_buf().await,
        }
    }

    /// The TLS session, if there is one.
    pub fn session(&self) -> Option<&CommonState> {
        match self {
            Self::Plain(_) => None,
            Self::Server(stream) => Some(stream.get_ref().1),
            Self::Client(stream) => Some(stream.get_ref().1),
        }
    }

    /// The address of our end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Server(stream) => stream.get_ref().0.local_addr(),
            Self::Client(stream) => stream.get_ref().0.local_addr(),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => $call,
            Stream::Server($stream) => $call,
            Stream::Client($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Server(stream) => stream.is_write_vectored(),
            Self::Client(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
