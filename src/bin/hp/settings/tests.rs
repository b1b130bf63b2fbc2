use std::os::unix::fs::PermissionsExt;

use clap::Parser;
use holepunch::ErrorKind;

use super::*;

struct Test;

impl Takes for Test {
    const SETTINGS: &'static [&'static Setting] = &[&SERVER, &ROOM, &LOCAL, &IDENTITY, &PIN];
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags<Test>,
}

fn settings(flags: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Settings, String> {
    let arguments = Arguments::parse_from([&["hp"], flags].concat());
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Settings::from_sources(&arguments.flags, environment, file)
}

fn room(flags: &[&str], environment: &[(&str, &str)], file: &str) -> Result<String, String> {
    settings(flags, environment, file)?.room()
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "HP_ROOM=file";
    let environment = [("HP_ROOM", "environment")];
    assert_eq!(room(&["--room", "flag"], &environment, file).unwrap(), "flag");
    assert_eq!(room(&[], &environment, file).unwrap(), "environment");
    assert_eq!(room(&[], &[("HP_ROOM", "")], file).unwrap(), "file");
    assert_eq!(room(&[], &[("ROOM", "GoChat's")], file).unwrap(), "GoChat's");
    assert_eq!(room(&[], &[("ROOM", "GoChat's"), ("HP_ROOM", "ours")], "").unwrap(), "ours");
    assert_eq!(
        room(&[], &[], "").unwrap_err(),
        "--room NAME is missing (or HP_ROOM in the environment or .env)"
    );
}

#[test]
fn gochats_file_is_understood() {
    let file = "LOCAL_UDP_PORT=\"4545\"\nMODE=\"client\"\nBOOTNODE=\"127.0.0.1:9595\"\nROOM='test'\n\
                HEARTBEAT_INTERVAL=10 #seconds\nPEER_TIMEOUT=15 #seconds\nLISTEN=\"0.0.0.0:9595\"\n";
    let settings = settings(&[], &[], file).unwrap();
    assert_eq!(settings.room().unwrap(), "test");
    assert!(settings.client().is_ok());
    assert_eq!(settings.get(&LOCAL, local_address).unwrap(), Some("0.0.0.0:4545".parse().unwrap()));
    let warnings = settings.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[1].starts_with("HEARTBEAT_INTERVAL in .env, line 5 has no effect"), "{warnings:?}");
    let flags = super::tests::settings(&["--bootnode", "h:1", "--port", "7"], &[], "").unwrap();
    assert!(flags.client().is_ok() && flags.warnings().is_empty());
}

#[test]
fn lines_of_the_file_are_read_as_elsewhere() {
    let value = |line: &str| room(&[], &[], line);
    for (line, wanted) in [
        ("  export HP_ROOM = a b  # why", "a b"),
        ("HP_ROOM=a#b", "a#b"),
        ("HP_ROOM=\" a # b \" # why", " a # b "),
        ("HP_ROOM='a\"b'", "a\"b"),
        ("# HP_ROOM=no\nHP_ROOM=first\nnonsense\nOTHER='open\nHP_ROOM=last\r\n", "last"),
    ] {
        assert_eq!(value(line).as_deref(), Ok(wanted), "{line}");
    }
    assert!(value("HP_ROOM=#none").is_err());
    assert_eq!(
        value("\nHP_ROOM=\"a").unwrap_err(),
        "HP_ROOM in .env, line 2: the quotation mark is not closed"
    );
}

#[test]
fn errors_say_where_the_value_was_given() {
    let client = |flags: &[&str], environment: &[(&str, &str)], file: &str| {
        settings(flags, environment, file).and_then(|settings| settings.client()).map(|_| ()).unwrap_err()
    };
    let server = "the server must be given as host:port";
    assert!(client(&["--server", "x"], &[], "").starts_with("--server: "));
    assert!(client(&[], &[("BOOTNODE", "x")], "").starts_with("BOOTNODE in the environment: "));
    let error = client(&[], &[], "# ours\nHP_SERVER=x");
    assert!(error.starts_with("HP_SERVER in .env, line 2: ") && error.contains(server), "{error}");
    let error = client(&["--server", "h:1", "--local", "70000"], &[], "");
    assert_eq!(error, "--local: `70000` is neither a port nor ADDRESS:PORT");
    let error = room(&["--room", &"x".repeat(1001)], &[], "").unwrap_err();
    assert!(error.starts_with("--room: a room's name"), "{error}");
    let options = settings(&["--pin", "12"], &[], "").and_then(|settings| settings.room_options());
    assert!(options.map(|_| ()).unwrap_err().starts_with("--pin: `12` is not a public key"));
    assert_eq!(Client::new("x").unwrap_err().kind(), ErrorKind::InvalidServer);
}

#[test]
fn pinned_keys_are_read() {
    let keys = format!("{}, {}", "01".repeat(32), "fF".repeat(32));
    let settings = settings(&["--pin", &keys], &[], "").unwrap();
    assert_eq!(settings.room_options().unwrap().pinned, [PublicKey([1; 32]), PublicKey([255; 32])]);
}

#[test]
fn an_identity_is_kept_and_for_its_owner_only() {
    let path = std::env::temp_dir().join(format!("hp-identity-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let load = || {
        let settings = settings(&["--identity", path.to_str().unwrap()], &[], "").unwrap();
        settings.room_options().map(|options| options.identity.unwrap())
    };
    let key = load().unwrap();
    assert_ne!(key, [0; 32]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(load(), Ok(key));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load().unwrap_err().contains("mode 640"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "nonsense").unwrap();
    assert!(load().unwrap_err().contains("does not hold a private key"));
    std::fs::remove_file(&path).unwrap();
    let nowhere = path.join("below");
    assert!(identity::load_or_create(&nowhere).unwrap_err().contains("cannot be made"));
}
