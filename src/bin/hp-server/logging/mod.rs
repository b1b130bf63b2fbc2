//! The program's log: its filter, format and discretion can change while it runs.

mod format;

use std::io::Write as _;

use env_filter::{Builder, Filter};
use log::{Log, Metadata, Record};
use parking_lot::RwLock;

pub use self::format::LogFormat;
use self::format::{Style, write_record};

/// What is logged unless it was set.
const DEFAULT_FILTER: &str = "info";
/// Set by systemd for programs whose output goes to its journal, which has times of its own and understands priorities.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Levels, by module if wanted.
    pub filter: String,
    /// One of the formats.
    pub format: LogFormat,
    /// Whether clients' addresses and session IDs may be named.
    pub addresses: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: DEFAULT_FILTER.into(), format: LogFormat::Text, addresses: false }
    }
}

struct Logger {
    state: RwLock<Option<(Filter, Style)>>,
}

static LOGGER: Logger = Logger { state: RwLock::new(None) };

/// What is wrong with a filter, if anything.
pub fn check_filter(text: &str) -> Result<(), String> {
    Builder::new().try_parse(text).map(|_| ()).map_err(|error| error.to_string())
}

/// Starts to log with these settings, or goes on with them. A filter that [`check_filter`] has not seen logs what it can.
pub fn set(settings: &LogSettings) {
    let filter = Builder::new().parse(&settings.filter).build();
    let level = filter.filter();
    let style = Style {
        format: settings.format,
        addresses: settings.addresses,
        journal: std::env::var_os(JOURNAL_VARIABLE).is_some(),
    };
    *LOGGER.state.write() = Some((filter, style));
    // The second time it is there already.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// Before any settings are known.
pub fn init() {
    set(&LogSettings::default());
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.state.read().as_ref().is_some_and(|(filter, _)| filter.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        let state = self.state.read();
        let Some((filter, style)) = state.as_ref() else { return };
        if filter.matches(record) {
            let mut line = write_record(*style, std::time::SystemTime::now(), record);
            line.push('\n');
            // Whoever has closed our standard error does not want to hear of it.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
