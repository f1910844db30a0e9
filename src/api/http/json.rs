//! A pull reader of JSON: it borrows strings, builds no tree, and says where a document is wrong.
//!
//! Beyond JSON it reads the bare words `NaN`, `Infinity` and `-Infinity`, which Python writes.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

use super::decimal::Decimal;
use crate::api::LARGE;
use crate::error::Error;

/// Bytes between two times that a thread lets others run, some 40 µs apart. Long documents are read
/// on threads of low priority, which the system still gives milliseconds at a time.
const PAUSE_BYTES: usize = 16 << 10;

/// Nesting allowed in what is skipped or read.
const DEPTH_MAX: usize = 64;

/// A place in a JSON document.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Where the thread lets others run next.
    pause_at: usize,
}

/// What the next value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// Names that were seen: a few in a list, many in a set, so that no document takes quadratic time.
#[derive(Debug, Default)]
pub struct Names<'a> {
    few: SmallVec<[Cow<'a, str>; 8]>,
    many: HashSet<Cow<'a, str>>,
}

/// Names that are looked for one by one.
const FEW: usize = 16;

impl<'a> Names<'a> {
    /// Whether the name was seen.
    pub fn contains(&self, name: &str) -> bool {
        match self.many.is_empty() {
            true => self.few.iter().any(|few| few == name),
            false => self.many.contains(name),
        }
    }

    /// Notes a name that was not seen.
    pub fn insert(&mut self, name: Cow<'a, str>) {
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push(name);
            return;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(name);
    }
}

