//! SIGHUP: settings are read again, and what can change while the server runs does.

use holepunch::server::ServerHandle;
use sd_notify::NotifyState;

use crate::settings::{Arguments, Configuration, SETTINGS};
use crate::{logging, systemd};

/// Reads all settings again. If anything is wrong with them, all stay as they are.
pub fn reload(arguments: &Arguments, running: &mut Configuration, handle: &ServerHandle) {
    systemd::tell_reloading();
    match Configuration::collect(arguments) {
        Ok(fresh) => apply(fresh, running, handle),
        Err(problem) => log::error!("the settings stay as they are: {problem}"),
    }
    systemd::tell(&[NotifyState::Ready]);
}

fn apply(mut fresh: Configuration, running: &mut Configuration, handle: &ServerHandle) {
    let server = fresh.settings.server();
    if let Err(error) = handle.set_limits(&server.limits) {
        log::error!("the settings stay as they are: {error}");
        return;
    }
    handle.set_plain_expiry(server.plain_expiry);
    logging::set(&fresh.settings.log);
    for warning in &fresh.warnings {
        log::warn!("{warning}");
    }
    let (mut changed, mut waiting) = (Vec::new(), Vec::new());
    for (number, setting) in SETTINGS.iter().enumerate() {
        if fresh.value(number) != running.value(number) {
            if setting.live { &mut changed } else { &mut waiting }.push(setting.name);
        }
        if !setting.live {
            // What holds is what it was started with, until it is started again.
            fresh.given[number] = running.given[number].take();
        }
    }
    *running = fresh;
    let (now, later) = (changed.join(", "), waiting.join(", "));
    if !waiting.is_empty() {
        log::warn!(settings = later; "a restart is needed for changed settings: {later}");
    }
    match changed.is_empty() {
        true => log::info!("read the settings again; none has changed that can"),
        false => log::info!(settings = now; "read the settings again; changed: {now}"),
    }
}
