//! Who a caller is and what the token grants: JSON Web Tokens as LiveKit's server SDKs make them.
//!
//! A [`Keyring`] checks tokens (HS256 and nothing else, the issuer bound to the key that signed)
//! and mints them for the command line, for tests and for refreshing. [`Grants`] are what a token
//! says, with the absent kept apart from the refused; what follows from them is decided where it
//! is needed. A token is never printed: [`Grants`] and the errors show no part of one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Limits, Secret};
use crate::error::ApiError;

/// Clocks of servers and of those who make tokens differ by seconds, not by minutes.
const LEEWAY_S: u64 = 30;

/// Why a token is not good. Says nothing about the token's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no token was given")]
    Missing,
    /// It is no token, or one of a kind that is not accepted (another algorithm, or none).
    #[error("the token is not a valid HS256 token")]
    Malformed,
    /// Its issuer is no key of ours.
    #[error("the token was issued by an unknown key")]
    UnknownKey,
    /// It was not signed with its issuer's secret.
    #[error("the token's signature is wrong")]
    Signature,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It will be good later.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its bearer was removed from the room.
    #[error("the token is no longer good: its bearer was removed from the room")]
    Revoked,
    /// Something in it is larger than a bound; the bound's name.
    #[error("the token exceeds {0}")]
    TooLarge(&'static str),
}

/// What a token says about its bearer.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Grants {
    /// Who it is; unique in a room. Needed to join.
    #[serde(rename = "sub", deserialize_with = "or_default")]
    pub identity: String,
    /// The name that people see.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Free text of the application.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub metadata: String,
    /// Free names and values of the application.
    #[serde(
        deserialize_with = "values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub attributes: BTreeMap<String, String>,
    /// `standard`, `ingress`, `egress`, `sip`, `agent`, `connector` or `bridge`.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
    /// More about the kind.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    /// The hash of a webhook's body, where the token signs one.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub sha256: String,
    /// How the room is to be made: LiveKit's `RoomConfiguration` as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<serde_json::Value>,
    /// What may be done.
    #[serde(deserialize_with = "or_default")]
    pub video: VideoGrant,
    /// What may be done that LiveKit knows nothing of.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Consilium::is_empty"
    )]
    pub consilium: Consilium,
}

/// Grants of our own, beside LiveKit's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consilium {
    /// `compliance` opens the recordings of the key that signed the token.
    #[serde(deserialize_with = "or_default")]
    pub role: String,
}

impl Consilium {
    fn is_empty(&self) -> bool {
        self.role.is_empty()
    }
}

/// What a token grants. `None` is what the token does not mention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VideoGrant {
    /// The room that the grants are about.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub room: String,
    /// Join that room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_join: Option<bool>,
    /// Make and end rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_create: Option<bool>,
    /// List rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_list: Option<bool>,
    /// Record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_record: Option<bool>,
    /// Moderate that room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_admin: Option<bool>,
    /// Manage ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_admin: Option<bool>,
    /// Publish tracks; granted if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Subscribe to tracks; granted if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Send data; granted if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// The only sources that may be published; all if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// Change one's own name, metadata and attributes; refused if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Receive the metrics of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// Manage the session of an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// Not announced to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// Records: while present, the room says that it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<bool>,
    /// Acts as an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<bool>,
    /// The room that participants may be forwarded to.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub destination_room: String,
}

