//! What the service manager is told, if there is one.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// A manager that cannot be told does not end the service.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("telling the service manager: {error}");
    }
}

/// That settings are read again; [`NotifyState::Ready`] ends it.
pub fn tell_reloading() {
    // Newer managers insist on the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("telling the service manager: {error}"),
    }
}

/// The manager's watchdog, which wants to hear of us in time.
pub struct Watchdog {
    period: Option<Duration>,
    due: Instant,
}

impl Watchdog {
    /// As the manager wants it, if it does.
    pub fn from_environment() -> Self {
        // Half the time that it allows, so that one word may come late.
        Self { period: sd_notify::watchdog_enabled().map(|allowed| allowed / 2), due: Instant::now() }
    }

    /// When it wants to hear of us next.
    pub fn due(&self) -> Option<Instant> {
        self.period.map(|_| self.due)
    }

    /// Tells it, if it is time to, what `status` says; that must return only if the server works.
    pub fn ping(&mut self, now: Instant, status: impl FnOnce() -> String) {
        if let Some(period) = self.period.filter(|_| now >= self.due) {
            self.due = now + period;
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status())]);
        }
    }
}
