//! JSON as XGBoost writes and reads it: numbers with a point or an exponent are 32-bit floats,
//! others are 64-bit integers, and `NaN`, `Infinity` and `-Infinity` stand bare.

use super::value::Value;
use super::{DEPTH_MAX, malformed};
use crate::forest::ParseError;

/// Reads one document; only white space may follow it.
///
/// # Errors
/// [`ParseError::Malformed`] with the byte and what was expected.
pub fn read(bytes: &[u8]) -> Result<Value, ParseError> {
    if bytes.is_empty() {
        return malformed("the file is empty");
    }
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    match reader.peek_token() {
        None => Ok(value),
        Some(_) => reader.expected("the end"),
    }
}

enum Number {
    Integer(i64),
    Float(f32),
}

impl Number {
    fn value(self) -> Value {
        match self {
            Number::Integer(number) => Value::Integer(number),
            Number::Float(number) => Value::Float(number),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if depth > DEPTH_MAX {
            return malformed(format!(
                "json, byte {}: nested too deep, more than {DEPTH_MAX} lists and objects",
                self.at
            ));
        }
        match self.peek_token() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.text()?)),
            Some(b't') => self.word("true", Value::Integer(1)),
            Some(b'f') => self.word("false", Value::Integer(0)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'N') => self.word("NaN", Value::Float(f32::NAN)),
            Some(b'I') => self.word("Infinity", Value::Float(f32::INFINITY)),
            Some(b'-') if self.bytes.get(self.at + 1) == Some(&b'I') => {
                self.word("-Infinity", Value::Float(f32::NEG_INFINITY))
            }
            Some(b'-' | b'+' | b'0'..=b'9') => Ok(self.number()?.value()),
            _ => self.expected("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.accept(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek_token() != Some(b'"') {
                return self.expected("a name in quotes");
            }
            let name = self.text()?;
            if !self.accept(b':') {
                return self.expected("a colon");
            }
            members.push((name, self.value(depth + 1)?));
            if self.accept(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.accept(b',') {
                return self.expected("a comma or a closing brace");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut list = Value::Integers(Vec::new());
        if self.accept(b']') {
            return Ok(list);
        }
        loop {
            // Nearly all of a file is in lists of numbers, so they go the short way.
            match (self.peek_token(), self.bytes.get(self.at + 1)) {
                (Some(b'0'..=b'9'), _) | (Some(b'-'), Some(b'0'..=b'9')) => {
                    let start = self.at;
                    match (&mut list, self.digits()) {
                        (Value::Integers(list), Some(Number::Integer(value))) => list.push(value),
                        (Value::Floats(list), Some(Number::Float(value))) => list.push(value),
                        (list, Some(number)) => list.push(number.value()),
                        (_, None) => return self.no_number(start),
                    }
                }
                _ => {
                    let value = self.value(depth + 1)?;
                    list.push(value);
                }
            }
            match self.peek_token() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(list);
                }
                _ => return self.expected("a comma or a closing bracket"),
            }
        }
    }

    fn number(&mut self) -> Result<Number, ParseError> {
        let start = self.at;
        match self.digits() {
            Some(number) => Ok(number),
            None => self.no_number(start),
        }
    }

    #[cold]
    fn no_number<T>(&self, start: usize) -> Result<T, ParseError> {
        let text = str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        malformed(format!("json, byte {start}: \"{text}\" is not a number"))
    }

    /// The number that is next, and no `Result`: this is where a large file spends its time.
    #[inline]
    fn digits(&mut self) -> Option<Number> {
        let start = self.at;
        let mut digits = 0_i64;
        let (mut plain, mut whole) = (true, true);
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' => {
                    digits = digits.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
                }
                b'-' if self.at == start => {}
                b'.' | b'e' | b'E' => (plain, whole) = (false, false),
                b'+' | b'-' => plain = false,
                _ => break,
            }
            self.at += 1;
        }
        let text = &self.bytes[start..self.at];
        // Most numbers of a file are short integers; 18 digits cannot overflow.
        if plain && text.len() <= 18 && text != b"-" {
            let negative = text.first() == Some(&b'-');
            return Some(Number::Integer(if negative { -digits } else { digits }));
        }
        let text = str::from_utf8(text).ok()?;
        if whole {
            return text.parse().ok().map(Number::Integer);
        }
        text.parse().ok().map(Number::Float)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, ParseError> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        if word.as_bytes().starts_with(rest) {
            self.at = self.bytes.len();
        }
        self.expected("a value")
    }

    /// The text whose opening quote is next.
    fn text(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let start = self.at;
        let mut text = Vec::new();
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    let unescaped = self.escape()?;
                    text.extend_from_slice(unescaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => {
                    text.push(*byte);
                    self.at += 1;
                }
                None => return self.expected("a closing quote"),
            }
        }
        self.at += 1;
        match String::from_utf8(text) {
            Ok(text) => Ok(text),
            Err(_) => malformed(format!("json, byte {start}: the text is not utf-8")),
        }
    }

    /// The character that the escape after a backslash stands for.
    fn escape(&mut self) -> Result<char, ParseError> {
        let character = match self.bytes.get(self.at) {
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return self.expected("an escape"),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, ParseError> {
        let first = self.hex4()?;
        let high = (0xd800..0xdc00).contains(&first);
        if !high || self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at += 2;
        let second = self.hex4()?;
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff);
        let low = (0xdc00..0xe000).contains(&second);
        Ok(char::from_u32(pair)
            .filter(|_| low)
            .unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let text = str::from_utf8(digits).unwrap_or_default();
        match u32::from_str_radix(text, 16) {
            Ok(number) if text.len() == 4 && !text.starts_with('+') => {
                self.at += 4;
                Ok(number)
            }
            _ => self.expected("four hexadecimal digits"),
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek_token() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expected<T>(&self, what: &str) -> Result<T, ParseError> {
        match self.bytes.get(self.at) {
            None => malformed(format!("unexpected end of the json: expected {what}")),
            Some(_) => malformed(format!("json, byte {}: expected {what}", self.at)),
        }
    }
}
