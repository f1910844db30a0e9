//! The keys of `[validate]`: what rows must look like.

use super::{Key, Set, one_of};
use crate::model::rules::{Action, SlotRules};

const SECTION: &str = "validate";

/// Every key of the section, in the order of the documentation.
pub static KEYS: [Key; 2] = [
    Key {
        section: SECTION,
        name: "rules",
        set: Set::SlotList(|s, v| {
            s.rules.rules = SlotRules::parse(v)?;
            Ok(())
        }),
    },
    Key {
        section: SECTION,
        name: "defaults",
        set: Set::SlotText(|s, v| {
            let words = [
                ("off", None),
                ("flag", Some(Action::Flag)),
                ("clamp", Some(Action::Clamp)),
                ("reject", Some(Action::Reject)),
            ];
            one_of(&mut s.rules.defaults, v, &words)
        }),
    },
];
