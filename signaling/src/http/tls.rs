//! The certificate of the front door: PEM files in, an acceptor for TLS 1.2 and 1.3 out.
//!
//! Cryptography is aws-lc-rs, as everywhere in the process. Errors name the configuration key and
//! the file, because an operator reads them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::error::ConfigError;

/// Reads the certificate and its key.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, ConfigError> {
    let chain = certificates(&config.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key", &config.key)?)
        .map_err(|error| refused("tls.key", &config.key, &error))?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("tls.cert", &config.cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused("tls.key", &config.key, &error))?;
    // WebSockets are upgrades of HTTP/1.1.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
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
