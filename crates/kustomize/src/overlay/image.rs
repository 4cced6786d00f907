//! Container images.

use serde_json::Value;

use super::spec::Image;
use crate::resource::Resource;

/// Changes an image wherever a container, or an image volume, names it.
///
/// Lists of containers are found at any depth, so workloads of custom kinds take part.
pub(super) fn set(resources: &mut [Resource], image: &Image) {
    for resource in resources {
        if resource.id().kind != "CustomResourceDefinition" {
            walk(resource.value_mut(), image);
        }
    }
}

fn walk(value: &mut Value, image: &Image) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path: &[&str] = match key.as_str() {
                    "containers" | "initContainers" => &["image"],
                    "volumes" => &["image", "reference"],
                    _ => &[],
                };
                if !path.is_empty() {
                    value
                        .as_array_mut()
                        .into_iter()
                        .flatten()
                        .for_each(|item| set_at(item, path, image));
                }
                walk(value, image);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, image)),
        _ => {}
    }
}

fn set_at(item: &mut Value, path: &[&str], image: &Image) {
    let found = path
        .iter()
        .try_fold(item, |value, name| value.get_mut(name));
    if let Some(Value::String(text)) = found
        && let Some(changed) = change(text, image)
    {
        *text = changed;
    }
}

/// The image after the change, if the change is for this image.
fn change(text: &str, image: &Image) -> Option<String> {
    let (name, tag, digest) = split(text);
    if name != image.name {
        return None;
    }
    let (tag, digest) = match (&image.new_tag, &image.digest, &image.tag_suffix) {
        (None, None, None) => (tag.map(str::to_owned), digest.map(str::to_owned)),
        (None, None, Some(suffix)) => (Some(format!("{}{suffix}", tag.unwrap_or_default())), None),
        (tag, digest, _) => (tag.clone(), digest.clone()),
    };
    let name = image.new_name.as_deref().unwrap_or(name);
    let tag = tag
        .filter(|tag| !tag.is_empty())
        .map(|tag| format!(":{tag}"))
        .unwrap_or_default();
    let digest = digest
        .map(|digest| format!("@{digest}"))
        .unwrap_or_default();
    Some(format!("{name}{tag}{digest}"))
}

/// Name, tag and digest; a `:` before the last `/` belongs to a registry's port.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let start = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[start..].find(':') {
        Some(colon) => (
            &rest[..start + colon],
            Some(&rest[start + colon + 1..]),
            digest,
        ),
        None => (rest, None, digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, image: &Image, expected: Option<&str>) {
        assert_eq!(change(text, image).as_deref(), expected, "{text}");
    }

    #[test]
    fn tag_and_digest_replace_each_other() {
        let text = |text: &str| Some(text.to_owned());
        let tag = Image {
            name: "r:5000/app".into(),
            new_tag: text("2"),
            ..Image::default()
        };
        check("r:5000/app:1", &tag, Some("r:5000/app:2"));
        check("r:5000/app@sha256:ab", &tag, Some("r:5000/app:2"));
        check("r:5000/app2:1", &tag, None);
        let digest = Image {
            name: "app".into(),
            digest: text("sha256:cd"),
            ..Image::default()
        };
        check("app:1", &digest, Some("app@sha256:cd"));
        let name = Image {
            name: "app".into(),
            new_name: text("other/app"),
            ..Image::default()
        };
        check("app:1@sha256:ab", &name, Some("other/app:1@sha256:ab"));
    }
}
