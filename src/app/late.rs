//! Listen addresses that no interface has yet, or whose interface is not there yet: of VRRP, of a
//! tunnel that is down.
//!
//! The daemon serves the other addresses, and binds these when the kernel tells of new addresses, or
//! a few seconds later where it tells nothing. An address that goes later stays bound: Linux keeps the
//! socket, and queries come again with the address. It does not if the interface of a link-local
//! address was removed: one that comes back has another number.

use std::fmt;

use tracing::{info, warn};

use crate::admin;
use crate::config::Listen;
use crate::listeners::{self, Bound};
use crate::sys::{self, BindError, ScopedAddress};

/// An address that will never be had in this process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{address}: {lack}, and user {user} may not listen on port {} later; {}set the sysctl \
     net.ipv4.ip_unprivileged_port_start={}, or let systemd start the daemon as that user with \
     AmbientCapabilities=CAP_NET_BIND_SERVICE",
    address.port(),
    lack.freebind(),
    address.port()
)]
pub struct NeverBound {
    /// The address.
    address: ScopedAddress,
    /// What it lacks.
    lack: Lack,
    /// The user that the daemon becomes.
    user: String,
}

/// What an address lacks that is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lack {
    /// No interface has it.
    Address,
    /// This host has no interface of its name or number.
    Interface,
}

impl Lack {
    fn of(address: &ScopedAddress) -> Self {
        if address.has_interface() { Self::Address } else { Self::Interface }
    }

    /// The advice to bind the address at the start, where that is possible.
    fn freebind(self) -> &'static str {
        match self {
            Self::Address => {
                "write freebind = true into [listen], which binds the port before the change of the \
                 user, or "
            }
            Self::Interface => "",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "no interface has this address yet",
            Self::Interface => "this host has no such network interface yet",
        })
    }
}

/// The addresses that are waited for.
pub(super) struct Late {
    /// Of clients.
    missing: Vec<Missing>,
    /// For HTTP.
    admin: Option<Missing>,
    /// All addresses of clients, as configured.
    all: Vec<ScopedAddress>,
    /// Whether an address whose interface has come is bound before the interface has it.
    freebind: bool,
}

struct Missing {
    address: ScopedAddress,
    /// What was last said in the log of why it cannot be had.
    told: String,
}

impl Missing {
    /// Warns of the address.
    fn new(address: ScopedAddress) -> Self {
        let ip = address.ip();
        match (Lack::of(&address), address.interface()) {
            (Lack::Interface, Some(interface)) => warn!(
                "this host has no network interface {interface} yet: the daemon waits for it and \
                 serves the other addresses; it listens on {address} within seconds after it comes"
            ),
            _ => warn!(
                "no interface has {ip} yet: the daemon waits for it and serves the other addresses; \
                 it listens on {address} within seconds after it comes (freebind = true in [listen] \
                 binds it at once)"
            ),
        }
        Self { address, told: String::new() }
    }

    /// Says why the address cannot be had, unless it is just absent, or that was said.
    fn tell(&mut self, error: &BindError) {
        let why = error.to_string();
        if !error.is_absent() && why != self.told {
            warn!("{why}; the daemon tries again every few seconds");
            self.told = why;
        }
    }
}

impl Late {
    /// Waits for `missing`, and for the admin address where `admin` says so; says so in the log.
    ///
    /// # Errors
    /// The daemon becomes `user`, which may not bind this port later.
    pub(super) fn new(
        listen: &Listen,
        missing: &[ScopedAddress],
        admin: Option<ScopedAddress>,
        user: Option<&str>,
    ) -> Result<Self, NeverBound> {
        let first = sys::first_unprivileged_port();
        let mut both = missing.iter().chain(&admin);
        let denied = both.find(|address| (1..first).contains(&address.port()));
        if let (Some(user), Some(address)) = (user, denied) {
            let (address, user) = (address.clone(), user.to_owned());
            return Err(NeverBound { lack: Lack::of(&address), address, user });
        }
        Ok(Self {
            missing: missing.iter().cloned().map(Missing::new).collect(),
            admin: admin.map(Missing::new),
            all: listen.dns.clone(),
            freebind: listen.freebind,
        })
    }

    /// The addresses that are still waited for.
    pub(super) fn addresses(&self) -> Vec<ScopedAddress> {
        self.missing.iter().chain(&self.admin).map(|missing| missing.address.clone()).collect()
    }

