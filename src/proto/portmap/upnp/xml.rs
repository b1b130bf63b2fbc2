//! As much of XML as routers' answers take: elements and their text, in one pass and without memory of its own.
//!
//! Attributes, namespaces, comments and processing instructions are skipped. A document type with declarations of its
//! own ends the reading, so nothing is ever expanded.

/// A piece of a document. Names are local ones, without prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// The start of an element.
    Open(&'a [u8]),
    /// The end of an element.
    Close(&'a [u8]),
    /// Text; predefined entities in it stand as they are.
    Text(&'a [u8]),
}

/// The tokens of a document, until it ends or is not well-formed.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
    /// An empty-element tag is an Open that owes its Close.
    owed: Option<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    /// Starts at the front of `document`.
    pub fn new(document: &'a [u8]) -> Self {
        Self { rest: document, owed: None }
    }

    /// What stands before `mark`, which is skipped, too.
    fn until(&mut self, mark: &[u8]) -> Option<&'a [u8]> {
        let at = self.rest.windows(mark.len()).position(|window| window == mark)?;
        let (head, tail) = self.rest.split_at(at);
        self.rest = &tail[mark.len()..];
        Some(head)
    }

    /// The inside of a tag, up to the `>` that stands outside of quotes.
    fn tag(&mut self) -> Option<&'a [u8]> {
        let mut quote = None;
        let end = self.rest.iter().position(|byte| match (quote, byte) {
            (None, b'>') => true,
            (None, b'"' | b'\'') => {
                quote = Some(*byte);
                false
            }
            (Some(open), _) if open == *byte => {
                quote = None;
                false
            }
            _ => false,
        })?;
        let (head, tail) = self.rest.split_at(end);
        self.rest = &tail[1..];
        Some(head)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(name) = self.owed.take() {
            return Some(Token::Close(name));
        }
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Some(markup) = self.rest.strip_prefix(b"<") else {
                let end = self.rest.iter().position(|byte| *byte == b'<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Token::Text(text));
            };
            self.rest = markup;
            if let Some(rest) = markup.strip_prefix(b"![CDATA[") {
                self.rest = rest;
                return self.until(b"]]>").map(Token::Text);
            }
            if markup.starts_with(b"!--") {
                self.rest = &markup[3..];
                self.until(b"-->")?;
            } else if markup.starts_with(b"?") {
                self.until(b"?>")?;
            } else if markup.starts_with(b"!") {
                if self.tag()?.contains(&b'[') {
                    self.rest = &[];
                }
            } else {
                let tag = self.tag()?;
                if let Some(tag) = tag.strip_prefix(b"/") {
                    return Some(Token::Close(local_name(tag)));
                }
                let name = local_name(tag);
                self.owed = tag.ends_with(b"/").then_some(name);
                return Some(Token::Open(name));
            }
        }
    }
}

/// The name that a tag starts with, without its prefix.
fn local_name(tag: &[u8]) -> &[u8] {
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(tag.len());
    let name = &tag[..end];
    name.iter().position(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

/// Longest text that [`text_of`] and the description's reader take.
pub const MAX_TEXT: usize = 512;

/// Collects an element's text; what is too long or not UTF-8 becomes the empty string.
#[derive(Debug, Default)]
pub struct TextBuffer {
    bytes: Vec<u8>,
}

impl TextBuffer {
    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds a piece of text.
    pub fn push(&mut self, text: &[u8]) {
        // One byte more than is allowed marks the text as too long.
        let room = (MAX_TEXT + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// The text, without white space around it and with the entity that occurs in URLs resolved.
    pub fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() > MAX_TEXT {
            return String::new();
        }
        let (mut rest, mut text) = (bytes.trim_ascii(), Vec::new());
        while let [first, others @ ..] = rest {
            text.push(*first);
            rest = if *first == b'&' { others.strip_prefix(b"amp;").unwrap_or(others) } else { others };
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

/// The text of the first element called `name`.
pub fn text_of(document: &[u8], name: &str) -> Option<String> {
    let mut tokens = Tokens::new(document);
    tokens.find(|token| *token == Token::Open(name.as_bytes()))?;
    let mut text = TextBuffer::default();
    for token in tokens {
        match token {
            Token::Text(piece) => text.push(piece),
            Token::Close(closed) if closed == name.as_bytes() => return Some(text.take()),
            _ => return None,
        }
    }
    None
}
