//! How much one address may ask of the front door: open connections and joins per second.
//!
//! One bounded table under one lock; it is asked once per connection and once per join, never per
//! message. It forgets addresses that hold nothing, and it never grows beyond its bound: when the
//! table is full of busy addresses, new ones are refused rather than old ones forgotten.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::config::Limits;
use crate::error::ApiError;

/// The shared table. Cloning shares it.
#[derive(Clone)]
pub struct AddressLimits {
    table: Arc<Mutex<Table>>,
    limits: Limits,
}

struct Table {
    entries: HashMap<IpAddr, Entry>,
    connections: usize,
}

struct Entry {
    connections: usize,
    /// Joins that may still be made; refilled by the second.
    joins: f64,
    refilled_at: Instant,
}

/// A counted connection; dropping it takes it off the books.
pub struct ConnectionSlot {
    table: Arc<Mutex<Table>>,
    address: IpAddr,
}

impl AddressLimits {
    /// An empty table with the given bounds.
    pub fn new(limits: &Limits) -> Self {
        let table = Table {
            entries: HashMap::new(),
            connections: 0,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            limits: limits.clone(),
        }
    }

    /// Counts a new connection, or says which bound it would break.
    pub fn connect(&self, now: Instant, address: IpAddr) -> Result<ConnectionSlot, ApiError> {
        let address = subscriber(address);
        let mut table = lock(&self.table);
        if table.connections >= self.limits.connections_max {
            return Err(ApiError::Full("connections_max"));
        }
        let entry = table.entry(now, address, &self.limits)?;
        if entry.connections >= self.limits.connections_per_address_max {
            return Err(ApiError::Full("connections_per_address_max"));
        }
        entry.connections += 1;
        table.connections += 1;
        Ok(ConnectionSlot {
            table: Arc::clone(&self.table),
            address,
        })
    }

    /// Counts a join, or says that there were too many.
    pub fn join(&self, now: Instant, address: IpAddr) -> Result<(), ApiError> {
        let mut table = lock(&self.table);
        let entry = table.entry(now, subscriber(address), &self.limits)?;
        entry.refill(now, &self.limits);
        if entry.joins < 1.0 {
            return Err(ApiError::TooManyAttempts);
        }
        entry.joins -= 1.0;
        Ok(())
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        lock(&self.table).connections
    }
}

impl Table {
    fn entry(
        &mut self,
        now: Instant,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<&mut Entry, ApiError> {
        let is_known = self.entries.contains_key(&address);
        if !is_known && self.entries.len() >= limits.addresses_tracked_max {
            self.forget_idle(now, limits);
            if self.entries.len() >= limits.addresses_tracked_max {
                return Err(ApiError::Full("addresses_tracked_max"));
            }
        }
        Ok(self.entries.entry(address).or_insert_with(|| Entry {
            connections: 0,
            joins: f64::from(limits.joins_per_address_burst_max),
            refilled_at: now,
        }))
    }

    /// Forgets addresses that hold no connection and have all their joins again.
    fn forget_idle(&mut self, now: Instant, limits: &Limits) {
        let burst = f64::from(limits.joins_per_address_burst_max);
        self.entries.retain(|_, entry| {
            entry.refill(now, limits);
            entry.connections > 0 || entry.joins < burst
        });
    }
}

impl Entry {
    fn refill(&mut self, now: Instant, limits: &Limits) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let fresh = elapsed.as_secs_f64() * f64::from(limits.joins_per_address_per_second_max);
        self.joins = (self.joins + fresh).min(f64::from(limits.joins_per_address_burst_max));
        self.refilled_at = now;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        table.connections -= 1;
        if let Some(entry) = table.entries.get_mut(&self.address) {
            entry.connections -= 1;
        }
    }
}

/// Whom an address stands for: an IPv6 subscriber has a whole /64 and could use each address of it
/// once.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table
        .lock()
        .expect("nothing panics while the table is locked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CLINIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    fn limits() -> Limits {
        Limits {
            connections_max: 5,
            connections_per_address_max: 3,
            joins_per_address_per_second_max: 2,
            joins_per_address_burst_max: 4,
            addresses_tracked_max: 2,
            ..Limits::default()
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn connections_are_counted_until_they_are_dropped() {
        let books = AddressLimits::new(&limits());
        let now = Instant::now();
        let mut open: Vec<_> = (0..3)
            .map(|_| books.connect(now, CLINIC).expect("below the bound"))
            .collect();
        assert_eq!(
            books.connect(now, CLINIC).err(),
            Some(ApiError::Full("connections_per_address_max"))
        );
        open.pop();
        open.push(books.connect(now, CLINIC).expect("one was dropped"));
        open.push(books.connect(now, address(1)).expect("another address"));
        open.push(books.connect(now, address(1)).expect("another address"));
        assert_eq!(
            books.connect(now, address(1)).err(),
            Some(ApiError::Full("connections_max"))
        );
        drop(open);
        assert_eq!(books.connections(), 0);
    }

    #[test]
    fn joins_come_back_with_time() {
        let books = AddressLimits::new(&limits());
        let start = Instant::now();
        for _ in 0..4 {
            assert_eq!(books.join(start, CLINIC), Ok(()));
        }
        assert_eq!(books.join(start, CLINIC), Err(ApiError::TooManyAttempts));
        let later = start + Duration::from_millis(500);
        assert_eq!(books.join(later, CLINIC), Ok(()));
        assert_eq!(books.join(later, CLINIC), Err(ApiError::TooManyAttempts));
    }

    #[test]
    fn the_table_never_grows_beyond_its_bound() {
        let books = AddressLimits::new(&limits());
        let start = Instant::now();
        let held = books.connect(start, address(1)).expect("room in the table");
        assert_eq!(books.join(start, address(2)), Ok(()));
        assert_eq!(
            books.join(start, address(3)),
            Err(ApiError::Full("addresses_tracked_max"))
        );
        let later = start + Duration::from_secs(5);
        assert_eq!(books.join(later, address(3)), Ok(()));
        assert_eq!(lock(&books.table).entries.len(), 2);
        drop(held);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let books = AddressLimits::new(&limits());
        let now = Instant::now();
        let _open: Vec<_> = (0..3)
            .map(|host| {
                let address = format!("2001:db8:1:2::{host}").parse().expect("an address");
                books.connect(now, address).expect("below the bound")
            })
            .collect();
        let fourth = "2001:db8:1:2:ffff::1".parse().expect("an address");
        assert!(books.connect(now, fourth).is_err());
        let neighbour = "2001:db8:1:3::1".parse().expect("an address");
        assert!(books.connect(now, neighbour).is_ok());
    }
}
