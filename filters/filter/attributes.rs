//! What filters tell each other and the access log: a small map of names to values, bounded.

use std::borrow::Cow;
use std::fmt;

/// Entries kept for one request.
const MAX_ATTRIBUTES: usize = 32;
/// Bytes of one text value.
const MAX_TEXT: usize = 1024;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Attribute {
    /// At most 1,024 bytes.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// Named values of one request, in the order they were set: at most 32. Names are `<filter>.<what>`, such as
/// `jwt.sub`.
#[derive(Debug, Default)]
pub struct Attributes {
    entries: Vec<(Cow<'static, str>, Attribute)>,
}

impl Attributes {
    /// Sets or replaces a value. `false`: it was not kept, because the map is full or the text too long. A text is
    /// never cut short, since two clients' keys must not become one.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Attribute>) -> bool {
        let (name, value) = (name.into(), value.into());
        if value.text().is_some_and(|text| text.len() > MAX_TEXT) {
            self.remove(&name);
            return false;
        }
        if let Some((_, kept)) = self.entries.iter_mut().find(|(n, _)| *n == name) {
            *kept = value;
            return true;
        }
        let room = self.entries.len() < MAX_ATTRIBUTES;
        if room {
            self.entries.push((name, value));
        }
        room
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        let entry = self.entries.iter().find(|(n, _)| n == name);
        entry.map(|(_, value)| value)
    }

    /// The value of that name, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Attribute::text)
    }

    /// Forgets a value.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(n, _)| n != name);
    }

    /// All of them, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.entries.iter().map(|(n, v)| (n.as_ref(), v))
    }
}

impl Attribute {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Attribute::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Text(text) => f.write_str(text),
            Attribute::Number(number) => number.fmt(f),
            Attribute::Flag(flag) => flag.fmt(f),
        }
    }
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Attribute {
        Attribute::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Attribute {
        Attribute::Text(Cow::Owned(text))
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Attribute {
        Attribute::Number(number)
    }
}

impl From<bool> for Attribute {
    fn from(flag: bool) -> Attribute {
        Attribute::Flag(flag)
    }
}
