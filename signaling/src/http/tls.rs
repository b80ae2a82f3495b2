//! The certificate of the front door: PEM files in, an acceptor for TLS 1.2 and 1.3 out.
//!
//! The files are read anew when they change, so that a renewed certificate needs no restart and ends no
//! call; a pair that cannot be used is reported and the one in use stays. Cryptography is aws-lc-rs, as
//! everywhere in the process. Errors name the configuration key and the file, because an operator reads
//! them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::error::ConfigError;
use crate::metrics::{Count, Metrics};

/// How often it is looked whether the files have changed: two system calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The certificate that is shown to clients.
#[derive(Debug)]
pub struct Certificate {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What is looked at to see that files have changed.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads the certificate and its key.
    pub fn read(config: &TlsConfig) -> Result<Arc<Self>, ConfigError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = read_pair(config, &provider)?;
        Ok(Arc::new(Self {
            config: config.clone(),
            provider,
            current: RwLock::new(Arc::new(current)),
        }))
    }

    /// Accepts with whatever certificate is current then.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut tls = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        // WebSockets are upgrades of HTTP/1.1.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(tls))
    }

    /// Takes the files as they are now; what is in use stays if they cannot be used.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let renewed = read_pair(&self.config, &self.provider)?;
        let mut current = self
            .current
            .write()
            .expect("nothing panics while a certificate is exchanged");
        *current = Arc::new(renewed);
        Ok(())
    }

    /// Reloads whenever the files have changed; never returns.
    pub async fn follow(&self, metrics: &Metrics) {
        let mut taken = self.stamp();
        loop {
            time::sleep(LOOK_INTERVAL).await;
            let stamp = self.stamp();
            if stamp == taken {
                continue;
            }
            taken = stamp;
            match self.reload() {
                Ok(()) => {
                    metrics.count(Count::CertificatesReloaded);
                    tracing::info!("the certificate was reloaded");
                }
                // Half of a pair has been written, and the other half will be the next change.
                Err(error) => tracing::error!(%error, "the changed certificate is not used"),
            }
        }
    }

    fn stamp(&self) -> Stamp {
        [&self.config.cert, &self.config.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read();
        let current = current.expect("nothing panics while a certificate is exchanged");
        Some(Arc::clone(&current))
    }
}

fn read_pair(config: &TlsConfig, provider: &CryptoProvider) -> Result<CertifiedKey, ConfigError> {
    let chain = certificates(&config.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key", &config.key)?)
        .map_err(|error| refused("tls.key", &config.key, &error))?;
    let pair = CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| refused("tls.key", &config.key, &error))?;
    Ok(pair)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = read("tls.cert", path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| refused("tls.cert", path, &error))?;
    match chain.is_empty() {
        true => Err(refused("tls.cert", path, &"holds no certificate")),
        false => Ok(chain),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| refused(key, path, &error))
}

fn refused(key: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Tls {
        key,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
