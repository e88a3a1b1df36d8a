//! The numbers of the loop probes that are under way.
//!
//! A probe's name shows that it is ours and which probe it is. All servers on its way see the name,
//! so the name proves nothing by itself. Therefore each number counts for one probe, while that
//! probe waits and from clients in `[access]` alone. The answer that we give to a probe that came
//! back holds a secret. See `loops` for what counts as evidence.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::Notify;

use crate::wire::{Name, QName};

/// How a probe's first label begins; a leading underscore is no host's (RFC 8552 §1.1).
const LABEL: &[u8; 6] = b"_loop-";
/// Hexadecimal digits of the process's number, of the probe's own, and of its secret.
const DIGITS: usize = 16;
/// Probes that wait for their return at once, in the whole process. `loop_search` runs half as many
/// searches at once, each with one probe, so this is never reached.
pub(super) const MOST_UNDER_WAY: usize = 256;

/// The RDATA of the TXT record that answers a probe that came back: one string of hexadecimal
/// digits (RFC 1035 §3.3.14).
pub type Echo = [u8; 1 + DIGITS];

/// Knows the probes of this process. Shared by all workers; lives as long as the process.
pub struct LoopGuard {
    /// The first octets of every probe's first label.
    prefix: [u8; LABEL.len() + DIGITS],
    born: tokio::time::Instant,
    /// By number; at most [`MOST_UNDER_WAY`].
    under_way: Mutex<HashMap<u64, Probe>>,
}

/// A probe that waits for its return.
struct Probe {
    /// From then on its number counts for nothing, even if its task hangs.
    until: Instant,
    echo: Echo,
    /// The client that brought it back first.
    client: Option<IpAddr>,
    came_back: Arc<Notify>,
}

impl Default for LoopGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl LoopGuard {
    /// Draws the process's number.
    pub fn new() -> Self {
        let mut prefix = [0; LABEL.len() + DIGITS];
        for (to, from) in prefix.iter_mut().zip(LABEL.iter().chain(&random_digits().1)) {
            *to = *from;
        }
        Self { prefix, born: tokio::time::Instant::now(), under_way: Mutex::default() }
    }

    /// The RDATA that answers `qname`, if `qname` is a probe of this process that is under way at
    /// `now`; `None` for every other name. Ask after the access rules.
    pub fn echo(&self, qname: &QName, now: Instant) -> Option<Echo> {
        let number = self.number(qname)?;
        self.lock().get(&number).filter(|probe| now < probe.until).map(|probe| probe.echo)
    }

    /// Takes note that `client` brought back the probe `qname`. Call it only for clients that may
    /// ask. Returns whether the probe is under way at `now`; otherwise the call changes nothing.
    pub fn note_return(&self, qname: &QName, client: IpAddr, now: Instant) -> bool {
        let Some(number) = self.number(qname) else { return false };
        let mut under_way = self.lock();
        let Some(probe) = under_way.get_mut(&number).filter(|probe| now < probe.until) else {
            return false;
        };
        probe.client.get_or_insert(client);
        probe.came_back.notify_one();
        true
    }

    /// Begins a probe below `zone` that waits for `timeout`. `None` if the zone's own name leaves
    /// no room for the label, or if [`MOST_UNDER_WAY`] probes wait.
    pub(super) fn begin(&self, zone: &Name, timeout: Duration) -> Option<UnderWay<'_>> {
        let (number, digits) = random_digits();
        let mut wire = vec![u8::try_from(self.prefix.len() + DIGITS).ok()?];
        wire.extend_from_slice(&self.prefix);
        wire.extend_from_slice(&digits);
        wire.extend_from_slice(zone.as_wire());
        let name = Name::from_wire(&wire).ok()?;
        let mut echo = [0; 1 + DIGITS];
        let (length, secret) = echo.split_first_mut()?;
        *length = u8::try_from(DIGITS).ok()?;
        secret.copy_from_slice(&random_digits().1);
        let until = tokio::time::Instant::now().into_std() + timeout;
        let mut under_way = self.lock();
        if under_way.len() >= MOST_UNDER_WAY {
            return None;
        }
        let came_back = Arc::default();
        let probe = Probe { until, echo, client: None, came_back: Arc::clone(&came_back) };
        under_way.insert(number, probe);
        Some(UnderWay { guard: self, number, name, echo, came_back })
    }

    /// Returns the clock of probes: milliseconds since the guard began.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn number(&self, qname: &QName) -> Option<u64> {
        let digits = qname.label(0).strip_prefix(&self.prefix)?;
        u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Probe>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One probe's place in the guard; dropped, its number is worth nothing.
