//! Why a resource is refused, with the path of the field.

use std::fmt::Display;

use fairlead_routing::InvalidRegex;

/// Why a resource is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The type is not one that we speak.
    #[error("type `{0}` is not supported")]
    UnknownType(String),
    /// The bytes are no message of the type.
    #[error("failed to decode a `{message}`")]
    Malformed {
        /// The message's name.
        message: &'static str,
        /// What is wrong with the bytes.
        #[source]
        source: prost::DecodeError,
    },
    /// A field that must be there is not.
    #[error("field `{0}` is missing")]
    Missing(String),
    /// A field asks for what we do not do.
    #[error("field `{0}` is not supported")]
    Unsupported(String),
    /// A field's value makes no sense.
    #[error("field `{field}` has the invalid value `{value}`")]
    Invalid {
        /// Path of the field.
        field: String,
        /// The value.
        value: String,
    },
    /// A regular expression does not compile.
    #[error("field `{field}` has an invalid regular expression")]
    Regex {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        #[source]
        source: InvalidRegex,
    },
}

/// Result of decoding.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn missing(field: impl Into<String>) -> Self {
        Self::Missing(field.into())
    }

    pub(super) fn unsupported(field: impl Into<String>) -> Self {
        Self::Unsupported(field.into())
    }

    pub(super) fn invalid(field: impl Into<String>, value: impl Display) -> Self {
        Self::Invalid {
            field: field.into(),
            value: value.to_string(),
        }
    }

    fn at(self, parent: &dyn Display) -> Self {
        match self {
            Self::Missing(field) => Self::Missing(format!("{parent}.{field}")),
            Self::Unsupported(field) => Self::Unsupported(format!("{parent}.{field}")),
            Self::Invalid { field, value } => Self::Invalid {
                field: format!("{parent}.{field}"),
                value,
            },
            Self::Regex { field, source } => Self::Regex {
                field: format!("{parent}.{field}"),
                source,
            },
            other @ (Self::UnknownType(_) | Self::Malformed { .. }) => other,
        }
    }
}

/// Says where in the resource an error is.
pub(super) trait Within<T> {
    /// The error is in `parent`.
    fn within(self, parent: impl Display) -> Result<T>;
    /// The error is in one element of the list `parent`.
    fn within_element(self, parent: &str, index: usize) -> Result<T>;
}

impl<T> Within<T> for Result<T> {
    fn within(self, parent: impl Display) -> Self {
        self.map_err(|error| error.at(&parent))
    }

    fn within_element(self, parent: &str, index: usize) -> Self {
        self.map_err(|error| error.at(&format_args!("{parent}[{index}]")))
    }
}

/// Decodes each element of a list, naming the one that is wrong.
pub(super) fn each<S, T>(
    field: &str,
    list: impl IntoIterator<Item = S>,
    decode: impl Fn(S) -> Result<T>,
) -> Result<Vec<T>> {
    list.into_iter()
        .enumerate()
        .map(|(index, element)| decode(element).within_element(field, index))
        .collect()
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Refuses a message that sets one of the fields.
macro_rules! refuse {
    ($message:expr, $($field:ident),+ $(,)?) => {
        $(if !$crate::proto::refusal::is_default(&$message.$field) {
            return Err($crate::proto::refusal::Error::unsupported(
                stringify!($field).trim_start_matches("r#"),
            ));
        })+
    };
}
pub(super) use refuse;