impl<'a> Reader<'a> {
    /// The start of a document.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            bytes,
            at: 0,
            depth: 0,
            pause_at: PAUSE_BYTES,
        }
    }

    /// What the next value is.
    ///
    /// # Errors
    /// When no value begins here.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Kind::Number),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Reads an object, calling `field` with each key; `field` must read the value. A key that
    /// appears twice is an error.
    ///
    /// # Errors
    /// Where the document is wrong, or what `field` says.
    pub fn object(
        &mut self,
        mut field: impl FnMut(&mut Reader<'a>, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut keys = Names::default();
        self.open(b'{', "an object")?;
        if self.close_if(b'}') {
            return Ok(());
        }
        loop {
            let key = self.text()?;
            if keys.contains(&key) {
                return Err(self.error("the key before it appears twice in its object"));
            }
            self.expect(b':', "\":\"")?;
            field(self, &key)?;
            keys.insert(key);
            if self.close_if(b'}') {
                return Ok(());
            }
            self.expect(b',', "\",\" or \"}\"")?;
        }
    }

    /// Reads an array, calling `item` for each value; `item` must read it.
    ///
    /// # Errors
    /// Where the document is wrong, or what `item` says.
    pub fn array(
        &mut self,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.open(b'[', "an array")?;
        if self.close_if(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.at > self.pause_at {
                self.pause();
            }
            if self.close_if(b']') {
                return Ok(());
            }
            self.expect(b',', "\",\" or \"]\"")?;
        }
    }

    /// Reads a string, borrowed where it has no escapes.
    ///
    /// # Errors
    /// When there is none, or it is broken.
    pub fn text(&mut self) -> Result<Cow<'a, str>, Error> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..=0x1f) | None => return Err(self.wrong("the string's end")),
                Some(_) => self.at += 1,
            }
        }
        let inside = self.bytes.get(start..self.at).unwrap_or_default();
        self.at += 1;
        if escaped {
            let quoted = &self.bytes[start - 1..self.at];
            let text: String = serde_json::from_slice(quoted)
                .map_err(|_broken| self.error("the string before it has a broken escape"))?;
            return Ok(Cow::Owned(text));
        }
        std::str::from_utf8(inside)
            .map(Cow::Borrowed)
            .map_err(|_broken| self.error("the string before it is not UTF-8"))
    }

    /// Reads the numbers of a list that come next, each with the comma after it, as long as `take`
    /// accepts them. What is left begins with an item, for [`Reader::array`]'s caller to read.
    /// Returns how many were read.
    pub fn numbers(&mut self, mut take: impl FnMut(Decimal) -> bool) -> usize {
        let mut count = 0;
        self.peek();
        loop {
            let rest = &self.bytes[self.at..];
            let Some((decimal, length)) = Decimal::read(rest) else {
                return count;
            };
            if rest.get(length) != Some(&b',') || !take(decimal) {
                return count;
            }
            let space = usize::from(rest.get(length + 1) == Some(&b' '));
            self.at += length + 1 + space;
            count += 1;
            if self.at > self.pause_at {
                self.pause();
            }
        }
    }

    /// Reads a number.
    ///
    /// # Errors
    /// When there is none, it is malformed, or it is too large for 64 bits.
    pub fn number(&mut self) -> Result<f64, Error> {
        let first = self.peek();
        let decimal = Decimal::read(&self.bytes[self.at..]);
        if let Some((Some(value), length)) = decimal.map(|(it, length)| (it.f64(), length)) {
            // What cannot follow a number is found by whoever reads on.
            self.at += length;
            return Ok(value);
        }
        let start = self.at;
        if matches!(first, Some(b'N' | b'I')) || self.bytes[start..].starts_with(b"-I") {
            for (word, value) in [
                ("NaN", f64::NAN),
                ("Infinity", f64::INFINITY),
                ("-Infinity", f64::NEG_INFINITY),
            ] {
                if self.word(word) {
                    return Ok(value);
                }
            }
            return Err(self.wrong("a number"));
        }
        self.digits_and_signs();
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        let value: f64 = match text.parse() {
            Ok(value) if well_formed(text.as_bytes()) => value,
            _ => {
                self.at = start;
                return Err(self.wrong("a number"));
            }
        };
        if value.is_infinite() {
            self.at = start;
            return Err(self.error("the number does not fit a 64-bit float"));
        }
        Ok(value)
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.peek();
        if self.word("true") {
            return Ok(true);
        }
        if self.word("false") {
            return Ok(false);
        }
        Err(self.wrong("true or false"))
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn null(&mut self) -> Result<(), Error> {
        self.peek();
        if self.word("null") {
            return Ok(());
        }
        Err(self.wrong("null"))
    }

    /// Reads a value and forgets it.
    ///
    /// # Errors
    /// Where it is wrong.
    pub fn skip(&mut self) -> Result<(), Error> {
        match self.kind()? {
            Kind::Object => self.object(|reader, _| reader.skip()),
            Kind::Array => self.array(Reader::skip),
            Kind::Text => self.text().map(|_| ()),
            Kind::Number => self.number().map(|_| ()),
            Kind::Bool => self.boolean().map(|_| ()),
            Kind::Null => self.null(),
        }
    }

    /// Checks that nothing but white space follows.
    ///
    /// # Errors
    /// When something does.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end")),
        }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// An error at this place.
    pub fn error(&self, what: &str) -> Error {
        let at = self.at.min(self.bytes.len());
        let before = &self.bytes[..at];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before
            .iter()
            .rev()
            .take_while(|byte| **byte != b'\n')
            .count();
        Error::invalid(format!("body, line {line}, column {column}: {what}"))
    }

    #[cold]
    fn pause(&mut self) {
        self.pause_at = self.at + PAUSE_BYTES;
        // A short document is read on a serving thread, where its other requests would not gain.
        if self.bytes.len() > LARGE {
            std::thread::yield_now();
        }
    }

    fn wrong(&self, expected: &str) -> Error {
        self.error(&format!("expected {expected}"))
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, name: &str) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(self.wrong(name));
        }
        self.at += 1;
        Ok(())
    }

    fn open(&mut self, byte: u8, name: &str) -> Result<(), Error> {
        self.expect(byte, name)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(&format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    fn close_if(&mut self, byte: u8) -> bool {
        let closes = self.peek() == Some(byte);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn digits_and_signs(&mut self) {
        while let Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}

/// What Rust's own parser takes beyond JSON's numbers: a leading plus or zero, a bare point.
fn well_formed(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let leading_zero = matches!(digits, [b'0', b'0'..=b'9', ..]);
    let point = digits.iter().position(|byte| *byte == b'.');
    let bare_point =
        point.is_some_and(|at| at == 0 || !digits.get(at + 1).is_some_and(u8::is_ascii_digit));
    digits.first().is_some_and(u8::is_ascii_digit) && !leading_zero && !bare_point
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<f64, String> {
        let mut reader = Reader::new(text.as_bytes());
        let value = reader.number().map_err(|error| error.message)?;
        reader.end().map_err(|error| error.message)?;
        Ok(value)
    }

    #[test]
    fn numbers_read_as_json_and_as_python_writes_them() {
        for (text, expected) in [
            ("1", 1.0),
            ("-0.5e2", -50.0),
            (" 1e-3 ", 0.001),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
        assert!(number("NaN").is_ok_and(f64::is_nan));
        assert_eq!(number("-0").map(f64::to_bits), Ok((-0.0_f64).to_bits()));
        for text in [
            "", "01", "+1", ".5", "1.", "1.e3", "0x1", "1e999", "-", "1 2", "inf", "nan", "1e",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_a_list_are_read_up_to_the_last() {
        let mut reader = Reader::new(b" 1, -2.5,3 ,4]");
        let mut values = Vec::new();
        let count = reader.numbers(|decimal| {
            values.extend(decimal.f64());
            true
        });
        assert_eq!((count, values), (2, vec![1.0, -2.5]));
        assert_eq!(reader.number(), Ok(3.0));
    }

    #[test]
    fn many_keys_are_told_apart() {
        let keys = |count: usize| {
            (0..count)
                .map(|key| format!("\"k{key}\":0"))
                .collect::<Vec<_>>()
        };
        let skip = |keys: Vec<String>| {
            let text = format!("{{{}}}", keys.join(","));
            Reader::new(text.as_bytes()).skip().is_ok()
        };
        for count in [1, 16, 17, 100] {
            assert!(skip(keys(count)));
            for twice in [0, count - 1] {
                let mut keys = keys(count);
                keys.push(format!("\"k{twice}\":0"));
                assert!(!skip(keys), "{twice} of {count}");
            }
        }
    }

    #[test]
    fn broken_documents_say_where() {
        let skip = |text: &str| {
            let mut reader = Reader::new(text.as_bytes());
            let read = reader.skip().and_then(|()| reader.end());
            read.map_err(|error| error.message)
                .err()
                .unwrap_or_default()
        };
        assert_eq!(skip(r#"{"a": [1, "x\n", null, true, {}], "b": []}"#), "");
        assert_eq!(
            skip("{\n\"a\" 1}"),
            "body, line 2, column 5: expected \":\""
        );
        assert!(skip(r#"{"a":1,"a":2}"#).contains("appears twice"));
        assert!(skip("[1,]").contains("expected a value"));
        assert!(skip("\"abc").contains("the string's end"));
        assert!(skip("\"\\q\"").contains("broken escape"));
        assert!(skip("\"\\").contains("the string's end"));
        assert!(skip("1 1").contains("expected the end"));
        assert!(skip(&"[".repeat(100_000)).contains("nested deeper"));
        assert!(skip("").contains("expected a value"));
    }
}
