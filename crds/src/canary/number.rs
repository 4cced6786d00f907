//! Numbers of manifests that may carry a fraction although only whole ones make sense.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as the manifest has it.
///
/// The API admits fractions for every number of a Canary; one object with such a number must not
/// keep the others from being read, so the reader asks for a whole number where it needs one.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Number(f64);

impl Number {
    /// The number, with its fraction.
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// The number, if it has no fraction and fits.
    pub fn whole(self) -> Option<i64> {
        // Beyond 2^53 a float no longer tells neighbours apart.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() != 0.0 || self.0.abs() > EXACT {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above to be exact")]
        Some(self.0 as i64)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self(f64::from(value))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Number {
    /// Writes whole numbers without a fraction, as readers that expect integers need them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.whole() {
            Some(whole) => serializer.serialize_i64(whole),
            None => serializer.serialize_f64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_whole_numbers_without_a_fraction() {
        assert_eq!(serde_json::to_string(&Number::from(10)).unwrap(), "10");
        assert_eq!(serde_json::to_string(&Number::from(0.5)).unwrap(), "0.5");
    }

    #[test]
    fn reads_integers_and_fractions() {
        let read = |value| serde_json::from_value::<Number>(value).unwrap().whole();
        assert_eq!(read(json!(10)), Some(10));
        assert_eq!(read(json!(10.0)), Some(10));
        assert_eq!(read(json!(-1)), Some(-1));
        assert_eq!(read(json!(2.5)), None);
        assert_eq!(read(json!(1e300)), None);
    }
}
