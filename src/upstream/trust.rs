//! Whether an encrypted upstream is the one that is meant. rustls's types stand here, in `dial` and
//! `transport`, and in `probes::attempt`, because the system's authorities vouch for endpoints too.
//!
//! Without pins, an authority has to have signed the certificate for the server's name: one of the
//! system's, or of `ca-file` in their place. With pins alone, the key is what proves who it is (the
//! key-pinned profile of RFC 7858 §4.2): who has signed the certificate, for which name and until
//! when does not matter, so a self-signed one does. With both, both must hold.
//!
//! A pin is held against the key that the server proves to have, its own certificate's, and against
//! no other of the chain: what else a server sends is public and proves nothing (RFC 7469 §2.6
//! wants the chain that was validated, which is another one). To trust an authority,
//! set `ca-file`.
//!
//! Every dial checks anew: no session is resumed, so what changed here or there counts at once.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_native_certs::ErrorKind;
use tokio::time::Instant;

use crate::config::Trust;
use crate::sys::{self, FileError, Links};

/// The system's authorities, read by the first dial that needs them: that takes milliseconds.
static SYSTEM: Mutex<Option<Arc<WebPkiServerVerifier>>> = Mutex::new(None);

static CRYPTO: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Largest file of authorities, octets: those of a whole system are some 250 KB.
const MAX_FILE_OCTETS: u64 = 16 << 20;
/// How often the log says of one `ca-file` that it has become unusable.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// The variable that names a file to use instead of the system's.
const FILE_VARIABLE: &str = "SSL_CERT_FILE";

/// What one upstream's `ca-file` held when it was last read. Shared by all workers.
#[derive(Default, Debug)]
pub(super) struct Authorities {
    file: Mutex<Option<Known>>,
}

/// Why there are no authorities to check a certificate by.
#[derive(Debug)]
pub(super) struct Unread {
    /// For people.
    pub(super) reason: String,
    /// This host had no descriptor or memory left to read them.
    pub(super) is_own_shortage: bool,
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self { reason, is_own_shortage: false }
    }
}

impl From<FileError> for Unread {
    fn from(error: FileError) -> Self {
        let is_own_shortage = matches!(&error, FileError::Unreadable(why) if sys::is_shortage(why));
        Self { reason: error.to_string(), is_own_shortage }
    }
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    verifier: Arc<WebPkiServerVerifier>,
    /// When the log last said that the file cannot be used any more.
    said: Option<Instant>,
}

/// Tells whether a file is the one that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    modified: SystemTime,
    octets: u64,
}

/// Why the certificate of one dial was refused; empty while it was not.
#[derive(Clone, Default, Debug)]
pub(super) struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// The reason, for people.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Authorities {
    /// What one dial to the server that is known as `name` shows to rustls, and where the reason
    /// stands if the certificate does not do. An error is ours: the authorities cannot be read.
    pub(super) fn client_config(
        &self,
        trust: &Trust,
        name: ServerName<'static>,
        alpn: Option<&[u8]>,
    ) -> Result<(ClientConfig, Refusal), Unread> {
        let refusal = Refusal::default();
        let verifier = Verifier {
            authorities: self.verifier(trust)?,
            pins: trust.pins.clone(),
            name,
            refusal: refusal.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&CRYPTO))
            .with_safe_default_protocol_versions()
            .map_err(|error| Unread::from(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Ok((config, refusal))
    }

    /// `None`: the pins alone decide.
    fn verifier(&self, trust: &Trust) -> Result<Option<Arc<WebPkiServerVerifier>>, Unread> {
        match &trust.ca_file {
            Some(path) => self.of_file(path).map(Some),
            None if trust.pins.is_empty() => system().map(Some),
            None => Ok(None),
        }
    }

    /// Returns the authorities of `path`. If the file cannot be used now, returns those that were
    /// read before, because some process may be writing it. Logs that if the file exists.
    fn of_file(&self, path: &Path) -> Result<Arc<WebPkiServerVerifier>, Unread> {
        let mut known = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = fs::metadata(path)
            .and_then(|file| Ok(Stamp { modified: file.modified()?, octets: file.len() }));
        if let (Ok(stamp), Some(known)) = (&stamp, &*known)
            && *stamp == known.stamp
        {
            return Ok(Arc::clone(&known.verifier));
        }
        let is_there = stamp.is_ok();
        let read = stamp.map_err(|error| Unread::from(FileError::from(error)));
        match (read.and_then(|stamp| Ok((stamp, read_file(path)?))), &mut *known) {
            (Ok((stamp, verifier)), _) => {
                *known = Some(Known { stamp, verifier: Arc::clone(&verifier), said: None });
                Ok(verifier)
            }
            (Err(Unread { reason, is_own_shortage }), None) => Err(Unread {
                reason: format!("ca-file {}: {reason}", path.display()),
                is_own_shortage,
            }),
            (Err(error), Some(known)) => {
                if is_there {
                    known.say(path, &error.reason, Instant::now());
                }
                Ok(Arc::clone(&known.verifier))
            }
        }
    }
}

