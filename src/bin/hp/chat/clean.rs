//! What others send is shown, so it must not be able to command the terminal, nor pass for something else.

/// Most characters of a name.
pub const MAX_NAME: usize = 24;

/// The text in one line, without what terminals obey and what turns the order of letters around.
pub fn clean(text: &str) -> String {
    text.chars().filter_map(cleaned).collect()
}

/// A name in the same way, short, and without the marks that set names apart; `None` if nothing is left.
pub fn clean_name(text: &str) -> Option<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    // Invisible joiners would make two names look the same.
    let visible = |char: &char| !matches!(char, '\u{200c}' | '\u{200d}');
    let marks = |char| if matches!(char, '<' | '>' | '#' | '*') { '_' } else { char };
    let name: String = clean(&words.join(" ")).chars().filter(visible).map(marks).take(MAX_NAME).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The beginning of a text, to remind of it.
pub fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

fn cleaned(char: char) -> Option<char> {
    match char {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => Some(' '),
        // C0, DEL and C1, among them escape and the eight-bit CSI.
        _ if char.is_control() => Some('\u{fffd}'),
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9).
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        // Without any width: soft hyphen, zero-width space, word joiner and invisible operators, byte order mark,
        // annotations, tags, and letters that fill a place with nothing.
        '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' => None,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => None,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => None,
        _ => Some(char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let dirty = "a\x1b[2J\x1b]0;title\x07b\r\nc\u{9b}31md\x7f\t\0e";
        let text = clean(dirty);
        assert_eq!(text, "a\u{fffd}[2J\u{fffd}]0;title\u{fffd}b  c\u{fffd}31md\u{fffd} \u{fffd}e");
        let all: String = (0..=0x0f_ffff).filter_map(char::from_u32).collect();
        assert!(!clean(&all).chars().any(char::is_control));
    }

    #[test]
    fn letters_keep_their_order_and_are_all_visible() {
        assert_eq!(clean("evil\u{202e}txt.exe\u{2066}\u{200f}\u{ad}\u{e0041}"), "eviltxt.exe");
        let languages = "żółć שלום العربية 你好 हिन्दी 👩\u{200d}🚀 é";
        assert_eq!(clean(languages), languages);
    }

    #[test]
    fn names_are_short_and_not_to_be_mistaken() {
        assert_eq!(clean_name("  al\n ice\t").as_deref(), Some("al ice"));
        assert_eq!(clean_name("<bob>#1*").as_deref(), Some("_bob__1_"));
        assert_eq!(clean_name("bo\u{200d}b").as_deref(), Some("bob"));
        assert_eq!(clean_name(&"ß".repeat(99)), Some("ß".repeat(MAX_NAME)));
        assert_eq!(clean_name(" \u{202e}\u{200b} "), None);
    }

    #[test]
    fn long_texts_are_only_reminded_of() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ü".repeat(50)), format!("{}…", "ü".repeat(40)));
    }
}