impl Grants {
    /// The room that may be joined with these grants. `requested` is the room that the caller
    /// named, if any: naming another one is refused whether or not it exists.
    pub fn room_to_join(&self, requested: Option<&str>) -> Result<&str, ApiError> {
        if self.video.room_join != Some(true) {
            return Err(ApiError::NotGranted("roomJoin"));
        }
        if self.video.room.is_empty() {
            return Err(ApiError::BadRequest("the token names no room"));
        }
        if self.identity.is_empty() {
            return Err(ApiError::BadRequest("the token names no identity"));
        }
        match requested {
            Some(room) if !room.is_empty() && room != self.video.room => Err(ApiError::WrongRoom),
            _ => Ok(&self.video.room),
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), TokenError> {
        let attributes = self.attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
        let sizes: [(usize, usize, &'static str); 5] = [
            (
                self.identity.len(),
                limits.identity_bytes_max,
                "identity_bytes_max",
            ),
            (self.name.len(), limits.name_bytes_max, "name_bytes_max"),
            (
                self.video.room.len(),
                limits.room_name_bytes_max,
                "room_name_bytes_max",
            ),
            (
                self.metadata.len(),
                limits.metadata_bytes_max,
                "metadata_bytes_max",
            ),
            (
                attributes,
                limits.attributes_bytes_max,
                "attributes_bytes_max",
            ),
        ];
        match sizes.into_iter().find(|(size, max, _)| size > max) {
            Some((_, _, name)) => Err(TokenError::TooLarge(name)),
            None => Ok(()),
        }
    }
}

impl VideoGrant {
    /// Whether anything may be published.
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// Whether a track of this source (`camera`, `microphone`, `screen_share`,
    /// `screen_share_audio`) may be published.
    pub fn may_publish_source(&self, source: &str) -> bool {
        let listed = |allowed: &String| allowed.eq_ignore_ascii_case(source);
        let sources = &self.can_publish_sources;
        self.may_publish() && (sources.is_empty() || sources.iter().any(listed))
    }

    /// Whether tracks may be received.
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// Whether data may be sent.
    pub fn may_publish_data(&self) -> bool {
        self.can_publish_data.unwrap_or(true)
    }

    /// Whether one's own name, metadata and attributes may be changed.
    pub fn may_update_own_metadata(&self) -> bool {
        self.can_update_own_metadata.unwrap_or(false)
    }

    /// Whether the participant is kept from the others.
    pub fn is_hidden(&self) -> bool {
        self.hidden.unwrap_or(false)
    }

    /// Whether the participant records.
    pub fn is_recorder(&self) -> bool {
        self.recorder.unwrap_or(false)
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Identity, name, room and metadata are about people.
        f.debug_struct("Grants")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A token that was found good.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The key that issued it: a refreshed token is signed with the same one.
    pub key: String,
    /// When it was made, if it says so.
    pub issued_at: Option<SystemTime>,
    /// When it expires.
    pub expires_at: SystemTime,
    /// What it says.
    pub grants: Grants,
}

/// The API keys with their secrets. They can be exchanged while tokens are checked.
pub struct Keyring {
    keys: RwLock<HashMap<String, Key>>,
    limits: Limits,
}

/// A secret in the forms in which it is used.
struct Key {
    secret: Secret,
    signs: EncodingKey,
    checks: DecodingKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys().len())
    }
}

/// The claims of a token on the wire.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    #[serde(deserialize_with = "whole_seconds")]
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<serde_json::Number>,
    #[serde(flatten)]
    grants: Grants,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

impl Claims {
    /// When the token was made. Some SDKs say since when it is good instead, and some say 0.
    fn issued_at(&self) -> Option<SystemTime> {
        let seconds = [&self.iat, &self.nbf].into_iter().flatten();
        let seconds = seconds.filter_map(serde_json::Number::as_f64);
        let latest = seconds.filter(|seconds| *seconds >= 1.0).reduce(f64::max)?;
        UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(latest).ok()?)
    }
}

