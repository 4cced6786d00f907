//! Routes: shares, rewrites, headers, and the answers that the proxy gives itself.

use bytes::Bytes;
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::LbPolicy;
use fairlead_xds::resource::route::{
    Action, AddMode, Fault, Forward, HashKey, HeaderAdd, HostRewrite, Mirror, Redirect,
    RedirectStatus, Route, Share,
};
use fairlead_xds::routing::text::StringMatch;
use fairlead_xds::routing::{HeaderMatch, PathMatch, PathRewrite, RouteMatch};
use http::Request;
use http_body_util::Full;

use crate::peer::{Server, client, client_http2, get, send, text};
use crate::rig::{Mesh, Proxy, boxed, cluster, free_address, outbound, route, routes};

#[tokio::test]
async fn shares_of_traffic_are_exact_over_many_requests() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let (old, new) = (Server::start("old").await, Server::start("new").await);
    proxy
        .apply([
            boxed(cluster("old", &[old.address])),
            boxed(cluster("new", &[new.address])),
            Resource::Route(routes("80", vec![route(&[("old", 90), ("new", 10)])])),
            outbound(address, "80"),
        ])
        .await;
    let client = client();
    for _ in 0..1000 {
        assert_eq!(get(&client, address, "/").await.status(), 200);
    }
    let share = new.hits();
    assert!((98..=102).contains(&share), "{share} of 1000");
    assert_eq!(old.hits() + share, 1000);

    proxy
        .apply([Resource::Route(routes(
            "80",
            vec![route(&[("old", 0), ("new", 100)])],
        ))])
        .await;
    let before = old.hits();
    for _ in 0..100 {
        get(&client, address, "/").await;
    }
    assert_eq!(old.hits(), before, "no request goes where the weight is 0");
}

#[tokio::test]
async fn a_route_rewrites_path_host_and_headers() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let server = Server::start("server").await;
    let forward = Forward {
        path: Some(PathRewrite::Prefix("/v2/".to_owned())),
        host: Some(HostRewrite::Literal("inner.example".to_owned())),
        ..Forward::to("server")
    };
    let mut rule = Route::new(
        "rewrite",
        RouteMatch::path(PathMatch::Prefix("/v1/".to_owned())),
        Action::Forward(Box::new(forward)),
    );
    let add = |name: &str, value: &str| HeaderAdd {
        name: name.to_owned(),
        value: value.to_owned(),
        mode: AddMode::Overwrite,
    };
    rule.headers.request_add = vec![add("x-added", "1")];
    rule.headers.request_remove = vec!["x-secret".to_owned()];
    rule.headers.response_add = vec![add("x-answer", "2")];
    proxy
        .apply([
            boxed(cluster("server", &[server.address])),
            Resource::Route(routes("80", vec![rule])),
            outbound(address, "80"),
        ])
        .await;
    let request = Request::get(format!("http://{address}/v1/a?b=c"))
        .header("x-secret", "s")
        .header("x-envoy-peer-metadata", "forged")
        .body(Full::default())
        .unwrap();
    let answer = send(&client(), request).await;
    let seen = text(&answer);
    assert!(seen.contains("GET /v2/a?b=c"), "{seen}");
    assert!(
        seen.contains("host: inner.example") && seen.contains("x-added: 1"),
        "{seen}"
    );
    assert!(seen.contains("x-envoy-original-path: /v1/a?b=c") && seen.contains("x-request-id: "));
    assert!(
        !seen.contains("x-secret") && !seen.contains("forged"),
        "{seen}"
    );
    assert_eq!(answer.headers()["x-answer"], "2");
}

#[tokio::test]
async fn the_proxy_answers_itself_where_it_must() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let exact = |path: &str| RouteMatch::path(PathMatch::Exact(path.to_owned()));
    let moved = Redirect {
        status: RedirectStatus::Found,
        scheme: Some("https".to_owned()),
        host: Some("other.example".to_owned()),
        port: None,
        path: None,
        strip_query: false,
    };
    let mut faulty = route(&[("none", 1)]);
    faulty.matches = exact("/fault");
    faulty.fault = Some(Fault {
        abort: Some((fairlead_xds::resource::route::Abort::Http(418), Share::ALL)),
        ..Fault::default()
    });
    let mut lost = route(&[("no-such-cluster", 1)]);
    lost.matches = exact("/lost");
    let mut empty = route(&[("none", 1)]);
    empty.matches = exact("/empty");
    proxy
        .apply([
            boxed(cluster("none", &[])),
            Resource::Route(routes(
                "80",
                vec![
                    Route::new("moved", exact("/moved"), Action::Redirect(moved)),
                    faulty,
                    lost,
                    empty,
                ],
            )),
            outbound(address, "80"),
        ])
        .await;
    let client = client();
    let moved = get(&client, address, "/moved?q=1").await;
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (302, &"https://other.example/moved?q=1".parse().unwrap())
    );
    let check = async |path: &str, status: u16, body: &str| {
        let answer = get(&client, address, path).await;
        assert_eq!(
            (answer.status().as_u16(), text(&answer).as_str()),
            (status, body),
            "{path}"
        );
    };
    check("/fault", 418, "fault filter abort").await;
    check("/lost", 503, "").await;
    check("/empty", 503, "no healthy upstream").await;
    check("/nowhere", 404, "").await;
    for (flag, code) in [("FI", "418"), ("NC", "503"), ("UH", "503"), ("NR", "404")] {
        let (flag, code) = (
            format!("response_flags=\"{flag}\""),
            format!("response_code=\"{code}\""),
        );
        proxy
            .wait_for("istio_requests_total", &[&flag, &code], 1)
            .await;
    }
}

