//! Nothing that a user sets is passed over in silence: each field of the schemas, added alone to an
//! object, changes what proxies get, or a diagnostic names it.
//!
//! `testdata/fields` has the world around the objects, the objects that fields are added to, values
//! that mean something, and the few that do nothing by definition, each with its reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use fairlead_translate::{Diagnostic, Metadata, Node, NodeId, NodeType, Snapshot, Translator};
use fairlead_xds::TypeUrl;
use fairlead_xds::resource::ResourceSet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The name of the one entry that a map gets.
const KEY: &str = "key";

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item,
    Entry,
}

/// A field without fields of its own, with the values to try.
#[derive(Debug)]
struct Leaf {
    path: Vec<Step>,
    schema: Value,
}

impl Leaf {
    /// The path without positions, as in `spec.http.match.uri.exact`.
    fn name(&self) -> String {
        let names = self.path.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Entry => Some(KEY),
            Step::Item => None,
        });
        names.collect::<Vec<_>>().join(".")
    }

    /// The path as diagnostics write it.
    fn field(&self) -> String {
        let mut field = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if field.is_empty() => field.push_str(name),
                Step::Field(name) => write!(field, ".{name}").unwrap(),
                Step::Item => field.push_str("[0]"),
                Step::Entry => write!(field, "[{KEY}]").unwrap(),
            }
        }
        field
    }
}

