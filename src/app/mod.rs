//! The daemon's life: start, reload, stop.
//!
//! Owns threads, signals and the order in which things come up. Knows no command line, and nothing
//! of what a query gets.

mod descriptors;
mod late;
mod logging;
mod network;
mod state;
mod status;
mod user;
mod warm;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, interval_at};
use tracing::{error, info, warn};

use crate::admin;
use crate::config::{Config, Listen, LoadError};
use crate::engine::query_lines;
use crate::forward::{Forwarder, probe_for_loops, probe_upstreams};
use crate::listeners::{self, BindError};
use crate::probes::{Anew, probe_endpoints};
use crate::sys::{self, ScopedAddress};
use late::Late;
pub use late::NeverBound;
use logging::Logging;
use network::{Cause, Network, News};
pub use state::{Unfit, build, prove};
use status::Status;
use user::NextUser;
use warm::WarmCache;
use workers::Workers;

/// How often upstream files, the network and addresses that are waited for are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(3);
/// What a stop may take beyond the longest forward budget, to send what was found.
const STOP_SLACK: Duration = Duration::from_millis(500);

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration can be read, but must not be put into force.
    #[error("{}: {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What stands against it.
        why: Unfit,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin address cannot be listened on.
    #[error("listen.admin: {0}")]
    Admin(BindError),
    /// An address comes later, when the daemon cannot bind it any more.
    #[error("cannot listen on {0}")]
    NeverBound(#[from] NeverBound),
    /// The daemon cannot become the configured user.
    #[error(transparent)]
    User(#[from] sys::UserError),
    /// The system refused a thread, a timer or a signal handler.
    #[error("cannot start")]
    System(#[from] io::Error),
    /// A worker thread ended, which is a bug; without it a share of all clients would get silence.
    #[error("a worker thread ended by itself; this is a bug, please report it")]
    WorkerEnded,
}

/// What runs once it runs.
pub struct Running<'a> {
    /// The addresses served, UDP and TCP, port 0 replaced by the port chosen.
    pub addresses: &'a [SocketAddr],
    /// The admin address, if there is one, its port 0 replaced likewise.
    pub admin: Option<SocketAddr>,
    /// The configuration in force.
    pub config: &'a Config,
}

/// Runs the daemon until SIGTERM or SIGINT; calls `ready` when it answers. `user` is the user that it
/// becomes once its sockets are bound, before that of the configuration.
///
/// # Errors
/// What kept it from starting; once it runs, only that a worker ended.
pub fn run(
    path: &Path,
    user: Option<&str>,
    ready: impl FnOnce(&Running<'_>),
) -> Result<(), RunError> {
    let loaded = crate::config::load(path)?;
    let config = loaded.config;
    // Outlives all that logs, and writes what waits when this function returns.
    let logging = Logging::start(config.log)?;
    logging::warn_of(&loaded.warnings, path);
    let unfit = |why| RunError::Unfit { path: path.to_owned(), why };
    let snapshot = build(&config, &config.listen.dns, None).map_err(unfit)?;
    prove(&config, &snapshot).map_err(unfit)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody can know that we run: a signal without its handler ends a process.
    let signals = Signals::hear(&runtime)?;
    let tasks = LocalSet::new();
    // Before any thread: nothing runs when an address cannot be had.
    let (admin, late_admin) = bind_admin(&config.listen)?;
    let bound = listeners::bind(&config.listen.dns, config.limits.workers, config.listen.freebind)?;
    let user = NextUser::find(user.or(config.process.user.as_deref()))?;
    let later = user.as_ref().map(|user| user.name);
    let late = Late::new(&config.listen, &bound.missing, late_admin, later)?;
    late.tell_of_freebind(&config.listen);
    // Before any thread that reads what a client sends.
    if let Some(user) = user {
        user.assume(path)?;
    }
    let workers = Workers::start(bound, snapshot)?;
    workers.make_room(&config);
    let mut warm = WarmCache::default();
    warm.adopt(&config);
    warm.load(&workers.shared().snapshot.load());
    let addresses = workers.addresses();
    let admin_address = admin.as_ref().map(|bound| bound.address);
    ready(&Running { addresses, admin: admin_address, config: &config });
    let mut status = Status::default();
    status.accept(config.private_links.len());
    status.wait_for(late.addresses());
    let config = without_zones(config);
    sys::give_back_free_memory();
    let daemon = Daemon {
        path: path.to_owned(),
        started: config.clone(),
        config,
        logging: &logging,
        workers,
        network: Network::default(),
        late,
        admin: JoinSet::new(),
        warm,
        status,
        probe_anew: Rc::default(),
        other_rules: Rc::default(),
    };
    tasks.block_on(&runtime, daemon.steer(signals, admin))
}

/// Opens the admin listener; gives its address instead if it is waited for.
fn bind_admin(listen: &Listen) -> Result<(Option<admin::Bound>, Option<ScopedAddress>), RunError> {
    let Some(address) = &listen.admin else { return Ok((None, None)) };
    match admin::bind(address, listen.freebind) {
        Ok(bound) => Ok((Some(bound), None)),
        Err(error) if error.is_absent() => Ok((None, Some(address.clone()))),
        Err(error) => Err(RunError::Admin(error)),
    }
}

/// The zones are in the snapshot; a second copy of all names would only take memory.
fn without_zones(config: Config) -> Config {
    Config { private_links: Vec::new(), ..config }
}

/// The signals that mean something to us.
struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
    totals: Signal,
    /// Has no meaning; the daemon catches it so that it does not end the process.
    unused: Signal,
}

impl Signals {
    fn hear(runtime: &Runtime) -> io::Result<Self> {
        let _within = runtime.enter();
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            totals: signal(SignalKind::user_defined1())?,
            unused: signal(SignalKind::user_defined2())?,
        })
    }
}

