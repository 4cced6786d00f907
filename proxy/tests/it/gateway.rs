//! TLS at the edge: certificates that come as secrets, and clients that must show theirs.

use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_identity::Authority;
use fairlead_proxy::tls::{self, client::Expect};
use fairlead_runtime::clock;
use fairlead_xds::resource::listener::{Direction, FilterChain, Handler, RouteSource};
use fairlead_xds::resource::secret::{Secret, SecretContent};
use fairlead_xds::resource::{CertificateValidation, DownstreamTls, Resource};
use fairlead_xds::routing::StringMatch;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::peer::Server;
use crate::rig::{
    Mesh, Proxy, boxed, chain, cluster, free_address, id, listener, manager, route, routes,
};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

fn https(name: &str, secret: &str, validation: Option<CertificateValidation>) -> FilterChain {
    let mut chain = chain(Handler::Http(Box::new(manager(RouteSource::Rds(
        "https".to_owned(),
    )))));
    chain.matches.server_names = vec![name.to_owned()];
    chain.tls = Some(DownstreamTls {
        certificates: vec![format!("kubernetes://{secret}")],
        require_client_certificate: validation.is_some(),
        validation,
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ..DownstreamTls::default()
    });
    chain
}

fn secret(name: &str, content: SecretContent) -> Resource {
    Resource::Secret(Secret {
        name: format!("kubernetes://{name}"),
        content,
    })
}

fn server_certificate(authority: &Authority, name: &str) -> SecretContent {
    let (issued, key) = authority.issue_server(&[name], HOUR, clock::now()).unwrap();
    let chain = issued.chain[0].clone().into_bytes();
    SecretContent::Certificate {
        chain,
        key: key.expose_pem().as_bytes().to_vec(),
    }
}

/// Asks over TLS as the bearer of `account`'s certificate, if there is one.
async fn ask(
    authority: &Authority,
    address: SocketAddr,
    name: &str,
    own: Option<&tls::Identity>,
) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = tls::identity::parse_roots(authority.roots().to_pem().as_bytes()).unwrap();
    let own = own.map(|own| (own.chain.clone(), own.key.clone_key()));
    let config = tls::client::build(Arc::new(roots), own, &Expect::DnsName, &provider).unwrap();
    let stream = TcpStream::connect(address).await?;
    let server_name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(server_name, stream)
        .await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn certificates_come_as_secrets_and_a_missing_one_hurts_nobody_else() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "gateway"), free_address());
    let server = Server::start("shop").await;
    let public = Authority::self_signed("public", clock::now()).unwrap();
    let mesh = Mesh::new();
    let (ann, bob) = (mesh.identity("ann"), mesh.identity("bob"));
    let only_ann = CertificateValidation {
        roots: Some("kubernetes://clients-cacert".to_owned()),
        subject_alt_names: vec![StringMatch::exact(id("ann").to_string())],
    };
    let chains = vec![
        https("shop.example.com", "shop", None),
        https("late.example.com", "late", None),
        https("members.example.com", "members", Some(only_ann)),
    ];
    proxy
        .apply([
            boxed(cluster("shop", &[server.address])),
            Resource::Route(routes("https", vec![route(&[("shop", 1)])])),
            Resource::Listener(Box::new(listener(address, Direction::Outbound, chains))),
            secret("shop", server_certificate(&public, "shop.example.com")),
            secret(
                "members",
                server_certificate(&public, "members.example.com"),
            ),
            secret(
                "clients-cacert",
                SecretContent::Roots {
                    roots: mesh.roots().into_bytes(),
                },
            ),
        ])
        .await;
    let answer = ask(&public, address, "shop.example.com", None)
        .await
        .unwrap();
    assert!(
        answer.contains("200 OK") && answer.contains("x-forwarded-proto: https"),
        "{answer}"
    );
    ask(&public, address, "late.example.com", None)
        .await
        .unwrap_err();
    ask(&public, address, "unknown.example.com", None)
        .await
        .unwrap_err();

    let members = "members.example.com";
    assert!(
        ask(&public, address, members, Some(&ann))
            .await
            .unwrap()
            .contains("200 OK")
    );
    ask(&public, address, members, Some(&bob))
        .await
        .unwrap_err();
    ask(&public, address, members, None).await.unwrap_err();

    proxy
        .apply([secret(
            "late",
            server_certificate(&public, "late.example.com"),
        )])
        .await;
    let answer = ask(&public, address, "late.example.com", None)
        .await
        .unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
}
