//! Endpoints that shake hands, with certificates of the test's own making.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::PORT;

/// The file, in the test's folder, of the authorities that the daemon's system trusts.
pub(crate) const AUTHORITY: &str = "authority.pem";
/// Between two looks for a connection.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a client may take for a handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// An authority that the daemon trusts, and one that it does not.
pub(crate) struct Identities {
    trusted: CertifiedIssuer<'static, KeyPair>,
    strange: CertifiedIssuer<'static, KeyPair>,
}

impl Identities {
    /// Before the daemon starts.
    pub(crate) fn new(folder: &Path) -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            CertifiedIssuer::self_signed(params, key).expect("an authority")
        };
        let (trusted, strange) = (authority("trusted"), authority("strange"));
        std::fs::write(folder.join(AUTHORITY), trusted.pem()).expect("written");
        Self { trusted, strange }
    }

    pub(crate) fn good(&self, address: Ipv4Addr, name: &str) -> Server {
        Server::start(address, &self.trusted, params(name))
    }

    pub(crate) fn expired(&self, address: Ipv4Addr, name: &str) -> Server {
        let mut params = params(name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        Server::start(address, &self.trusted, params)
    }

    /// Of the authority that nobody trusts.
    pub(crate) fn strange(&self, address: Ipv4Addr, name: &str) -> Server {
        Server::start(address, &self.strange, params(name))
    }
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).expect("a name")
}

/// Shakes hands with one client after the other.
pub(crate) struct Server {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(
        address: Ipv4Addr,
        issuer: &CertifiedIssuer<'static, KeyPair>,
        params: CertificateParams,
    ) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, issuer).expect("signed").der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        let listener = TcpListener::bind((address, PORT)).expect("a listener");
        listener.set_nonblocking(true).expect("set");
        let (config, ends) = (Arc::new(config), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false).expect("set");
                        stream.set_read_timeout(Some(PATIENCE)).expect("set");
                        let connection = ServerConnection::new(Arc::clone(&config));
                        let mut connection = connection.expect("a connection");
                        while connection.is_handshaking()
                            && connection.complete_io(&mut stream).is_ok()
                        {}
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(LOOK_EVERY);
                    }
                    Err(_) => {}
                }
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
