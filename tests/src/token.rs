//! Tokens as a clinic's own system would sign them, and tokens as nobody should.
//!
//! Written by hand (RFC 7515 and 7519) rather than with the server's library, so that one bug
//! cannot be on both sides.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// The development server's API key.
pub const KEY: &str = "devkey";
/// The development server's API secret.
pub const SECRET: &str = "secret";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs()
}

/// The claims of somebody who may join `room` and do everything there.
pub fn claims(identity: &str, room: &str) -> Value {
    json!({
        "iss": KEY,
        "sub": identity,
        "name": identity,
        "nbf": now() - 5,
        "exp": now() + 600,
        "video": { "roomJoin": true, "room": room },
    })
}

/// `claims` signed with HS256 by `secret`.
pub fn sign(claims: &Value, secret: &str) -> String {
    let head = encode(&json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{head}.{}", encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

/// `claims` with `alg=none` and no signature.
pub fn unsigned(claims: &Value) -> String {
    let head = encode(&json!({ "alg": "none", "typ": "JWT" }));
    format!("{head}.{}.", encode(claims))
}

/// A good token to join `room`.
pub fn join(identity: &str, room: &str) -> String {
    sign(&claims(identity, room), SECRET)
}

/// A good token with further `grants` in its `video` claim.
pub fn join_with(identity: &str, room: &str, grants: &Value) -> String {
    let mut claims = claims(identity, room);
    for (name, value) in grants.as_object().expect("grants are an object") {
        claims["video"][name] = value.clone();
    }
    sign(&claims, SECRET)
}

fn encode(value: &Value) -> String {
    BASE64.encode(value.to_string())
}
