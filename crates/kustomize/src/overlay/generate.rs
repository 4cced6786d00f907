//! Generated ConfigMaps and Secrets, and the hash of their content in their names.
//!
//! The hash is kustomize's: the first ten hexadecimal digits of the SHA-256 of a JSON form of the
//! object, with the digits that could spell words replaced.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::load::{append, resolve};
use super::spec::{Behavior, Generator, GeneratorOptions, Kustomization};
use crate::resource::{HashSuffix, Origin, Resource};
use crate::tree::Tree;

/// kustomize breaks the base64 text of a Secret's values into lines of this length.
const SECRET_LINE: usize = 70;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ConfigMap,
    Secret,
}

/// Runs the generators of a kustomization.
pub(super) fn run(
    tree: &Tree,
    directory: &str,
    file: &str,
    kustomization: &Kustomization,
    resources: &mut Vec<Resource>,
) -> Result<(), Error> {
    let maps = kustomization
        .config_map_generator
        .iter()
        .map(|generator| (Kind::ConfigMap, generator));
    let secrets = kustomization
        .secret_generator
        .iter()
        .map(|generator| (Kind::Secret, generator));
    for (kind, generator) in maps.chain(secrets) {
        let source = Source {
            tree,
            directory,
            file,
            generator,
        };
        let resource = source.generate(kind, kustomization.generator_options.as_ref())?;
        source.place(resource, resources)?;
    }
    Ok(())
}

struct Source<'a> {
    tree: &'a Tree,
    directory: &'a str,
    file: &'a str,
    generator: &'a Generator,
}

impl Source<'_> {
    fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Generator {
            file: self.file.to_owned(),
            name: self.generator.name.clone(),
            reason: reason.into(),
        }
    }

    fn generate(&self, kind: Kind, shared: Option<&GeneratorOptions>) -> Result<Resource, Error> {
        let generator = self.generator;
        if generator.name.is_empty() {
            return Err(self.fail("`name` is missing"));
        }
        let pairs = self.pairs(kind)?;
        let mut object = match kind {
            Kind::ConfigMap => config_map(pairs),
            Kind::Secret => secret(pairs, generator.secret_type.as_deref()),
        };
        object.insert("metadata".to_owned(), json!({ "name": generator.name }));
        let own = generator.options.as_ref();
        if own
            .into_iter()
            .chain(shared)
            .any(|options| options.immutable)
        {
            object.insert("immutable".to_owned(), Value::Bool(true));
        }
        let origin = Origin {
            file: self.file.to_owned(),
            document: 1,
            line: 1,
        };
        let mut resource = Resource::new(Value::Object(object), origin)
            .map_err(|error| self.fail(error.to_string()))?;
        if let Some(namespace) = &generator.namespace {
            resource.set_namespace(namespace);
        }
        for options in shared.into_iter().chain(own) {
            for (place, pairs) in [
                ("labels", &options.labels),
                ("annotations", &options.annotations),
            ] {
                if !pairs.is_empty()
                    && let Some(strings) = resource.metadata_strings(place)
                {
                    strings.extend(
                        pairs
                            .iter()
                            .map(|(key, text)| (key.clone(), Value::from(text.as_str()))),
                    );
                }
            }
        }
        let is_hash_off = own
            .into_iter()
            .chain(shared)
            .any(|options| options.disable_name_suffix_hash);
        resource.hash_suffix = if is_hash_off {
            HashSuffix::Never
        } else {
            HashSuffix::Wanted
        };
        Ok(resource)
    }

    /// Adds, merges or replaces, as `behavior` says.
    fn place(&self, mut resource: Resource, resources: &mut Vec<Resource>) -> Result<(), Error> {
        let behavior = self.generator.behavior.unwrap_or_default();
        if behavior == Behavior::Create {
            return append(resources, resource);
        }
        let id = resource.id();
        let old = resources
            .iter_mut()
            .find(|present| present.has_id(&id))
            .ok_or_else(|| self.fail("there is no object of this name to merge with or replace"))?;
        resource.inherit(old);
        for field in ["metadata/labels", "metadata/annotations"] {
            inherit_entries(&mut resource, old, field);
        }
        if behavior == Behavior::Merge {
            inherit_entries(&mut resource, old, "data");
            inherit_entries(&mut resource, old, "binaryData");
        }
        let old_id = old.id();
        resource.set_name(old_id.name);
        if !old_id.namespace.is_empty() {
            resource.set_namespace(&old_id.namespace);
        }
        *old = resource;
        Ok(())
    }

    fn pairs(&self, kind: Kind) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut pairs = BTreeMap::new();
        let mut add = |key: String, value: Vec<u8>| {
            if pairs.contains_key(&key) {
                return Err(self.fail(format!("key `{key}` comes up twice")));
            }
            pairs.insert(key, value);
            Ok(())
        };
        for path in self.generator.envs.iter().chain(&self.generator.env) {
            let content = self.read(path)?;
            let text = std::str::from_utf8(content)
                .map_err(|error| self.fail(format!("`{path}` is not text: {error}")))?;
            for line in text
                .trim_start_matches('\u{feff}')
                .lines()
                .map(str::trim_start)
            {
                if !line.is_empty() && !line.starts_with('#') {
                    let (key, value) = line.split_once('=').unwrap_or((line, ""));
                    add(key.to_owned(), value.as_bytes().to_vec())?;
                }
            }
        }
        for literal in &self.generator.literals {
            let (key, value) = literal
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| self.fail(no_pair(kind, literal)))?;
            add(key.to_owned(), unquote(value).as_bytes().to_vec())?;
        }
        for entry in &self.generator.files {
            let (key, path) = match entry.split_once('=') {
                Some((key, path)) => (key, path),
                None => (entry.rsplit('/').next().unwrap_or(entry), entry.as_str()),
            };
            add(key.to_owned(), self.read(path)?.to_vec())?;
        }
        Ok(pairs)
    }

    fn read(&self, path: &str) -> Result<&[u8], Error> {
        let resolved = resolve(self.directory, self.file, path)?;
        self.tree.file(&resolved).ok_or_else(|| Error::MissingFile {
            file: self.file.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// What is wrong with a literal; that of a Secret may be the secret.
fn no_pair(kind: Kind, literal: &str) -> String {
    match kind {
        Kind::ConfigMap => format!("literal `{literal}` is not `key=value`"),
        Kind::Secret => "a literal, which is not shown, is not `key=value`".to_owned(),
    }
}

fn config_map(pairs: BTreeMap<String, Vec<u8>>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::from("v1"));
    object.insert("kind".to_owned(), Value::from("ConfigMap"));
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, content) in pairs {
        match String::from_utf8(content) {
            Ok(text) => data.insert(key, Value::from(text)),
            Err(error) => binary.insert(key, Value::from(wrapped_base64(error.as_bytes()))),
        };
    }
    for (field, entries) in [("data", data), ("binaryData", binary)] {
        if !entries.is_empty() {
            object.insert(field.to_owned(), Value::Object(entries));
        }
    }
    object
}

fn secret(pairs: BTreeMap<String, Vec<u8>>, kind: Option<&str>) -> Map<String, Value> {
    let data = pairs
        .into_iter()
        .map(|(key, content)| (key, Value::from(wrapped_base64(&content))));
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::from("v1"));
    object.insert("kind".to_owned(), Value::from("Secret"));
    object.insert("type".to_owned(), Value::from(kind.unwrap_or("Opaque")));
    object.insert("data".to_owned(), Value::Object(data.collect()));
    object
}

