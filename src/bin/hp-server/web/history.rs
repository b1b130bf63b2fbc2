//! What the server did over the last ten minutes and the last day, in memory of a fixed size.
//!
//! A sample is taken about every second. Counters become rates over the time that has really passed since the sample before, so that
//! a late sample shows what was, not a peak. The day is kept in means over a minute.

use std::collections::VecDeque;
use std::time::Duration;

use holepunch::server::ServerCounters;
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// Samples that are kept, of a second each.
pub const RECENT_LEN: usize = 600;
/// Means that are kept, of a minute each.
pub const DAY_LEN: usize = 24 * 60;
/// What a mean is over.
const MINUTE: Duration = Duration::from_secs(60);

/// What a point's numbers are; those named in [`rates`] are per second.
pub const COLUMNS: [&str; 13] = [
    "sessions",
    "endpoints",
    "memory",
    "relay_pairs",
    "tcp_connections",
    "received",
    "sent",
    "malformed",
    "rate_limited",
    "shed",
    "kernel",
    "send_failed",
    "relay_bytes",
];
/// How many of them show a present amount; they come first.
const GAUGES: usize = 5;

/// The present amounts, in the order of [`COLUMNS`].
fn gauges(counters: &ServerCounters) -> [u64; GAUGES] {
    [
        counters.sessions,
        counters.endpoints,
        counters.memory,
        counters.relay.pairs + counters.tcp.relay.pairs,
        counters.tcp.connections,
    ]
}

/// The totals that become rates, in the order of [`COLUMNS`].
fn rates(counters: &ServerCounters) -> [u64; COLUMNS.len() - GAUGES] {
    [
        counters.received,
        counters.sent,
        counters.dropped,
        counters.rate_limited,
        counters.shed,
        counters.kernel_dropped,
        counters.send_failed,
        counters.relay.forwarded_bytes + counters.tcp.relay.forwarded_bytes,
    ]
}

/// The numbers of one point, in the order of [`COLUMNS`].
type Values = [f64; COLUMNS.len()];

/// What was at one time, or over a time that ended then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The number of the sample that it was made at; they count from 1.
    pub sequence: u64,
    /// Since the history began.
    pub time: Duration,
    /// In the order of [`COLUMNS`].
    pub values: Values,
}

impl Serialize for Point {
    /// One row: the time in seconds, and the values.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(1 + self.values.len()))?;
        for value in std::iter::once(self.time.as_secs_f64()).chain(self.values) {
            let rounded = (value * 100.0).round() / 100.0;
            // Most are whole, and shorter without a fraction.
            if rounded.fract() == 0.0 {
                row.serialize_element(&(rounded as u64))?;
            } else {
                row.serialize_element(&rounded)?;
            }
        }
        row.end()
    }
}

