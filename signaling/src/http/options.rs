//! How a client with two connections says in the query of its address what it wants: one parameter
//! for each thing that others say in a join request.
//!
//! The parameters become the same join request, so that nothing behind this file tells the two apart
//! but for the number of connections. What is not known, or not a number where one is expected,
//! counts as not said.

use serde::Deserialize;

use crate::config::Limits;
use crate::error::ApiError;
use crate::token::Verified;
use crate::wire::decode_attributes;
use crate::wire::proto::client_info::{Capability, Sdk};
use crate::wire::proto::{ClientInfo, ConnectionSettings, JoinRequest};

/// Capabilities that a client may list; there are three.
const CAPABILITIES_MAX: usize = 32;

/// The parameters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    auto_subscribe: Option<String>,
    adaptive_stream: Option<String>,
    subscriber_allow_pause: Option<String>,
    disable_ice_lite: Option<String>,
    auto_subscribe_data_track: Option<String>,
    sdk: String,
    version: String,
    protocol: String,
    client_protocol: String,
    capabilities: String,
    os: String,
    os_version: String,
    device_model: String,
    browser: String,
    browser_version: String,
    network: String,
    attributes: String,
    publish: String,
    reconnect: Option<String>,
    reconnect_reason: String,
    sid: String,
}

impl Options {
    /// What is asked for, as a join request.
    pub(super) fn join_request(&self) -> Result<JoinRequest, ApiError> {
        let attributes = decode_attributes(&self.attributes)
            .map_err(|_| ApiError::BadRequest("the attributes cannot be read"))?;
        Ok(JoinRequest {
            client_info: Some(self.client()),
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: said(self.auto_subscribe.as_deref()).unwrap_or(true),
                adaptive_stream: said(self.adaptive_stream.as_deref()).unwrap_or(false),
                subscriber_allow_pause: said(self.subscriber_allow_pause.as_deref()),
                disable_ice_lite: said(self.disable_ice_lite.as_deref()).unwrap_or(false),
                auto_subscribe_data_track: said(self.auto_subscribe_data_track.as_deref()),
            }),
            participant_attributes: attributes,
            reconnect: said(self.reconnect.as_deref()).unwrap_or(false),
            reconnect_reason: number(&self.reconnect_reason),
            participant_sid: self.sid.clone(),
            ..JoinRequest::default()
        })
    }

    /// A program that publishes in somebody's name beside him is somebody else, who receives nothing.
    pub(super) fn narrow(&self, verified: &mut Verified, limits: &Limits) -> Result<(), ApiError> {
        if self.publish.is_empty() {
            return Ok(());
        }
        let grants = &mut verified.grants;
        if !grants.video.may_publish() {
            return Err(ApiError::NotGranted("canPublish"));
        }
        grants.video.can_subscribe = Some(false);
        let suffix = format!("#{}", self.publish);
        // Tokens that we refresh have it already.
        if !grants.identity.ends_with(&suffix) {
            grants.identity.push_str(&suffix);
        }
        if grants.identity.len() > limits.identity_bytes_max {
            return Err(ApiError::TooLarge("identity_bytes_max"));
        }
        Ok(())
    }

    fn client(&self) -> ClientInfo {
        let capabilities = self.capabilities.split(',').take(CAPABILITIES_MAX);
        let capabilities = capabilities.filter_map(Capability::from_str_name);
        ClientInfo {
            sdk: sdk(&self.sdk) as i32,
            version: self.version.clone(),
            protocol: number(&self.protocol),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            device_model: self.device_model.clone(),
            browser: self.browser.clone(),
            browser_version: self.browser_version.clone(),
            network: self.network.clone(),
            client_protocol: number(&self.client_protocol),
            capabilities: capabilities.map(|one| one as i32).collect(),
            ..ClientInfo::default()
        }
    }
}

