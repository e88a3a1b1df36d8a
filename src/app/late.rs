//! Listen addresses that no interface has yet: of VRRP, of a tunnel that is down.
//!
//! The daemon serves the other addresses, and binds these when the kernel tells of new addresses, or
//! a few seconds later where it tells nothing. An address that goes later stays bound: Linux keeps the
//! socket, and queries come again with the address.

use std::net::SocketAddr;

use tracing::{info, warn};

use crate::admin;
use crate::config::Listen;
use crate::listeners::{self, Bound};
use crate::sys::{self, BindError};

/// An address that will never be had in this process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{address}: no interface has this address yet, and user {user} may not listen on port {} when \
     one does; write freebind = true into [listen], which binds the port before the change of the \
     user, or set the sysctl net.ipv4.ip_unprivileged_port_start={}, or let systemd start the daemon \
     as that user with AmbientCapabilities=CAP_NET_BIND_SERVICE",
    address.port(),
    address.port()
)]
pub struct NeverBound {
    /// The address.
    address: SocketAddr,
    /// The user that the daemon becomes.
    user: String,
}

/// The addresses that are waited for.
pub(super) struct Late {
    /// Of clients.
    missing: Vec<Missing>,
    /// For HTTP.
    admin: Option<Missing>,
    /// All addresses of clients, as configured.
    all: Vec<SocketAddr>,
}

struct Missing {
    address: SocketAddr,
    /// What was last said in the log of why it cannot be had.
    told: String,
}

impl Missing {
    /// Warns of the address.
    fn new(address: SocketAddr) -> Self {
        warn!(
            "no interface has {} yet: the daemon waits for it and serves the other addresses; it \
             listens on {address} within seconds after it comes (freebind = true in [listen] binds it \
             at once)",
            address.ip()
        );
        Self { address, told: String::new() }
    }

    /// Says why the address cannot be had, unless that is just that no interface has it, or was said.
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
    /// A port that `user`, whom the daemon becomes, may not bind later.
    pub(super) fn new(
        listen: &Listen,
        missing: &[SocketAddr],
        admin: Option<SocketAddr>,
        user: Option<&str>,
    ) -> Result<Self, NeverBound> {
        let first = sys::first_unprivileged_port();
        let mut both = missing.iter().chain(&admin);
        let denied = both.find(|address| (1..first).contains(&address.port()));
        if let (Some(user), Some(address)) = (user, denied) {
            return Err(NeverBound { address: *address, user: user.to_owned() });
        }
        Ok(Self {
            missing: missing.iter().copied().map(Missing::new).collect(),
            admin: admin.map(Missing::new),
            all: listen.dns.clone(),
        })
    }

    /// The addresses that are still waited for.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.missing.iter().chain(&self.admin).map(|missing| missing.address).collect()
    }

    /// Binds clients' addresses that an interface has now, for so many workers.
    pub(super) fn bind(&mut self, workers: usize) -> Vec<Bound> {
        let mut bound = Vec::new();
        self.missing.retain_mut(|missing| {
            match listeners::bind_late(missing.address, &self.all, workers) {
                Ok(now) => {
                    info!(
                        "listening on {} (UDP and TCP): an interface has it now",
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

    /// Binds the admin address if it is waited for and an interface has it now.
    pub(super) fn bind_admin(&mut self) -> Option<admin::Bound> {
        let missing = self.admin.as_mut()?;
        match admin::bind(missing.address, false) {
            Ok(bound) => {
                info!("listening on {} (admin, HTTP): an interface has it now", bound.address);
                self.admin = None;
                Some(bound)
            }
            Err(error) => {
                missing.tell(&error);
                None
            }
        }
    }
}

/// Says which addresses were bound by `freebind` before an interface has them: a slip in an address
/// shows itself in no other way.
pub(super) fn tell_of_freebind(listen: &Listen) {
    let Ok(local) = sys::local_addresses() else { return };
    if !listen.freebind {
        return;
    }
    let all = listen.dns.iter().chain(&listen.admin);
    // All of 127.0.0.0/8 is this host's.
    let is_absent = |address: &&SocketAddr| {
        let ip = address.ip();
        !ip.is_unspecified() && !ip.is_loopback() && !local.contains(&ip)
    };
    for address in all.filter(is_absent) {
        warn!("no interface has {} yet: {address} is bound, but gets no queries", address.ip());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the range for documentation: no interface has it.
    fn absent(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 200], port))
    }

    fn listen(dns: Vec<SocketAddr>) -> Listen {
        Listen { dns, admin: None, freebind: false }
    }

    #[test]
    fn what_comes_is_bound_and_what_does_not_is_waited_for() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = listen(vec![absent(5_300), here]);
        let mut late = Late::new(&listen, &listen.dns, Some(absent(9_153)), None).expect("fit");
        assert_eq!(late.addresses(), [absent(5_300), here, absent(9_153)]);
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
        let listen = listen(vec![low]);
        let refused = |missing: &[SocketAddr], admin, user| {
            Late::new(&listen, missing, admin, user).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&[low], None, None), None, "the process stays as it is");
        assert_eq!(refused(&[absent(first.max(1))], None, Some("nobody")), None);
        // Where every port is free, there is none to refuse.
        if low.port() > 0 {
            let why = refused(&[low], None, Some("nobody")).expect("refused");
            assert!(why.contains("user nobody") && why.contains("freebind = true"), "{why}");
            assert!(refused(&[], Some(low), Some("nobody")).is_some());
        }
    }
}
