//! By what a client's certificate is known: the SHA-256 of its DER form, which says exactly one
//! certificate, whatever its names are and whoever signed another with the same names.

use std::fmt;

use ring::digest;

/// A certificate's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; digest::SHA256_OUTPUT_LEN]);

/// A text that is no fingerprint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no SHA-256 fingerprint of a certificate, which has 64 hexadecimal digits, with or without colons: \
     openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE"
)]
pub struct NoFingerprint;

impl Fingerprint {
    /// Of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        Self(digest.as_ref().try_into().expect("SHA-256 gives 32 octets"))
    }

    /// Reads hexadecimal digits, as OpenSSL prints them or without the colons.
    pub fn parse(text: &str) -> Result<Self, NoFingerprint> {
        let mut octets = [0; digest::SHA256_OUTPUT_LEN];
        let digits = text.replace(':', "");
        let pairs = text.split(':').filter(|pair| pair.len() == 2).count();
        if text.contains(':') && pairs != octets.len() {
            return Err(NoFingerprint);
        }
        hex::decode_to_slice(digits, &mut octets).map_err(|_| NoFingerprint)?;
        Ok(Self(octets))
    }
}

/// As OpenSSL prints it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of "abc", from FIPS 180-2.
    const ABC: &str =
        "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";

    #[test]
    fn it_is_written_as_openssl_writes_it() {
        assert_eq!(Fingerprint::of(b"abc").to_string(), ABC);
        for text in [ABC, &ABC.to_lowercase(), &ABC.replace(':', "")] {
            assert_eq!(Fingerprint::parse(text), Ok(Fingerprint::of(b"abc")), "{text}");
        }
        for wrong in
            ["", "BA:78", &ABC[3..], &format!("{ABC}:00"), &ABC.replace(":78:", "78"), &ABC.replace('B', "G")]
        {
            assert_eq!(Fingerprint::parse(wrong), Err(NoFingerprint), "{wrong}");
        }
    }
}
