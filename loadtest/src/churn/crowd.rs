//! Everybody of a churn: who is in which room, who is told to do what, and what is believed of all.
//!
//! Once a second one goes, in one of the ways in which people go, and one comes where most are
//! missing; others lose their WebSocket, choose layers, mute, subscribe and talk. Dice with one seed
//! decide, so that a run differs from another only in how fast things went.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::http;
use super::seat::{self, Order, Word};
use super::watch::Belief;
use crate::client::payload::Voice;
use crate::client::peer::Identity;
use crate::client::sender::{AUDIO_HEADER, Content};
use crate::client::worker::{Command, MemberId, Shared, WorkerHandle};
use crate::scenario::Video;
use crate::signal::subscriber::receiving;
use crate::signal::{JoinSpec, Signals, TrackSpec, livekit};
use crate::stat::Histogram;
use crate::traffic::Dice;

/// A camera in three sizes, as little of it as makes layers.
const CAMERA: Video = Video {
    fps: 5,
    packets: 4,
    packet_size: 600,
    layers: 3,
};
/// Bytes of a voice packet: RTP header and payload.
const VOICE_BYTES: usize = 120;
/// How long one of a room speaks before the next does, in nanoseconds.
const TURN_NS: u64 = 2_000_000_000;
/// Speakers that take turns.
const SPEAKERS: u32 = 6;
/// Of the largest room, one in so many publishes.
const LISTENERS: u32 = 5;
/// How long a seat whose owner has vanished may stay: found out, kept, and some time to spare.
const LINGERS_MAX: Duration = Duration::from_secs(120);
/// The share of those who have two connections.
const OLDER_CLIENTS: f64 = 0.4;
/// Between the first joins.
const JOIN_GAP: Duration = Duration::from_millis(100);
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// Between the two looks at how much everybody hears, and how often the second is taken.
const HEARING: Duration = Duration::from_secs(3);
const HEARING_TRIES: u32 = 10;
/// Ticks between rooms that everybody leaves, and between rooms that are deleted.
const EMPTY_TICKS: u64 = 20;
const DELETE_TICKS: u64 = 45;

/// A participant as the crowd knows it.
struct Guest {
    room: u32,
    identity: String,
    orders: mpsc::UnboundedSender<Order>,
    /// The server's name of its seat, once media flow.
    sid: Option<String>,
    tracks: u64,
    transports: u64,
    /// The member that gets media.
    ears: MemberId,
    is_ready: bool,
    /// Whether it has been told to go, or will be by the server.
    is_going: bool,
    is_away: bool,
}

impl Guest {
    fn is_here(&self) -> bool {
        self.is_ready && !self.is_going
    }

    fn tell(&self, order: Order) {
        // One that has ended says so itself.
        let _ = self.orders.send(order);
    }
}

/// How many packets of which publication each guest has got.
type Heard = BTreeMap<MemberId, HashMap<u32, u64>>;

/// Everybody.
pub(super) struct Crowd {
    /// How many there are to be.
    pub(super) size: u32,
    server: livekit::Server,
    host: String,
    signals: Arc<Signals>,
    voice: Arc<Voice>,
    dice: Dice,
    guests: BTreeMap<MemberId, Guest>,
    /// Number and size of each room.
    rooms: Vec<(u32, u32)>,
    next_room: u32,
    next_id: MemberId,
    words: mpsc::UnboundedReceiver<(MemberId, Word)>,
    mouth: mpsc::UnboundedSender<(MemberId, Word)>,
    lingering: Vec<Instant>,
    seats: BTreeSet<String>,
    /// What went wrong with participants.
    pub(super) failures: Vec<String>,
    /// How long it took to get seats back, in microseconds.
    pub(super) back: Histogram,
    resumes: u64,
    pub(super) joins: u64,
    pub(super) goodbyes: u64,
    pub(super) vanished: u64,
    pub(super) replaced: u64,
    pub(super) removed: u64,
    pub(super) emptied: u64,
    pub(super) deleted: u64,
    pub(super) layers: u64,
    pub(super) mutes: u64,
    pub(super) choices: u64,
    pub(super) messages: u64,
}

