//! The sockets: listeners, permits, TLS.

mod listener;
mod permits;
mod tls;

pub use listener::Listener;
pub use permits::Permits;
pub use tls::{CertificateError, Certificates};
