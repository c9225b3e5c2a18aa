//! The sockets: listeners, permits, TLS and the certificate of our own making.

mod listener;
mod permits;
mod self_signed;
mod tls;

pub use listener::Listener;
pub use permits::Permits;
pub use self_signed::own_address;
pub use tls::{CertificateError, Certificates};