impl Known {
    fn say(&mut self, path: &Path, error: &str, now: Instant) {
        if self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY) {
            self.said = Some(now);
            let path = path.display();
            tracing::warn!("ca-file {path}: {error}; the authorities read before stay in use");
        }
    }
}

/// A client that trusts the system's authorities alone, and keeps no session: each handshake shows
/// the certificate.
///
/// # Errors
/// The system's authorities cannot be read.
pub fn trusting_system() -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&CRYPTO))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_webpki_verifier(system().map_err(|unread| unread.reason)?)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn read_file(path: &Path) -> Result<Arc<WebPkiServerVerifier>, Unread> {
    let octets = sys::read_file(path, MAX_FILE_OCTETS)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    let certificates =
        certificates.map_err(|error| format!("not a PEM file of certificates: {error}"))?;
    Ok(verifier(certificates)?)
}

fn system() -> Result<Arc<WebPkiServerVerifier>, Unread> {
    let mut known = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verifier) = &*known {
        return Ok(Arc::clone(verifier));
    }
    // rustls-native-certs opens this file without a check, and would wait for a FIFO.
    if let Some(file) = env::var_os(FILE_VARIABLE) {
        let opened = sys::open_file(Path::new(&file), Links::Follow);
        opened.map_err(|error| {
            let why = Unread::from(error);
            Unread { reason: format!("{FILE_VARIABLE}, {}: {}", file.display(), why.reason), ..why }
        })?;
    }
    let read = rustls_native_certs::load_native_certs();
    // A part of the authorities must not stay in use because a file could not be opened just now.
    let is_short = |error: &&rustls_native_certs::Error| matches!(&error.kind, ErrorKind::Io { inner, .. } if sys::is_shortage(inner));
    if let Some(error) = read.errors.iter().find(is_short) {
        let reason = format!("the system's certificate authorities: {error}");
        return Err(Unread { reason, is_own_shortage: true });
    }
    let verifier = verifier(read.certs).map_err(|error| {
        let why = read.errors.first().map_or(error, ToString::to_string);
        format!("the system's certificate authorities: {why}; write ca-file or pins")
    })?;
    Ok(Arc::clone(known.insert(verifier)))
}

fn verifier(
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err("no certificate that can be read".to_owned());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&CRYPTO))
        .build()
        .map_err(|error| error.to_string())
}

/// Checks the certificate of one dial.
#[derive(Debug)]
struct Verifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<[u8; 32]>,
    /// Whom we mean.
    name: ServerName<'static>,
    refusal: Refusal,
}

impl Verifier {
    fn refuse(&self, error: Error, reason: String) -> Error {
        *self.refusal.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        error
    }

    fn check_pins(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)
            .map_err(|error| self.refuse(error, "its certificate cannot be read".to_owned()))?;
        let key = digest(&SHA256, &parsed.subject_public_key_info());
        if self.pins.iter().any(|pin| pin == key.as_ref()) {
            return Ok(());
        }
        let reason = format!("no pin is its key's, sha256/{}", BASE64.encode(key.as_ref()));
        Err(self.refuse(CertificateError::ApplicationVerificationFailure.into(), reason))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities
                .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
                .map_err(|error| {
                    let reason = reason(&error);
                    self.refuse(error, reason)
                })?;
        }
        self.check_pins(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &CRYPTO.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &CRYPTO.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        CRYPTO.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a certificate does not do, and what to write if it should.
fn reason(error: &Error) -> String {
    let Some(fault) = certificate_fault(error) else { return error.to_string() };
    let Error::InvalidCertificate(error) = error else { return fault };
    let instead = match error {
        CertificateError::NotValidForNameContext { .. } => "write #NAME behind it",
        CertificateError::UnknownIssuer => "write ca-file or pins",
        CertificateError::Other(_) if is_an_authoritys(error) => "write its key into pins",
        _ => return fault,
    };
    format!("{fault}; {instead}")
}

fn is_an_authoritys(error: &CertificateError) -> bool {
    let CertificateError::Other(other) = error else { return false };
    other.to_string().contains("CaUsedAsEndEntity")
}

/// Why a certificate does not do, where it is that.
pub fn certificate_fault(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(error) = error else { return None };
    Some(match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago", between(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let wait = between(*time, *not_before);
            format!("its certificate is valid in {wait} only; is the clock right?")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = match presented.as_slice() {
                [] => "nobody".to_owned(),
                names => names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "),
            };
            let expected = expected.to_str();
            format!("its certificate is for {presented}, not for {expected}")
        }
        CertificateError::BadSignature => {
            "its certificate has the name of an authority, but not its signature".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "no authority that we know signed its certificate".to_owned()
        }
        other if is_an_authoritys(other) => "its certificate is an authority's own".to_owned(),
        other => format!("its certificate: {other}"),
    })
}

/// What rustls shows as `DnsName("dns.example")`.
fn bare(name: &str) -> &str {
    let name = name.split_once('(').map_or(name, |(_, name)| name);
    name.trim_end_matches(')').trim_matches('"')
}

/// From `begin` to `end`, in the two largest units.
fn between(begin: UnixTime, end: UnixTime) -> String {
    let duration = Duration::from_secs(end.as_secs().saturating_sub(begin.as_secs()));
    let text = humantime::format_duration(duration).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
