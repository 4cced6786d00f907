//! Queries with Go's template syntax. Pure.
//!
//! The functions are Flagger's: `name`, `namespace`, `target`, `service`, `ingress`, `route`,
//! `interval`, and `variables`, a map.
//! The engine takes plain function pointers, so the values are handed to it through the rendering
//! thread; rendering neither blocks nor yields.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::catch_unwind;

use gtmpl::{Context, FuncError, Template, Value};

/// What a template may refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// The Canary's name.
    pub name: String,
    /// The Canary's namespace.
    pub namespace: String,
    /// The target's name.
    pub target: String,
    /// The apex Service's name.
    pub service: String,
    /// The Ingress' name, when there is one.
    pub ingress: String,
    /// The route's name, when there is one.
    pub route: String,
    /// The metric's window.
    pub interval: String,
    /// The metric's own variables.
    pub variables: BTreeMap<String, String>,
}

/// Why a template gives no query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a template that we understand.
    #[error("the query is not a template that is understood: {0}")]
    Parse(String),
    /// It refers to something that is not there.
    #[error("the query cannot be rendered: {0}")]
    Render(String),
}

/// Longer queries are no queries.
const LONGEST: usize = 16 * 1024;
/// Constructs that can call themselves without end.
const NESTING: [&str; 3] = ["define", "template", "block"];

thread_local! {
    static CURRENT: RefCell<Variables> = RefCell::default();
}

type Function = fn(&[Value]) -> Result<Value, FuncError>;

const FUNCTIONS: [(&str, Function); 8] = [
    ("name", |_| Ok(current(|all| all.name.clone()))),
    ("namespace", |_| Ok(current(|all| all.namespace.clone()))),
    ("target", |_| Ok(current(|all| all.target.clone()))),
    ("service", |_| Ok(current(|all| all.service.clone()))),
    ("ingress", |_| Ok(current(|all| all.ingress.clone()))),
    ("route", |_| Ok(current(|all| all.route.clone()))),
    ("interval", |_| Ok(current(|all| all.interval.clone()))),
    ("variables", |_| {
        Ok(current(|all| {
            all.variables.clone().into_iter().collect::<HashMap<_, _>>()
        }))
    }),
];

fn current<T: Into<Value>>(read: impl FnOnce(&Variables) -> T) -> Value {
    CURRENT.with_borrow(|all| read(all).into())
}

/// Renders `text`; a name that is not there is an error, never an empty text.
pub fn render(text: &str, variables: &Variables) -> Result<String, Error> {
    admit(text)?;
    CURRENT.set(variables.clone());
    // The engine may panic on what it did not foresee; a user's query must not end the process.
    let rendered = catch_unwind(|| run(text));
    CURRENT.take();
    let rendered = rendered
        .unwrap_or_else(|_panic| Err(Error::Parse("the engine cannot handle it".to_owned())))?;
    if rendered.contains("<no value>") {
        return Err(Error::Render(
            "it refers to a variable that is not set".to_owned(),
        ));
    }
    // Providers get one line, as Flagger sends it.
    Ok(rendered.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn run(text: &str) -> Result<String, Error> {
    let mut template = Template::default();
    template.add_funcs(&FUNCTIONS);
    template
        .parse(text)
        .map_err(|error| Error::Parse(error.to_string()))?;
    template
        .render(&Context::empty())
        .map_err(|error| Error::Render(error.to_string()))
}

/// Refuses what the engine would hang on, or what could use up memory or the stack.
fn admit(text: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Parse(why.to_owned()));
    if text.len() > LONGEST {
        return refuse("it is longer than 16 KiB");
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((action, next)) = after.split_once("}}") else {
            return refuse("an action is not closed by `}}`");
        };
        if !action.is_ascii() {
            return refuse("an action holds letters that are not ASCII");
        }
        let word = action
            .trim_start_matches('-')
            .split_whitespace()
            .next()
            .unwrap_or_default();
        if let Some(word) = NESTING.iter().find(|nesting| **nesting == word) {
            return refuse(&format!("`{word}` is not supported"));
        }
        if action
            .as_bytes()
            .windows(4)
            .any(|four| four.iter().all(u8::is_ascii_digit))
        {
            return refuse("an action holds a number of more than three digits");
        }
        rest = next;
    }
    Ok(())
}

#[cfg(test)]
impl Variables {
    /// A set of values for tests.
    pub(super) fn for_tests() -> Self {
        Self {
            name: "podinfo".to_owned(),
            namespace: "test".to_owned(),
            target: "podinfo".to_owned(),
            service: "podinfo".to_owned(),
            interval: "30s".to_owned(),
            variables: [("direction".to_owned(), "inbound".to_owned())].into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let rendered = render(text, &Variables::for_tests());
        assert_eq!(
            rendered.unwrap_or_else(|error| error.to_string()),
            expected,
            "{text}"
        );
    }

    #[test]
    fn functions_give_the_canarys_names() {
        check(
            r#"m{ns="{{ namespace }}", workload="{{ target }}"}[{{ interval }}]"#,
            r#"m{ns="test", workload="podinfo"}[30s]"#,
        );
        check("{{ name }} {{service}} {{- ingress }}", "podinfo podinfo");
    }

    #[test]
    fn variables_are_a_map() {
        check("{{ variables.direction }}", "inbound");
        check(r#"{{ index variables "direction" }}"#, "inbound");
    }

    #[test]
    fn conditions_and_printing_work() {
        check(r#"{{ if eq target "podinfo" }}a{{ else }}b{{ end }}"#, "a");
        check(r#"{{ printf "%s-canary" target }}"#, "podinfo-canary");
    }

    #[test]
    fn queries_become_one_line() {
        check("sum(\n   rate(x)\n)\n", "sum( rate(x) )");
    }

    #[test]
    fn what_is_missing_is_an_error() {
        for text in [
            "{{ variables.nothing }}",
            "{{ unknown }}",
            "{{ if }}",
            "{{ target ",
        ] {
            render(text, &Variables::for_tests()).expect_err(text);
        }
    }
    #[test]
    fn hostile_templates_are_refused() {
        for text in [
            r#"{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}"#,
            r#"{{ printf "%999999999d" 1 }}"#,
            "{{ \u{e9} }}",
            "{{ \"",
            "}}{{",
        ] {
            render(text, &Variables::for_tests()).expect_err(text);
        }
        render(&"a".repeat(LONGEST + 1), &Variables::for_tests()).expect_err("too long");
    }
}
