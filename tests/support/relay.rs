//! Relays on loopback: one whose own address is 127.0.0.2, one that listens in.
//!
//! Dovecot takes a connection whose two ends have one address for a safe one
//! and then announces no `LOGINDISABLED`, whatever its configuration says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Passes everything on to `target`; ends with the runtime of the test.
pub async fn start(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from(([127, 0, 0, 2], 0)))?;
                let mut far = socket.connect(target).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

/// Passes everything on to `target` and counts what comes from there. Each connection ends, in
/// mid-air, behind so many octets of it.
pub async fn counting(target: SocketAddr, at_most: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let count = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let total = Arc::clone(&total);
            tokio::spawn(async move {
                let far = TcpSocket::new_v4()?.connect(target).await?;
                let (near, far) = (near.into_split(), far.into_split());
                let (mut from_near, mut to_near) = near;
                let (from_far, mut to_far) = far;
                let mut from_far = from_far.take(at_most);
                let down = async {
                    let mut piece = vec![0; 16 * 1024];
                    loop {
                        let length = from_far.read(&mut piece).await?;
                        if length == 0 {
                            return to_near.shutdown().await;
                        }
                        total.fetch_add(length as u64, Ordering::Relaxed);
                        to_near.write_all(&piece[..length]).await?;
                    }
                };
                tokio::select! {
                    ended = down => ended,
                    sent = async {
                        tokio::io::copy(&mut from_near, &mut to_far).await?;
                        to_far.shutdown().await?;
                        std::future::pending().await
                    } => sent,
                }
            });
        }
    });
    (address, count)
}

/// Passes everything on to `target`, and keeps the lines that clients sent, without their tags.
pub async fn listening_in(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await?;
                let ((near, mut to_near), (mut from_far, mut far)) = (near.into_split(), far.into_split());
                let back = tokio::spawn(async move { copy(&mut from_far, &mut to_near).await });
                let mut near = BufReader::new(near).lines();
                while let Some(line) = near.next_line().await? {
                    // DONE has no tag.
                    let command = line.split_once(' ').map_or(line.as_str(), |(_, command)| command);
                    heard.lock().expect("no panic while it was held").push(command.to_owned());
                    far.write_all(format!("{line}\r\n").as_bytes()).await?;
                }
                far.shutdown().await?;
                let _ = back.await;
                std::io::Result::Ok(())
            });
        }
    });
    (address, lines)
}
