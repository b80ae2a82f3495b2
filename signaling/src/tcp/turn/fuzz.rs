//! A TURN client that says anything: the function behind `crate::fuzz::turn`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::message::{Class, Method, Unit, Writer, attribute, first, key, write_channel};
use super::server::{Outcome, Server};
use crate::config::SignalingConfig;
use crate::tcp::Port;

/// Plays `bytes` as what comes over a connection, twice: as it is, and with every message's attributes
/// in a message that is signed as it should be.
pub(crate) fn connection(bytes: &[u8]) {
    let media: SocketAddr = ([198, 18, 0, 1], 7882).into();
    let port = Arc::new(Port::new(&SignalingConfig::dev(), vec![vec![media]]));
    let pass = port.ice_pass(SystemTime::now(), "PA_1");
    let now = (Instant::now(), SystemTime::now());
    let mut server = Server::new(Arc::clone(&port), ([198, 51, 100, 7], 50_000).into());
    let mut rest = bytes;
    while let Ok(Some((unit, len))) = first(rest) {
        assert!(len <= rest.len() && len >= 4);
        let mut reply = Vec::new();
        check(&server.handle(now, unit, &mut reply), media);
        well_formed(&reply);
        if let Unit::Message(message) = unit {
            let secret = key(&pass.username, "consilium", &pass.password);
            let mut signed = Vec::new();
            let mut writer = Writer::new(&mut signed, Class::Request, message.method(), [1; 12])
                .with(attribute::USERNAME, pass.username.as_bytes())
                .with(attribute::REALM, b"consilium")
                .with(attribute::NONCE, server.nonce().as_bytes());
            for (number, value) in message.attributes() {
                writer = writer.with(number, value);
            }
            writer.sign(&secret);
            if let Ok(Some((unit, _))) = first(&signed) {
                let mut reply = Vec::new();
                check(&server.handle(now, unit, &mut reply), media);
                well_formed(&reply);
            }
        }
        rest = &rest[len..];
    }
    let mut padded = Vec::new();
    write_channel(&mut padded, 0x4000, &bytes[..bytes.len().min(1_000)]);
    assert!(matches!(
        first(&padded),
        Ok(Some((Unit::Channel(0x4000, _), _)))
    ));
}

fn check(outcome: &Outcome<'_>, media: SocketAddr) {
    match *outcome {
        Outcome::Packet(peer, _) => assert_eq!(peer.ip(), media.ip()),
        Outcome::Channel(peer, _) => assert_eq!(peer, media),
        Outcome::Nothing | Outcome::End => {}
    }
}

fn well_formed(reply: &[u8]) {
    let is_whole = |found| matches!(found, Ok(Some((Unit::Message(_), len))) if len == reply.len());
    assert!(reply.is_empty() || is_whole(first(reply)));
}

/// Inputs to begin with: what a client says in order, as nobody and with every attribute.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let media: SocketAddr = ([198, 18, 0, 1], 7882).into();
    let methods = [
        Method::Binding,
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ];
    let mut all = Vec::new();
    let mut conversation = Vec::new();
    for method in methods {
        let mut bytes = Vec::new();
        let _unsigned = Writer::new(&mut bytes, Class::Request, method, [7; 12])
            .with(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .with(attribute::LIFETIME, &[0, 0, 2, 88])
            .with(attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0])
            .with_address(attribute::XOR_PEER_ADDRESS, media);
        conversation.extend(&bytes);
        all.push(bytes);
    }
    let _unsigned = Writer::new(&mut conversation, Class::Indication, Method::Send, [7; 12])
        .with_address(attribute::XOR_PEER_ADDRESS, media)
        .with(attribute::DATA, b"packet");
    write_channel(&mut conversation, 0x4000, b"packet");
    all.push(conversation);
    all
}