fn wrapped_base64(content: &[u8]) -> String {
    let encoded = STANDARD.encode(content);
    if encoded.len() <= SECRET_LINE {
        return encoded;
    }
    let mut wrapped = String::new();
    for (position, character) in encoded.char_indices() {
        wrapped.push(character);
        if (position + 1) % SECRET_LINE == 0 {
            wrapped.push('\n');
        }
    }
    if !wrapped.ends_with('\n') {
        wrapped.push('\n');
    }
    wrapped
}

fn unquote(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Entries of a mapping that only the old object has.
fn inherit_entries(resource: &mut Resource, old: &Resource, path: &str) {
    let Some(Value::Object(entries)) = crate::field::find(old.value(), path) else {
        return;
    };
    crate::field::visit(
        resource.value_mut(),
        path,
        crate::field::Missing::Create,
        &mut |value| {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            if let Value::Object(map) = value {
                for (key, value) in entries {
                    map.entry(key).or_insert_with(|| value.clone());
                }
            }
        },
    );
}

/// Ends the name of each generated object in the hash of its content.
pub(super) fn add_hashes(resources: &mut [Resource]) {
    for resource in resources {
        if resource.hash_suffix == HashSuffix::Wanted {
            let hash = hash(resource.value());
            resource.remember_id();
            let name = resource.id().name;
            resource.set_name(format!("{name}-{hash}"));
        }
    }
}

fn hash(value: &Value) -> String {
    let text = |path| crate::field::find_str(value, path).unwrap_or_default();
    let kind = text("kind");
    let data = value
        .get("data")
        .cloned()
        .unwrap_or_else(|| Value::from(""));
    let mut fields = BTreeMap::from([
        ("data", sorted(&data)),
        ("kind", Value::from(kind)),
        // kustomize looks the name up in a way that never finds it.
        ("name", Value::from("")),
    ]);
    if kind == "Secret" {
        fields.insert("type", Value::from(text("type")));
    }
    if let Some(binary) = value.get("binaryData").filter(|binary| binary.is_object()) {
        fields.insert("binaryData", sorted(binary));
    }
    // A map of strings always becomes JSON.
    let json = serde_json::to_string(&fields).unwrap_or_default();
    let digest = Sha256::digest(escape_html(&json).as_bytes());
    digest
        .iter()
        .take(5)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(digit)
        .collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            sorted
                .into_iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

/// Go's JSON writer escapes these, and the hash is over its text.
fn escape_html(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn digit(nibble: u8) -> char {
    match char::from_digit(u32::from(nibble), 16).unwrap_or('0') {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    }
}