/// The last so many points.
#[derive(Debug)]
struct Ring {
    points: VecDeque<Point>,
    capacity: usize,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { points: VecDeque::with_capacity(capacity), capacity }
    }

    fn push(&mut self, point: Point) {
        if self.points.len() == self.capacity {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// Those that were made after the sample of this number.
    fn after(&self, sequence: u64) -> Vec<Point> {
        let first = self.points.partition_point(|point| point.sequence <= sequence);
        self.points.range(first..).copied().collect()
    }
}

/// The minute that is not over yet.
#[derive(Debug)]
struct Minute {
    /// When it is over.
    end: Duration,
    /// The values, each times the seconds that it was over.
    sums: Values,
    /// All these seconds.
    seconds: f64,
}

impl Minute {
    /// The one that begins by the sample at this time.
    fn after(time: Duration) -> Self {
        let end = MINUTE * (time.as_secs() / MINUTE.as_secs() + 1) as u32;
        Self { end, sums: Values::default(), seconds: 0.0 }
    }
}

/// The samples.
#[derive(Debug)]
pub struct History {
    recent: Ring,
    day: Ring,
    minute: Minute,
    /// The sample before.
    last: (Duration, ServerCounters),
    sequence: u64,
}

impl History {
    /// Begins with what the first rates count from.
    pub fn new(counters: ServerCounters) -> Self {
        Self {
            recent: Ring::new(RECENT_LEN),
            day: Ring::new(DAY_LEN),
            minute: Minute::after(Duration::ZERO),
            last: (Duration::ZERO, counters),
            sequence: 0,
        }
    }

    /// Takes a sample, so long after the beginning.
    pub fn record(&mut self, time: Duration, counters: ServerCounters) {
        let seconds = time.saturating_sub(self.last.0).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        let mut values = Values::default();
        let (amounts, per_second) = values.split_at_mut(GAUGES);
        for (value, amount) in amounts.iter_mut().zip(gauges(&counters)) {
            *value = amount as f64;
        }
        let before = rates(&self.last.1);
        for ((value, total), before) in per_second.iter_mut().zip(rates(&counters)).zip(before) {
            *value = total.saturating_sub(before) as f64 / seconds;
        }
        self.last = (time, counters);
        self.sequence += 1;
        let point = Point { sequence: self.sequence, time, values };
        self.recent.push(point);
        for (sum, value) in self.minute.sums.iter_mut().zip(values) {
            *sum += value * seconds;
        }
        self.minute.seconds += seconds;
        if time >= self.minute.end {
            let seconds = self.minute.seconds;
            self.day.push(Point { values: self.minute.sums.map(|sum| sum / seconds), ..point });
            self.minute = Minute::after(time);
        }
    }

    /// What was counted at the last sample.
    pub fn latest(&self) -> &ServerCounters {
        &self.last.1
    }

    /// When that was, since the beginning.
    pub fn age(&self) -> Duration {
        self.last.0
    }

    /// Its number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Samples after the one of this number.
    pub fn recent_after(&self, sequence: u64) -> Vec<Point> {
        self.recent.after(sequence)
    }

    /// Minutes that were over after it.
    pub fn day_after(&self, sequence: u64) -> Vec<Point> {
        self.day.after(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn column(name: &str) -> usize {
        COLUMNS.iter().position(|column| *column == name).unwrap()
    }

    fn counted(received: u64, sessions: u64) -> ServerCounters {
        let mut counters = ServerCounters::default();
        counters.received = received;
        counters.sessions = sessions;
        counters
    }

    #[test]
    fn rates_are_over_the_time_that_has_really_passed() {
        let mut history = History::new(counted(1000, 0));
        history.record(SECOND, counted(1010, 1));
        // The next comes four seconds late; another at the same time says nothing.
        history.record(SECOND * 6, counted(1060, 2));
        history.record(SECOND * 6, counted(1061, 3));
        // Nor does a total that has become less make a rate.
        history.record(SECOND * 7, counted(500, 3));
        let points = history.recent_after(0);
        let received: Vec<f64> = points.iter().map(|point| point.values[column("received")]).collect();
        let sessions: Vec<f64> = points.iter().map(|point| point.values[column("sessions")]).collect();
        assert_eq!((received, sessions), (vec![10.0, 10.0, 0.0], vec![1.0, 2.0, 3.0]));
        assert_eq!((history.sequence(), history.age()), (3, SECOND * 7));
        assert_eq!(history.latest().received, 500);
    }

    #[test]
    fn every_column_shows_its_counter() {
        let mut counters = ServerCounters::default();
        counters.sessions = 1;
        counters.endpoints = 2;
        counters.memory = 3;
        (counters.relay.pairs, counters.tcp.relay.pairs) = (3, 1);
        counters.tcp.connections = 5;
        counters.received = 6;
        counters.sent = 7;
        counters.dropped = 8;
        counters.rate_limited = 9;
        counters.shed = 10;
        counters.kernel_dropped = 11;
        counters.send_failed = 12;
        (counters.relay.forwarded_bytes, counters.tcp.relay.forwarded_bytes) = (6, 7);
        let mut history = History::new(ServerCounters::default());
        history.record(SECOND, counters);
        assert_eq!(history.recent_after(0)[0].values, std::array::from_fn(|number| number as f64 + 1.0));
    }

    #[test]
    fn a_day_takes_no_more_than_its_memory() {
        let mut history = History::new(ServerCounters::default());
        let capacities =
            |history: &History| (history.recent.points.capacity(), history.day.points.capacity());
        let before = capacities(&history);
        let seconds = 25 * 3600 + 30;
        for second in 1..=seconds {
            history.record(SECOND * second, counted(u64::from(second) * 3, u64::from(second)));
        }
        assert_eq!(capacities(&history), before);
        let (recent, day) = (history.recent_after(0), history.day_after(0));
        assert_eq!((recent.len(), day.len()), (RECENT_LEN, DAY_LEN));
        assert_eq!(recent[0].time, SECOND * (seconds - 599));
        assert_eq!(recent[599].time, SECOND * seconds);
        assert_eq!(day[0].time, SECOND * (3600 + 60));
        assert_eq!(day[1439].time, SECOND * (25 * 3600));
        assert!(recent.iter().chain(&day).all(|point| point.values[column("received")] == 3.0));
    }

    #[test]
    fn means_are_weighted_by_time() {
        let mut history = History::new(ServerCounters::default());
        // 40 s with one session, 15 s late with 5; the minute ends a moment late, as it always does.
        for second in 1..=40 {
            history.record(SECOND * second, counted(0, 1));
        }
        history.record(SECOND * 55, counted(0, 5));
        assert!(history.day_after(0).is_empty());
        let late = Duration::from_millis(65_000);
        history.record(late, counted(650, 2));
        let day = history.day_after(0);
        assert_eq!((day.len(), day[0].time, day[0].sequence), (1, late, 42));
        let sessions = day[0].values[column("sessions")];
        assert!((sessions - (40.0 + 75.0 + 20.0) / 65.0).abs() < 1e-9, "{sessions}");
        assert!((day[0].values[column("received")] - 10.0).abs() < 1e-9);
        // The next ends with the second minute, and one that was slept through is none.
        history.record(SECOND * 119, counted(650, 2));
        assert_eq!(history.day_after(0).len(), 1);
        history.record(SECOND * 300, counted(650, 2));
        assert_eq!(history.day_after(0).len(), 2);
        history.record(SECOND * 359, counted(650, 2));
        history.record(SECOND * 360, counted(650, 2));
        assert_eq!(
            history.day_after(0).iter().map(|point| point.time.as_secs()).collect::<Vec<_>>(),
            [65, 300, 360]
        );
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut history = History::new(ServerCounters::default());
        for second in 1..=130 {
            history.record(SECOND * second, ServerCounters::default());
        }
        let numbers = |points: Vec<Point>| points.iter().map(|point| point.sequence).collect::<Vec<_>>();
        assert_eq!(numbers(history.recent_after(128)), [129, 130]);
        assert!(history.recent_after(130).is_empty());
        assert!(history.recent_after(u64::MAX).is_empty());
        assert_eq!(numbers(history.day_after(59)), [60, 120]);
        assert_eq!(numbers(history.day_after(60)), [120]);
        assert!(history.day_after(120).is_empty());
    }

    #[test]
    fn rows_are_short() {
        let mut values = Values::default();
        (values[0], values[5]) = (3.0, 1.0 / 3.0);
        let point = Point { sequence: 1, time: Duration::from_millis(1001), values };
        let row = serde_json::to_string(&point).unwrap();
        assert_eq!(row, "[1,3,0,0,0,0,0.33,0,0,0,0,0,0,0]");
    }
}
