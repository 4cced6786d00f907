//! Variables with defaults, and what is said of bad ones.

use proptest::prelude::*;
use serde_json::json;

use super::expand::{Failure, expand};
use super::*;
use crate::resource::Origin;

fn variables() -> Variables {
    [
        ("NAME", "web"),
        ("COUNT", "3"),
        ("EMPTY", ""),
        ("PATH", "a/b/a"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn check(text: &str, expected: &str) {
    assert_eq!(
        expand(text, &variables()).as_deref(),
        Ok(expected),
        "{text}"
    );
}

#[test]
fn operators_do_what_bash_does() {
    check("${NAME}-$NAME-$${NAME}", "web-$NAME-${NAME}");
    check(
        "${X:=y} ${EMPTY:-z} ${NAME:=y} ${X:=${NAME}}",
        "y z web web",
    );
    check("${X:=}", "");
    check(
        "${NAME^} ${NAME^^} ${#NAME} ${NAME:1} ${NAME:0:2}",
        "Web WEB 3 eb we",
    );
    check(
        "${PATH/a/x} ${PATH//a/x} ${PATH#a/} ${PATH%/a} ${PATH/%a/x}",
        "x/b/a x/b/x b/a a/b a/b/x",
    );
}

#[test]
fn values_that_multiply_are_refused() {
    let long = Variables::from([("LONG".to_owned(), "x".repeat(1 << 20))]);
    for text in ["${LONG}".repeat(5), "${LONG//x/${LONG}}".to_owned()] {
        assert_eq!(expand(&text, &long), Err(Failure::TooLong));
    }
}

#[test]
fn expressions_within_each_other_without_end_are_refused() {
    let nested = |depth| format!("{}y{}", "${X:-".repeat(depth), "}".repeat(depth));
    check(&nested(16), "y");
    let refused = expand(&nested(100_000), &variables());
    assert!(matches!(refused, Err(Failure::Malformed(_))));
}

#[test]
fn what_has_no_value_is_an_error() {
    assert_eq!(
        expand("${X}", &variables()),
        Err(Failure::Missing("X".to_owned()))
    );
    assert_eq!(
        expand("${EMPTY}", &variables()),
        Err(Failure::Missing("EMPTY".to_owned()))
    );
    assert!(matches!(
        expand("${NAME", &variables()),
        Err(Failure::Malformed(_))
    ));
    assert!(matches!(
        expand("${1}", &variables()),
        Err(Failure::Malformed(_))
    ));
    assert!(validate(&Variables::from([("a-b".to_owned(), String::new())])).is_err());
}

#[test]
fn a_variable_may_become_a_number_and_an_object_may_opt_out() {
    let object = |marker: Option<&str>| {
        let mut value = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "${NAME}"},
            "spec": {"replicas": "${COUNT}", "text": "a ${NAME}\nb"}});
        if let Some(marker) = marker {
            value["metadata"]["annotations"] = json!({DISABLE_KEY: marker});
        }
        Resource::new(value, Origin::default()).unwrap()
    };
    let filled = substitute(object(None), &variables()).unwrap();
    assert_eq!(
        filled.value()["spec"],
        json!({"replicas": 3, "text": "a web\nb"})
    );
    assert_eq!(filled.id().name, "web");
    let untouched = object(Some("disabled"));
    assert_eq!(
        substitute(untouched.clone(), &variables()).unwrap(),
        untouched
    );
}

proptest! {
    #[test]
    fn text_without_expressions_stays_as_it_is(text in "[^$]*") {
        prop_assert_eq!(expand(&text, &variables()), Ok(text));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[$a-zA-Z{}:=/#%^,0-9 -]{0,40}") {
        let _ = expand(&text, &variables());
    }
}
