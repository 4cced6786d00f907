//! Kubeconfig text for one user of one API server; no IO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::Pair;

/// The kubeconfig of a client that proves itself by certificate, with everything inline.
pub fn kubeconfig(name: &str, server: &str, authority: &str, client: &Pair) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": STANDARD.encode(&client.certificate),
            "client-key-data": STANDARD.encode(&client.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    format!("{config:#}\n")
}
