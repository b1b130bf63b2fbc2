use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::sources::Problem;
use super::*;

/// A file that is gone afterwards.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hp-server-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn collect(flags: &[&str], environment: &[(&str, &str)], dotenv: &str) -> Result<Configuration, Problem> {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Configuration::from_sources(&Arguments::from_words(flags), environment, dotenv)
}

fn error(flags: &[&str], environment: &[(&str, &str)], dotenv: &str) -> String {
    collect(flags, environment, dotenv).unwrap_err().to_string()
}

fn of_file(name: &str, text: &str) -> Result<Configuration, String> {
    let file = File::new(name, text);
    collect(&["--config", file.path()], &[], "")
        .map_err(|problem| problem.to_string().replace(file.path(), "FILE"))
}

#[test]
fn nothing_given_is_the_default() {
    let configuration = collect(&[], &[], "").unwrap();
    assert_eq!(format!("{:?}", configuration.settings), format!("{:?}", Settings::default()));
    let server = configuration.settings.server();
    assert_eq!(format!("{server:?}"), format!("{:?}", ServerConfig::default()));
}

#[test]
fn flags_win_over_the_environment_and_that_over_dotenv_and_that_over_the_file() {
    let file = File::new("precedence", "workers = 1\nmax-memory = 1\nrelay = true\ndrain = \"1s\"\n");
    let all = |flags: &[&str]| {
        let flags = [&["--config", file.path()], flags].concat();
        let environment = [("HP_SERVER_WORKERS", "3"), ("HP_SERVER_MAX_MEMORY", "")];
        let dotenv = "HP_SERVER_WORKERS=2\nHP_SERVER_MAX_MEMORY=2\nOTHER=x";
        collect(&flags, &environment, dotenv).unwrap()
    };
    let place = |configuration: &Configuration, name: &str| {
        let number = SETTINGS.iter().position(|setting| setting.name == name).unwrap();
        configuration.given[number].as_ref().map(|given| given.place.clone())
    };
    let with_flag = all(&["--workers", "4", "--relay=no"]);
    let server = with_flag.settings.server();
    assert_eq!((server.workers, server.limits.max_memory, server.relay.is_some()), (4, 2 << 20, false));
    assert_eq!(with_flag.settings.drain, Duration::from_secs(1));
    assert_eq!(place(&with_flag, "workers").as_deref(), Some("--workers"));
    assert_eq!(place(&with_flag, "max-memory").as_deref(), Some("HP_SERVER_MAX_MEMORY in .env, line 2"));
    assert_eq!(place(&with_flag, "drain"), Some(format!("{}:4, drain", file.path())));
    assert_eq!(place(&with_flag, "tcp"), None);
    let without = all(&[]);
    assert_eq!(place(&without, "workers").as_deref(), Some("HP_SERVER_WORKERS in the environment"));
    assert!(without.settings.server().relay.is_some());
}

#[test]
fn file_is_named_by_flag_environment_or_dotenv() {
    let [one, two] = [File::new("one", "workers = 1"), File::new("two", "workers = 2")];
    let workers = |flags: &[&str], environment: &[(&str, &str)], dotenv: &str| {
        collect(flags, environment, dotenv).unwrap().settings.server().workers
    };
    assert_eq!(workers(&["--config", one.path()], &[("HP_SERVER_CONFIG", two.path())], ""), 1);
    assert_eq!(workers(&[], &[("HP_SERVER_CONFIG", two.path())], "HP_SERVER_CONFIG=nowhere"), 2);
    assert_eq!(workers(&[], &[], &format!("HP_SERVER_CONFIG={}", one.path())), 1);
    assert!(error(&["--config", "/nowhere/x.toml"], &[], "").starts_with("/nowhere/x.toml cannot be read: "));
}

