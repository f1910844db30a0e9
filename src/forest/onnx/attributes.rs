//! An operator's attributes by name, with the types that the tree operators have.

use std::collections::HashMap;

use super::ParseError;
use super::proto::{Attribute, DOUBLE, FLOAT, Node};
use crate::forest::Arithmetic;

/// The attributes of one operator.
#[derive(Debug)]
pub struct Attributes<'a> {
    by_name: HashMap<&'a str, &'a Attribute>,
    arithmetic: Arithmetic,
}

impl<'a> Attributes<'a> {
    /// The attributes of `node`, which computes in this arithmetic.
    pub fn of(node: &'a Node, arithmetic: Arithmetic) -> Attributes<'a> {
        Attributes {
            by_name: node.attributes(),
            arithmetic,
        }
    }

    /// A list of integers; empty when absent.
    pub fn ints(&self, name: &str) -> &'a [i64] {
        self.by_name
            .get(name)
            .map_or(&[], |attribute| attribute.ints.as_slice())
    }

    /// One integer; 0 when absent.
    pub fn int(&self, name: &str) -> i64 {
        self.by_name.get(name).map_or(0, |attribute| attribute.i)
    }

    /// A list of strings; empty when absent.
    pub fn strings(&self, name: &str) -> &'a [Vec<u8>] {
        self.by_name
            .get(name)
            .map_or(&[], |attribute| attribute.strings.as_slice())
    }

    /// One string; `default` when absent.
    pub fn string(&self, name: &str, default: &str) -> String {
        self.by_name
            .get(name)
            .map_or(default.to_string(), |attribute| {
                String::from_utf8_lossy(&attribute.s).into_owned()
            })
    }

    /// The list of floats `name`, or the tensor `name_as_tensor` of the operator's arithmetic;
    /// empty when both are absent.
    ///
    /// # Errors
    /// When both are there, or the tensor has another type.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, ParseError> {
        let floats: Vec<f64> = self.by_name.get(name).map_or(Vec::new(), |attribute| {
            attribute.floats.iter().map(|x| f64::from(*x)).collect()
        });
        let name = format!("{name}_as_tensor");
        let Some(attribute) = self.by_name.get(name.as_str()) else {
            return Ok(floats);
        };
        let wanted = match self.arithmetic {
            Arithmetic::F32 => FLOAT,
            Arithmetic::F64 => DOUBLE,
        };
        let tensor = attribute
            .t
            .as_ref()
            .filter(|tensor| tensor.data_type == wanted)
            .ok_or_else(|| {
                ParseError::Unsupported(format!("{name}: a tensor of another type than the input"))
            })?;
        let numbers = tensor
            .numbers()
            .ok_or_else(|| ParseError::Malformed(format!("{name}: a torn tensor")))?;
        if !floats.is_empty() && !numbers.is_empty() {
            return Err(ParseError::Malformed(format!(
                "{name}: the list without \"_as_tensor\" is there too"
            )));
        }
        Ok(if floats.is_empty() { numbers } else { floats })
    }
}
