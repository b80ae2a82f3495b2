//! A picture in AV1 with a backup in VP8, seen by one who decodes both and one who does not.

use super::*;
use crate::wire::proto::{SimulcastCodec, SubscribedQualityUpdate, VideoLayer};

const AV1: &str = "a=rtpmap:98 AV1/90000\r\na=fmtp:98 level-idx=5;profile=0;tier=0";

struct Ward {
    scene: Scene,
    li: Client,
    wang: Client,
    chen: Client,
    sid: String,
}

impl Ward {
    /// Li publishes, chen decodes AV1, wang does not.
    fn new() -> Self {
        let mut scene = Scene::new();
        let mut setup = (*scene.room.setup).clone();
        setup.recording = Policy::Never;
        let name = "ward".to_owned();
        scene.room = Room::new(scene.now, RoomId(1), name, WorkerId(0), Arc::new(setup));
        let (mut li, mut wang, mut chen) =
            (scene.join("li"), scene.join("wang"), scene.join("chen"));
        chen.sections[1].1 = format!("a=recvonly\r\n{AV1}");
        scene.offer(&mut chen);
        let codec = |codec: &str, cid: &str| SimulcastCodec {
            codec: codec.into(),
            cid: cid.into(),
            ..Default::default()
        };
        let request = AddTrackRequest {
            cid: "camera".into(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            layers: layers(),
            simulcast_codecs: vec![codec("av1", "camera"), codec("vp8", "")],
            ..Default::default()
        };
        scene.ask(&li, Asked::AddTrack(request));
        let section = format!("a=sendonly\r\na=msid:- camera\r\n{AV1}");
        li.sections.push((TrackType::Video, section));
        scene.offer(&mut li);
        let sid = scene.room.participants[&li.key].tracks[0].info.sid.clone();
        scene.commands.clear();
        scene.offer(&mut wang);
        scene.offer(&mut chen);
        Self {
            scene,
            li,
            wang,
            chen,
            sid,
        }
    }

    fn track(&self) -> &crate::room::tracks::Track {
        &self.scene.room.participants[&self.li.key].tracks[0]
    }

    fn first(&self) -> PublicationId {
        self.track().publication
    }

    fn second(&self) -> PublicationId {
        self.track().backup.as_ref().expect("announced").publication
    }

    /// Li sends the backup, as he was asked to. Returns the track as he is told of it.
    fn send_backup(&mut self) -> proto::TrackInfo {
        let request = AddTrackRequest {
            cid: "spare".into(),
            sid: self.sid.clone(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            simulcast_codecs: vec![SimulcastCodec {
                // What livekit-client 2.23 says here is the first codec, not the second.
                codec: "av1".into(),
                cid: "spare".into(),
                layers: layers(),
                ..Default::default()
            }],
            ..Default::default()
        };
        self.scene.ask(&self.li, Asked::AddTrack(request));
        let published = self
            .li
            .said()
            .into_iter()
            .find_map(|message| match message {
                Message::TrackPublished(published) => published.track,
                _ => None,
            });
        let section = format!("a=sendonly\r\na=msid:- spare\r\n{AV1}");
        self.li.sections.push((TrackType::Video, section));
        self.scene.offer(&mut self.li);
        published.expect("the backup was accepted")
    }

    fn demands(&self) -> Vec<SubscribedQualityUpdate> {
        let said = self.li.said().into_iter();
        said.filter_map(|message| match message {
            Message::SubscribedQualityUpdate(update) => Some(update),
            _ => None,
        })
        .collect()
    }
}

fn layers() -> Vec<VideoLayer> {
    [(0, 320, 180), (1, 640, 360), (2, 1280, 720)]
        .map(|(quality, width, height)| VideoLayer {
            quality,
            width,
            height,
            ..Default::default()
        })
        .into()
}

/// How many qualities of each codec are to be sent.
fn wanted(update: &SubscribedQualityUpdate) -> Vec<(&str, usize)> {
    let codecs = update.subscribed_codecs.iter();
    codecs
        .map(|one| {
            let enabled = one.qualities.iter().filter(|one| one.enabled).count();
            (one.codec.as_str(), enabled)
        })
        .collect()
}

#[test]
fn who_cannot_decode_the_first_codec_waits_for_the_second_and_gets_it() {
    let mut ward = Ward::new();
    let (first, second) = (ward.first(), ward.second());
    let subscribed_to = ward.scene.commanded(subscribed);
    assert_eq!(subscribed_to, [first], "chen's, and nothing for wang yet");
    let demands = ward.demands();
    let last = demands.last().expect("the backup is asked for");
    assert_eq!(wanted(last), [("av1", 3), ("vp8", 3)]);

    let info = ward.send_backup();
    assert_eq!(info.sid, ward.sid);
    assert_eq!(info.codecs[1].cid, "spare");
    let published = ward.scene.commands.iter().find_map(|one| match &**one {
        Command::Publish {
            publication,
            params,
            ..
        } => Some((*publication, params.codecs.clone())),
        _ => None,
    });
    let (publication, codecs) = published.expect("the backup is published");
    assert_eq!(publication, second);
    let codecs: Vec<Codec> = codecs.iter().map(|one| one.codec).collect();
    assert_eq!(codecs, [Codec::Vp8]);
    let unrecorded = ward.scene.commands.iter().find_map(|one| match &**one {
        Command::SetTapWish { publication, wish } => Some((*publication, *wish)),
        _ => None,
    });
    assert_eq!(unrecorded, Some((second, Some(LayerWish::Paused))));
    assert_eq!(ward.scene.commanded(subscribed), [second]);
    let answer = ward.li.answer().sdp;
    let section = answer
        .split("m=")
        .nth(4)
        .expect("the section of the backup");
    assert!(section.contains("VP8/90000") && !section.contains("AV1"));

    // Whoever comes later gets it at once.
    let mut zhou = ward.scene.join("zhou");
    ward.scene.offer(&mut zhou);
    assert_eq!(ward.scene.commanded(subscribed), [second]);
    let track = &ward.track().info;
    assert_eq!(track.codecs[1].mid, "3");
    assert_eq!(track.mime_type, "video/AV1");
}

#[test]
fn each_codec_is_wanted_as_well_as_those_who_get_it_want_it() {
    let mut ward = Ward::new();
    ward.send_backup();
    ward.demands();
    let settings = proto::UpdateTrackSettings {
        track_sids: vec![ward.sid.clone()],
        quality: proto::VideoQuality::Low as i32,
        ..Default::default()
    };
    ward.scene.commands.clear();
    ward.scene.ask(&ward.wang, Asked::TrackSetting(settings));
    let wishes = ward.scene.commanded(|command| match command {
        Command::SetWish { wish, .. } => Some(*wish),
        _ => None,
    });
    assert_eq!(wishes, [LayerWish::Rank(0)]);
    ward.scene.wait(Duration::from_secs(6));
    ward.scene.wait(Duration::from_secs(6));
    let demands = ward.demands();
    assert_eq!(
        wanted(demands.last().expect("less")),
        [("av1", 3), ("vp8", 1)]
    );
    let gone = Removal::gone(DisconnectReason::ClientInitiated);
    ward.scene.room.remove(ward.scene.now, ward.chen.key, gone);
    ward.scene.wait(Duration::from_secs(6));
    ward.scene.wait(Duration::from_secs(6));
    let demands = ward.demands();
    assert_eq!(
        wanted(demands.last().expect("less")),
        [("av1", 0), ("vp8", 1)]
    );
}

#[test]
fn both_are_muted_and_end_together() {
    let mut ward = Ward::new();
    ward.send_backup();
    let both = [ward.first(), ward.second()];
    let mute = MuteTrackRequest {
        sid: ward.sid.clone(),
        muted: true,
    };
    ward.scene.ask(&ward.li, Asked::Mute(mute));
    let muted = ward.scene.commanded(|command| match command {
        Command::SetMuted { publication, .. } => Some(*publication),
        _ => None,
    });
    assert_eq!(muted, both);
    for section in &mut ward.li.sections[2..] {
        section.1 = "a=inactive".into();
    }
    ward.scene.offer(&mut ward.li);
    let ended = ward.scene.commanded(|command| match command {
        Command::Unpublish { publication } => Some(*publication),
        _ => None,
    });
    assert_eq!(ended, both);
    let wang = &ward.scene.room.participants[&ward.wang.key];
    assert!(wang.subscriptions.backed.is_empty());
}

#[test]
fn a_backup_that_ends_alone_is_waited_for_again() {
    let mut ward = Ward::new();
    ward.send_backup();
    let second = ward.second();
    let sending = std::mem::replace(&mut ward.li.sections[3].1, "a=inactive".into());
    ward.scene.commands.clear();
    ward.scene.offer(&mut ward.li);
    let ended = ward.scene.commanded(|command| match command {
        Command::Unpublish { publication } => Some(*publication),
        _ => None,
    });
    assert_eq!(ended, [second]);
    ward.li.sections[3].1 = sending;
    ward.scene.offer(&mut ward.li);
    assert_eq!(ward.scene.commanded(subscribed), [second]);
}
