//! A private key that is kept in a file, for its owner's eyes only.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Reads the key, or makes one if there is no such file.
pub fn load_or_create(path: &Path) -> Result<[u8; 32], String> {
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn load(path: &Path, file: File) -> Result<[u8; 32], String> {
    let path = path.display();
    let unreadable = |error| format!("{path} cannot be read: {error}");
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "others may read or change {path} (mode {:o}): `chmod 600 {path}`",
            mode & 0o777
        ));
    }
    let mut text = String::new();
    file.take(200).read_to_string(&mut text).map_err(unreadable)?;
    from_hex(text.trim())
        .ok_or_else(|| format!("{path} does not hold a private key of 64 hexadecimal digits"))
}

fn create(path: &Path) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| format!("no randomness for a new key: {error}"))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{}\n", to_hex(&key)).as_bytes()));
    written.map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
    Ok(key)
}

/// As 64 digits.
pub fn to_hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// From 64 digits.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
