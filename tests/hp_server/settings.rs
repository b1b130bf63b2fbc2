//! Where settings come from, seen from outside.

use super::{Directory, command, run};

#[test]
fn checked_settings_name_their_sources() {
    let directory = Directory::new("check");
    directory.write(".env", "HP_SERVER_RATE_LIMIT=100\nHP_SERVER_CONFIG=own.toml\n");
    directory
        .write("own.toml", "rate-limit = 50\nmax-memory = 8\nstore = \"redis://:hunter2@127.0.0.1/0\"\n");
    let mut command = command(&directory);
    let output = command
        .args(["--check-config", "--tcp"])
        .env("HP_SERVER_DIALECT", "native")
        .env("HP_SERVER_ROOM", "x")
        .output()
        .unwrap();
    let (shown, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "dialect = \"native\"  # HP_SERVER_DIALECT in the environment",
        "rate-limit = 100  # HP_SERVER_RATE_LIMIT in .env, line 1",
        "max-memory = 8  # own.toml:2, max-memory",
        "tcp = true  # --tcp",
        "relay = false  # default",
        "store = \"redis://…@127.0.0.1/0\"  # own.toml:3, store",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(said.contains("HP_SERVER_ROOM in the environment means nothing here"), "{said}");
    assert!(!said.contains("hunter2"));
}

#[test]
fn exit_status_tells_what_is_wrong() {
    let directory = Directory::new("status");
    let file = directory.write("bad.toml", "workers = 0\n");
    for check in [&["--check-config"][..], &[]] {
        let (status, _, said) = run(&directory, &[&["--config", &file], check].concat());
        assert_eq!(status, Some(1), "{said}");
        let wanted = format!("{file}:1, workers: `0`: the number of workers must be 1 to 64");
        assert!(said.contains("ERROR") && said.contains(&wanted), "{said}");
        let (status, _, said) = run(&directory, &[&["--workers=many"], check].concat());
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("--workers: `many`: no whole number"), "{said}");
        let (status, ..) = run(&directory, &[&["--wokers=1"], check].concat());
        assert_eq!(status, Some(2));
    }
    directory.write(".env", "HP_SERVER_WOKERS=1");
    let (status, _, said) = run(&directory, &["--check-config"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("HP_SERVER_WOKERS in .env, line 1: there is no such setting"), "{said}");
}
