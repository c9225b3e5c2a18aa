//! A private certification authority, made anew for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use popbridge::secret::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

/// An authority, its certificate as a file, and a server's pair signed by it.
pub struct Authority {
    directory: tempfile::TempDir,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Whether a certificate is still good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    Expired,
}

/// A certificate of a client, and its key.
pub struct Identity {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    /// SHA-256, as the configuration has it.
    pub fingerprint: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    /// An authority with one server certificate for 127.0.0.1 and localhost.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is a valid list");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("ring makes keys");
        let root = params.self_signed(&key).expect("a CA signs itself");
        let issuer = Issuer::new(params, key);

        let params = server_params(&["127.0.0.1", "localhost"]);
        let key = KeyPair::generate().expect("ring makes keys");
        let leaf = params.signed_by(&key, &issuer).expect("the CA signs the server");

        let directory = tempfile::tempdir().expect("a temporary folder");
        for (file, text) in
            [("ca.pem", root.pem()), ("server.pem", leaf.pem()), ("server.key", key.serialize_pem())]
        {
            std::fs::write(directory.path().join(file), text).expect("a file is written");
        }
        Self { directory, root: root.der().clone(), issuer }
    }

    /// What a server of these names shows.
    pub fn server(&self, names: &[&str], validity: Validity) -> Arc<ServerConfig> {
        let mut params = server_params(names);
        if validity == Validity::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("ring makes keys");
        let leaf = params.signed_by(&key, &self.issuer).expect("the CA signs the server");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS #8");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("the pair fits");
        Arc::new(config)
    }

    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    pub fn private_key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// A client's view that trusts this authority and no other.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.trusting().with_no_client_auth())
    }

    /// The same with a certificate to show.
    pub fn client_as(&self, identity: &Identity) -> Arc<ClientConfig> {
        let chain = vec![identity.der.clone()];
        let config = self.trusting().with_client_auth_cert(chain, identity.key.clone_key());
        Arc::new(config.expect("a pair"))
    }

    fn trusting(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a valid root");
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_root_certificates(roots)
    }

    /// Signs a client's certificate.
    pub fn identity(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is a valid list");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("ring makes keys");
        let leaf = params.signed_by(&key, &self.issuer).expect("the CA signs the client");
        let (certificate, private_key) =
            (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&certificate, leaf.pem()).expect("a file is written");
        std::fs::write(&private_key, key.serialize_pem()).expect("a file is written");
        Identity {
            certificate,
            private_key,
            fingerprint: Fingerprint::of(leaf.der()).to_string(),
            der: leaf.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}
