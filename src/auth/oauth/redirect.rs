//! Where the browser comes back to, if it runs on this machine (RFC 8252 §7.3).

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::code::{Answered, CodeRequest, NoAnswer};

/// A request's line and headers; a code and a state are a small part of it.
const LARGEST: usize = 16 * 1024;
/// Browsers open connections that they do not use.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody needs more at once.
const MOST: usize = 32;

/// A socket of this machine alone that waits for one browser.
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on this port; 0 is any.
    pub async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map(Self)
    }

    /// Where it listens, with this machine called `host`.
    pub fn url(&self, host: &str) -> io::Result<String> {
        Ok(format!("http://{host}:{}/", self.0.local_addr()?.port()))
    }

    /// Waits for the answer to this request. What else comes is sent away.
    pub async fn wait(&self, request: &CodeRequest) -> Result<Answered, NoAnswer> {
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.0.accept() => match accepted {
                    Ok((stream, _)) if visits.len() < MOST => {
                        visits.spawn(timeout(PATIENCE, target(stream)));
                    }
                    // It passes when others have gone.
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(visit) = visits.join_next() => {
                    let Ok(Ok(Some((stream, target)))) = visit else { continue };
                    let answer = request.answer(&target);
                    let (status, words) = match &answer {
                        Ok(_) => ("200 OK", "popbridge has its answer. You may close this window."),
                        Err(NoAnswer::Foreign) => ("404 Not Found", "popbridge waits for another address than this."),
                        Err(NoAnswer::Refused(_)) => ("200 OK", "The sign-in was refused. popbridge tells more where it was started."),
                    };
                    // Whether the browser still listens makes no difference.
                    let _ = timeout(PATIENCE, show(stream, status, words)).await;
                    if !matches!(answer, Err(NoAnswer::Foreign)) {
                        return answer;
                    }
                }
            }
        }
    }
}

/// A request's path and query (RFC 9112 §3.2.1).
async fn target(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LARGEST || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = std::str::from_utf8(&head).ok()?.lines().next()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    target.starts_with("/?").then(|| target.to_owned()).or(Some(String::new())).map(|target| (stream, target))
}

async fn show(mut stream: TcpStream, status: &str, words: &str) -> io::Result<()> {
    let page = format!("<!doctype html><meta charset=utf-8><title>popbridge</title><p>{words}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\n\
         Connection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}
