//! What must outlive the process besides recordings: webhooks on their way, and who asked for a
//! recording.
//!
//! One SQLite file in the data folder, readable by its owner only, owned by one thread (see
//! [`outbox`](crate::outbox)); every call here blocks. A commit is on the disk when the call
//! returns. Names of rooms and participants stand in here in the clear until a webhook has been
//! delivered, and are overwritten when it has (`secure_delete`). Truth about recordings is in their
//! folders, never here.

use std::path::Path;

use rusqlite::{Connection, params};

/// The layout of the tables that this program writes. A file of a later one is refused.
const VERSION: i64 = 1;

const TABLES: &str = "
    create table if not exists outbox (
        id integer primary key autoincrement,
        url text not null,
        room text not null,
        body blob not null,
        queued_at integer not null
    ) strict;
    create table if not exists egress (
        id text primary key,
        room text not null,
        info blob not null,
        is_over integer not null,
        updated_at integer not null
    ) strict;
    create index if not exists egress_age on egress (is_over, updated_at);
";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was written by a later version of this program.
    #[error("the store was written by a later version ({0}) of this program")]
    Newer(i64),
    /// SQLite says no.
    #[error("the store cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The folder or its rights.
    #[error("the store cannot be opened: {0}")]
    Io(#[from] std::io::Error),
}

/// A message on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub url: String,
    /// Messages of one room arrive in order.
    pub room: String,
    /// What is sent.
    pub body: Vec<u8>,
    /// Seconds since 1970.
    pub queued_at: i64,
}

/// A place in the queue, without the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its number: later ones are larger.
    pub id: i64,
    /// Where it goes.
    pub url: String,
    /// Its room.
    pub room: String,
}

/// An egress as it was last known: LiveKit's `EgressInfo` in protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEgress {
    /// Its name.
    pub id: String,
    /// The room's name.
    pub room: String,
    /// The message.
    pub info: Vec<u8>,
    /// It will not change any more.
    pub is_over: bool,
    /// Seconds since 1970.
    pub updated_at: i64,
}

/// The open file.
pub struct Store {
    db: Connection,
}

