//! A relay on loopback whose own address is 127.0.0.2.
//!
//! Dovecot takes a connection whose two ends have one address for a safe one
//! and then announces no `LOGINDISABLED`, whatever its configuration says.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};

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