impl Keyring {
    /// Keys with their secrets, and the bounds that tokens are held to.
    pub fn new<'a>(
        keys: impl IntoIterator<Item = (&'a String, &'a Secret)>,
        limits: &Limits,
    ) -> Self {
        Self {
            keys: RwLock::new(by_id(keys)),
            limits: limits.clone(),
        }
    }

    /// Takes other keys from now on. Returns those of the old ones whose tokens are no longer good:
    /// the key is gone, or its secret is another one.
    pub fn exchange<'a>(
        &self,
        keys: impl IntoIterator<Item = (&'a String, &'a Secret)>,
    ) -> BTreeSet<String> {
        let fresh = by_id(keys);
        let mut keys = self.keys.write().expect(NO_PANIC);
        let is_gone = |(id, key): &(&String, &Key)| {
            fresh
                .get(*id)
                .is_none_or(|fresh| fresh.secret != key.secret)
        };
        let gone = keys.iter().filter(is_gone).map(|(id, _)| id.clone());
        let gone = gone.collect();
        *keys = fresh;
        gone
    }

    fn keys(&self) -> RwLockReadGuard<'_, HashMap<String, Key>> {
        self.keys.read().expect(NO_PANIC)
    }

    /// Checks a token: its size, its issuer, its signature (in constant time), its times, and the
    /// sizes of what it says.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > self.limits.token_bytes_max {
            return Err(TokenError::TooLarge("token_bytes_max"));
        }
        let Issuer { iss } = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| TokenError::Malformed)?;
        let keys = self.keys();
        let key = keys.get(&iss).ok_or(TokenError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.checks, &validation(&iss))
            .map_err(|error| reason(error.kind()))?
            .claims;
        drop(keys);
        claims.grants.check(&self.limits)?;
        Ok(Verified {
            key: iss,
            issued_at: claims.issued_at(),
            expires_at: UNIX_EPOCH + Duration::from_secs(claims.exp),
            grants: claims.grants,
        })
    }

    /// A token of `key` that says `grants` and is good for `ttl` from now.
    pub fn mint(&self, key: &str, grants: &Grants, ttl: Duration) -> Result<String, TokenError> {
        let keys = self.keys();
        let secret = &keys.get(key).ok_or(TokenError::UnknownKey)?.signs;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = Claims {
            iss: key.to_owned(),
            exp: now.saturating_add(ttl).as_secs(),
            nbf: Some(now.as_secs().into()),
            iat: None,
            grants: grants.clone(),
        };
        Ok(
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, secret)
                .expect("strings and numbers serialise, and any bytes are an HMAC key"),
        )
    }
}

const NO_PANIC: &str = "nothing panics while keys are exchanged";

fn by_id<'a>(keys: impl IntoIterator<Item = (&'a String, &'a Secret)>) -> HashMap<String, Key> {
    let keys = keys.into_iter().map(|(id, secret)| {
        let bytes = secret.expose().as_bytes();
        let key = Key {
            secret: secret.clone(),
            signs: EncodingKey::from_secret(bytes),
            checks: DecodingKey::from_secret(bytes),
        };
        (id.clone(), key)
    });
    keys.collect()
}

fn validation(issuer: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss"]);
    validation
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::UnknownKey,
        _ => TokenError::Malformed,
    }
}

/// Some token makers write `null` for what they leave out.
fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}

/// Applications write null where they have no value; LiveKit reads it as an empty one.
fn values<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read: BTreeMap<String, Option<String>> = or_default(input)?;
    let read = read.into_iter();
    Ok(read
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}

