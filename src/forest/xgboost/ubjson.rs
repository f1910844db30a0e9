//! UBJSON, draft 12, as XGBoost writes it: big-endian, with typed and counted lists.
//!
//! Room for a list is only made once its bytes are known to be there.

use super::value::Value;
use super::{DEPTH_MAX, malformed};
use crate::forest::ParseError;

/// Reads one document; nothing may follow it.
///
/// # Errors
/// [`ParseError::Malformed`] with the byte and what was expected.
pub fn read(bytes: &[u8]) -> Result<Value, ParseError> {
    if bytes.is_empty() {
        return malformed("the file is empty");
    }
    let mut reader = Reader { bytes, at: 0 };
    let marker = reader.marker()?;
    let value = reader.value(marker, 0)?;
    if reader.at < bytes.len() {
        return malformed(format!("ubjson, byte {}: expected the end", reader.at));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What the head of a list or object says of its members.
struct Head {
    /// The marker that all members share.
    marker: Option<u8>,
    /// How many there are; without it a closing marker ends them.
    count: Option<usize>,
}

impl<'a> Reader<'a> {
    /// The value whose marker was just read.
    fn value(&mut self, marker: u8, depth: usize) -> Result<Value, ParseError> {
        if depth > DEPTH_MAX {
            return malformed(format!(
                "ubjson, byte {}: nested too deep, more than {DEPTH_MAX} lists and objects",
                self.at
            ));
        }
        match marker {
            b'Z' => Ok(Value::Null),
            b'T' => Ok(Value::Integer(1)),
            b'F' => Ok(Value::Integer(0)),
            b'd' => Ok(Value::Float(f32::from_be_bytes(self.array()?))),
            b'D' => Ok(Value::Float(f64::from_be_bytes(self.array()?) as f32)),
            b'C' => Ok(Value::Text(char::from(self.marker()?).to_string())),
            b'S' => Ok(Value::Text(self.text()?)),
            b'[' => self.list(depth),
            b'{' => self.object(depth),
            _ => Ok(Value::Integer(self.integer(marker)?)),
        }
    }

    fn integer(&mut self, marker: u8) -> Result<i64, ParseError> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(u8::from_be_bytes(self.array()?)),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => {
                return malformed(format!(
                    "ubjson, byte {}: unknown marker {:?}",
                    self.at.saturating_sub(1),
                    char::from(marker)
                ));
            }
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        let head = self.head()?;
        if let (Some(marker), Some(count)) = (head.marker, head.count)
            && let Some(list) = self.numbers(marker, count)?
        {
            return Ok(list);
        }
        let mut list = Value::Integers(Vec::new());
        let mut left = head.count;
        while left != Some(0) {
            let marker = match head.marker {
                Some(marker) => marker,
                None => self.marker()?,
            };
            match marker {
                b'N' => continue,
                b']' if left.is_none() => break,
                _ => list.push(self.value(marker, depth + 1)?),
            }
            left = left.map(|left| left - 1);
        }
        Ok(list)
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        let head = self.head()?;
        let mut members = Vec::new();
        let mut left = head.count;
        while left != Some(0) {
            if left.is_none() && self.bytes.get(self.at) == Some(&b'}') {
                self.at += 1;
                break;
            }
            let name = self.text()?;
            let marker = match head.marker {
                Some(marker) => marker,
                None => self.marker()?,
            };
            members.push((name, self.value(marker, depth + 1)?));
            left = left.map(|left| left - 1);
        }
        Ok(Value::Object(members))
    }

    fn head(&mut self) -> Result<Head, ParseError> {
        let mut head = Head {
            marker: None,
            count: None,
        };
        if self.bytes.get(self.at) == Some(&b'$') {
            self.at += 1;
            let marker = self.marker()?;
            // A member without bytes of its own would let any count pass.
            if matches!(marker, b'Z' | b'T' | b'F' | b'N') {
                return malformed(format!(
                    "ubjson, byte {}: the length of a list of {:?} cannot be checked",
                    self.at,
                    char::from(marker)
                ));
            }
            head.marker = Some(marker);
            if self.bytes.get(self.at) != Some(&b'#') {
                return malformed(format!(
                    "ubjson, byte {}: expected a length after a type",
                    self.at
                ));
            }
        }
        if self.bytes.get(self.at) == Some(&b'#') {
            self.at += 1;
            head.count = Some(self.length()?);
        }
        Ok(head)
    }

    /// A typed list of numbers, or `None` when the marker is not a number's.
    fn numbers(&mut self, marker: u8, count: usize) -> Result<Option<Value>, ParseError> {
        Ok(Some(match marker {
            b'i' => self.integers(count, |bytes| i8::from_be_bytes(bytes).into())?,
            b'U' => self.integers(count, |bytes| u8::from_be_bytes(bytes).into())?,
            b'I' => self.integers(count, |bytes| i16::from_be_bytes(bytes).into())?,
            b'l' => self.integers(count, |bytes| i32::from_be_bytes(bytes).into())?,
            b'L' => self.integers(count, i64::from_be_bytes)?,
            b'd' => self.floats(count, f32::from_be_bytes)?,
            b'D' => self.floats(count, |bytes| f64::from_be_bytes(bytes) as f32)?,
            _ => return Ok(None),
        }))
    }

    fn integers<const N: usize>(
        &mut self,
        count: usize,
        read: impl Fn([u8; N]) -> i64,
    ) -> Result<Value, ParseError> {
        let (chunks, _) = self.take(count.saturating_mul(N))?.as_chunks();
        Ok(Value::Integers(chunks.iter().copied().map(read).collect()))
    }

    fn floats<const N: usize>(
        &mut self,
        count: usize,
        read: impl Fn([u8; N]) -> f32,
    ) -> Result<Value, ParseError> {
        let (chunks, _) = self.take(count.saturating_mul(N))?.as_chunks();
        Ok(Value::Floats(chunks.iter().copied().map(read).collect()))
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let length = self.length()?;
        let start = self.at;
        match str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => malformed(format!("ubjson, byte {start}: the text is not utf-8")),
        }
    }

    fn length(&mut self) -> Result<usize, ParseError> {
        let marker = self.marker()?;
        let length = self.integer(marker)?;
        match usize::try_from(length) {
            Ok(length) => Ok(length),
            Err(_) => malformed(format!("ubjson, byte {}: length {length}", self.at)),
        }
    }

    fn marker(&mut self) -> Result<u8, ParseError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let rest = &self.bytes[self.at..];
        if rest.len() < count {
            return malformed(format!(
                "unexpected end of the ubjson: expected {count} bytes at byte {}, got {}",
                self.at,
                rest.len()
            ));
        }
        self.at += count;
        Ok(&rest[..count])
    }
}
