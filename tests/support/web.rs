//! A web server for one test, over TLS: what it is told, and for all else 404.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What is answered to a host and path.
#[derive(Clone)]
pub enum Answer {
    Body(Vec<u8>),
    Redirect(String),
    /// Nothing, while the client waits.
    Silence,
}

/// By host and path without the query: `autoconfig.example.org/mail/config-v1.1.xml`.
pub type Site = HashMap<String, Answer>;

/// Answers until it is dropped.
pub struct WebServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

/// A request that has come.
#[derive(Clone)]
pub struct Request {
    /// Host and path with the query.
    pub target: String,
    pub head: String,
}

impl WebServer {
    /// Listens; `site` is made when the port is known.
    pub async fn start(tls: Arc<ServerConfig>, site: impl FnOnce(u16) -> Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let site = Arc::new(site(address.port()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, log) = (TlsAcceptor::from(tls), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Connections end with the client's, or with the test's runtime.
                tokio::spawn(serve(socket, acceptor.clone(), Arc::clone(&site), Arc::clone(&log)));
            }
        });
        Self { address, requests, task }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics with it").clone()
    }

    /// Host and path with the query of each.
    pub fn asked(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    site: Arc<Site>,
    requests: Arc<Mutex<Vec<Request>>>,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(socket).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8(request).expect("a request in ASCII");
    let target = request.split(' ').nth(1).expect("a target");
    let host =
        request.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    let host = host.expect("a host");
    let name = host.split(':').next().expect("a name");
    let came = Request { target: format!("{name}{target}"), head: request.clone() };
    requests.lock().expect("no test panics with it").push(came);
    let path = target.split('?').next().expect("a path");
    let (head, body) = match site.get(&format!("{name}{path}")) {
        None => ("404 Not Found".to_owned(), Vec::new()),
        Some(Answer::Body(body)) => ("200 OK".to_owned(), body.clone()),
        Some(Answer::Redirect(to)) => (format!("302 Found\r\nLocation: {to}"), Vec::new()),
        Some(Answer::Silence) => std::future::pending().await,
    };
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