/// Times may have fractions (RFC 7519 section 2).
fn whole_seconds<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    f64::deserialize(input).map(|seconds| seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

    fn keyring(keys: &[(&str, &str)]) -> Keyring {
        let keys: Vec<_> = keys
            .iter()
            .map(|(id, secret)| ((*id).to_owned(), Secret::new(*secret)))
            .collect();
        Keyring::new(keys.iter().map(|(id, s)| (id, s)), &Limits::default())
    }

    fn ours() -> Keyring {
        keyring(&[("clinic", SECRET), ("other", &SECRET.to_uppercase())])
    }

    fn doctor() -> Grants {
        Grants {
            identity: "dr-wang".into(),
            name: "Dr. Wang".into(),
            video: VideoGrant {
                room: "consult-7".into(),
                room_join: Some(true),
                ..VideoGrant::default()
            },
            ..Grants::default()
        }
    }

    fn now() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    }

    fn sign(algorithm: Algorithm, claims: &serde_json::Value, secret: &str) -> String {
        jsonwebtoken::encode(
            &Header::new(algorithm),
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("signs")
    }

    fn refused(claims: &serde_json::Value) -> TokenError {
        ours()
            .verify(&sign(Algorithm::HS256, claims, SECRET))
            .expect_err("must be refused")
    }

    #[test]
    fn what_is_minted_is_read_again() {
        let keyring = ours();
        let token = keyring
            .mint("clinic", &doctor(), Duration::from_secs(60))
            .expect("known key");
        let verified = keyring.verify(&token).expect("good");
        assert_eq!(verified.key, "clinic");
        assert_eq!(verified.grants, doctor());
        assert!(verified.expires_at > SystemTime::now());
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let claims = part(&format!(
            r#"{{"iss":"clinic","sub":"eve","exp":{},"video":{{"roomJoin":true,"room":"r"}}}}"#,
            now() + 60
        ));
        for algorithm in ["none", "None", "NONE", "HS257", ""] {
            let header = part(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
            for signature in ["", "AAAA"] {
                let token = format!("{header}.{claims}.{signature}");
                assert_eq!(
                    ours().verify(&token).expect_err("refused"),
                    TokenError::Malformed
                );
            }
        }
    }

    #[test]
    fn another_algorithm_with_the_right_secret_is_refused() {
        let claims = serde_json::json!({"iss": "clinic", "sub": "eve", "exp": now() + 60});
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = sign(algorithm, &claims, SECRET);
            assert_eq!(
                ours().verify(&token).expect_err("refused"),
                TokenError::Malformed
            );
        }
    }

    #[test]
    fn a_foreign_signature_is_refused() {
        let claims = serde_json::json!({"iss": "clinic", "sub": "eve", "exp": now() + 60});
        let token = sign(Algorithm::HS256, &claims, &SECRET.replace('a', "b"));
        assert_eq!(
            ours().verify(&token).expect_err("refused"),
            TokenError::Signature
        );
    }

    #[test]
    fn one_key_cannot_sign_for_another() {
        let claims = serde_json::json!({"iss": "other", "sub": "eve", "exp": now() + 60});
        assert_eq!(refused(&claims), TokenError::Signature);
        let claims = serde_json::json!({"iss": "nobody", "sub": "eve", "exp": now() + 60});
        assert_eq!(refused(&claims), TokenError::UnknownKey);
    }

    #[test]
    fn a_key_that_is_exchanged_checks_and_signs_nothing_any_more() {
        let keyring = ours();
        let mint = |key: &str| keyring.mint(key, &doctor(), Duration::from_secs(60));
        let (clinic, other) = (
            mint("clinic").expect("known"),
            mint("other").expect("known"),
        );
        let fresh = [
            ("clinic".to_owned(), Secret::new(SECRET)),
            ("new".to_owned(), Secret::new(SECRET)),
        ];
        let gone = keyring.exchange(fresh.iter().map(|(id, secret)| (id, secret)));
        assert_eq!(gone, BTreeSet::from(["other".to_owned()]));
        assert!(keyring.verify(&clinic).is_ok(), "it has not changed");
        assert_eq!(keyring.verify(&other).err(), Some(TokenError::UnknownKey));
        assert_eq!(mint("other").err(), Some(TokenError::UnknownKey));
        assert!(mint("new").is_ok());
        let changed = ("clinic".to_owned(), Secret::new(SECRET.to_uppercase()));
        let gone = keyring.exchange([(&changed.0, &changed.1)]);
        assert_eq!(
            gone,
            BTreeSet::from(["clinic".to_owned(), "new".to_owned()])
        );
        assert_eq!(keyring.verify(&clinic).err(), Some(TokenError::Signature));
    }

    #[test]
    fn times_are_kept_with_a_little_leeway() {
        let claims = |exp: u64, nbf: u64| serde_json::json!({"iss": "clinic", "sub": "eve", "exp": exp, "nbf": nbf});
        let now = now();
        assert_eq!(refused(&claims(now - 60, now - 120)), TokenError::Expired);
        assert_eq!(
            refused(&claims(now + 600, now + 120)),
            TokenError::NotYetValid
        );
        let close = sign(Algorithm::HS256, &claims(now - 5, now - 10), SECRET);
        assert!(ours().verify(&close).is_ok());
        let early = sign(Algorithm::HS256, &claims(now + 60, now + 5), SECRET);
        assert!(ours().verify(&early).is_ok());
    }

    #[test]
    fn a_token_that_never_expires_is_refused() {
        let claims = serde_json::json!({"iss": "clinic", "sub": "eve"});
        assert_eq!(refused(&claims), TokenError::Malformed);
        let claims = serde_json::json!({"iss": "clinic", "sub": "eve", "exp": "tomorrow"});
        assert_eq!(refused(&claims), TokenError::Malformed);
    }

    #[test]
    fn what_is_absent_stays_apart_from_what_is_refused() {
        let claims = serde_json::json!({
            "iss": "clinic", "sub": "eve", "exp": now() + 60, "name": null, "attributes": null,
            "video": {"roomJoin": true, "room": "r", "canSubscribe": false, "future": [1, {}]},
            "roomConfig": {"egress": {"room": {}}}, "sip": {"admin": true},
        });
        let token = sign(Algorithm::HS256, &claims, SECRET);
        let grants = ours().verify(&token).expect("good").grants;
        assert_eq!(grants.video.can_publish, None);
        assert!(grants.video.may_publish());
        assert_eq!(grants.video.can_subscribe, Some(false));
        assert!(!grants.video.may_subscribe());
        assert!(!grants.video.may_update_own_metadata());
        assert!(grants.room_config.is_some());
    }

    #[test]
    fn an_attribute_without_a_value_is_empty() {
        let claims = serde_json::json!({
            "iss": "clinic", "sub": "eve", "exp": now() + 60,
            "attributes": {"role": null, "color": "red"},
        });
        let token = sign(Algorithm::HS256, &claims, SECRET);
        let attributes = ours().verify(&token).expect("good").grants.attributes;
        assert_eq!(attributes["role"], "");
        assert_eq!(attributes["color"], "red");
        let claims = serde_json::json!({
            "iss": "clinic", "sub": "eve", "exp": now() + 60, "attributes": {"role": 7},
        });
        assert_eq!(refused(&claims), TokenError::Malformed);
    }

    #[test]
    fn listed_sources_are_the_only_ones() {
        let mut grant = VideoGrant::default();
        assert!(grant.may_publish_source("camera"));
        grant.can_publish_sources = vec!["MICROPHONE".into()];
        assert!(grant.may_publish_source("microphone"));
        assert!(!grant.may_publish_source("camera"));
        grant.can_publish = Some(false);
        assert!(!grant.may_publish_source("microphone"));
    }

    #[test]
    fn only_the_own_room_can_be_joined() {
        let mut grants = doctor();
        assert_eq!(grants.room_to_join(None), Ok("consult-7"));
        assert_eq!(grants.room_to_join(Some("consult-7")), Ok("consult-7"));
        assert_eq!(
            grants.room_to_join(Some("consult-8")),
            Err(ApiError::WrongRoom)
        );
        grants.video.room_join = None;
        assert_eq!(
            grants.room_to_join(None),
            Err(ApiError::NotGranted("roomJoin"))
        );
        let mut nobody = doctor();
        nobody.identity.clear();
        assert_eq!(
            nobody.room_to_join(None).expect_err("refused").status(),
            400
        );
    }

    #[test]
    fn large_tokens_and_large_claims_are_refused() {
        let huge = "a".repeat(Limits::default().token_bytes_max + 1);
        assert_eq!(
            ours().verify(&huge).expect_err("refused"),
            TokenError::TooLarge("token_bytes_max")
        );
        let claims =
            serde_json::json!({"iss": "clinic", "sub": "e".repeat(257), "exp": now() + 60});
        assert_eq!(refused(&claims), TokenError::TooLarge("identity_bytes_max"));
    }

    #[test]
    fn neither_grants_nor_keys_show_what_they_hold() {
        let shown = format!("{:?} {:?}", doctor(), ours());
        for secret in ["wang", "Wang", "consult-7", SECRET] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let good = ours()
            .mint("clinic", &doctor(), Duration::from_secs(60))
            .expect("known key");
        for _ in 0..2_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            bytes.truncate(random.random_range(0..=bytes.len()));
            crate::fuzz::token(&bytes);
        }
    }
}