    /// Binds clients' addresses that can be had now, for so many workers.
    pub(super) fn bind(&mut self, workers: usize) -> Vec<Bound> {
        let mut bound = Vec::new();
        self.missing.retain_mut(|missing| {
            match listeners::bind_late(&missing.address, &self.all, workers, self.freebind) {
                Ok(now) => {
                    info!(
                        "listening on {} (UDP and TCP), which was absent before",
                        missing.address
                    );
                    bound.push(now);
                    false
                }
                Err(error) => {
                    missing.tell(&error);
                    true
                }
            }
        });
        bound
    }

    /// Binds the admin address if it is waited for and can be had now.
    pub(super) fn bind_admin(&mut self) -> Option<admin::Bound> {
        let missing = self.admin.as_mut()?;
        match admin::bind(&missing.address, self.freebind) {
            Ok(bound) => {
                let address = missing.address.at_port(bound.address.port());
                info!("listening on {address} (admin, HTTP), which was absent before");
                self.admin = None;
                Some(bound)
            }
            Err(error) => {
                missing.tell(&error);
                None
            }
        }
    }

    /// Says which addresses were bound by `freebind` before an interface has them: a slip in an
    /// address shows itself in no other way.
    pub(super) fn tell_of_freebind(&self, listen: &Listen) {
        let Ok(local) = sys::local_addresses() else { return };
        if !listen.freebind {
            return;
        }
        let waited_for = self.addresses();
        let all = listen.dns.iter().chain(&listen.admin);
        for address in all.filter(|address| !waited_for.contains(address)) {
            let (ip, scope) = (address.ip().to_canonical(), address.scope());
            let is_local = local.iter().any(|local| local.ip == ip && Some(local.scope) == scope);
            // All of 127.0.0.0/8 is this host's.
            if !ip.is_unspecified() && !ip.is_loopback() && !is_local {
                warn!("no interface has {ip} yet: {address} is bound, but gets no queries");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the range for documentation: no interface has it.
    fn absent(port: u16) -> ScopedAddress {
        ScopedAddress::new([192, 0, 2, 200].into(), port, None)
    }

    fn listen(dns: Vec<ScopedAddress>) -> Listen {
        Listen { dns, admin: None, freebind: false }
    }

    #[test]
    fn what_comes_is_bound_and_what_does_not_is_waited_for() {
        let here = ScopedAddress::new([127, 0, 0, 1].into(), 0, None);
        let listen = listen(vec![absent(5_300), here.clone()]);
        let mut late = Late::new(&listen, &listen.dns, Some(absent(9_153)), None).expect("fit");
        assert_eq!(late.addresses(), [absent(5_300), here.clone(), absent(9_153)]);
        let bound = late.bind(2);
        assert_eq!((bound.len(), bound[0].workers.len()), (1, 2));
        assert_eq!(bound[0].addresses[0].ip(), here.ip());
        assert!(late.bind_admin().is_none());
        assert_eq!(late.addresses(), [absent(5_300), absent(9_153)]);
        late.admin = Some(Missing { address: here, told: String::new() });
        assert!(late.bind_admin().is_some());
        assert_eq!(late.addresses(), [absent(5_300)]);
    }

    #[test]
    fn a_port_that_the_later_user_may_not_bind_is_refused() {
        let first = sys::first_unprivileged_port();
        let low = absent(first.saturating_sub(1));
        let listen = listen(vec![low.clone()]);
        let refused = |missing: &[ScopedAddress], admin, user| {
            Late::new(&listen, missing, admin, user).err().map(|error| error.to_string())
        };
        assert_eq!(
            refused(std::slice::from_ref(&low), None, None),
            None,
            "the process stays as it is"
        );
        assert_eq!(refused(&[absent(first.max(1))], None, Some("nobody")), None);
        // Where every port is free, there is none to refuse.
        if low.port() > 0 {
            let why = refused(std::slice::from_ref(&low), None, Some("nobody")).expect("refused");
            assert!(why.contains("user nobody") && why.contains("freebind = true"), "{why}");
            let by_interface = format!("[fe80::1%none0]:{}", low.port()).parse().unwrap();
            assert!(refused(&[], Some(low), Some("nobody")).is_some());
            let why = refused(&[by_interface], None, Some("nobody")).expect("refused");
            assert!(why.contains("no such network interface yet"), "{why}");
            assert!(!why.contains("freebind") && why.contains("; set the sysctl"), "{why}");
        }
    }
}
