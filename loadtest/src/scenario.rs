//! What a test does: how many rooms, who publishes what, who watches, who joins and leaves when.
//!
//! A scenario is plain values. The presets are the cases every figure of this project is given
//! for; each can be changed by flags. Nothing here knows a protocol or a socket.

use serde::Serialize;

/// Voice: one packet every 20 ms.
pub(crate) const AUDIO_PERIOD_MS: u64 = 20;

/// Video as a publisher sends it: whole frames, back to back, as encoders' pacers do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Video {
    /// Frames a second.
    pub(crate) fps: u32,
    /// Packets of one frame.
    pub(crate) packets: u32,
    /// Bytes of one packet: RTP header and payload, before encryption.
    pub(crate) packet_size: usize,
    /// Simulcast layers; the highest has the figures above, each lower one half the packets.
    pub(crate) layers: u32,
}

impl Video {
    /// 1.5 Mbit/s in frames of six packets.
    pub(crate) const CAMERA: Self = Self {
        fps: 30,
        packets: 6,
        packet_size: 1_041,
        layers: 1,
    };
    /// Slides and imaging: few frames, each of many packets.
    pub(crate) const SCREEN: Self = Self {
        fps: 5,
        packets: 20,
        packet_size: 1_200,
        layers: 1,
    };
}

/// People who all join at once while the rest of the scenario goes on; they only watch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Storm {
    /// How many.
    pub(crate) joins: u32,
    /// Over how many rooms of their own they spread.
    pub(crate) rooms: u32,
    /// Within how many seconds they join.
    pub(crate) seconds: f64,
}

/// A whole test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Scenario {
    /// Preset name, or `custom`.
    pub(crate) name: String,
    /// Rooms at the same time.
    pub(crate) rooms: u32,
    /// Participants of each room who publish and watch.
    pub(crate) publishers: u32,
    /// Participants of each room who only watch.
    pub(crate) subscribers: u32,
    /// Bytes of an audio packet (RTP header and payload), 0 for no audio.
    pub(crate) audio_packet_size: usize,
    /// The camera of each publisher.
    pub(crate) video: Option<Video>,
    /// The screen that the first publisher of each room shows besides.
    pub(crate) screen: Option<Video>,
    /// The join of the last participant, counted from the first; all spread evenly.
    pub(crate) join_seconds: f64,
    /// Mean stay of a watcher who leaves and is replaced by a new one; 0 for none.
    pub(crate) stay_seconds: f64,
    /// How long one publisher speaks before the next of the room does; 0: all speak always.
    pub(crate) speaker_seconds: f64,
    /// A storm of joins at the start of the measured time.
    pub(crate) storm: Option<Storm>,
    /// The measured time after the warm-up.
    pub(crate) seconds: f64,
}

/// Names of the presets with one line each, for the help text.
pub(crate) const PRESETS: [(&str, &str); 8] = [
    (
        "webinar200",
        "1 publisher (audio, video in frames of 6 packets), 200 watchers",
    ),
    (
        "mdt8",
        "one room of 8, everyone publishes and watches all others",
    ),
    ("consult25", "25 rooms of 2: the everyday consultation"),
    ("audio200", "1 voice, 200 listeners"),
    (
        "join-storm",
        "a call of 8 goes on while 500 others join 20 rooms within 5 seconds",
    ),
    ("ramp", "1 publisher, 600 watchers who join over 60 seconds"),
    (
        "soak",
        "11 rooms of 4 who speak in turns and 4 who watch and are replaced: half load",
    ),
    (
        "custom",
        "2 in one room; made for --publishers, --subscribers, --rooms and so on",
    ),
];

impl Scenario {
    /// The preset of that name.
    pub(crate) fn preset(name: &str) -> Option<Self> {
        let base = Self {
            name: name.to_owned(),
            rooms: 1,
            publishers: 1,
            subscribers: 0,
            audio_packet_size: 140,
            video: Some(Video::CAMERA),
            screen: None,
            join_seconds: 2.0,
            stay_seconds: 0.0,
            speaker_seconds: 0.0,
            storm: None,
            seconds: 10.0,
        };
        Some(match name {
            "webinar200" => Self {
                subscribers: 200,
                ..base
            },
            "mdt8" => Self {
                publishers: 8,
                ..base
            },
            "consult25" => Self {
                rooms: 25,
                publishers: 2,
                ..base
            },
            "audio200" => Self {
                subscribers: 200,
                audio_packet_size: 160,
                video: None,
                ..base
            },
            "join-storm" => {
                let storm = Storm {
                    joins: 500,
                    rooms: 20,
                    seconds: 5.0,
                };
                Self {
                    publishers: 8,
                    storm: Some(storm),
                    ..base
                }
            }
            "ramp" => Self {
                subscribers: 600,
                join_seconds: 60.0,
                ..base
            },
            // Half of 600 times 230 packets a second.
            "soak" => Self {
                rooms: 11,
                publishers: 4,
                subscribers: 4,
                stay_seconds: 120.0,
                speaker_seconds: 7.0,
                ..base
            },
            "custom" => Self {
                publishers: 2,
                ..base
            },
            _ => return None,
        })
    }

    /// Participants of one room.
    pub(crate) fn members(&self) -> u32 {
        self.publishers + self.subscribers
    }

    /// Packets a second that one room's publishers send to one who watches all of them.
    fn rate_of_all(&self, publishers: u32) -> f64 {
        let audio = if self.audio_packet_size > 0 {
            1000.0 / AUDIO_PERIOD_MS as f64
        } else {
            0.0
        };
        let video = self.video.map_or(0.0, |v| f64::from(v.fps * v.packets));
        f64::from(publishers) * (audio + video)
    }

    /// Packets a second that a server without loss delivers, all rooms together (cameras and
    /// microphones; shared screens come on top).
    pub(crate) fn delivered_per_second(&self) -> f64 {
        let watchers = f64::from(self.subscribers) * self.rate_of_all(self.publishers);
        let others = self.publishers.saturating_sub(1);
        let publishers = f64::from(self.publishers) * self.rate_of_all(others);
        f64::from(self.rooms) * (watchers + publishers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_preset_exists_and_others_do_not() {
        for (name, _) in PRESETS {
            assert_eq!(
                Scenario::preset(name).map(|s| s.name),
                Some(name.to_owned())
            );
        }
        assert_eq!(Scenario::preset("webinar"), None);
    }

    #[test]
    fn presets_deliver_the_rates_that_peers_were_measured_at() {
        let rate = |name| {
            Scenario::preset(name)
                .expect("listed")
                .delivered_per_second()
        };
        assert_eq!(rate("webinar200"), 46_000.0);
        assert_eq!(rate("mdt8"), 12_880.0);
        assert_eq!(rate("consult25"), 11_500.0);
        assert_eq!(rate("audio200"), 10_000.0);
    }
}
