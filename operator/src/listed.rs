//! A client that lists a kind of a namespace once, and answers from that list whatever is read of
//! it: where hundreds of reads would ask for most of what is there, one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fairlead_runtime::report;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::client::Body;
use kube::core::{Expression, Selector, SelectorExt as _};
use parking_lot::Mutex;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::BoxError;

/// What is listed. Reads of other kinds are passed on: nobody wants all Secrets for one of them, and
/// ControllerRevisions must not be older than what they are read for.
const KINDS: [&str; 11] = [
    "daemonsets",
    "deployments",
    "destinationrules",
    "endpointslices",
    "horizontalpodautoscalers",
    "httproutes",
    "replicasets",
    "scaledobjects",
    "services",
    "statefulsets",
    "virtualservices",
];
/// Objects that one answer of the API server holds at most.
const PAGE: usize = 500;
/// Collections that are larger are not kept in memory.
const MOST: i64 = 4000;

/// A client that lists on the first read of a kind and never again; writes and other reads go to
/// `inner`, and so does everything about a kind that cannot be listed.
pub(crate) fn client(inner: Client) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let lists = Arc::new(Lists::default());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, lists) = (inner.clone(), Arc::clone(&lists));
        async move { forward(inner, &lists, request).await }
    });
    Client::new(service, namespace)
}

async fn forward(
    inner: Client,
    lists: &Lists,
    request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    if let Some(read) = Read::of(request.method(), request.uri())
        && let Some(list) = lists.of(&inner, &read.collection).await
    {
        return list.answer(&read.what);
    }
    Ok(inner.send(request).await?)
}

/// What a request reads.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// The path of all objects of the kind in the namespace.
    collection: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// The object of this name.
    Object(String),
    /// Those that a selector of labels matches.
    Selected(Selector),
}

impl Read {
    /// `None` when it is no read that a list of a kind answers. Pure.
    fn of(method: &Method, uri: &http::Uri) -> Option<Self> {
        if method != Method::GET {
            return None;
        }
        let (group, rest) = uri.path().split_once("/namespaces/")?;
        let mut parts = rest.split('/');
        let (namespace, kind) = (parts.next()?, parts.next()?);
        let (name, more) = (parts.next(), parts.next());
        if !KINDS.contains(&kind) || more.is_some() {
            return None;
        }
        let url = Url::parse("http://server").ok()?.join(&uri.to_string());
        let parameters: Vec<_> = url.ok()?.query_pairs().into_owned().collect();
        let what = match (name, &parameters[..]) {
            (Some(name), []) => What::Object(name.to_owned()),
            (None, []) => What::Selected(Selector::default()),
            (None, [(key, text)]) if key == "labelSelector" => What::Selected(selector(text)?),
            _ => return None,
        };
        Some(Self {
            collection: format!("{group}/namespaces/{namespace}/{kind}"),
            what,
        })
    }
}

/// Reads what we ask by: terms such as `a=b` and `a in (b,c)`.
fn selector(text: &str) -> Option<Selector> {
    let mut terms = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (term, after) = match rest.split_once(" in (") {
            Some((key, after)) if !key.contains([',', '=']) => {
                let (values, after) = after.split_once(')')?;
                let values: BTreeSet<String> = values.split(',').map(ToOwned::to_owned).collect();
                (Expression::In(key.to_owned(), values), after)
            }
            Some(_) | None => {
                let (term, after) = rest.split_once(',').unwrap_or((rest, ""));
                let (key, value) = term.split_once('=')?;
                if key.ends_with('!') || value.starts_with('=') {
                    return None;
                }
                (Expression::Equal(key.to_owned(), value.to_owned()), after)
            }
        };
        terms.push(term);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(terms.into_iter().collect())
}

/// A list, once it is read; `None` for what cannot be listed.
type Cell = OnceCell<Option<Arc<List>>>;

/// The lists by the path of what they hold.
#[derive(Default)]
struct Lists(Mutex<HashMap<String, Arc<Cell>>>);

