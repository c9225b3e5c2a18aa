//! Signatures by a private key that a provider has handed out.

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

/// An RSA key that signs (RS256, RFC 7518 §3.3).
pub struct Signer(RsaKeyPair);

/// Why it does not. Nothing of the key is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSignature {
    #[error("its private key is no RSA key of 2048 to 4096 bits in PKCS #8 form")]
    Key,
    #[error("this system gives no random numbers")]
    Random,
}

impl Signer {
    /// With the key in a text in PEM form.
    pub fn from_pem(text: &[u8]) -> Result<Self, NoSignature> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| NoSignature::Key)?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| NoSignature::Key)?;
        Ok(Self(pair))
    }

    /// The signature of these octets.
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, NoSignature> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature)
            .map_err(|_| NoSignature::Random)?;
        Ok(signature)
    }
}
