//! What is at which path. All numbers are those of the last sample, however many ask: only taking one asks the server.

use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use holepunch::server::ServerHandle;
use serde::Serialize;

use super::history::{COLUMNS, History, Point};
use super::metrics;
use super::request::Request;
use super::response::{Body, Content, Response, Status};

/// Who has missed more samples than so many is told all there are, which takes no work, because it is made but once for each.
const MAX_BEHIND: u64 = 30;

/// Parts of the status page, and what they are.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("status.html")),
    ("/status.css", "text/css; charset=utf-8", include_str!("status.css")),
    (
        "/status.js",
        "text/javascript; charset=utf-8",
        concat!(include_str!("chart.js"), include_str!("status.js")),
    ),
    ("/status.svg", "image/svg+xml", include_str!("status.svg")),
];

/// What the status page is told.
#[derive(Serialize)]
struct Report<'a> {
    /// Differs after a restart.
    instance: u64,
    version: &'a str,
    health: &'a str,
    /// In seconds, at the last sample.
    uptime: f64,
    /// The last sample's number, to ask for what comes after it.
    sequence: u64,
    max_endpoints: usize,
    max_memory: usize,
    /// What the numbers in a row are.
    columns: Vec<&'a str>,
    /// Rows of about a second each.
    recent: Vec<Point>,
    /// Rows of about a minute each.
    day: Vec<Point>,
}

/// Everything that can be asked for.
pub struct Site {
    handle: ServerHandle,
    history: History,
    began: Instant,
    started: SystemTime,
    /// The metrics as of the last sample, once someone has asked.
    metrics: Option<Rc<[u8]>>,
    /// The whole report as of then.
    report: Option<Rc<[u8]>>,
}

impl Site {
    /// Begins the history.
    pub fn new(handle: ServerHandle) -> Self {
        let history = History::new(handle.counters());
        let (began, started) = (Instant::now(), SystemTime::now());
        Self { handle, history, began, started, metrics: None, report: None }
    }

    /// Takes a sample.
    pub fn sample(&mut self, now: Instant) {
        let counters = self.handle.counters();
        self.history.record(now.saturating_duration_since(self.began), counters);
        (self.metrics, self.report) = (None, None);
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &Request, closes: bool) -> Response {
        let content = match request.path.as_str() {
            "/healthz" => self.health_check(),
            "/metrics" => self.content(metrics::MEDIA_TYPE, Self::metrics),
            "/status.json" => {
                let since = request.query.as_deref().map_or(0, since);
                self.content("application/json", |site| site.report(since))
            }
            path => match FILES.into_iter().find(|(name, ..)| *name == path) {
                Some((_, media_type, text)) => {
                    Content { status: Status::Ok, media_type, body: Body::Fixed(text.as_bytes()) }
                }
                None => Content::of_status(Status::NotFound),
            },
        };
        Response::new(content, request.head_only, closes)
    }

    fn content(&mut self, media_type: &'static str, body: impl FnOnce(&mut Self) -> Body) -> Content {
        Content { status: Status::Ok, media_type, body: body(self) }
    }

    /// How the server is, in a word.
    fn health(&self) -> &'static str {
        match (self.handle.is_draining(), self.history.latest().overloaded) {
            (true, _) => "draining",
            (false, true) => "overloaded",
            (false, false) => "ok",
        }
    }

    /// For balancers of load, which are to send clients elsewhere while a server drains, but not because it is busy.
    fn health_check(&self) -> Content {
        match self.health() {
            "draining" => Content::plain(Status::Unavailable, "draining\n"),
            "overloaded" => Content::plain(Status::Ok, "overloaded\n"),
            _ => Content::plain(Status::Ok, "ok\n"),
        }
    }

    fn metrics(&mut self) -> Body {
        let (handle, history) = (&self.handle, &self.history);
        let made = self.metrics.get_or_insert_with(|| {
            let process = metrics::Process {
                started: self.started,
                uptime: history.age(),
                is_draining: handle.is_draining(),
            };
            metrics::render(history.latest(), &handle.limits(), &process).into_bytes().into()
        });
        Body::Shared(Rc::clone(made))
    }

    /// What is new since a sample, or everything.
    fn report(&mut self, since: u64) -> Body {
        let behind = self.history.sequence().checked_sub(since);
        if behind.is_some_and(|behind| behind <= MAX_BEHIND) && since > 0 {
            return Body::Shared(self.render_report(since));
        }
        let made = match self.report.take() {
            Some(made) => made,
            None => self.render_report(0),
        };
        self.report = Some(Rc::clone(&made));
        Body::Shared(made)
    }

    fn render_report(&self, since: u64) -> Rc<[u8]> {
        let limits = self.handle.limits();
        let report = Report {
            instance: self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            version: env!("CARGO_PKG_VERSION"),
            health: self.health(),
            uptime: self.history.age().as_secs_f64(),
            sequence: self.history.sequence(),
            max_endpoints: limits.max_endpoints,
            max_memory: limits.max_memory,
            columns: std::iter::once("time").chain(COLUMNS).collect(),
            recent: self.history.recent_after(since),
            day: self.history.day_after(since),
        };
        serde_json::to_vec(&report).expect("numbers and names can always be written as JSON").into()
    }
}

