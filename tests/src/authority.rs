//! A certificate authority of a test's own, and browsers that trust it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

/// An authority, a server's certificate by it, and a home whose browsers trust it.
pub struct Authority {
    folder: PathBuf,
    root: CertificateDer<'static>,
}

impl Authority {
    /// One whose certificate is for `ip`; its files are in `folder`.
    pub fn new(folder: &Path, ip: IpAddr) -> Self {
        let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("the system gives randomness");
        let ca = CertifiedIssuer::self_signed(ca, key).expect("it may sign itself");
        let mut server = CertificateParams::new(Vec::<String>::new()).expect("no names");
        server.subject_alt_names = vec![SanType::IpAddress(ip)];
        let key = KeyPair::generate().expect("the system gives randomness");
        let certificate = server.signed_by(&key, &ca).expect("it is signed");
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).expect("the scratch folder is writable");
        };
        write("ca.pem", ca.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        Self {
            folder: folder.to_owned(),
            root: ca.der().clone(),
        }
    }

    /// The section of a configuration that uses it.
    pub fn section(&self) -> String {
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.folder.join(name));
        format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n")
    }

    /// The authority's own certificate as a file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A home in which Chromium trusts it.
    pub fn home(&self) -> PathBuf {
        let home = self.folder.join("home");
        let store = home.join(".pki/nssdb");
        std::fs::create_dir_all(&store).expect("the scratch folder is writable");
        let store = format!("sql:{}", store.display());
        let certutil = |arguments: &[&str]| {
            let mut command = Command::new("certutil");
            let output = command.args(["-d", &store]).args(arguments).output();
            let output = output.expect("Debian's libnss3-tools is installed: run deploy/setup.sh");
            assert!(output.status.success(), "{output:?}");
        };
        certutil(&["-N", "--empty-password"]);
        let file = self.file();
        let file = file.to_str().expect("the path is text");
        certutil(&["-A", "-t", "C,,", "-n", "clinic", "-i", file]);
        home
    }

    /// How a client of a test's own speaks TLS to who has its certificate.
    pub fn client(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}