#[tokio::test]
async fn a_mirror_gets_a_copy_with_its_body() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let (main, copy) = (Server::start("main").await, Server::start("copy").await);
    let mut rule = route(&[("main", 1)]);
    if let Action::Forward(forward) = &mut rule.action {
        forward.mirrors = vec![Mirror {
            cluster: "copy".to_owned(),
            share: Share::ALL,
        }];
    }
    proxy
        .apply([
            boxed(cluster("main", &[main.address])),
            boxed(cluster("copy", &[copy.address])),
            Resource::Route(routes("80", vec![rule])),
            outbound(address, "80"),
        ])
        .await;
    let request = Request::post(format!("http://{address}/"))
        .body(Full::from(Bytes::from_static(b"payload")))
        .unwrap();
    let answer = send(&client(), request).await;
    assert!(text(&answer).starts_with("main") && text(&answer).ends_with("payload"));
    while copy.hits() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn http2_goes_to_an_http1_server_and_back() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let server = Server::start("server").await;
    proxy
        .apply([
            boxed(cluster("server", &[server.address])),
            Resource::Route(routes("80", vec![route(&[("server", 1)])])),
            outbound(address, "80"),
        ])
        .await;
    let request = Request::post(format!("http://{address}/x"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::from(Bytes::from_static(b"payload")))
        .unwrap();
    let answer = send(&client_http2(), request).await;
    let seen = text(&answer);
    assert!(
        seen.contains("POST /x HTTP/1.1") && seen.ends_with("payload"),
        "{seen}"
    );
    assert!(seen.contains("cookie: a=1; b=2"), "{seen}");
    assert!(seen.contains(&format!("host: {address}")), "{seen}");
}

#[tokio::test]
async fn a_client_stays_with_the_endpoint_that_its_header_names() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let servers = [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ];
    let mut bound = cluster("api", &servers.each_ref().map(|server| server.address));
    bound.lb = LbPolicy::RingHash { min_size: None };
    let mut rule = route(&[("api", 1)]);
    if let Action::Forward(forward) = &mut rule.action {
        forward.hash = vec![HashKey::Header("x-user".to_owned())];
    }
    proxy
        .apply([
            boxed(bound),
            Resource::Route(routes("80", vec![rule])),
            outbound(address, "80"),
        ])
        .await;
    let client = client();
    let mut used = std::collections::BTreeSet::new();
    for user in 0..20 {
        let mut answers = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let request = Request::get(format!("http://{address}/")).header("x-user", user);
            let answer = send(&client, request.body(Full::default()).unwrap()).await;
            answers.insert(text(&answer).lines().next().unwrap().to_owned());
        }
        assert_eq!(answers.len(), 1, "user {user} met {answers:?}");
        used.extend(answers);
    }
    assert_eq!(used.len(), 3, "users spread over {used:?} only");
}

/// A canary's session affinity: a share of the answers gives out a cookie, and whoever brings it
/// back comes to the same version, however its HTTP splits cookies over headers.
#[tokio::test]
async fn a_client_with_the_cookie_of_a_version_stays_with_it() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let (old, new) = (Server::start("old").await, Server::start("new").await);
    let mut divided = route(&[("old", 50), ("new", 50)]);
    let Action::Forward(forward) = &mut divided.action else {
        unreachable!("it forwards")
    };
    forward.clusters[1].headers.response_add = vec![HeaderAdd {
        name: "set-cookie".to_owned(),
        value: "canary=5f2c; Max-Age=60; Path=/".to_owned(),
        mode: AddMode::Append,
    }];
    let mut bound = route(&[("new", 100)]);
    let pattern = r"^(.*;\s*)?canary=5f2c(;.*)?$";
    bound.matches.headers = vec![HeaderMatch::text("Cookie", StringMatch::regex(pattern))];
    proxy
        .apply([
            boxed(cluster("old", &[old.address])),
            boxed(cluster("new", &[new.address])),
            Resource::Route(routes("80", vec![bound, divided])),
            outbound(address, "80"),
        ])
        .await;
    let mut given = 0;
    for _ in 0..20 {
        let before = new.hits();
        let answer = get(&client(), address, "/").await;
        let cookie = answer.headers().get("set-cookie");
        assert_eq!(
            cookie.is_some(),
            new.hits() > before,
            "by whom it was answered"
        );
        given += usize::from(cookie.is_some());
    }
    assert!((5..=15).contains(&given), "{given} of 20");
    let visits = old.hits();
    for (client, cookies) in [
        (client(), vec!["a=b; canary=5f2c; c=d"]),
        (client_http2(), vec!["a=b", "canary=5f2c", "c=d"]),
    ] {
        for _ in 0..10 {
            let mut request = Request::get(format!("http://{address}/"));
            for cookie in &cookies {
                request = request.header("cookie", *cookie);
            }
            let answer = send(&client, request.body(Full::default()).unwrap()).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(
                answer.headers().get("set-cookie"),
                None,
                "it has it already"
            );
        }
    }
    assert_eq!(
        old.hits(),
        visits,
        "nobody with the cookie came to the other version"
    );
}