struct Daemon<'a> {
    path: PathBuf,
    /// What it was started with, without the zones.
    started: Config,
    /// What is in force, without the zones.
    config: Config,
    logging: &'a Logging,
    workers: Workers,
    network: Network,
    late: Late,
    /// Serves the admin address; ends with the daemon.
    admin: JoinSet<()>,
    warm: WarmCache,
    status: Status,
    /// Tells those who probe endpoints of another network.
    probe_anew: Rc<Anew>,
    /// Tells those who look for loops that a reload has brought other rules.
    other_rules: Rc<Notify>,
}

impl Daemon<'_> {
    /// Hears signals and keeps house until it is time to stop.
    async fn steer(
        mut self,
        mut signals: Signals,
        admin: Option<admin::Bound>,
    ) -> Result<(), RunError> {
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saving =
            interval_at(tokio::time::Instant::now() + warm::SAVE_EVERY, warm::SAVE_EVERY);
        saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let forwarder = Rc::new(Forwarder::within(Arc::clone(self.workers.epoch())));
        let _these_too = self.probe_for_loops(&forwarder);
        let mut news = News::listen();
        let _probes_end_with_us = self.probe_upstreams(&forwarder);
        let _so_do_these = self.probe_endpoints();
        if let Some(bound) = admin {
            self.serve_admin(bound);
        }
        self.tell_ready();
        loop {
            tokio::select! {
                _ = signals.reload.recv() => {
                    self.reload();
                    self.look_at_network(Cause::Housekeeping);
                    self.other_rules.notify_one();
                }
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.totals.recv() => self.log_totals(),
                _ = signals.unused.recv() => info!("SIGUSR2 has no meaning; SIGUSR1 logs totals"),
                _ = saving.tick() => {
                    self.warm.save(&self.workers.shared().snapshot.load());
                }
                _ = housekeeping.tick() => self.keep_house(),
                cause = news.next() => {
                    self.listen_late();
                    self.look_at_network(cause);
                }
                () = self.workers.ended() => return Err(RunError::WorkerEnded),
            }
        }
        self.stop()
    }

    /// Serves the admin address. Without it names are still answered.
    fn serve_admin(&mut self, bound: admin::Bound) {
        let shared = Arc::clone(self.workers.shared());
        self.admin.spawn_local(async move {
            if let Err(error) = admin::serve(bound, shared).await {
                error!("listen.admin cannot be served: {error}");
            }
        });
    }

    /// Listens on addresses that an interface has now and had not before.
    fn listen_late(&mut self) {
        for bound in self.late.bind(self.workers.len()) {
            self.workers.add(bound);
        }
        if let Some(bound) = self.late.bind_admin() {
            self.serve_admin(bound);
        }
        self.status.wait_for(self.late.addresses());
    }

    /// Probes upstreams that do not answer until the set is dropped.
    fn probe_upstreams(&self, forwarder: &Rc<Forwarder>) -> JoinSet<()> {
        let shared = Arc::clone(self.workers.shared());
        let mut task = JoinSet::new();
        let rules = move || Arc::clone(&shared.snapshot.load().rules);
        task.spawn_local(probe_upstreams(Rc::clone(forwarder), rules));
        task
    }

    /// Probes private endpoints until the set is dropped.
    fn probe_endpoints(&self) -> JoinSet<()> {
        let shared = Arc::clone(self.workers.shared());
        let mut task = JoinSet::new();
        let current = move || {
            let snapshot = shared.snapshot.load();
            (Arc::clone(snapshot.zones()), snapshot.probes)
        };
        task.spawn_local(probe_endpoints(Rc::clone(&self.probe_anew), current));
        task
    }

    /// Looks for upstreams that send our queries back until the set is dropped.
    fn probe_for_loops(&self, forwarder: &Rc<Forwarder>) -> JoinSet<()> {
        let shared = Arc::clone(self.workers.shared());
        let mut task = JoinSet::new();
        let current = move || {
            let snapshot = shared.snapshot.load();
            (Arc::clone(&snapshot.rules), Arc::clone(&snapshot.loops))
        };
        let changed = Rc::clone(&self.other_rules);
        task.spawn_local(probe_for_loops(Rc::clone(forwarder), current, changed));
        task
    }

    fn keep_house(&mut self) {
        if self.workers.flood_has_ebbed() {
            sys::give_back_free_memory();
        }
        query_lines::tell();
        state::follow_files(self.workers.shared());
        self.listen_late();
        self.look_at_network(Cause::Housekeeping);
        let snapshot = self.workers.shared().snapshot.load();
        if let Some(line) = self.status.news(&snapshot) {
            tell(&[NotifyState::Status(line)]);
        }
    }

    /// The one place that hears of another network, and of a machine that slept.
    fn look_at_network(&mut self, cause: Cause) {
        let snapshot = self.workers.shared().snapshot.load_full();
        if let Cause::Woke(asleep) = &cause {
            // The clock of kept answers stood still.
            snapshot.cache.advance(*asleep);
        }
        if self.network.follow(cause, &snapshot.rules, sys::local_addresses) {
            self.workers.epoch().advance();
            // What failed over the old way may be had over the new one.
            snapshot.failures.clear();
            snapshot.keys.forget_failures();
            self.probe_anew.begin();
        }
    }

    /// Puts the file into force as a whole, or says why not and leaves everything as it is.
    fn reload(&mut self) {
        tell(&reloading());
        let begin = Instant::now();
        match self.try_reload() {
            Ok(()) => info!("reloaded {} in {:?}", self.path.display(), begin.elapsed()),
            Err(reason) => {
                self.status.refuse(&reason);
                for line in reason.lines() {
                    error!("{line}");
                }
                error!("not reloaded: the configuration in force stays");
            }
        }
        // The new answers are out by now. What still waits under the old snapshot keeps it a little;
        // its memory is used again at the next reload.
        sys::give_back_free_memory();
        self.tell_ready();
    }

    /// Says that the daemon serves; after a reload that was refused too, as systemd wants it.
    fn tell_ready(&mut self) {
        let snapshot = self.workers.shared().snapshot.load();
        tell(&[NotifyState::Ready, NotifyState::Status(self.status.line(&snapshot))]);
    }

    fn try_reload(&mut self) -> Result<(), String> {
        let loaded = crate::config::load(&self.path).map_err(|error| error.to_string())?;
        let config = loaded.config;
        let in_file = |why: Unfit| format!("{}: {why}", self.path.display());
        let old = self.workers.shared().snapshot.load_full();
        // What is listened on now, or will be, counts, and not what the file would listen on after a
        // restart.
        let bound = self.workers.addresses().iter().copied().map(ScopedAddress::from);
        let listen: Vec<_> = bound.chain(self.late.addresses()).collect();
        let mut snapshot = build(&config, &listen, Some((&self.config, &old))).map_err(in_file)?;
        prove(&config, &snapshot).map_err(in_file)?;
        snapshot.go_on_from(&old);
        logging::warn_of(&loaded.warnings, &self.path);
        for key in state::needs_restart(&self.started, &config) {
            warn!("{}: {key} has changed; that takes a restart", self.path.display());
        }
        self.logging.set_level(config.log.level);
        self.workers.shared().snapshot.store(Arc::new(snapshot));
        self.workers.make_room(&config);
        self.warm.adopt(&config);
        self.status.accept(config.private_links.len());
        // From here on nobody waits.
        self.config = without_zones(config);
        Ok(())
    }

    fn log_totals(&self) {
        info!("totals: {} {}", self.workers.totals(), self.logging.tally());
        for upstream in self.workers.upstreams() {
            info!("upstream {upstream}");
        }
        for endpoint in self.workers.endpoints() {
            info!("endpoint {endpoint}");
        }
    }

    /// Takes no new queries, finishes those under way, ends.
    fn stop(self) -> Result<(), RunError> {
        tell(&[NotifyState::Stopping]);
        let budget = self.config.forwards.iter().map(|forward| forward.timeout).max();
        let deadline = tokio::time::Instant::now() + budget.unwrap_or_default() + STOP_SLACK;
        info!("stopping: finishing what is under way");
        let snapshot = self.workers.shared().snapshot.load_full();
        let totals = self.workers.stop(deadline)?;
        self.warm.save_last(&snapshot);
        query_lines::tell_all();
        info!("stopped; {totals} {}", self.logging.tally());
        Ok(())
    }
}

/// RELOADING=1 wants the clock beside it (sd_notify(3)).
fn reloading() -> Vec<NotifyState<'static>> {
    let clock = NotifyState::monotonic_usec_now().ok();
    std::iter::once(NotifyState::Reloading).chain(clock).collect()
}

/// Tells systemd, where there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("cannot tell systemd: {error}");
    }
}