/// What the fields are tried with.
struct Trial {
    kind: String,
    schema: Value,
    stages: BTreeMap<String, Value>,
    values: BTreeMap<String, Vec<Value>>,
    without_effect: Vec<(String, String)>,
    world: Snapshot,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = directory().join("testdata/fields").join(name);
    let text = fs::read_to_string(path).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn world() -> Snapshot {
    let path = directory().join("testdata/fields/world.yaml");
    let mut snapshot = Snapshot::default();
    for document in serde_yaml_ng::Deserializer::from_str(&fs::read_to_string(path).unwrap()) {
        let manifest = Value::deserialize(document).unwrap();
        assert!(snapshot.add_manifest(manifest).unwrap());
    }
    snapshot
}

/// The schema of a kind's `spec`, from the definition that users install.
fn schema(file: &str) -> Value {
    let path = directory().join("../../crds").join(file);
    let text = fs::read_to_string(path).unwrap();
    let definition: Value = serde_yaml_ng::from_str(&text).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn trial(kind: &str, file: &str) -> Trial {
    let mut stages: BTreeMap<String, BTreeMap<String, Value>> = read("stages.yaml");
    Trial {
        kind: kind.to_owned(),
        schema: schema(file),
        stages: stages.remove(kind).unwrap(),
        values: read("values.yaml"),
        without_effect: read("without_effect.yaml"),
        world: world(),
    }
}

fn leaves(schema: &Value, path: &mut Vec<Step>, found: &mut Vec<Leaf>) {
    let mut descend = |step: Step, schema: &Value| {
        path.push(step);
        leaves(schema, path, found);
        path.pop();
    };
    if let Some(fields) = schema["properties"].as_object() {
        for (name, schema) in fields {
            descend(Step::Field(name.clone()), schema);
        }
    } else if schema["items"].is_object() {
        descend(Step::Item, &schema["items"]);
    } else if schema["additionalProperties"].is_object() {
        descend(Step::Entry, &schema["additionalProperties"]);
    } else {
        found.push(Leaf {
            path: path.clone(),
            schema: schema.clone(),
        });
    }
}

impl Trial {
    /// Values to try, two of each kind at least where the form allows it.
    fn candidates(&self, name: &str, schema: &Value) -> Vec<Value> {
        let by_name = self.values.iter().filter(|(end, _)| is_end(name, end));
        if let Some((_, values)) = by_name.max_by_key(|(end, _)| end.len()) {
            return values.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.clone();
        }
        let rules = schema["x-kubernetes-validations"].to_string();
        let kind = schema["type"].as_str().unwrap_or_default();
        match kind {
            "boolean" => vec![json!(true), json!(false)],
            "integer" => vec![json!(7), json!(8)],
            "number" => vec![json!(37.5), json!(12.5)],
            "string" if rules.contains("duration(") => vec![json!("7s"), json!("8s")],
            "string" if name.to_ascii_lowercase().ends_with("timeout") => vec![json!("7s")],
            "string" if name.ends_with("ttl") => vec![json!("7s")],
            _ => vec![json!("some"), json!("other")],
        }
    }

    /// The spec that a field is added to.
    fn stage(&self, name: &str) -> Value {
        let below = self
            .stages
            .iter()
            .filter(|(start, _)| name == *start || name.starts_with(&format!("{start}.")));
        let (_, spec) = below.max_by_key(|(start, _)| start.len()).unwrap();
        json!({ "spec": spec })
    }

    /// Makes the places on the way to a field, each with what it must have, and sets the field.
    fn set(&self, object: &mut Value, path: &[Step], value: Option<&Value>) {
        let mut place = object;
        let mut schema = json!({ "properties": { "spec": self.schema } });
        let mut name = String::new();
        for (index, step) in path.iter().enumerate() {
            let is_last = index + 1 == path.len();
            schema = match step {
                Step::Field(field) => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(field);
                    schema["properties"][field].clone()
                }
                Step::Item => schema["items"].clone(),
                Step::Entry => schema["additionalProperties"].clone(),
            };
            if is_last {
                if let Some(value) = value {
                    *at(place, step) = value.clone();
                }
                return;
            }
            place = at(place, step);
            if place.is_null() {
                *place = self.minimal(&name, &schema);
            }
        }
    }

    /// A value with no more than it must have.
    fn minimal(&self, name: &str, schema: &Value) -> Value {
        if schema["items"].is_object() {
            return json!([]);
        }
        let mut fields = Map::new();
        for field in schema["required"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            let own = &schema["properties"][field];
            let name = format!("{name}.{field}");
            let value = if own["properties"].is_object() || own["items"].is_object() {
                self.minimal(&name, own)
            } else {
                self.candidates(&name, own).remove(0)
            };
            fields.insert(field.to_owned(), value);
        }
        Value::Object(fields)
    }

    fn is_without_effect(&self, name: &str, value: &Value) -> bool {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        self.without_effect.iter().any(|(what, why)| {
            assert!(!why.is_empty());
            match what.split_once('=') {
                Some((end, own)) => is_end(name, end) && own == value,
                None => is_end(name, what),
            }
        })
    }

    /// What proxies get of the world with an object, and what is said of it.
    fn outcome(&self, object: &Value) -> (Vec<ResourceSet>, Vec<Diagnostic>) {
        let mut snapshot = self.world.clone();
        let manifest = json!({
            "kind": self.kind,
            "metadata": { "name": "own", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": object["spec"],
        });
        assert!(snapshot.add_manifest(manifest).unwrap(), "{object}");
        let translator = Translator::new(&snapshot);
        let translations = nodes().map(|node| translator.translate(&node));
        let own = translations.iter().flat_map(|own| &own.diagnostics);
        let diagnostics = translator.diagnostics().iter().chain(own);
        let diagnostics = diagnostics.filter(|own| own.source.name == "own");
        let diagnostics = diagnostics.cloned().collect();
        (translations.map(|own| own.resources).to_vec(), diagnostics)
    }

    fn leaves(&self) -> Vec<Leaf> {
        let mut found = Vec::new();
        let mut path = vec![Step::Field("spec".to_owned())];
        leaves(&self.schema, &mut path, &mut found);
        assert!(found.len() > 2, "{} has few fields", self.kind);
        found
    }

    /// The object that a field is added to, with all places on the way to it.
    fn before(&self, leaf: &Leaf) -> Value {
        let mut before = self.stage(&leaf.name());
        self.set(&mut before, &leaf.path, None);
        before
    }

    /// What is silent: the fields, with the values that did nothing.
    fn silent(&self) -> Vec<String> {
        let mut silent = Vec::new();
        for leaf in self.leaves() {
            let name = leaf.name();
            let before = self.before(&leaf);
            let (resources, _) = self.outcome(&before);
            let mut tried = 0;
            for value in self.candidates(&name, &leaf.schema) {
                let mut after = before.clone();
                self.set(&mut after, &leaf.path, Some(&value));
                if after == before {
                    continue;
                }
                tried += 1;
                let (changed, said) = self.outcome(&after);
                let is_named = said.iter().any(|own| covers(&own.field, &leaf.field()));
                if changed == resources && !is_named && !self.is_without_effect(&name, &value) {
                    silent.push(format!("{}: {} = {value}", self.kind, leaf.field()));
                }
            }
            assert!(tried > 0, "{name}: no value to try");
        }
        silent
    }

    /// Checks that a text that is no duration is named with its field, and harms no other resource.
    fn assert_durations_are_read(&self) {
        let mut read = 0;
        for leaf in self.leaves() {
            let field = leaf.field();
            let values = self.candidates(&leaf.name(), &leaf.schema);
            if values.first() != Some(&json!("7s")) {
                continue;
            }
            let before = self.before(&leaf);
            let with = |value: &str| {
                let mut after = before.clone();
                self.set(&mut after, &leaf.path, Some(&json!(value)));
                self.outcome(&after)
            };
            let (_, said) = with("7s");
            if said.iter().any(|own| covers(&own.field, &field)) {
                // It is not acted on, whatever it is.
                continue;
            }
            let ((resources, _), (changed, said)) = (self.outcome(&before), with("soon"));
            let is_named = said
                .iter()
                .any(|own| own.field == field && own.message.contains("`soon`"));
            assert!(is_named, "{field}: {said:?}");
            read += 1;
            for (before, after) in resources.iter().zip(&changed) {
                for kind in TypeUrl::ALL {
                    let names =
                        |set: &ResourceSet| set.of(kind).keys().cloned().collect::<Vec<_>>();
                    assert_eq!(names(before), names(after), "{field}");
                }
            }
        }
        assert!(read > 0, "{} has no durations", self.kind);
    }
}

/// The place of a step, made if it is not there.
fn at<'v>(place: &'v mut Value, step: &Step) -> &'v mut Value {
    match step {
        Step::Field(name) => &mut place[name.as_str()],
        Step::Entry => &mut place[KEY],
        Step::Item => {
            if place.is_null() {
                *place = json!([]);
            }
            let list = place.as_array_mut().unwrap();
            if list.is_empty() {
                list.push(Value::Null);
            }
            &mut list[0]
        }
    }
}