pub(super) struct UnderWay<'a> {
    guard: &'a LoopGuard,
    number: u64,
    /// What is asked for.
    pub(super) name: Name,
    /// What we answer when the question comes back.
    pub(super) echo: Echo,
    came_back: Arc<Notify>,
}

impl UnderWay<'_> {
    /// Waits until a client brings the probe back.
    pub(super) async fn returned(&self) {
        self.came_back.notified().await;
    }

    /// The client that brought the probe back first; `None` if no client has.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.guard.lock().get(&self.number).and_then(|probe| probe.client)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.guard.lock().remove(&self.number);
    }
}

/// A number of 64 random bits, and its digits.
fn random_digits() -> (u64, [u8; DIGITS]) {
    let number = rand::rng().random::<u64>();
    let mut digits = [b'0'; DIGITS];
    for (place, octet) in digits.iter_mut().zip(format!("{number:0DIGITS$x}").bytes()) {
        *place = octet;
    }
    (number, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_number_counts_while_its_probe_waits() {
        let guard = LoopGuard::new();
        let now = || tokio::time::Instant::now().into_std();
        let client = "10.0.0.4".parse().unwrap();
        let probe = guard.begin(&Name::root(), Duration::from_secs(2)).unwrap();
        let qname = QName::from(&probe.name);
        assert_eq!(guard.echo(&qname, now()), Some(probe.echo));
        assert!(guard.note_return(&qname, client, now()));
        assert!(guard.note_return(&qname, "10.0.0.5".parse().unwrap(), now()));
        assert_eq!(probe.client(), Some(client), "the first one");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(guard.echo(&qname, now()), None, "its time is over");
        assert!(!guard.note_return(&qname, client, now()));

        let other = guard.begin(&Name::root(), Duration::from_secs(2)).unwrap();
        let qname = QName::from(&other.name);
        assert_ne!(other.echo, probe.echo);
        assert!(LoopGuard::new().echo(&qname, now()).is_none(), "another process's probe");
        drop(other);
        assert_eq!(guard.echo(&qname, now()), None, "it ended");
        assert!(!guard.note_return(&qname, client, now()));
    }

    #[test]
    fn other_names_are_no_probes() {
        let guard = LoopGuard::new();
        let prefix = String::from_utf8(guard.prefix.to_vec()).unwrap();
        let names = [
            "www.example".to_owned(),
            "_loop-0123456789abcdef0123456789abcdef.example".to_owned(),
            ".".to_owned(),
            format!("{prefix}.example"),
            format!("{prefix}0123456789abcdef.example"),
            format!("{prefix}0123456789abcdef0.example"),
            format!("{prefix}x.example"),
        ];
        for name in names {
            let qname = QName::from(&name.parse::<Name>().unwrap());
            assert_eq!(guard.echo(&qname, Instant::now()), None, "{name}");
            assert!(!guard.note_return(&qname, "10.0.0.4".parse().unwrap(), Instant::now()));
        }
    }

    #[test]
    fn probes_that_wait_are_bounded() {
        let guard = LoopGuard::new();
        let begin = || guard.begin(&Name::root(), Duration::from_secs(2));
        let mut all: Vec<_> = (0..MOST_UNDER_WAY).map(|_| begin().unwrap()).collect();
        assert!(begin().is_none());
        all.pop();
        assert!(begin().is_some());
    }

    #[test]
    fn a_zone_whose_name_leaves_no_room_has_no_probe() {
        let label = "a".repeat(63);
        let zone = format!("{label}.{label}.{label}.{}", "a".repeat(30));
        assert!(LoopGuard::new().begin(&zone.parse().unwrap(), Duration::from_secs(2)).is_none());
    }
}
