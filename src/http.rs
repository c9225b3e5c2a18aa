//! Requests to web servers: where a token is had, and where a mail server is described.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::trust::is_local;

/// Until TCP and TLS stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request and its whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// More is no answer to anything that is asked here.
const LARGEST: usize = 1024 * 1024;

/// Asks web servers. Others than this machine over HTTPS, by the proxy that `https_proxy`,
/// `all_proxy` and `no_proxy` name.
#[derive(Debug, Clone)]
pub struct Http {
    remote: reqwest::Client,
    /// A proxy would read what is sent here in the clear, and it has another idea of "here".
    local: reqwest::Client,
}

/// Finds the addresses of a host.
pub type Names = Arc<dyn Fn(String) -> Addresses + Send + Sync>;
/// A host's addresses to come.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Whether an answer may send on to another place, over HTTPS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// What is posted must not reach another server.
    Refused,
    Followed,
}

/// Why there is no answer. Nothing of what was sent is in it.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no way to ask web servers: {0}")]
    Setup(String),
    #[error("{0} is asked over HTTPS only")]
    Insecure(String),
    #[error("{host}: {reason}")]
    Failed { host: String, reason: String },
    #[error("{0} answered with more than 1 MiB")]
    TooMuch(String),
}

impl Http {
    /// Trusts servers that these authorities vouch for.
    pub fn new(roots: RootCertStore, redirects: Redirects) -> Result<Self, HttpError> {
        Self::build(roots, redirects, None)
    }

    /// The same with names that the system does not know. By no proxy, which would not know them
    /// either.
    pub fn with_names(roots: RootCertStore, redirects: Redirects, names: Names) -> Result<Self, HttpError> {
        Self::build(roots, redirects, Some(names))
    }

    /// Whether web servers are asked by a proxy, as far as the environment says.
    pub fn proxied() -> bool {
        let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        names.iter().any(|name| std::env::var_os(name).is_some_and(|proxy| !proxy.is_empty()))
    }

    fn build(roots: RootCertStore, redirects: Redirects, names: Option<Names>) -> Result<Self, HttpError> {
        let client = |direct: bool, names: Option<Names>| {
            let builder = Self::builder(roots.clone(), redirects);
            let builder = if direct { builder.no_proxy() } else { builder };
            let builder = match names {
                Some(names) => builder.dns_resolver(Arc::new(By(names))),
                None => builder,
            };
            builder.build().map_err(|error| HttpError::Setup(reason(&error)))
        };
        Ok(Self { remote: client(names.is_some(), names.clone())?, local: client(true, names)? })
    }

    fn builder(roots: RootCertStore, redirects: Redirects) -> reqwest::ClientBuilder {
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let policy = match redirects {
            Redirects::Refused => Policy::none(),
            Redirects::Followed => Policy::custom(|attempt| match attempt.url().scheme() {
                _ if attempt.previous().len() > 5 => attempt.error("too many redirects"),
                "https" => attempt.follow(),
                _ => attempt.error("a redirect away from HTTPS"),
            }),
        };
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(policy)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("popbridge/", env!("CARGO_PKG_VERSION")))
            // A redirect's target must not learn the first address's query.
            .referer(false)
            // A kept connection would be of use once an hour.
            .pool_max_idle_per_host(0)
    }

    /// Sends a request and reads its answer, of at most 1 MiB.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default().to_owned();
        let local = is_local(&host);
        if uri.scheme_str() != Some("https") && !local {
            return Err(HttpError::Insecure(host));
        }
        let failed = |error: reqwest::Error| HttpError::Failed { host: host.clone(), reason: reason(&error) };
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let client = if local { &self.local } else { &self.remote };
        let mut answer = client.execute(request).await.map_err(failed)?;
        let mut octets = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if octets.len() + chunk.len() > LARGEST {
                return Err(HttpError::TooMuch(host));
            }
            octets.extend_from_slice(&chunk);
        }
        let mut response = Response::new(octets);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// Gives reqwest addresses; the port is the URL's.
struct By(Names);

impl Resolve for By {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = addresses.await?.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// The innermost cause, which says what happened; the outer ones name the address, with its query.
fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    match cause {
        _ if error.is_timeout() => "no answer in time".to_owned(),
        Some(cause) => cause.to_string(),
        None => error.to_string().split(" for url").next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn http() -> Http {
        Http::new(RootCertStore::empty(), Redirects::Refused).expect("a client")
    }

    fn get(url: String) -> Request<Vec<u8>> {
        Request::get(url).body(Vec::new()).expect("a request")
    }

    /// The address of a server that gives this one answer.
    async fn answering(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await?;
            let _ = socket.read(&mut [0; 4096]).await?;
            socket.write_all(&answer).await
        });
        format!("http://{address}/?code=s3cret")
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let url = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno".to_vec()).await;
        let response = http().send(get(url)).await.expect("an answer");
        assert_eq!((response.status().as_u16(), response.body().as_slice()), (404, &b"no"[..]));
    }

    #[tokio::test]
    async fn no_redirect_is_followed() {
        let target = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        let response = http().send(get(answering(answer.into_bytes()).await)).await.expect("an answer");
        assert_eq!(response.status().as_u16(), 302);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(2 * LARGEST, b'x');
        let error = http().send(get(answering(answer).await)).await.expect_err("too much");
        assert!(matches!(error, HttpError::TooMuch(_)), "{error}");
    }

    #[tokio::test]
    async fn errors_show_no_query() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
        let error = http().send(get(format!("http://{closed}/?code=s3cret"))).await.expect_err("closed");
        assert!(error.to_string().contains("refused") && !error.to_string().contains("s3cret"), "{error}");
        let error = http().send(get("http://192.0.2.1/?code=s3cret".to_owned())).await.expect_err("open");
        assert!(matches!(error, HttpError::Insecure(_)), "{error}");
    }
}