impl Crowd {
    /// Nobody yet.
    pub(super) fn new(server: livekit::Server, host: &str, size: u32) -> Result<Self> {
        let run = std::process::id().wrapping_mul(0x9e37_79b9);
        let shared = Arc::new(Shared::new(run));
        let (mouth, words) = mpsc::unbounded_channel();
        // Joins are told by the seats themselves.
        let (events, _) = mpsc::unbounded_channel();
        let signals = Signals {
            workers: vec![WorkerHandle::start(shared.clone())?],
            shared,
            identity: Identity::generate()?,
            publications: Mutex::default(),
            next_number: AtomicU32::new(0),
            events,
            via: None,
            bind: None,
            #[cfg(feature = "full")]
            full: Mutex::default(),
        };
        let rooms: Vec<(u32, u32)> = (0..).zip(sizes(size)).collect();
        Ok(Self {
            size,
            server: livekit::Server {
                room_prefix: format!("churn-{run:08x}"),
                ..server
            },
            host: host.to_owned(),
            signals: Arc::new(signals),
            voice: Arc::new(Voice::encode(VOICE_BYTES - AUDIO_HEADER)?),
            dice: Dice::new(5),
            guests: BTreeMap::new(),
            next_room: rooms.len() as u32,
            rooms,
            next_id: 1,
            words,
            mouth,
            lingering: Vec::new(),
            seats: BTreeSet::new(),
            failures: Vec::new(),
            back: Histogram::default(),
            resumes: 0,
            joins: 0,
            goodbyes: 0,
            vanished: 0,
            replaced: 0,
            removed: 0,
            emptied: 0,
            deleted: 0,
            layers: 0,
            mutes: 0,
            choices: 0,
            messages: 0,
        })
    }

    /// Lets everybody in who is to be there.
    pub(super) async fn fill(&mut self) {
        while self.come() {
            tokio::time::sleep(JOIN_GAP).await;
            self.listen();
        }
        let deadline = Instant::now() + JOIN_PATIENCE;
        while self.seated() < self.size as usize && Instant::now() < deadline {
            tokio::time::sleep(JOIN_GAP).await;
            self.listen();
        }
    }

    /// A second of coming and going.
    pub(super) async fn tick(&mut self, number: u64) {
        self.listen();
        match number {
            _ if number % DELETE_TICKS == 18 => self.delete_a_room().await,
            _ if number % EMPTY_TICKS == 10 => self.empty_a_room(),
            _ if number % 15 == 7 => self.remove_one().await,
            _ => self.let_one_go(),
        }
        // More than one only after a room has emptied.
        for _ in 0..3 {
            self.come();
        }
        self.cut_one();
        for _ in 0..3 {
            let chosen = self.dice.next();
            self.layers += u64::from(self.tell_one(Order::Layers(chosen)));
        }
        let (is_muted, chosen) = (self.dice.happens(0.5), self.dice.next());
        self.mutes += u64::from(self.tell_one(Order::Mute(is_muted)));
        self.choices += u64::from(self.tell_one(Order::Choose(chosen)));
        self.messages += u64::from(self.tell_one(Order::Say));
    }

    /// Nobody is told anything any more, and everybody wants everything.
    pub(super) async fn settle(&mut self) {
        self.listen();
        for guest in self.guests.values() {
            guest.tell(Order::Settle);
        }
    }

