//! Certificates of the tests' own making.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority, and the file that a `ca-file` names. The file goes with it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

/// What a server shows.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = format!("privatelinkd-encrypted-{}-{number}.pem", std::process::id());
        let authority = Self { issuer, file: std::env::temp_dir().join(file) };
        authority.write_file();
        authority
    }

    /// Writes the file, which may have been something else meanwhile.
    pub(crate) fn write_file(&self) {
        fs::write(&self.file, self.issuer.pem()).unwrap();
    }

    pub(crate) fn sign(&self, names: &[&str]) -> Identity {
        self.sign_params(params(names))
    }

    pub(crate) fn sign_expired(&self, names: &[&str]) -> Identity {
        self.sign_params(expired(params(names)))
    }

    fn sign_params(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { certificate, key }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.file);
    }
}

impl Identity {
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        Self::signed_by_itself(params(names))
    }

    pub(crate) fn self_signed_and_expired(names: &[&str]) -> Self {
        Self::signed_by_itself(expired(params(names)))
    }

    fn signed_by_itself(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().der().clone(), key }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) fn pin(&self) -> [u8; 32] {
        let key = self.key.subject_public_key_info();
        ring::digest::digest(&ring::digest::SHA256, &key).as_ref().try_into().unwrap()
    }

    pub(crate) fn server_config(&self, alpn: &[u8]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).unwrap()
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}