/// Yes or no, if it was said: SDKs write 1 and 0, true and false.
fn said(value: Option<&str>) -> Option<bool> {
    match value? {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> i32 {
    text.parse().unwrap_or(0)
}

/// The names are those of the messages, written small and without a dash.
fn sdk(name: &str) -> Sdk {
    let name = match name {
        "reactnative" => "REACT_NATIVE".to_owned(),
        "unityweb" => "UNITY_WEB".to_owned(),
        name => name.to_ascii_uppercase(),
    };
    Sdk::from_str_name(&name).unwrap_or(Sdk::Unknown)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axum::extract::Query;
    use axum::http::Uri;

    use super::*;
    use crate::token::Grants;

    fn options(query: &str) -> Options {
        let uri: Uri = format!("/rtc?{query}").parse().expect("an address");
        let Query(options) = Query::try_from_uri(&uri).expect("it is read");
        options
    }

    fn request(query: &str) -> JoinRequest {
        options(query).join_request().expect("it makes sense")
    }

    #[test]
    fn what_sdks_say_is_read() {
        // As the SDKs of Node, of Android and of browsers ask.
        let node = request(
            "sdk=node&os=Debian&os_version=12.0.0&device_model=Unknown&protocol=17&client_protocol=2\
             &auto_subscribe=1&adaptive_stream=0&version=1.1.0\
             &capabilities=CAP_PACKET_TRAILER%2CCAP_COMPRESSION_DEFLATE_RAW",
        );
        let client = node.client_info.expect("it says who it is");
        assert_eq!((client.sdk(), client.client_protocol), (Sdk::Node, 2));
        assert_eq!(client.capabilities, [1, 2]);
        let settings = node.connection_settings.expect("there are some");
        assert!(settings.auto_subscribe && !node.reconnect);
        let attributes = "eyJjb25zaWxpdW0uY29uc2VudCI6ImdyYW50ZWQifQ";
        let android = request(&format!(
            "sdk=android&auto_subscribe=0&attributes={attributes}%3D%3D"
        ));
        assert!(
            !android
                .connection_settings
                .expect("likewise")
                .auto_subscribe
        );
        assert_eq!(
            android.participant_attributes["consilium.consent"],
            "granted"
        );
        let back = request("reconnect=1&sid=PA_x&reconnect_reason=2&sdk=js&browser=Firefox");
        assert!(back.reconnect);
        assert_eq!((&*back.participant_sid, back.reconnect_reason), ("PA_x", 2));
    }

    #[test]
    fn without_a_word_everything_is_subscribed_to() {
        for query in [
            "",
            "auto_subscribe=maybe&protocol=x&sdk=commodore&capabilities=,,CAP_X",
        ] {
            let request = request(query);
            let settings = request.connection_settings.expect("there are some");
            assert!(settings.auto_subscribe && !request.reconnect);
            let client = request.client_info.expect("it is nobody");
            assert_eq!((client.sdk(), client.protocol), (Sdk::Unknown, 0));
        }
    }

    #[test]
    fn attributes_that_are_none_are_refused() {
        for attributes in ["%21", "bm9wZQ", "WzFd", "eyJhIjoxfQ"] {
            let request = options(&format!("attributes={attributes}")).join_request();
            let refusal = ApiError::BadRequest("the attributes cannot be read");
            assert_eq!(request, Err(refusal), "{attributes}");
        }
    }

    #[test]
    fn who_publishes_beside_somebody_is_another_and_receives_nothing() {
        let limits = Limits::default();
        let verified = || Verified {
            key: "clinic".to_owned(),
            issued_at: None,
            expires_at: SystemTime::now(),
            grants: Grants {
                identity: "li".into(),
                ..Grants::default()
            },
        };
        let mut beside = verified();
        for _ in 0..2 {
            let narrowed = options("publish=scope").narrow(&mut beside, &limits);
            assert_eq!(narrowed, Ok(()));
            assert_eq!(beside.grants.identity, "li#scope");
        }
        assert!(!beside.grants.video.may_subscribe());
        let mut mute = verified();
        mute.grants.video.can_publish = Some(false);
        let refused = options("publish=scope").narrow(&mut mute, &limits);
        assert_eq!(refused, Err(ApiError::NotGranted("canPublish")));
        let long = format!("publish={}", "x".repeat(limits.identity_bytes_max));
        let refused = options(&long).narrow(&mut verified(), &limits);
        assert_eq!(refused, Err(ApiError::TooLarge("identity_bytes_max")));
    }
}