/// The number of the sample that a query names; 0 if it names none.
fn since(query: &str) -> u64 {
    query.split('&').find_map(|part| part.strip_prefix("since=")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holepunch::server::{Server, ServerConfig};
    use serde_json::Value;

    use super::*;

    fn site() -> Site {
        let config =
            ServerConfig { address: ([127, 0, 0, 1], 0).into(), workers: 1, ..ServerConfig::default() };
        Site::new(Server::bind(&config).unwrap().handle())
    }

    fn ask(site: &mut Site, target: &str) -> (String, String) {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let query = query.map(str::to_owned);
        let request = Request { path: path.into(), query, head_only: false, keep_alive: true };
        let response = site.answer(&request, false);
        let head = String::from_utf8(response.head).unwrap();
        (head[9..12].to_owned(), String::from_utf8(response.body.bytes().to_vec()).unwrap())
    }

    #[test]
    fn only_what_is_new_is_reported_to_who_asks_often() {
        let mut site = site();
        let began = site.began;
        let mut rows = |samples: std::ops::Range<u64>, target: &str| {
            for second in samples {
                site.sample(began + Duration::from_secs(second));
            }
            let report: Value = serde_json::from_str(&ask(&mut site, target).1).unwrap();
            let len = |name: &str| report[name].as_array().unwrap().len();
            assert_eq!(len("columns"), 1 + COLUMNS.len());
            (report["sequence"].as_u64().unwrap(), len("recent"), len("day"))
        };
        assert_eq!(rows(0..0, "/status.json"), (0, 0, 0));
        assert_eq!(rows(1..2, "/status.json?since=0"), (1, 1, 0));
        assert_eq!(rows(2..101, "/status.json"), (100, 100, 1));
        assert_eq!(rows(101..102, "/status.json"), (101, 101, 1));
        assert_eq!(rows(102..102, "/status.json?since=100"), (101, 1, 0));
        assert_eq!(rows(102..102, "/status.json?x=1&since=101"), (101, 0, 0));
        // Too long ago, or of another server.
        for since in ["20", "102", "-1", "x"] {
            assert_eq!(rows(102..102, &format!("/status.json?since={since}")), (101, 101, 1));
        }
    }

    #[test]
    fn health_is_checked_in_a_word() {
        let mut site = site();
        assert_eq!(ask(&mut site, "/healthz"), ("200".into(), "ok\n".into()));
        let mut counters = *site.history.latest();
        counters.overloaded = true;
        site.history.record(Duration::from_secs(1), counters);
        assert_eq!(ask(&mut site, "/healthz"), ("200".into(), "overloaded\n".into()));
        site.handle.drain();
        assert_eq!(ask(&mut site, "/healthz"), ("503".into(), "draining\n".into()));
        assert!(ask(&mut site, "/metrics").1.contains("hp_server_draining 1\n"));
        assert!(ask(&mut site, "/status.json").1.contains("\"health\":\"draining\""));
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, _, text) in FILES {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("//") || name == "/status.js", "{name}");
            assert!(
                !text.contains("http:") && !text.contains("https:") && !text.contains("@import"),
                "{name}"
            );
            assert!(
                !text.contains("style=") && !text.contains("innerHTML") && !text.contains(" onclick"),
                "{name}"
            );
        }
    }
}
