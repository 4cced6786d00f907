//! Real sockets on loopback, with and without the permission to use them.

use super::*;
use crate::fake::Server;

impl Outgoing {
    /// Clients with these permissions, in a cluster with these addresses.
    pub(crate) fn for_tests(permissions: &[&str], places: Places) -> Self {
        let permissions = permissions
            .iter()
            .map(|permission| permission.parse().unwrap());
        // The receiver keeps the last value after the sender is gone.
        let (_, known) = watch::channel(Known::for_tests(places));
        Self::new(known, permissions.collect())
    }

    /// Clients that may call servers of tests.
    pub(crate) fn on_loopback() -> Self {
        Self::for_tests(&["loopback"], Places::default())
    }
}

async fn call(outgoing: &Outgoing, address: &str) -> Result<u16, String> {
    let (client, url) = outgoing
        .client(address, &Settings::default())
        .await
        .map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await;
    answer
        .map(|answer| answer.status().as_u16())
        .map_err(|error| describe(&error))
}

#[tokio::test]
async fn loopback_is_refused_by_address_and_by_name_before_a_connection_is_made() {
    let server = Server::start(|_| Server::answer(200, "ok")).await;
    let outgoing = Outgoing::for_tests(&[], Places::default());
    let port = server.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"] {
        let error = call(&outgoing, &format!("http://{host}:{port}/secret"))
            .await
            .unwrap_err();
        assert!(error.contains("--allow-outgoing=loopback"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn what_is_allowed_by_name_is_called() {
    let server = Server::start(|_| Server::answer(200, "ok")).await;
    let port = server.port();
    for (permission, host) in [
        ("loopback", "127.0.0.1"),
        ("loopback", "localhost"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        let outgoing = Outgoing::for_tests(&[permission], Places::default());
        let outcome = call(&outgoing, &format!("http://{host}:{port}")).await;
        assert_eq!(outcome, Ok(200), "{permission}: {host}");
    }
    let outgoing = Outgoing::for_tests(&["localhost"], Places::default());
    call(&outgoing, &format!("http://127.0.0.1:{port}"))
        .await
        .expect_err("the permission is for another host");
}

#[tokio::test]
async fn nodes_and_api_server_are_refused() {
    let places = Places {
        nodes: ["192.0.2.1".parse().unwrap()].into(),
        api_server: ["192.0.2.2".parse().unwrap()].into(),
    };
    let outgoing = Outgoing::for_tests(&[], places);
    for (address, class) in [
        ("http://192.0.2.1:30080", "node"),
        ("https://192.0.2.2", "api-server"),
    ] {
        let error = call(&outgoing, address).await.unwrap_err();
        assert!(
            error.contains(&format!("--allow-outgoing={class}")),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_while_the_clusters_addresses_are_unknown() {
    let (_sender, known) = watch::channel(Known::default());
    let outgoing = Outgoing::new(known, Permissions::default());
    let error = call(&outgoing, "http://192.0.2.1").await.unwrap_err();
    assert!(
        error.contains("--allow-outgoing=node,api-server"),
        "{error}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(|_| {
        Server::answer(302, "").with_header("location", "http://169.254.169.254/")
    })
    .await;
    let outcome = call(&Outgoing::on_loopback(), &server.address()).await;
    assert_eq!(outcome, Ok(302));
}

#[tokio::test]
async fn only_http_is_spoken() {
    let outgoing = Outgoing::on_loopback();
    for address in ["file:///etc/passwd", "ftp://example.com", "nonsense", ""] {
        let error = call(&outgoing, address).await.unwrap_err();
        assert!(error.contains("http://"), "{error}");
    }
}
