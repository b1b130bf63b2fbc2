//! One line per record: for people, as `name=value`, or as a JSON object.

use std::fmt::Write as _;
use std::time::SystemTime;

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::{Map, Value as Json};

/// One of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// `name=value`.
    Logfmt,
    /// A JSON object.
    Json,
}

/// How records are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// One of the formats.
    pub format: LogFormat,
    /// Whether fields that tell of clients are written.
    pub addresses: bool,
    /// Whether the lines go to systemd's journal.
    pub journal: bool,
}

/// Fields that tell of clients: their addresses and session IDs stand in these, and nowhere else.
pub const PRIVATE_FIELDS: [&str; 3] = ["client", "prefix", "session"];

/// The record as a line, without its end.
pub fn write_record(style: Style, now: SystemTime, record: &Record<'_>) -> String {
    let mut fields = Fields { with_private: style.addresses, found: Vec::new() };
    // Collecting does not fail.
    let _ = record.key_values().visit(&mut fields);
    let message = record.args().to_string();
    match style.format {
        LogFormat::Text => text(style.journal, now, record, &message, &fields.found),
        LogFormat::Logfmt => logfmt(now, record, &message, &fields.found),
        LogFormat::Json => json(now, record, message, fields.found),
    }
}

struct Fields {
    with_private: bool,
    found: Vec<(String, Json)>,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if self.with_private || !PRIVATE_FIELDS.contains(&key.as_str()) {
            let number = || value.to_u64().map(Json::from).or_else(|| value.to_i64().map(Json::from));
            let known = value.to_bool().map(Json::from).or_else(number);
            let value = known.unwrap_or_else(|| Json::String(value.to_string()));
            self.found.push((key.as_str().into(), value));
        }
        Ok(())
    }
}

fn timestamp(now: SystemTime) -> String {
    humantime::format_rfc3339_millis(now).to_string()
}

fn text(
    journal: bool,
    now: SystemTime,
    record: &Record<'_>,
    message: &str,
    fields: &[(String, Json)],
) -> String {
    let mut line = match journal {
        true => format!("<{}>", priority(record.level())),
        false => format!("{} {:5} {}: ", timestamp(now), record.level(), record.target()),
    };
    push_in_one_line(&mut line, message);
    for (name, value) in fields {
        let value = plain(value);
        // What the message says already is for the other formats.
        if !message.split([' ', ',', ';']).any(|word| word == value) {
            let _ = write!(line, " {name}={}", quoted_if_needed(&value));
        }
    }
    line
}

fn logfmt(now: SystemTime, record: &Record<'_>, message: &str, fields: &[(String, Json)]) -> String {
    let level = record.level().as_str().to_lowercase();
    let mut line = format!("time={} level={level} target=", timestamp(now));
    line.push_str(&quoted_if_needed(record.target()));
    let _ = write!(line, " message={}", quoted_if_needed(message));
    for (name, value) in fields {
        let _ = write!(line, " {name}={}", quoted_if_needed(&plain(value)));
    }
    line
}

fn json(now: SystemTime, record: &Record<'_>, message: String, fields: Vec<(String, Json)>) -> String {
    let level = record.level().as_str().to_lowercase();
    let mut object = Map::from_iter(fields);
    // Last, so that no field takes their places.
    object.insert("time".into(), timestamp(now).into());
    object.insert("level".into(), level.into());
    object.insert("target".into(), record.target().into());
    object.insert("message".into(), message.into());
    Json::Object(object).to_string()
}

/// As syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What comes from elsewhere must not look like another line.
fn push_in_one_line(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
}

fn quoted_if_needed(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.extend(character.escape_default()),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(format: LogFormat, addresses: bool, journal: bool) -> String {
        let pairs: &[(&str, Value<'_>)] = &[
            ("count", Value::from(3_u64)),
            ("what", Value::from("a \"b\"\n=c")),
            ("shown", Value::from("gone")),
            ("client", Value::from("192.0.2.1:7")),
        ];
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_881_600_123);
        let mut builder = Record::builder();
        let builder = builder.level(Level::Warn).target("hp_server").key_values(&pairs);
        write_record(
            Style { format, addresses, journal },
            now,
            &builder.args(format_args!("a port\tis gone")).build(),
        )
    }

    #[test]
    fn text_is_for_people() {
        assert_eq!(
            line(LogFormat::Text, false, false),
            r#"2026-11-28T16:00:00.123Z WARN  hp_server: a port\tis gone count=3 what="a \"b\"\n=c""#
        );
        assert_eq!(
            line(LogFormat::Text, true, true),
            r#"<4>a port\tis gone count=3 what="a \"b\"\n=c" client=192.0.2.1:7"#
        );
    }

    #[test]
    fn logfmt_is_escaped() {
        assert_eq!(
            line(LogFormat::Logfmt, false, true),
            r#"time=2026-11-28T16:00:00.123Z level=warn target=hp_server message="a port\tis gone" count=3 what="a \"b\"\n=c" shown=gone"#
        );
    }

    #[test]
    fn json_is_one_object() {
        let parsed: Json = serde_json::from_str(&line(LogFormat::Json, true, false)).unwrap();
        let wanted = serde_json::json!({
            "time": "2026-11-28T16:00:00.123Z", "level": "warn", "target": "hp_server", "message": "a port\tis gone",
            "count": 3, "what": "a \"b\"\n=c", "shown": "gone", "client": "192.0.2.1:7",
        });
        assert_eq!(parsed, wanted);
        assert!(!line(LogFormat::Json, false, false).contains("192.0.2.1"));
    }
}