impl Lists {
    /// The list of a collection: the first who asks reads it, and the others wait.
    async fn of(&self, inner: &Client, collection: &str) -> Option<Arc<List>> {
        let cell = {
            let mut lists = self.0.lock();
            Arc::clone(lists.entry(collection.to_owned()).or_default())
        };
        let read = async || match List::read(inner, collection).await {
            Ok(list) => list.map(Arc::new),
            Err(error) => {
                let reason = report(&error);
                tracing::debug!(collection, %reason, "its objects are read one by one");
                None
            }
        };
        cell.get_or_init(read).await.clone()
    }
}

/// All objects of a kind in a namespace.
#[derive(Debug, Default)]
struct List {
    api_version: String,
    kind: String,
    objects: BTreeMap<String, Listed>,
}

#[derive(Debug)]
struct Listed {
    labels: BTreeMap<String, String>,
    /// As JSON.
    object: String,
}

/// A part of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    api_version: String,
    kind: String,
    metadata: ListMeta,
    items: Vec<Value>,
}

impl List {
    /// `None` where there is too much.
    async fn read(client: &Client, collection: &str) -> kube::Result<Option<Self>> {
        let mut list = Self::default();
        let mut token = String::new();
        loop {
            let mut url = format!("{collection}?limit={PAGE}");
            if !token.is_empty() {
                url = format!("{url}&continue={token}");
            }
            let request = Request::get(url).body(Vec::new());
            let page: Page = client
                .request(request.map_err(kube::Error::HttpError)?)
                .await?;
            if page.metadata.remaining_item_count > Some(MOST) {
                return Ok(None);
            }
            token = page.metadata.continue_.clone().unwrap_or_default();
            list.extend(page);
            if token.is_empty() {
                return Ok(Some(list));
            }
        }
    }

    fn extend(&mut self, page: Page) {
        self.kind = page.kind.trim_end_matches("List").to_owned();
        self.api_version = page.api_version;
        for mut object in page.items {
            // Only an object that is read by itself says what it is.
            object["apiVersion"] = json!(self.api_version);
            object["kind"] = json!(self.kind);
            let meta = &object["metadata"];
            let name = meta["name"].as_str().unwrap_or_default().to_owned();
            let labels = meta["labels"].as_object().into_iter().flatten();
            let labels = labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect();
            let object = object.to_string();
            self.objects.insert(name, Listed { labels, object });
        }
    }

    fn answer(&self, what: &What) -> Result<Response<Body>, BoxError> {
        let (status, body) = match what {
            What::Object(name) => match self.objects.get(name) {
                Some(listed) => (StatusCode::OK, listed.object.clone()),
                None => (StatusCode::NOT_FOUND, self.absence(name).to_string()),
            },
            What::Selected(selector) => (StatusCode::OK, self.selected(selector)),
        };
        let body = Body::from(body.into_bytes());
        Ok(Response::builder().status(status).body(body)?)
    }

