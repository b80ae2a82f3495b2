//! What the server has, as it says itself and as the kernel sees it, beside what the churn believes.
//!
//! Pure but for [`Watch::look`], which asks.

use anyhow::{Context, Result};

use super::http;
use crate::procfs::ProcessSample;

/// What there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belief {
    pub(super) participants: u64,
    /// Of older clients that publish two each.
    pub(super) transports: u64,
    /// Tracks of all.
    pub(super) publications: u64,
    /// Tracks of others in the room, of all.
    pub(super) subscriptions: u64,
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Levels {
    pub(super) rooms: u64,
    pub(super) participants: u64,
    /// Seats of those whose WebSocket is gone.
    pub(super) detached: u64,
    pub(super) media_rooms: u64,
    pub(super) transports: u64,
    /// Without the copies on other workers, which are the relays.
    pub(super) publications: u64,
    pub(super) relays: u64,
    pub(super) subscriptions: u64,
    pub(super) slabs: u64,
    /// Since its start: bugs caught, webhooks given up, refused commands.
    pub(super) panics: u64,
    pub(super) webhooks_lost: u64,
    pub(super) commands_refused: u64,
    pub(super) data_in: u64,
    pub(super) resumes: u64,
}

impl Levels {
    /// Reads `/metrics`; the numbers of all workers are added up.
    pub(super) fn parse(page: &str) -> Self {
        let sum = |name: &str| -> u64 {
            let values = page.lines().filter_map(|line| {
                let (key, value) = line.rsplit_once(' ')?;
                let key = key.split('{').next()?.strip_prefix("consilium_")?;
                (key == name).then(|| value.parse::<f64>().ok()).flatten()
            });
            values.sum::<f64>() as u64
        };
        Self {
            rooms: sum("rooms"),
            participants: sum("participants"),
            detached: sum("seats_detached"),
            media_rooms: sum("media_rooms"),
            transports: sum("media_transports"),
            publications: sum("media_publications").saturating_sub(sum("media_relays")),
            relays: sum("media_relays"),
            subscriptions: sum("media_subscriptions"),
            slabs: sum("media_slabs_used"),
            panics: sum("media_panics_total"),
            webhooks_lost: sum("webhooks_lost_total"),
            commands_refused: sum("commands_refused_total"),
            data_in: sum("media_data_in_total"),
            resumes: sum("resumes_total"),
        }
    }

    /// What differs from what is believed, while nobody comes or goes.
    pub(super) fn differs(&self, belief: &Belief) -> Option<String> {
        let pairs = [
            ("participants", self.participants, belief.participants),
            ("detached seats", self.detached, 0),
            ("transports", self.transports, belief.transports),
            ("publications", self.publications, belief.publications),
            ("subscriptions", self.subscriptions, belief.subscriptions),
        ];
        let wrong = pairs.iter().find(|(_, is, should)| is != should);
        wrong.map(|(what, is, should)| format!("{is} {what} instead of {should}"))
    }

    /// What is left of an empty server.
    pub(super) fn left(&self) -> Option<String> {
        let all = [
            ("rooms", self.rooms),
            ("participants", self.participants),
            ("detached seats", self.detached),
            ("rooms of workers", self.media_rooms),
            ("transports", self.transports),
            ("publications", self.publications),
            ("relays", self.relays),
            ("subscriptions", self.subscriptions),
            ("slabs", self.slabs),
        ];
        let left: Vec<String> = all
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        (!left.is_empty()).then(|| left.join(", "))
    }
}

/// Where to look.
pub(super) struct Watch {
    /// Host and port of the server.
    pub(super) host: String,
    /// Its process.
    pub(super) pid: u32,
}

impl Watch {
    /// Looks now. The numbers of the media plane may be a second old.
    pub(super) async fn look(&self) -> Result<(Levels, ProcessSample)> {
        let page = http::get(&self.host, "/metrics").await?;
        let process = ProcessSample::take(self.pid).context("reading the server's process")?;
        Ok((Levels::parse(&page), process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_all_workers_are_added_up() {
        let page = "# TYPE consilium_rooms gauge\nconsilium_rooms 2\n\
                    consilium_media_rooms{worker=\"0\"} 1\nconsilium_media_rooms{worker=\"1\"} 2\n";
        let levels = Levels::parse(page);
        assert_eq!((levels.rooms, levels.media_rooms), (2, 3));
        assert_eq!(
            levels.left().as_deref(),
            Some("2 rooms, 3 rooms of workers")
        );
        assert_eq!(Levels::default().left(), None);
    }

    #[test]
    fn what_is_not_as_believed_is_told() {
        let belief = Belief {
            participants: 3,
            transports: 3,
            publications: 2,
            subscriptions: 4,
        };
        let mut levels = Levels {
            participants: 3,
            transports: 3,
            publications: 2,
            subscriptions: 4,
            ..Levels::default()
        };
        assert_eq!(levels.differs(&belief), None);
        levels.detached = 1;
        let told = levels.differs(&belief);
        assert_eq!(told.as_deref(), Some("1 detached seats instead of 0"));
    }
}