impl Store {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        keep_private(path)?;
        Self::with(Connection::open(path)?)
    }

    /// A store that is forgotten with the process: for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(db: Connection) -> Result<Self, StoreError> {
        db.pragma_update(None, "journal_mode", "wal")?;
        // A webhook that was announced must not be lost with the power.
        db.pragma_update(None, "synchronous", "full")?;
        // Names are gone from the file when their message is.
        db.pragma_update(None, "secure_delete", "on")?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(StoreError::Newer(version));
        }
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "user_version", VERSION)?;
        Ok(Self { db })
    }

    /// Puts messages and egresses on the disk, all or none. Returns the places of the messages.
    pub fn keep(
        &mut self,
        messages: &[Outgoing],
        egresses: &[KeptEgress],
    ) -> Result<Vec<Queued>, StoreError> {
        let change = self.db.transaction()?;
        let mut queued = Vec::with_capacity(messages.len());
        for message in messages {
            change
                .prepare_cached(
                    "insert into outbox (url, room, body, queued_at) values (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    message.url,
                    message.room,
                    message.body,
                    message.queued_at
                ])?;
            queued.push(Queued {
                id: change.last_insert_rowid(),
                url: message.url.clone(),
                room: message.room.clone(),
            });
        }
        for egress in egresses {
            change
                .prepare_cached(
                    "insert into egress (id, room, info, is_over, updated_at)
                     values (?1, ?2, ?3, ?4, ?5)
                     on conflict (id) do update set info = excluded.info,
                     is_over = excluded.is_over, updated_at = excluded.updated_at",
                )?
                .execute(params![
                    egress.id,
                    egress.room,
                    egress.info,
                    egress.is_over,
                    egress.updated_at
                ])?;
        }
        change.commit()?;
        Ok(queued)
    }

    /// All that waits, the oldest first.
    pub fn queued(&self) -> Result<Vec<Queued>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("select id, url, room from outbox order by id")?;
        let rows = statement.query_map([], |row| {
            Ok(Queued {
                id: row.get(0)?,
                url: row.get(1)?,
                room: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A message with the time at which it was queued; `None` if it is gone.
    pub fn message(&self, id: i64) -> Result<Option<(Vec<u8>, i64)>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("select body, queued_at from outbox where id = ?1")?;
        let mut rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.next().transpose()?)
    }

    /// Messages that have arrived, or that nobody will take any more.
    pub fn forget(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let change = self.db.transaction()?;
        for id in ids {
            change
                .prepare_cached("delete from outbox where id = ?1")?
                .execute([id])?;
        }
        Ok(change.commit()?)
    }

    /// The egresses that are kept, the oldest first; of those that are over, the last `over_max`.
    pub fn egresses(&mut self, over_max: usize) -> Result<Vec<KeptEgress>, StoreError> {
        self.db.execute(
            "delete from egress where is_over and id not in
             (select id from egress where is_over order by updated_at desc limit ?1)",
            [over_max as i64],
        )?;
        let mut statement = self.db.prepare_cached(
            "select id, room, info, is_over, updated_at from egress order by updated_at",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(KeptEgress {
                id: row.get(0)?,
                room: row.get(1)?,
                info: row.get(2)?,
                is_over: row.get(3)?,
                updated_at: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// SQLite gives its side files the rights of the first one.
fn keep_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(room: &str, body: &str) -> Outgoing {
        Outgoing {
            url: "http://127.0.0.1/".into(),
            room: room.into(),
            body: body.into(),
            queued_at: 7,
        }
    }

    fn egress(id: &str, is_over: bool, updated_at: i64) -> KeptEgress {
        KeptEgress {
            id: id.into(),
            room: "r".into(),
            info: vec![1, 2],
            is_over,
            updated_at,
        }
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("consilium-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        folder.join("state.db")
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let path = scratch("store");
        let mut store = Store::open(&path).expect("opens");
        let messages = [outgoing("a", "1"), outgoing("b", "2")];
        let queued = store
            .keep(&messages, &[egress("EG_1", false, 1)])
            .expect("kept");
        drop(store);
        let mut store = Store::open(&path).expect("opens again");
        assert_eq!(store.queued().expect("read"), queued);
        assert_eq!(
            store.message(queued[1].id).expect("read"),
            Some((b"2".to_vec(), 7))
        );
        assert_eq!(
            store.egresses(10).expect("read"),
            [egress("EG_1", false, 1)]
        );
        let folder = path.parent().expect("it has one");
        for file in std::fs::read_dir(folder).expect("it is there") {
            let file = file.expect("readable");
            let mode = file.metadata().expect("readable").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", file.path());
        }
        drop(std::fs::remove_dir_all(folder));
    }

    #[test]
    fn a_delivered_message_leaves_no_trace_in_the_file() {
        let path = scratch("trace");
        let mut store = Store::open(&path).expect("opens");
        let name = "a-name-that-is-nowhere-else";
        let queued = store.keep(&[outgoing("a", name)], &[]).expect("kept");
        store.forget(&[queued[0].id]).expect("forgotten");
        assert!(store.queued().expect("read").is_empty());
        drop(store);
        let bytes = std::fs::read(&path).expect("readable");
        assert!(!bytes.windows(name.len()).any(|w| w == name.as_bytes()));
        drop(std::fs::remove_dir_all(path.parent().expect("it has one")));
    }

    #[test]
    fn of_what_is_over_the_latest_are_kept() {
        let mut store = Store::in_memory().expect("opens");
        let all: Vec<_> = (0..5)
            .map(|n| egress(&format!("EG_{n}"), n != 1, n))
            .collect();
        store.keep(&[], &all).expect("kept");
        let kept = store.egresses(2).expect("read");
        let ids: Vec<_> = kept.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["EG_1", "EG_3", "EG_4"]);
    }

    #[test]
    fn the_file_of_a_later_version_is_not_touched() {
        let path = scratch("later");
        drop(Store::open(&path).expect("opens"));
        let db = Connection::open(&path).expect("opens");
        db.pragma_update(None, "user_version", VERSION + 1)
            .expect("written");
        drop(db);
        assert!(matches!(Store::open(&path), Err(StoreError::Newer(_))));
        drop(std::fs::remove_dir_all(path.parent().expect("it has one")));
    }
}