    /// Everybody goes.
    pub(super) async fn dismiss(&mut self) {
        let ids: Vec<MemberId> = self.guests.keys().copied().collect();
        for id in ids {
            self.send_off(id, Order::Leave);
        }
        let deadline = Instant::now() + JOIN_PATIENCE;
        while !self.guests.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(JOIN_GAP).await;
            self.listen();
        }
    }

    /// How many have a seat and stay.
    pub(super) fn seated(&self) -> usize {
        self.guests.values().filter(|guest| guest.is_here()).count()
    }

    /// How many the server may have at most: those who are coming or going, and seats of those who
    /// have vanished, too.
    pub(super) fn at_most(&mut self) -> u64 {
        self.lingering.retain(|since| since.elapsed() < LINGERS_MAX);
        (self.guests.len() + self.lingering.len()) as u64
    }

    /// Participants of the largest room.
    pub(super) fn largest(&self) -> u32 {
        self.rooms.iter().map(|(_, size)| *size).max().unwrap_or(0)
    }

    /// How often somebody got his seat back.
    pub(super) fn resumes(&self) -> u64 {
        self.resumes
    }

    /// Every seat that somebody had while media flowed.
    pub(super) fn sids(&self) -> impl Iterator<Item = &String> {
        self.seats.iter()
    }

    /// Why it cannot be said yet what there should be.
    pub(super) fn unsettled(&self) -> Option<String> {
        let mut moving = self.guests.values();
        let moving = moving.find(|guest| !guest.is_here() || guest.is_away)?;
        Some(match (moving.is_going, moving.is_ready) {
            (true, _) => "somebody who should go is there".to_owned(),
            (_, false) => "somebody has not got in".to_owned(),
            _ => "somebody has not got his seat back".to_owned(),
        })
    }

    /// What there should be while nobody moves.
    pub(super) fn belief(&self) -> Belief {
        let mut rooms: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for guest in self.guests.values() {
            let (people, tracks) = rooms.entry(guest.room).or_default();
            *people += 1;
            *tracks += guest.tracks;
        }
        Belief {
            participants: rooms.values().map(|(people, _)| people).sum(),
            transports: self.guests.values().map(|guest| guest.transports).sum(),
            publications: rooms.values().map(|(_, tracks)| tracks).sum(),
            subscriptions: rooms
                .values()
                .map(|(people, tracks)| people.saturating_sub(1) * tracks)
                .sum(),
        }
    }

    /// Asks the server API who is there; tells whom one side does not know.
    pub(super) async fn missing(&self) -> Result<Option<String>> {
        let mut rooms: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for guest in self.guests.values() {
            rooms.entry(guest.room).or_default().insert(&guest.identity);
        }
        for (room, wanted) in rooms {
            let answer = self.ask("ListParticipants", room, json!({})).await?;
            let listed = answer["participants"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let is_active = |one: &Value| one["state"] == "ACTIVE";
            let listed: BTreeSet<&str> = listed
                .iter()
                .filter(|one| is_active(one))
                .filter_map(|one| one["identity"].as_str())
                .collect();
            if listed != wanted {
                let (listed, wanted) = (listed.len(), wanted.len());
                return Ok(Some(format!(
                    "{listed} active participants listed, of {wanted}"
                )));
            }
        }
        Ok(None)
    }

    /// Who does not get every track of everybody else in the room.
    pub(super) async fn deaf(&self) -> Option<String> {
        let before = self.heard().await;
        let mut deaf = Vec::new();
        for _ in 0..HEARING_TRIES {
            tokio::time::sleep(HEARING).await;
            let after = self.heard().await;
            deaf = self.unheard(&before, &after);
            if deaf.is_empty() {
                return None;
            }
        }
        let (count, one) = (deaf.len(), deaf.remove(0));
        Some(format!("{count} do not get all media; {one}"))
    }

    /// What each of those says who missed something between two looks.
    fn unheard(&self, before: &Heard, after: &Heard) -> Vec<String> {
        let sent = self.sent();
        let count = |heard: &Heard, id, publication| {
            let heard = heard.get(id).and_then(|heard| heard.get(publication));
            heard.copied().unwrap_or(0)
        };
        let here = self.guests.iter().filter(|(_, guest)| guest.is_here());
        here.filter_map(|(id, guest)| {
            let others = self.guests.iter();
            let others = others.filter(|(other, one)| *other != id && one.room == guest.room);
            let wanted: u64 = others.clone().map(|(_, one)| one.tracks).sum();
            let sent = others.filter_map(|(other, _)| sent.get(other)).flatten();
            let got = sent.filter(|one| count(after, id, one) > count(before, id, one));
            let (got, identity) = (got.count() as u64, &guest.identity);
            (got < wanted).then(|| format!("{identity} got {got} of {wanted} tracks"))
        })
        .collect()
    }

    /// The publications of each guest that have begun.
    fn sent(&self) -> BTreeMap<MemberId, Vec<u32>> {
        let mut sent: BTreeMap<MemberId, Vec<u32>> = BTreeMap::new();
        let publications = self.signals.publications.lock();
        for one in publications.expect("no holder panics").iter() {
            sent.entry(one.owner).or_default().push(one.number);
        }
        sent
    }

    async fn heard(&self) -> Heard {
        let mut heard = BTreeMap::new();
        for (&id, guest) in &self.guests {
            let (reply, count) = oneshot::channel();
            let ears = guest.ears;
            let asked = Command::Count { id: ears, reply };
            self.signals.worker(ears).send(asked);
            if let Ok(count) = count.await {
                heard.insert(id, count);
            }
        }
        heard
    }

    /// Takes what participants have said.
    pub(super) fn listen(&mut self) {
        while let Ok((id, word)) = self.words.try_recv() {
            let Some(guest) = self.guests.get_mut(&id) else {
                continue;
            };
            match word {
                Word::Seated(sid) => {
                    self.seats.insert(sid.clone());
                    guest.sid = Some(sid);
                }
                Word::Ready => guest.is_ready = true,
                Word::Back(took) => {
                    guest.is_away = false;
                    self.resumes += 1;
                    self.back.record(took.as_micros() as u64);
                }
                Word::Gone(why) => {
                    let is_expected = guest.is_going;
                    let identity = guest.identity.clone();
                    self.guests.remove(&id);
                    if let (Some(why), false) = (why, is_expected) {
                        self.lingering.push(Instant::now());
                        self.failures.push(format!("{identity}: {why}"));
                    }
                }
            }
        }
    }

    /// One comes to where most are missing; `false` if nobody is.
    fn come(&mut self) -> bool {
        let staying = |room: u32| {
            let guests = self.guests.values();
            let staying = guests.filter(|guest| guest.room == room && !guest.is_going);
            staying.count() as u32
        };
        let missing = self.rooms.iter();
        let missing = missing.map(|&(room, size)| (size.saturating_sub(staying(room)), room));
        let Some((1.., room)) = missing.max() else {
            return false;
        };
        self.join(room, None);
        true
    }

    fn join(&mut self, room: u32, identity: Option<String>) {
        let id = self.next_id;
        self.next_id += 1;
        self.joins += 1;
        let tracks = self.tracks(room, id);
        let identity = identity.unwrap_or_else(|| format!("churn-{id}"));
        let (orders, inbox) = mpsc::unbounded_channel();
        let spec = JoinSpec {
            id,
            room,
            tracks,
            publishers: 0,
            has_two: self.dice.happens(OLDER_CLIENTS),
        };
        let guest = Guest {
            room,
            identity: identity.clone(),
            orders,
            sid: None,
            tracks: spec.tracks.len() as u64,
            transports: seat::transports(&spec) as u64,
            ears: match spec.has_two {
                true => receiving(id),
                false => id,
            },
            is_ready: false,
            is_going: false,
            is_away: false,
        };
        self.guests.insert(id, guest);
        let (signals, server) = (self.signals.clone(), self.server.clone());
        let mouth = self.mouth.clone();
        tokio::spawn(async move {
            seat::live(&signals, &server, spec, identity, inbox, mouth).await;
        });
    }

    /// In the largest room few publish, elsewhere all have a voice and every second one a camera.
    fn tracks(&self, room: u32, id: MemberId) -> Vec<TrackSpec> {
        if room == 0 && !id.is_multiple_of(LISTENERS) {
            return Vec::new();
        }
        let track = |content| TrackSpec {
            content,
            is_screen: false,
            turn: Some((id % SPEAKERS, SPEAKERS, TURN_NS)),
        };
        let voice = track(Content::Audio(self.voice.clone()));
        let camera = (room == 0 || id.is_multiple_of(2)).then(|| track(Content::Video(CAMERA)));
        [voice].into_iter().chain(camera).collect()
    }

    fn let_one_go(&mut self) {
        let Some(id) = self.pick(|guest| !guest.is_away) else {
            return;
        };
        match self.dice.share() {
            share if share < 0.1 => self.replace(id),
            share if share < 0.25 => self.send_off(id, Order::Vanish),
            share if share < 0.35 => self.send_off(id, Order::Freeze),
            _ => self.send_off(id, Order::Leave),
        }
    }

    fn send_off(&mut self, id: MemberId, order: Order) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        guest.is_going = true;
        guest.tell(order);
        if order == Order::Leave {
            self.goodbyes += 1;
        } else {
            self.vanished += 1;
            self.lingering.push(Instant::now());
        }
    }

    /// He joins again from elsewhere, and his first session ends.
    fn replace(&mut self, id: MemberId) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.is_going = true;
            let (room, identity) = (guest.room, guest.identity.clone());
            self.replaced += 1;
            self.join(room, Some(identity));
        }
    }

    async fn remove_one(&mut self) {
        let Some(id) = self.pick(|guest| !guest.is_away) else {
            return;
        };
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.is_going = true;
            let (room, body) = (guest.room, json!({ "identity": guest.identity }));
            self.removed += 1;
            let asked = self.ask("RemoveParticipant", room, body).await;
            self.note(asked);
        }
    }

    /// Everybody leaves one of the smaller rooms; one of another name takes its place every other
    /// time.
    fn empty_a_room(&mut self) {
        let Some(index) = self.small_room() else {
            return;
        };
        let (room, size) = self.rooms[index];
        let inside = self.guests.iter().filter(|(_, guest)| guest.room == room);
        let inside: Vec<MemberId> = inside.map(|(id, _)| *id).collect();
        for id in inside {
            self.send_off(id, Order::Leave);
        }
        self.emptied += 1;
        if self.emptied % 2 == 1 {
            self.rooms[index] = (self.next_room, size);
            self.next_room += 1;
        }
    }

    async fn delete_a_room(&mut self) {
        let Some(index) = self.small_room() else {
            return;
        };
        let (room, size) = self.rooms[index];
        for guest in self.guests.values_mut().filter(|guest| guest.room == room) {
            guest.is_going = true;
        }
        self.rooms[index] = (self.next_room, size);
        self.next_room += 1;
        self.deleted += 1;
        let asked = self.ask("DeleteRoom", room, json!({})).await;
        self.note(asked);
    }

    /// One of the smaller rooms in which nobody is just arriving.
    fn small_room(&mut self) -> Option<usize> {
        let is_calm = |room: u32| {
            let mut inside = self.guests.values().filter(|guest| guest.room == room);
            inside.all(|guest| guest.is_ready)
        };
        let calm = (1..self.rooms.len()).filter(|&index| is_calm(self.rooms[index].0));
        let calm: Vec<usize> = calm.collect();
        let chosen = self.dice.next() as usize % calm.len().max(1);
        calm.get(chosen).copied()
    }

    fn cut_one(&mut self) {
        let after = self.dice.within(Duration::from_secs(3));
        let is_silent = self.dice.happens(0.3);
        if let Some(id) = self.pick(|guest| !guest.is_away)
            && let Some(guest) = self.guests.get_mut(&id)
        {
            guest.is_away = true;
            guest.tell(Order::Cut { after, is_silent });
        }
    }

    fn tell_one(&mut self, order: Order) -> bool {
        let is_publisher_wanted = matches!(order, Order::Mute(_) | Order::Say);
        let picked = self.pick(|guest| !is_publisher_wanted || guest.tracks > 0);
        let guest = picked.and_then(|id| self.guests.get(&id));
        guest.map(|guest| guest.tell(order)).is_some()
    }

    fn pick(&mut self, is_meant: impl Fn(&Guest) -> bool) -> Option<MemberId> {
        let meant = self.guests.iter();
        let meant = meant.filter(|(_, guest)| guest.is_here() && is_meant(guest));
        let meant: Vec<MemberId> = meant.map(|(id, _)| *id).collect();
        let chosen = self.dice.next() as usize % meant.len().max(1);
        meant.get(chosen).copied()
    }

    async fn ask(&self, method: &str, room: u32, mut body: Value) -> Result<Value> {
        let name = self.server.room(room);
        body["room"] = json!(name);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let token = self.server.sign(&json!({
            "iss": self.server.key, "sub": "churn", "nbf": now - 10, "exp": now + 600,
            "video": { "roomAdmin": true, "roomCreate": true, "room": name },
        }))?;
        let answer = http::call(&self.host, method, &token, &body).await;
        answer.with_context(|| method.to_owned())
    }

    fn note(&mut self, asked: Result<Value>) {
        if let Err(error) = asked {
            self.failures.push(format!("{error:#}"));
        }
    }
}

/// One large room and several smaller ones.
fn sizes(all: u32) -> Vec<u32> {
    let mut sizes = vec![all * 2 / 5];
    let mut left = all - sizes[0];
    for size in [10, 8, 6, 4].into_iter().cycle() {
        if left < size + 4 {
            break;
        }
        sizes.push(size);
        left -= size;
    }
    sizes.push(left);
    sizes.retain(|&size| size > 0);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_of_several_sizes_and_have_room_for_all() {
        for all in [30, 60, 100, 200] {
            let sizes = sizes(all);
            assert_eq!(sizes.iter().sum::<u32>(), all);
            assert!(sizes.len() >= 3 && sizes[0] == all * 2 / 5, "{sizes:?}");
            assert!(
                sizes[1..].iter().all(|size| (4..=13).contains(size)),
                "{sizes:?}"
            );
        }
    }
}