    fn selected(&self, selector: &Selector) -> String {
        let matching = self.objects.values();
        let matching = matching.filter(|listed| selector.matches(&listed.labels));
        let items: Vec<&str> = matching.map(|listed| listed.object.as_str()).collect();
        let (version, kind) = (json!(self.api_version), json!(format!("{}List", self.kind)));
        let items = items.join(",");
        format!(r#"{{"apiVersion":{version},"kind":{kind},"metadata":{{}},"items":[{items}]}}"#)
    }

    /// What the API server says of an object that is not there.
    fn absence(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "reason": "NotFound",
            "code": 404,
            "message": format!("{} \"{name}\" not found", self.kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::api::{Api, ListParams};

    use super::*;

    fn read(uri: &str) -> Option<Read> {
        Read::of(&Method::GET, &uri.parse().expect("a URI"))
    }

    #[test]
    fn single_objects_and_those_that_labels_select_are_read_from_lists() {
        let found = read("/apis/apps/v1/namespaces/shop/deployments/cart?").expect("a read");
        assert_eq!(
            (found.collection.as_str(), found.what),
            (
                "/apis/apps/v1/namespaces/shop/deployments",
                What::Object("cart".to_owned())
            )
        );
        let found = read(
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?\
             &labelSelector=kubernetes.io%2Fservice-name+in+%28cart%2Ccart-canary%29%2Ca%3Db",
        );
        let values = ["cart".to_owned(), "cart-canary".to_owned()];
        let expected = [
            Expression::In("kubernetes.io/service-name".to_owned(), values.into()),
            Expression::Equal("a".to_owned(), "b".to_owned()),
        ];
        assert_eq!(
            found.expect("a read").what,
            What::Selected(expected.into_iter().collect())
        );
    }

    #[test]
    fn what_a_list_cannot_answer_is_passed_on() {
        for uri in [
            "/api/v1/namespaces/shop/secrets/cart",
            "/apis/apps/v1/namespaces/shop/deployments/cart/scale",
            "/apis/apps/v1/namespaces/shop/deployments?watch=true",
            "/apis/apps/v1/namespaces/shop/deployments?labelSelector=a%21%3Db",
            "/apis/apps/v1/deployments",
        ] {
            assert_eq!(read(uri), None, "{uri}");
        }
        let uri = "/apis/apps/v1/namespaces/shop/deployments/cart".parse();
        assert_eq!(Read::of(&Method::PATCH, &uri.expect("a URI")), None);
    }

    #[tokio::test]
    async fn a_kind_is_listed_once_page_by_page() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let client = client(crate::fake::cluster(move |uri| {
            noted.lock().push(uri.to_string());
            let is_last = uri.query().is_some_and(|query| query.contains("continue"));
            let (name, more) = if is_last { ("b", "") } else { ("a", "next") };
            Some(json!({
                "apiVersion": "v1", "kind": "ServiceList", "metadata": { "continue": more },
                "items": [{ "metadata": { "name": name, "labels": { "app": name } } }],
            }))
        }));
        let api: Api<Service> = Api::namespaced(client, "shop");
        let found = tokio::join!(api.get_opt("a"), api.get_opt("b"), api.get_opt("c"));
        let name = |found: kube::Result<Option<Service>>| found.expect("an answer")?.metadata.name;
        assert_eq!(name(found.0).as_deref(), Some("a"));
        assert_eq!(name(found.1).as_deref(), Some("b"));
        assert_eq!(name(found.2), None);
        let selected = api
            .list(&ListParams::default().labels("app in (b,c)"))
            .await;
        assert_eq!(selected.expect("a list").items.len(), 1);
        let expected = [
            "/api/v1/namespaces/shop/services?limit=500",
            "/api/v1/namespaces/shop/services?limit=500&continue=next",
        ];
        assert_eq!(asked.lock().as_slice(), expected);
    }

    #[tokio::test]
    async fn a_kind_that_cannot_be_listed_is_read_object_by_object() {
        let client = client(crate::fake::cluster(|uri| {
            let name = uri
                .path()
                .strip_prefix("/api/v1/namespaces/shop/services/")?;
            Some(json!({ "metadata": { "name": name } }))
        }));
        let api: Api<Service> = Api::namespaced(client, "shop");
        let found = api.get_opt("a").await.expect("an answer");
        assert_eq!(
            found.expect("it is there").metadata.name.as_deref(),
            Some("a")
        );
    }

    #[tokio::test]
    async fn what_is_too_much_is_read_object_by_object() {
        let client = client(crate::fake::cluster(|uri| {
            let name = uri.path().strip_prefix("/api/v1/namespaces/shop/services/");
            Some(match name {
                Some(name) => json!({ "metadata": { "name": name } }),
                None => json!({
                    "apiVersion": "v1", "kind": "ServiceList", "items": [],
                    "metadata": { "continue": "next", "remainingItemCount": MOST + 1 },
                }),
            })
        }));
        let api: Api<Service> = Api::namespaced(client, "shop");
        assert!(api.get_opt("a").await.expect("an answer").is_some());
    }
}