#[test]
fn errors_say_where_and_what() {
    let range = "the number of workers must be 1 to 64";
    let flag = collect(&["--workers", "65"], &[], "").unwrap_err();
    assert_eq!(flag, Problem::Other(format!("--workers: `65`: {range}")));
    let flag = collect(&["--workers", "x"], &[], "").unwrap_err();
    assert_eq!(flag, Problem::Flag("--workers: `x`: no whole number of that range".into()));
    assert_eq!(error(&["nowhere:x"], &[], "").split(':').next(), Some("ADDR"));
    let variable = [("HP_SERVER_WORKERS", "0")];
    assert_eq!(
        error(&["--workers", "1"], &variable, ""),
        format!("HP_SERVER_WORKERS in the environment: `0`: {range}")
    );
    assert_eq!(
        error(&[], &[], "\nHP_SERVER_TCP=perhaps"),
        "HP_SERVER_TCP in .env, line 2: `perhaps`: none of yes, no, true, false, on, off, 1, 0"
    );
    for (name, value) in [
        ("dialect", "other"),
        ("max-endpoints", "255"),
        ("max-per-session", "1"),
        ("max-per-session", "258"),
        ("max-per-prefix", "1"),
        ("max-memory", "0"),
        ("max-memory", "18446744073709551615"),
        ("rate-limit", "9"),
        ("rate-limit", "-1"),
        ("plain-amplification", "x"),
        ("plain-expiry", "0s"),
        ("plain-expiry", "40"),
        ("alternate-ports", "5"),
        ("other-address", "x"),
        ("relay-ports", "65"),
        ("relay-rate", "1"),
        ("relay-idle", "0"),
        ("tcp-connections", "0"),
        ("http", "9090"),
        ("drain", "soon"),
        ("log", "a/b/c"),
        ("log-format", "xml"),
        ("log-addresses", "maybe"),
    ] {
        let flag = format!("--{name}={value}");
        assert!(error(&[&flag], &[], "").starts_with(&format!("--{name}: `{value}`: ")), "{flag}");
    }
}

#[test]
fn edges_are_taken() {
    for flag in [
        "--max-endpoints=256",
        "--max-per-session=2",
        "--max-per-session=257",
        "--max-per-prefix=2",
        "--max-memory=1",
        "--rate-limit=10",
        "--rate-limit=0",
        "--plain-amplification=0",
        "--plain-expiry=never",
        "--relay-rate=0",
        "--relay-rate=2",
        "--drain=0s",
        "--tcp=no",
        "--log=",
    ] {
        collect(&[flag], &[], "").unwrap();
    }
    let limits = collect(&["--rate-limit", "0", "--plain-amplification", "0"], &[], "").unwrap();
    let limits = limits.settings.server().limits;
    assert_eq!((limits.datagrams_per_second, limits.plain_amplification), (None, None));
}

#[test]
fn settings_must_go_together() {
    let together = error(&["--other-address", "192.0.2.1", "--alternate-ports", "0"], &[], "");
    assert!(together.starts_with("these settings do not go together: ") && together.contains("192.0.2.1"));
    // Alone, each of these could be wrong.
    collect(&["[2001:db8::1]:5000", "--other-address", "2001:db8::2"], &[], "").unwrap();
}

#[test]
fn errors_of_the_file_name_its_line() {
    let of = |text: &str| of_file("errors", text).map(|_| ()).unwrap_err();
    assert_eq!(of("# ours\n\nworker = 1\n"), "FILE:3: there is no setting `worker`");
    assert_eq!(
        of("[server]\nworkers = 1\n"),
        "FILE:1: there is no setting `server`",
        "tables are none of ours"
    );
    assert_eq!(of("tcp = true\nworkers = 0"), "FILE:2, workers: `0`: the number of workers must be 1 to 64");
    assert_eq!(of("workers = \"2\""), "FILE:1, workers: expected a whole number, not the string `2`");
    assert_eq!(of("tcp = 1"), "FILE:1, tcp: expected true or false, not the integer `1`");
    assert_eq!(of("drain = 5"), "FILE:1, drain: expected a string in quotation marks, not the integer `5`");
    assert!(of("tcp = true\ntcp = false").starts_with("FILE:2: duplicate key"));
    assert!(of("tcp = true\nworkers = \n").starts_with("FILE:2: "));
    of_file("radix", "max-endpoints = 1_000\nrate-limit = 0xff").unwrap();
}