fn is_end(name: &str, end: &str) -> bool {
    name == end || name.ends_with(&format!(".{end}"))
}

/// Whether a diagnostic about `field` speaks of `leaf`: it is the same, or what holds it.
fn covers(field: &str, leaf: &str) -> bool {
    let rest = leaf.strip_prefix(field);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A client, a server and a gateway.
fn nodes() -> [Node; 3] {
    let node = |kind, pod: &str, label: (&str, &str)| Node {
        id: NodeId {
            kind,
            ip: "10.1.0.1".parse().unwrap(),
            pod: pod.to_owned(),
            namespace: "shop".to_owned(),
            domain: "shop.svc.cluster.local".to_owned(),
        },
        metadata: Metadata {
            namespace: "shop".to_owned(),
            service_account: "default".to_owned(),
            labels: [(label.0.to_owned(), label.1.to_owned())].into(),
            ..Metadata::default()
        },
    };
    [
        node(NodeType::Sidecar, "web-1", ("app", "web")),
        node(NodeType::Sidecar, "reviews-1", ("app", "reviews")),
        node(NodeType::Router, "ingress-1", ("istio", "ingress")),
    ]
}

fn assert_none_silent(kind: &str, file: &str) {
    let silent = trial(kind, file).silent();
    assert!(silent.is_empty(), "silent:\n{}", silent.join("\n"));
}

#[test]
fn a_field_of_a_virtual_service_acts_or_is_reported() {
    assert_none_silent("VirtualService", "virtualservices.networking.istio.io.yaml");
}

#[test]
fn a_field_of_a_destination_rule_acts_or_is_reported() {
    assert_none_silent(
        "DestinationRule",
        "destinationrules.networking.istio.io.yaml",
    );
}

#[test]
fn a_field_of_a_gateway_acts_or_is_reported() {
    assert_none_silent("Gateway", "gateways.networking.istio.io.yaml");
}

#[test]
fn a_field_of_a_service_entry_acts_or_is_reported() {
    assert_none_silent("ServiceEntry", "serviceentries.networking.istio.io.yaml");
}

#[test]
fn a_field_of_a_peer_authentication_acts_or_is_reported() {
    assert_none_silent(
        "PeerAuthentication",
        "peerauthentications.security.istio.io.yaml",
    );
}

#[test]
fn a_duration_that_cannot_be_read_is_named_and_harms_nothing_else() {
    for (kind, file) in [
        ("VirtualService", "virtualservices.networking.istio.io.yaml"),
        (
            "DestinationRule",
            "destinationrules.networking.istio.io.yaml",
        ),
    ] {
        trial(kind, file).assert_durations_are_read();
    }
}
