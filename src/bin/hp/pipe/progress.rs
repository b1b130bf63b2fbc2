//! One line on the terminal that tells how far a pipe is.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line is drawn.
const PERIOD: Duration = Duration::from_millis(200);
/// So many of its times count for the speed that is shown.
const SAMPLES: usize = 16;
const BAR_WIDTH: usize = 20;

/// How far a pipe is.
pub struct Progress {
    began: Instant,
    /// How much there is to send, if that is known.
    total: Option<u64>,
    /// How much had flowed, both ways together, and when.
    samples: VecDeque<(Instant, u64)>,
    due: Option<Instant>,
}

impl Progress {
    /// Begins at `now`; draws nothing unless standard error is a terminal and `quiet` is not set.
    pub fn new(now: Instant, total: Option<u64>, quiet: bool) -> Self {
        let due = (!quiet && stderr().is_terminal()).then_some(now);
        Self { began: now, total, samples: VecDeque::new(), due }
    }

    /// When to draw next, if ever.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Draws the line if it is time to.
    pub fn draw(&mut self, now: Instant, sent: u64, received: u64) {
        if self.due.is_some_and(|due| now >= due) {
            self.due = Some(now + PERIOD);
            let line = self.line(now, sent, received);
            // Without a terminal it goes on all the same.
            let _ = write!(stderr(), "\r{line}\x1b[K");
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.due.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// What is told at the end.
    pub fn summary(&self, now: Instant, sent: u64, received: u64) -> String {
        let took = now.saturating_duration_since(self.began);
        let speed = speed(sent + received, took);
        format!("sent {}, received {} in {:.1} s, {speed}", bytes(sent), bytes(received), took.as_secs_f64())
    }

    fn line(&mut self, now: Instant, sent: u64, received: u64) -> String {
        self.samples.truncate(SAMPLES - 1);
        self.samples.push_front((now, sent + received));
        let (since, before) = self.samples[self.samples.len() - 1];
        let speed = speed(sent + received - before, now.saturating_duration_since(since));
        let seconds = now.saturating_duration_since(self.began).as_secs();
        let elapsed = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let sent = match self.total {
            // A file that grows is longer than it was.
            Some(total) => {
                let done = if total == 0 { 1.0 } else { (sent as f64 / total as f64).min(1.0) };
                let bar = "#".repeat((done * BAR_WIDTH as f64) as usize);
                format!("[{bar:-<BAR_WIDTH$}] {} of {}", bytes(sent), bytes(total))
            }
            None => format!("{} sent", bytes(sent)),
        };
        let received = if received > 0 { format!(", {} received", bytes(received)) } else { String::new() };
        format!("{elapsed} {sent}{received}, {speed}")
    }
}

fn speed(bytes_flowed: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!("{}/s", bytes(if seconds > 0.0 { (bytes_flowed as f64 / seconds) as u64 } else { 0 }))
}

/// So many bytes, for people to read.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = count as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1000.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if count < 1000 { format!("{count} B") } else { format!("{amount:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn the_line_tells_how_far_it_is() {
        let now = Instant::now();
        let mut progress = Progress::new(now, Some(1 << 20), true);
        assert_eq!(progress.due(), None);
        assert_eq!(progress.line(now, 0, 0), "0:00:00 [--------------------] 0 B of 1.0 MiB, 0 B/s");
        let later = now + Duration::from_secs(62);
        let line = progress.line(later, 1 << 19, 620);
        assert_eq!(line, "0:01:02 [##########----------] 512.0 KiB of 1.0 MiB, 620 B received, 8.3 KiB/s");
        assert!(line.len() < 80);
        let mut unknown = Progress::new(now, None, true);
        assert_eq!(unknown.line(later, 5, 0), "0:01:02 5 B sent, 0 B/s");
        assert_eq!(unknown.summary(later, 5, 0), "sent 5 B, received 0 B in 62.0 s, 0 B/s");
    }
}
