//! Gives the shared library its soname and, with the feature `codegen`, writes the C header.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The number is HP_ABI_VERSION in src/ffi/version.rs; a test compares them.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libholepunch.so.1");
    }
    #[cfg(feature = "codegen")]
    write_header();
}

#[cfg(feature = "codegen")]
fn write_header() {
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let config =
        cbindgen::Config::from_file(format!("{root}/cbindgen.toml")).expect("cbindgen.toml is valid");
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which a reader wants to meet them.
    for part in ["version", "status", "error", "address", "peer", "log", "client", "server"] {
        builder = builder.with_src(format!("{root}/src/ffi/{part}.rs"));
    }
    let bindings = builder.generate().expect("the ABI can be expressed in C");
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let text = tidy(&String::from_utf8(generated).expect("C is ASCII"));
    let path = format!("{root}/include/holepunch.h");
    // `cargo package` fails if a build changes the sources, so nothing is written that is there already.
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
        std::fs::write(&path, text).expect("include/ can be written");
    }
}

/// Makes the header one that people read: one-line comments on one line, related definitions together.
#[cfg(feature = "codegen")]
fn tidy(generated: &str) -> String {
    let lines: Vec<&str> = generated.lines().map(str::trim_end).collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() == "/*" && out.last().is_none_or(|last| !last.trim().is_empty()) && !indent.is_empty()
        {
            out.push(String::new());
        }
        if line.trim() == "/*" && at > 0 && lines[at + 1].trim_start().starts_with(|c: char| c != '*') {
            let end = at + lines[at..].iter().position(|line| line.trim() == "*/").expect("comments end");
            let text: Vec<&str> = lines[at + 1..end].iter().map(|line| line.trim()).collect();
            if let [only] = text[..] {
                out.push(format!("{indent}/* {only} */"));
            } else {
                out.push(format!("{indent}/*"));
                out.extend(text.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned()));
                out.push(format!("{indent} */"));
            }
            at = end + 1;
            continue;
        }
        out.push(match line.split_once(" // ") {
            Some((code, comment)) => format!("{code} /* {comment} */"),
            None => line.to_owned(),
        });
        at += 1;
    }
    let mut text = String::new();
    for (at, line) in out.iter().enumerate() {
        let next = out.get(at + 1).map_or("", String::as_str);
        let before = at.checked_sub(1).map_or("", |before| out[before].as_str());
        let within_group =
            |line: &str| line.trim_start().starts_with("/*") && line.trim_end().ends_with("*/");
        let opens = before.trim_end().ends_with('{');
        let closes_group = before.starts_with("#define HP_") && within_group(next);
        let same_kind = prefix(before) == out.get(at + 2).map_or("", |line| prefix(line));
        if line.is_empty() && (opens || before.is_empty() || closes_group && same_kind) {
            continue;
        }
        if line.is_empty() && before.ends_with(',') && within_group(next) {
            continue;
        }
        if line.is_empty() && before.starts_with("    ") && before.ends_with(';') && within_group(next) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// `HP_PATH` of `#define HP_PATH_HOST 1`.
#[cfg(feature = "codegen")]
fn prefix(line: &str) -> &str {
    let name = line.strip_prefix("#define ").unwrap_or_default();
    name.match_indices('_').nth(1).map_or("", |(end, _)| &name[..end])
}
