//! How much may be under way, and how fast: the path's bandwidth and round-trip time are measured and used (the model of BBR,
//! draft-cardwell-ccwg-bbr), so that loss which has nothing to do with load does not slow anything down.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Until something was measured.
const INITIAL_WINDOW: usize = 32 * 1200;
/// Never less than this.
const MIN_WINDOW: usize = 4 * 1200;
/// How many round trips a bandwidth counts for.
const BANDWIDTH_ROUNDS: u64 = 10;
/// How long a round-trip time counts for.
const RTT_LIFE: Duration = Duration::from_secs(10);
/// How much faster than measured the beginning goes, and how the queue that it leaves is drained: 2/ln 2 and its inverse.
const STARTUP_GAIN: f64 = 2.885;
const DRAIN_GAIN: f64 = 1.0 / STARTUP_GAIN;
/// The beginning is over when bandwidth has grown by less than a quarter in each of so many round trips.
const FULL_ROUNDS: u32 = 3;
/// Then it is tried a little faster now and then.
const CRUISE_GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// How many times what the path holds may be under way.
const WINDOW_GAIN: f64 = 2.0;

/// What is remembered of each datagram until it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    delivered: u64,
    delivered_at: Instant,
    pub sent_at: Instant,
    /// There was nothing more to send, so that nothing follows about how fast it could go.
    idle: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Startup { best: f64, rounds: u32 },
    Drain,
    Cruise { gain: usize, since: Instant },
}

/// The estimate.
#[derive(Debug)]
pub(super) struct Rate {
    phase: Phase,
    delivered: u64,
    delivered_at: Instant,
    round: u64,
    round_ends: u64,
    /// Bytes a second, and in which round; falling from the front.
    bandwidths: VecDeque<(u64, f64)>,
    min_rtt: Option<(Duration, Instant)>,
}

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Startup { best: 0.0, rounds: 0 },
            delivered: 0,
            delivered_at: now,
            round: 0,
            round_ends: 0,
            bandwidths: VecDeque::new(),
            min_rtt: None,
        }
    }

    /// A datagram leaves; `idle`: nothing waits behind it.
    pub fn stamp(&mut self, now: Instant, in_flight: usize, idle: bool) -> Stamp {
        if in_flight == 0 {
            // The time before was nobody's.
            self.delivered_at = now;
        }
        Stamp { delivered: self.delivered, delivered_at: self.delivered_at, sent_at: now, idle }
    }

    /// One of them has arrived; `rtt` where it was sent only once.
    pub fn note_delivered(&mut self, now: Instant, stamp: Stamp, bytes: usize, rtt: Option<Duration>) {
        self.delivered += bytes as u64;
        self.delivered_at = now;
        if let Some(rtt) = rtt
            && self.min_rtt.is_none_or(|(min, at)| rtt <= min || now >= at + RTT_LIFE)
        {
            self.min_rtt = Some((rtt, now));
        }
        if stamp.delivered >= self.round_ends {
            self.round += 1;
            self.round_ends = self.delivered;
            self.end_round();
        }
        let acknowledging = now.saturating_duration_since(stamp.delivered_at);
        let sending = stamp.sent_at.saturating_duration_since(stamp.delivered_at);
        let interval = acknowledging.max(sending).as_secs_f64();
        if interval > 0.0 {
            let sample = (self.delivered - stamp.delivered) as f64 / interval;
            if !stamp.idle || sample > self.bandwidth() {
                self.note_bandwidth(sample);
            }
        }
    }

    fn note_bandwidth(&mut self, sample: f64) {
        while self.bandwidths.back().is_some_and(|(_, known)| *known <= sample) {
            self.bandwidths.pop_back();
        }
        self.bandwidths.push_back((self.round, sample));
        while self.bandwidths.front().is_some_and(|(round, _)| round + BANDWIDTH_ROUNDS < self.round) {
            self.bandwidths.pop_front();
        }
    }

    fn end_round(&mut self) {
        let bandwidth = self.bandwidth();
        if let Phase::Startup { best, rounds } = &mut self.phase {
            if bandwidth >= *best * 1.25 {
                (*best, *rounds) = (bandwidth, 0);
            } else {
                *rounds += 1;
                if *rounds >= FULL_ROUNDS {
                    self.phase = Phase::Drain;
                }
            }
        }
    }

    /// Goes on with what follows from time and from how much is under way.
    pub fn advance(&mut self, now: Instant, in_flight: usize) {
        let (rtt, held) = (self.min_rtt(), self.held());
        match &mut self.phase {
            Phase::Drain if in_flight as f64 <= held => {
                self.phase = Phase::Cruise { gain: 2, since: now };
            }
            Phase::Cruise { gain, since } if now >= *since + rtt => {
                *gain = (*gain + 1) % CRUISE_GAINS.len();
                *since = now;
            }
            _ => {}
        }
    }

    fn bandwidth(&self) -> f64 {
        self.bandwidths.front().map_or(0.0, |(_, bandwidth)| *bandwidth)
    }

    fn min_rtt(&self) -> Duration {
        self.min_rtt.map_or(Duration::from_millis(100), |(rtt, _)| rtt)
    }

    /// How many bytes the path holds.
    fn held(&self) -> f64 {
        self.bandwidth() * self.min_rtt().as_secs_f64()
    }

    /// How many bytes may be under way.
    pub fn window(&self) -> usize {
        if self.bandwidths.is_empty() {
            return INITIAL_WINDOW;
        }
        let gain = if matches!(self.phase, Phase::Startup { .. }) { STARTUP_GAIN } else { WINDOW_GAIN };
        // A few more for acknowledgements that come in groups.
        ((self.held() * gain) as usize + MIN_WINDOW).max(MIN_WINDOW)
    }

    /// How long so many bytes take; no time as long as nothing was measured.
    pub fn time_for(&self, bytes: usize) -> Duration {
        let gain = match self.phase {
            Phase::Startup { .. } => STARTUP_GAIN,
            Phase::Drain => DRAIN_GAIN,
            Phase::Cruise { gain, .. } => CRUISE_GAINS[gain],
        };
        let speed = self.bandwidth() * gain;
        if speed > 0.0 { Duration::from_secs_f64((bytes as f64 / speed).min(1.0)) } else { Duration::ZERO }
    }
}
