//! What a participant may do, settled from a token's grants.
//!
//! A token leaves much unsaid; here every question has an answer. Who checks is who acts: tracks,
//! subscriptions and data ask before they change anything.

use crate::token::VideoGrant;
use crate::wire::proto::{ParticipantPermission, TrackSource};

/// What a participant may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Publish tracks at all.
    pub can_publish: bool,
    /// The only sources that may be published; all if empty.
    pub sources: Vec<TrackSource>,
    /// Receive tracks.
    pub can_subscribe: bool,
    /// Send data.
    pub can_publish_data: bool,
    /// Change one's own name, metadata and attributes.
    pub can_update_metadata: bool,
    /// Receive what other clients measure.
    pub can_subscribe_metrics: bool,
    /// Not announced to anybody.
    pub is_hidden: bool,
    /// Records: the room says so while it is there.
    pub is_recorder: bool,
    /// Speaks for a program.
    pub is_agent: bool,
}

impl Permissions {
    /// What a token's grants amount to.
    pub fn from_grant(grant: &VideoGrant, kind: &str) -> Self {
        // A list of which nothing is known still forbids all else.
        let sources = grant.can_publish_sources.iter().filter_map(|s| source(s));
        let sources: Vec<TrackSource> = sources.collect();
        let names_no_source = !grant.can_publish_sources.is_empty() && sources.is_empty();
        Self {
            can_publish: grant.may_publish() && !names_no_source,
            sources,
            can_subscribe: grant.may_subscribe(),
            can_publish_data: grant.may_publish_data(),
            can_update_metadata: grant.may_update_own_metadata(),
            can_subscribe_metrics: grant.can_subscribe_metrics.unwrap_or(false),
            is_hidden: grant.is_hidden(),
            is_recorder: grant.is_recorder(),
            is_agent: grant.agent.unwrap_or(false) || kind.eq_ignore_ascii_case("agent"),
        }
    }

    /// What a moderator has decided.
    #[expect(
        deprecated,
        reason = "the server SDKs still say who records and who is an agent"
    )]
    pub fn from_proto(permission: &ParticipantPermission) -> Self {
        let sources: Vec<TrackSource> = permission.can_publish_sources().collect();
        let names_no_source = !permission.can_publish_sources.is_empty() && sources.is_empty();
        Self {
            can_publish: permission.can_publish && !names_no_source,
            sources,
            can_subscribe: permission.can_subscribe,
            can_publish_data: permission.can_publish_data,
            can_update_metadata: permission.can_update_metadata,
            can_subscribe_metrics: permission.can_subscribe_metrics,
            is_hidden: permission.hidden,
            is_recorder: permission.recorder,
            is_agent: permission.agent,
        }
    }

    /// The same as a token's grants.
    pub fn to_grant(&self) -> VideoGrant {
        let sources = self.sources.iter();
        let word = |source: &TrackSource| source.as_str_name().to_ascii_lowercase();
        VideoGrant {
            can_publish: Some(self.can_publish),
            can_publish_sources: sources.map(word).collect(),
            can_subscribe: Some(self.can_subscribe),
            can_publish_data: Some(self.can_publish_data),
            can_update_own_metadata: Some(self.can_update_metadata),
            can_subscribe_metrics: Some(self.can_subscribe_metrics),
            hidden: Some(self.is_hidden),
            recorder: Some(self.is_recorder),
            agent: Some(self.is_agent),
            ..VideoGrant::default()
        }
    }

    /// Whether a track of this source may be published.
    pub fn may_publish(&self, source: TrackSource) -> bool {
        self.can_publish && (self.sources.is_empty() || self.sources.contains(&source))
    }

    /// The form that clients read.
    #[expect(
        deprecated,
        reason = "clients still read who records and who is an agent"
    )]
    pub fn to_proto(&self) -> ParticipantPermission {
        ParticipantPermission {
            can_subscribe: self.can_subscribe,
            can_publish: self.can_publish,
            can_publish_data: self.can_publish_data,
            can_publish_sources: self.sources.iter().map(|source| *source as i32).collect(),
            hidden: self.is_hidden,
            recorder: self.is_recorder,
            can_update_metadata: self.can_update_metadata,
            agent: self.is_agent,
            can_subscribe_metrics: self.can_subscribe_metrics,
            ..Default::default()
        }
    }
}

fn source(name: &str) -> Option<TrackSource> {
    TrackSource::from_str_name(&name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(grant: &VideoGrant) -> Permissions {
        Permissions::from_grant(grant, "")
    }

    #[test]
    fn as_grants_they_are_the_same() {
        let strange = Permissions {
            can_publish: true,
            sources: vec![TrackSource::ScreenShareAudio, TrackSource::Camera],
            can_subscribe: false,
            can_publish_data: true,
            can_update_metadata: true,
            can_subscribe_metrics: false,
            is_hidden: true,
            is_recorder: false,
            is_agent: true,
        };
        for permissions in [
            strange,
            Permissions::default(),
            from(&VideoGrant::default()),
        ] {
            assert_eq!(from(&permissions.to_grant()), permissions);
        }
    }

    #[test]
    fn what_a_token_does_not_mention_is_granted_but_for_changing_oneself() {
        let permissions = from(&VideoGrant::default());
        assert!(permissions.can_publish && permissions.can_subscribe);
        assert!(permissions.can_publish_data && !permissions.can_update_metadata);
        assert!(!permissions.is_hidden);
        assert!(permissions.may_publish(TrackSource::ScreenShare));
    }

    #[test]
    fn a_list_of_sources_forbids_all_others() {
        let permissions = from(&VideoGrant {
            can_publish_sources: vec!["microphone".into(), "screen_share_audio".into()],
            ..Default::default()
        });
        assert!(permissions.may_publish(TrackSource::Microphone));
        assert!(permissions.may_publish(TrackSource::ScreenShareAudio));
        assert!(!permissions.may_publish(TrackSource::Camera));
        assert!(!permissions.may_publish(TrackSource::Unknown));
    }

    #[test]
    fn what_clients_read_says_all_of_it() {
        let permissions = from(&VideoGrant {
            can_publish_sources: vec!["microphone".into()],
            can_subscribe: Some(false),
            hidden: Some(true),
            ..Default::default()
        });
        assert_eq!(
            Permissions::from_proto(&permissions.to_proto()),
            permissions
        );
    }

    #[test]
    fn a_list_of_unknown_sources_forbids_everything() {
        let permissions = from(&VideoGrant {
            can_publish_sources: vec!["hologram".into()],
            ..Default::default()
        });
        assert!(!permissions.may_publish(TrackSource::Camera));
    }

    #[test]
    fn without_the_right_to_publish_a_source_is_of_no_use() {
        let permissions = from(&VideoGrant {
            can_publish: Some(false),
            can_publish_sources: vec!["camera".into()],
            ..Default::default()
        });
        assert!(!permissions.may_publish(TrackSource::Camera));
    }
}