#[test]
fn names_that_mean_nothing_are_warned_of_or_refused() {
    let configuration = collect(&[], &[("HP_SERVER_PORT", "tcp://x"), ("HP_SERVER", "h:1")], "").unwrap();
    assert_eq!(configuration.warnings, ["HP_SERVER_PORT in the environment means nothing here"]);
    assert_eq!(
        error(&[], &[], "HP_SERVER=h:1\nHP_SERVER_PORT=1"),
        "HP_SERVER_PORT in .env, line 2: there is no such setting"
    );
    let nonsense = OsString::from_vec(vec![0xff]);
    let environment = [(OsString::from("HP_SERVER_TCP"), nonsense.clone()), ("OTHER".into(), nonsense)];
    let error = Configuration::from_sources(&Arguments::from_words(&[]), environment.into_iter(), "");
    assert_eq!(error.unwrap_err().to_string(), "HP_SERVER_TCP in the environment is not UTF-8");
}

#[test]
fn common_variable_of_the_log_counts_where_ours_is_not() {
    let filter = |environment: &[(&str, &str)], dotenv: &str| {
        collect(&[], environment, dotenv).unwrap().settings.log.filter
    };
    assert_eq!(filter(&[("RUST_LOG", "debug")], "HP_SERVER_LOG=warn"), "debug");
    assert_eq!(filter(&[("HP_SERVER_LOG", "error"), ("RUST_LOG", "debug")], ""), "error");
    assert_eq!(filter(&[("RUST_LOG", "debug"), ("HP_SERVER_LOG", "error")], ""), "error");
    assert_eq!(filter(&[("RUST_LOG", "")], ""), "info");
}

#[test]
fn passwords_are_never_shown() {
    for (url, shown) in [
        ("redis://u:hunter2@h:6379/0", Some("redis://…@h:6379/0")),
        ("redis://:hunter2@h", Some("redis://…@h")),
        ("redis://h/0?password=hunter2", Some("redis://h/0?…")),
        ("redis://:hunt?er2@h", None),
        ("redis://:hunter2@#h@i", None),
        ("http://u:hunter2@h", None),
        ("hunter2", None),
    ] {
        let text = match collect(&["--store", url], &[], "") {
            Ok(configuration) => format!("{}{:?}", render(&configuration), configuration.settings),
            Err(problem) => problem.to_string(),
        };
        assert!(!text.contains("hunter2") && !text.contains("er2"), "{text}");
        assert!(shown.is_none_or(|shown| text.contains(&format!("store = \"{shown}\""))), "{text}");
    }
    for text in
        ["store = \"redis://:hunter2@h\nx", "store = 'redis://:hunter2@h' hunter2", "store = [\"hunter2\"]"]
    {
        let error = of_file("secret", text).map(|_| ()).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn checked_settings_are_a_file() {
    let configuration = collect(
        &["--workers", "+03", "--log", "\"a\\b=info", "--tcp", "--max-memory=007"],
        &[("HP_SERVER_HTTP", "127.0.0.1:1")],
        "",
    )
    .unwrap();
    let text = render(&configuration);
    assert!(
        text.contains("workers = 3  # --workers\n") && text.contains("relay = false  # default\n"),
        "{text}"
    );
    assert!(text.contains("http = \"127.0.0.1:1\"  # HP_SERVER_HTTP in the environment\n"), "{text}");
    assert!(text.contains("# store: none  # default\n"), "{text}");
    let again = of_file("checked", &text).unwrap();
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", configuration.settings));
}

#[test]
fn command_line_is_sound() {
    command().debug_assert();
    for setting in SETTINGS {
        assert!(setting.variable().chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    }
}
