//! How one room differs from what the configuration says of all rooms.
//!
//! Whoever makes a room through the server API, or comes first with a token that has a room
//! configuration, may say how long it waits for people, how many it holds and what is written on
//! it. What is not said, and what is larger than the server's own bounds, stays as the
//! configuration has it.

use std::time::Duration;

use crate::config::{Limits, RoomsConfig};
use crate::wire::proto::{CreateRoomRequest, RoomConfiguration};

/// A room that nobody is in is not kept for longer than this, whatever was asked: a day.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// What is settled for one room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it waits for the first participant.
    pub empty_timeout: Duration,
    /// How long it waits for another one when all have gone.
    pub departure_timeout: Duration,
    /// How many it holds.
    pub participants_max: usize,
    /// What is written on it: free text of the application.
    pub metadata: String,
}

/// What somebody wants of a room; `None` is what he does not mention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsWish {
    empty_timeout: Option<Duration>,
    departure_timeout: Option<Duration>,
    participants_max: Option<usize>,
    metadata: Option<String>,
}

impl Settings {
    /// As the configuration says.
    pub fn new(rooms: &RoomsConfig, limits: &Limits) -> Self {
        Self {
            empty_timeout: rooms.empty_timeout,
            departure_timeout: rooms.departure_timeout,
            participants_max: limits.participants_per_room_max,
            metadata: String::new(),
        }
    }

    /// Takes what is mentioned, within the server's bounds.
    pub fn apply(&mut self, wish: &SettingsWish, limits: &Limits) {
        let within = |wanted: Option<Duration>| wanted.map(|wanted| wanted.min(TIMEOUT_MAX));
        self.empty_timeout = within(wish.empty_timeout).unwrap_or(self.empty_timeout);
        self.departure_timeout = within(wish.departure_timeout).unwrap_or(self.departure_timeout);
        if let Some(wanted) = wish.participants_max {
            self.participants_max = wanted.min(limits.participants_per_room_max);
        }
        let is_small = |text: &&String| text.len() <= limits.metadata_bytes_max;
        if let Some(metadata) = wish.metadata.as_ref().filter(is_small) {
            self.metadata.clone_from(metadata);
        }
    }
}

impl SettingsWish {
    /// Bytes of its metadata.
    pub fn metadata_bytes(&self) -> usize {
        self.metadata.as_ref().map_or(0, String::len)
    }

    /// What a token's room configuration wants, as far as it can be read.
    pub fn read(config: &serde_json::Value) -> Self {
        let config: RoomConfiguration = serde_json::from_value(config.clone()).unwrap_or_default();
        Self {
            empty_timeout: seconds(config.empty_timeout),
            departure_timeout: seconds(config.departure_timeout),
            participants_max: count(config.max_participants),
            metadata: text(config.metadata),
        }
    }
}

impl From<CreateRoomRequest> for SettingsWish {
    fn from(asked: CreateRoomRequest) -> Self {
        Self {
            empty_timeout: seconds(asked.empty_timeout),
            departure_timeout: seconds(asked.departure_timeout),
            participants_max: count(asked.max_participants),
            metadata: text(asked.metadata),
        }
    }
}

// In the protocol 0 and the empty text stand for what is not mentioned.

fn seconds(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn count(count: u32) -> Option<usize> {
    (count > 0).then_some(count as usize)
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            participants_per_room_max: 100,
            metadata_bytes_max: 8,
            ..Limits::default()
        }
    }

    fn settled(wish: &SettingsWish) -> Settings {
        let mut settings = Settings::new(&RoomsConfig::default(), &limits());
        settings.apply(wish, &limits());
        settings
    }

    #[test]
    fn what_is_not_mentioned_stays_as_configured() {
        let settings = settled(&CreateRoomRequest::default().into());
        let rooms = RoomsConfig::default();
        assert_eq!(settings.empty_timeout, rooms.empty_timeout);
        assert_eq!(settings.departure_timeout, rooms.departure_timeout);
        assert_eq!(settings.participants_max, 100);
        assert!(settings.metadata.is_empty());
    }

    #[test]
    fn nobody_wishes_himself_beyond_the_servers_bounds() {
        let wish = CreateRoomRequest {
            empty_timeout: u32::MAX,
            departure_timeout: 7,
            max_participants: 1_000,
            metadata: "far too long".to_owned(),
            ..CreateRoomRequest::default()
        };
        let settings = settled(&wish.into());
        assert_eq!(settings.empty_timeout, TIMEOUT_MAX);
        assert_eq!(settings.departure_timeout, Duration::from_secs(7));
        assert_eq!(settings.participants_max, 100);
        assert!(settings.metadata.is_empty());
    }

    #[test]
    fn a_token_may_say_it_in_json_and_nonsense_says_nothing() {
        let config =
            serde_json::json!({"maxParticipants": 2, "metadata": "mdt", "emptyTimeout": 5});
        let settings = settled(&SettingsWish::read(&config));
        assert_eq!(settings.participants_max, 2);
        assert_eq!(settings.metadata, "mdt");
        assert_eq!(settings.empty_timeout, Duration::from_secs(5));
        for nonsense in [
            serde_json::json!(7),
            serde_json::json!({"maxParticipants": "many"}),
        ] {
            assert_eq!(SettingsWish::read(&nonsense), SettingsWish::default());
        }
    }
}
