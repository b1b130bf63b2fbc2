//! The thread that heeds signals, lets clients finish before the end, and answers the watchdog.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use holepunch::server::ServerHandle;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::reload::reload;
use crate::settings::{Arguments, Configuration};
use crate::systemd::{self, Watchdog};

/// How often a server that ends soon is asked whether anyone is still busy.
const QUIET_PERIOD: Duration = Duration::from_millis(50);
/// How long nothing may be asked of us; only so that there is a next time.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What the thread knows.
pub struct Supervisor {
    arguments: Arguments,
    configuration: Configuration,
    handle: ServerHandle,
    watchdog: Watchdog,
    /// By when a server that ends soon ends at the latest.
    deadline: Option<Instant>,
}

impl Supervisor {
    /// For a server that was started with that configuration.
    pub fn new(arguments: Arguments, configuration: Configuration, handle: ServerHandle) -> Self {
        Self { arguments, configuration, handle, watchdog: Watchdog::from_environment(), deadline: None }
    }

    /// Heeds signals from now on, until the process ends.
    pub fn start(self) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let heed = move || {
            // Until the supervisor is gone.
            signals.forever().all(|signal| sender.send(signal).is_ok());
        };
        std::thread::Builder::new().name("hp-signals".into()).spawn(heed)?;
        std::thread::Builder::new().name("hp-supervisor".into()).spawn(move || self.run(&receiver))?;
        Ok(())
    }

    fn run(mut self, signals: &Receiver<i32>) {
        loop {
            let now = Instant::now();
            self.watchdog.ping(now, || {
                // Its locks are taken for this: a server that hangs is not reported well.
                let counters = self.handle.counters();
                format!("{} endpoints in {} sessions", counters.endpoints, counters.sessions)
            });
            if self.deadline.is_some_and(|deadline| now >= deadline || self.handle.is_quiet()) {
                return self.handle.stop();
            }
            let wait = self.watchdog.due().map_or(LONGEST_WAIT, |due| due.saturating_duration_since(now));
            let wait = if self.deadline.is_some() { wait.min(QUIET_PERIOD) } else { wait };
            match signals.recv_timeout(wait) {
                Ok(SIGHUP) if self.deadline.is_none() => {
                    reload(&self.arguments, &mut self.configuration, &self.handle);
                }
                // Settings are of no use any more.
                Ok(SIGHUP) => {}
                Ok(SIGTERM) if self.deadline.is_none() => self.drain(),
                Ok(signal) => {
                    log::info!(signal; "stopping: signal {signal}");
                    return self.handle.stop();
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody can tell us to stop any more.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn drain(&mut self) {
        let now = Instant::now();
        let time = self.configuration.settings.drain;
        log::info!(
            drain:% = humantime::format_duration(time);
            "stopping: signal {SIGTERM}; no further clients are taken, and those that are there have {} at most",
            humantime::format_duration(time)
        );
        systemd::tell(&[NotifyState::Stopping, NotifyState::Status("letting clients finish")]);
        self.handle.drain();
        // A clock without room for it has no end of it either.
        self.deadline = Some(now.checked_add(time).unwrap_or(now + LONGEST_WAIT));
    }
}
