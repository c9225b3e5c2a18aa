//! A simulated server to try things on by hand: `serve [port] [persona]`, any user, password
//! `secret`.

use std::net::{Ipv4Addr, SocketAddr};

use imapsim::{Persona, Server};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(1143);
    let wanted = arguments.next().unwrap_or_else(|| "Dovecot".into());
    let persona = Persona::ALL
        .into_iter()
        .find(|persona| format!("{persona:?}").eq_ignore_ascii_case(&wanted))
        .ok_or_else(|| std::io::Error::other(format!("no persona is called {wanted}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::builder()
            .any_user("secret")
            .persona(persona)
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .start()
            .await?;
        println!("{persona:?} on {}", server.address());
        std::future::pending().await
    })
}
