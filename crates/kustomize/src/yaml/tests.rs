//! Documents that must come back as they were, and errors with their lines.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(text: &str, expected: &Value) {
    assert_eq!(&parse_one(text).unwrap(), expected, "{text}");
}

fn fails(text: &str, line: usize, problem: &Problem) {
    let error = parse_documents(text).unwrap_err();
    assert_eq!((error.line, &error.problem), (line, problem), "{text}");
}

#[test]
fn scalars_have_the_types_that_kubectl_kustomize_gives_them() {
    check("[yes, y, on, \"no\"]", &json!(["yes", "y", "on", "no"]));
    check(
        "[0644, 0o17, 0x1F, 0b11, -0x1, +1, 1_000]",
        &json!([420, 15, 31, 3, -1, 1, 1000]),
    );
    check("[1e3, 1.0, 010.5, 1., 08]", &json!([1000, 1, 10.5, 1, 8]));
    check(
        "[12:30:45, 2020-01-01, 1.2.3, 10Mi, +]",
        &json!(["12:30:45", "2020-01-01", "1.2.3", "10Mi", "+"]),
    );
    check(
        "[~, null, True, !!str 12, '12']",
        &json!([null, null, true, "12", "12"]),
    );
    check(
        "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
        &json!({"a": "x\ny\n", "b": "x y"}),
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded() {
    check(
        "a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, l: 3}",
        &json!({
            "a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"l": 3, "k": 1}
        }),
    );
}

#[test]
fn documents_have_their_number_and_line() {
    let documents = parse_documents("# head\n---\na: 1\n---\n# nothing\n---\n\nb: 2\n").unwrap();
    let places: Vec<_> = documents
        .iter()
        .map(|document| (document.number, document.line))
        .collect();
    assert_eq!(places, [(1, 3), (3, 8)]);
}

#[test]
fn mistakes_name_their_line() {
    fails(
        "a: 1\nb: 2\na: 3\n",
        3,
        &Problem::DuplicateKey {
            key: "a".to_owned(),
        },
    );
    fails("a:\n  [b]: c\n", 2, &Problem::ComplexKey);
    fails(
        "a: .inf",
        1,
        &Problem::Scalar {
            text: ".inf".to_owned(),
            kind: "number that JSON can hold",
        },
    );
    let error = parse_documents("a: b\n  c: d\n").unwrap_err();
    assert!(matches!(error.problem, Problem::Syntax { .. }));
    assert_eq!(error.line, 2);
}

#[test]
fn an_alias_bomb_is_refused_before_it_expands() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let _ = std::fmt::Write::write_fmt(
            &mut text,
            format_args!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")),
        );
    }
    let error = parse_documents(&text).unwrap_err();
    assert_eq!(error.problem, Problem::TooMuchRepeated);
}

#[test]
fn a_long_text_that_is_repeated_is_refused_before_it_expands() {
    let long = "x".repeat(1 << 20);
    let repeated = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1 << 12].join(", "));
    let error = parse_documents(&repeated).unwrap_err();
    assert_eq!(error.problem, Problem::TooMuchRepeated);

    let anchors = "&a [".repeat(100);
    let nested = format!("{anchors}{long}{}", "]".repeat(100));
    let error = parse_documents(&nested).unwrap_err();
    assert_eq!(error.problem, Problem::TooMuchRepeated);
}

#[test]
fn deep_nesting_is_refused() {
    parse_documents(&"[".repeat(10_000)).unwrap_err();
    let error = parse_documents(&"[".repeat(200)).unwrap_err();
    assert_eq!(error.problem, Problem::TooDeep);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~\n\t]{0,12}".prop_map(Value::from),
        "[0-9a-fxo_:.eE+~-]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("yes")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(("[ -~]{0,8}", inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same_value(value in values()) {
        let text = to_string(&value);
        let back = parse_one(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text:?}")))?;
        prop_assert_eq!(back, value, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse_documents(&text);
    }
}
