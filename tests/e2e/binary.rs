//! The binary as an operator and a newcomer meet it: help, tokens, configuration, TLS, stopping.

use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::signal_response::Message as Response;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tests::process::wait_until;
use tests::server::{self, Build, Server};
use tests::signal::{self, Session};
use tests::{http, token, tree};

/// A start that must fail does so at once.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

fn run(arguments: &[&str]) -> Output {
    Build::Release
        .command()
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn joined(message: &Response) -> Option<livekit_protocol::JoinResponse> {
    match message {
        Response::Join(join) => Some(join.clone()),
        _ => None,
    }
}

#[test]
fn help_tells_a_newcomer_what_to_run() {
    let help = stdout(&run(&["--help"]));
    for word in ["serve", "token", "--version"] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
    let serve = stdout(&run(&["serve", "--help"]));
    for word in ["--dev", "--config"] {
        assert!(serve.contains(word), "{word} is missing in:\n{serve}");
    }
    let version = stdout(&run(&["--version"]));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn a_minted_token_opens_its_room() {
    let server = Server::dev(Build::Release);
    let arguments = [
        "token",
        "--key",
        token::KEY,
        "--secret",
        token::SECRET,
        "--room",
        "minted",
        "--identity",
        "li",
    ];
    let output = run(&arguments);
    assert!(output.status.success(), "{output:?}");
    let minted = stdout(&output).trim().to_owned();
    let target = signal::target(&minted, &signal::join_request(None));
    let join = Session::open(server.address(), &target).expect("the join", joined);
    assert_eq!(join.room.expect("a join names the room").name, "minted");
    assert_eq!(
        join.participant
            .expect("a join names the participant")
            .identity,
        "li"
    );
}

#[test]
fn the_release_binary_ignores_scripted_failures() {
    let server = Server::dev(Build::Release);
    for mode in [
        "leave_first_message",
        "no_first_message",
        "close_before_join",
        "validate_500",
    ] {
        let mut claims = token::claims(&format!("li-{mode}"), "no-mock");
        claims["attributes"] = json!({ "lk.mock": json!({ "signal": mode }).to_string() });
        let token = token::sign(&claims, token::SECRET);
        let validated = http::get(
            server.address(),
            &format!("/rtc/v1/validate?access_token={token}"),
            &[],
        );
        assert_eq!(
            (validated.status, validated.body.as_str()),
            (200, "success"),
            "{mode}"
        );
        let target = signal::target(&token, &signal::join_request(None));
        Session::open(server.address(), &target).expect("the join", joined);
    }
}

/// Starts with `config`, which must be refused, and returns what was said.
fn refused_start(config: &str) -> String {
    let mut process = Server::spawn(Build::Release, config);
    let status = process.expect_end(REFUSAL_TIMEOUT);
    assert!(!status.success(), "started with:\n{config}");
    // The last line may still be under way from the pipe.
    wait_until(REFUSAL_TIMEOUT, || {
        (!process.said().is_empty()).then_some(())
    });
    process.said()
}

fn with_keys(http: &str, keys: &str) -> String {
    format!("[http]\nport = 0\n{http}\n[media]\nport_first = 0\n[keys]\n{keys}")
}

#[test]
fn an_unknown_key_stops_the_start_and_is_named() {
    let config = with_keys("listen_prot = 1", "devkey = \"secret\"");
    let said = refused_start(&config);
    assert!(said.contains("listen_prot"), "{said}");
}

#[test]
fn what_is_unsafe_in_public_is_refused_there() {
    let long = format!("clinic = \"{}\"", "s".repeat(32));
    let plain = refused_start(&with_keys("listen_ip = \"0.0.0.0\"", &long));
    assert!(
        plain.contains("tls") && plain.contains("insecure_http"),
        "{plain}"
    );
    let known = "listen_ip = \"0.0.0.0\"\ninsecure_http = true";
    let dev = refused_start(&with_keys(known, "devkey = \"secret\""));
    assert!(dev.contains("devkey"), "{dev}");
    let short = refused_start(&with_keys("", "clinic = \"too short\""));
    assert!(short.contains("clinic") && short.contains("32"), "{short}");
    assert!(
        !short.contains("too short"),
        "the secret is repeated: {short}"
    );
}

#[test]
fn the_configuration_is_printed_at_start_without_secrets() {
    let secret = "0123456789abcdef0123456789abcdef";
    let server = Server::with_config(Build::Release, &format!("clinic = {secret:?}\n"));
    let said = server.stop();
    assert!(
        said.contains("clinic"),
        "the configuration is not printed:\n{said}"
    );
    assert!(!said.contains(secret), "the secret is printed:\n{said}");
}

#[test]
fn a_join_over_tls_is_a_join() {
    let folder = tree::scratch("tls");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .expect("the name is a DNS name");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("the scratch folder is writable");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the scratch folder is writable");
    let tls = format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    let server = Server::start(Build::Release, &server::config(&folder, 2, &tls));

    let address = server.address();
    let stream = tls_stream(address, made.cert.der().clone());
    let token = token::join("li", "over-tls");
    let target = signal::target(&token, &signal::join_request(None));
    let mut session = Session::open_over(
        stream,
        &format!("wss://localhost:{}{target}", address.port()),
    );
    let join = session.expect("the join", joined);
    assert_eq!(join.room.expect("a join names the room").name, "over-tls");
}

fn tls_stream(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).expect("the certificate was just made");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("localhost is a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("valid settings");
    rustls::StreamOwned::new(connection, http::connect(address))
}

#[test]
fn stopping_tells_the_clients_and_ends_in_peace() {
    let server = Server::dev(Build::Release);
    let token = token::join("li", "stopped");
    let target = signal::target(&token, &signal::join_request(None));
    let mut session = Session::open(server.address(), &target);
    session.expect("the join", joined);
    let said = server.stop();
    let reason = session.expect("a leave", |message| match message {
        Response::Leave(leave) => Some(leave.reason()),
        _ => None,
    });
    assert_eq!(reason, livekit_protocol::DisconnectReason::ServerShutdown);
    assert!(!said.contains(&token), "the token is in the log");
}
