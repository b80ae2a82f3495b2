//! Accepts connections: TCP, TLS where configured, then HTTP/1.1 with upgrades, or media.
//!
//! What a connection is for is told by its first bytes, before TLS and behind it; media is carried by
//! `tcp`. Owns the bounds that hold before there is a request: connections in all and per address, the
//! time that first bytes, a handshake and a request head may take, and how long a head may be. Knows no
//! route.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{Caller, Front};
use crate::config::Limits;
use crate::metrics::Count;
use crate::tcp::first_bytes::{self, Kind};
use crate::tcp::rewound::Rewound;
use crate::tcp::turn::connection;
use crate::tcp::{self, framed};

/// When accepting fails the process is out of file descriptors; connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The open door.
pub struct Listener {
    front: Arc<Front>,
    router: Router,
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// A door on a bound socket; with an acceptor it speaks TLS only.
    pub fn new(
        front: Arc<Front>,
        router: Router,
        tcp: TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        Self {
            front,
            router,
            tcp,
            tls,
        }
    }

    /// Accepts until `stop` becomes true; connections that are open then finish what they are
    /// answering.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, from)) => self.admit(stream, from, stop.clone()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, from: SocketAddr, stop: watch::Receiver<bool>) {
        let Ok(slot) = self.front.addresses.connect(Instant::now(), from.ip()) else {
            self.front.metrics.count(Count::ConnectionsRefused);
            return;
        };
        self.front.metrics.count(Count::Connections);
        let connection = Connection {
            front: Arc::clone(&self.front),
            router: self.router.clone(),
            caller: Caller::new(from.ip(), slot),
            from: SocketAddr::new(from.ip().to_canonical(), from.port()),
            stop,
        };
        tokio::spawn(connection.run(stream, self.tls.clone()));
    }
}

/// One accepted connection.
struct Connection {
    front: Arc<Front>,
    router: Router,
    caller: Caller,
    from: SocketAddr,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Messages and media are small and wanted now. A socket that refuses is about to fail.
        let _ = stream.set_nodelay(true);
        let Some((kind, stream)) = self.look(stream).await else {
            return;
        };
        match (kind, tls) {
            (Kind::Framed, _) => self.carry(stream).await,
            (Kind::Unknown, _) => self.front.metrics.count(Count::FirstBytesUnknown),
            (Kind::Turn, None) => self.serve_turn(stream).await,
            (_, None) => self.serve(stream).await,
            (_, Some(tls)) => self.run_tls(stream, &tls).await,
        }
    }

    /// The same under TLS. What is not TLS fails there.
    async fn run_tls(self, stream: Rewound<TcpStream>, tls: &TlsAcceptor) {
        let patience = self.front.config.limits.request_head_timeout;
        let Ok(Ok(stream)) = time::timeout(patience, tls.accept(stream)).await else {
            return self.front.metrics.count(Count::HandshakesFailed);
        };
        let Some((kind, stream)) = self.look(stream).await else {
            return;
        };
        match kind {
            Kind::Turn => {
                tcp::bound_send_buffer(stream.get_ref().get_ref().0.get_ref());
                self.serve_turn(stream).await;
            }
            Kind::Http => self.serve(stream).await,
            Kind::Framed | Kind::Tls | Kind::Unknown => {
                self.front.metrics.count(Count::FirstBytesUnknown);
            }
        }
    }

    /// Finds out what a connection is for, and gives it as if nothing had been read. `None`: it ended,
    /// or took too long, or we stop.
    async fn look<S: AsyncRead + Unpin>(&self, mut stream: S) -> Option<(Kind, Rewound<S>)> {
        let patience = self.front.config.limits.request_head_timeout;
        let mut stop = self.stop.clone();
        let looked = tokio::select! {
            looked = time::timeout(patience, first_bytes::read(&mut stream)) => looked,
            _ = stop.wait_for(|stop| *stop) => return None,
        };
        let (kind, first) = looked.ok()?.ok()??;
        Some((kind, Rewound::new(first, stream)))
    }

    /// A peer whose packets come in frames.
    async fn carry(self, stream: Rewound<TcpStream>) {
        tcp::bound_send_buffer(stream.get_ref());
        let Some(registry) = self.front.registry.get().filter(|_| self.front.is_ready()) else {
            return;
        };
        let mut stop = self.stop;
        tokio::select! {
            () = framed::carry(stream, self.from, registry, &self.front.metrics) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// A client of TURN.
    async fn serve_turn(self, stream: impl AsyncRead + AsyncWrite) {
        let Some(registry) = self.front.registry.get().filter(|_| self.front.is_ready()) else {
            return;
        };
        if !self.front.config.tcp.turn {
            return self.front.metrics.count(Count::FirstBytesUnknown);
        }
        let mut stop = self.stop;
        tokio::select! {
            () = connection::serve(stream, self.from, registry, &self.front.metrics) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            front,
            router,
            caller,
            mut stop,
            ..
        } = self;
        let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            request
        });
        let http = http(&front.config.limits);
        let connection = http
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        // How a connection ends is the peer's affair: a cut line, a slow head, a lie about a
        // length. It is counted nowhere because it tells the operator nothing to act on.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        // Likewise how it ends when we stop.
        let _ = connection.await;
    }
}

fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.request_head_timeout)
        .max_buf_size(limits.request_head_bytes_max)
        .half_close(true);
    http
}

/// Binds the address of the configuration.
pub async fn bind(front: &Front) -> io::Result<TcpListener> {
    let http = &front.config.http;
    TcpListener::bind((http.listen_ip, http.port)).await
}
