//! Redirection by real iptables rules, in network namespaces of its own. Needs root.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::{Cluster, Discovery};
use fairlead_xds::resource::listener::{Direction, Handler, ListenerFilter, RouteSource};

use crate::rig::{
    Mesh, Proxy, boxed, chain, http_to, inbound_strict, listener, manager, mesh_cluster, route,
    routes, tcp_to,
};

/// The pod's address.
const POD: &str = "10.9.0.1";
/// A machine outside the pod.
const OUTSIDE: &str = "10.9.0.2";
/// A service's address, which no machine has.
const SERVICE: &str = "10.9.0.80:80";
/// Set in the process that runs inside the namespaces.
const INSIDE: &str = "FAIRLEAD_TEST_INSIDE_NAMESPACE";
/// Any user but the proxy's.
const APPLICATION: u32 = 1000;

/// Runs one of the tests below again, inside new network and mount namespaces.
fn in_namespace(test: &str) {
    let output = Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}\n{err}"
    );
}

fn is_inside() -> bool {
    std::env::vars().any(|(name, _)| name == INSIDE)
}

fn run(command: &str) -> String {
    let output = Command::new("bash")
        .args(["-euc", command])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn init(flags: &str) {
    run(&format!(
        "{} init {flags}",
        env!("CARGO_BIN_EXE_fairlead-proxy")
    ));
}

fn rules() -> String {
    run("iptables-save -t nat | grep -v '^#'")
}

#[test]
#[ignore = "needs root and iptables"]
fn rules_are_the_same_after_a_second_run_and_gone_after_the_cleaning() {
    if !is_inside() {
        return in_namespace(
            "redirect::rules_are_the_same_after_a_second_run_and_gone_after_the_cleaning",
        );
    }
    run("ip link set lo up");
    init("");
    let once = rules();
    init("");
    assert_eq!(rules(), once);
    for rule in [
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    ] {
        assert!(once.contains(rule), "{rule} is not in\n{once}");
    }
    init("--clean");
    assert!(!rules().contains("ISTIO"), "{}", rules());
    init("--clean");
}

/// The proxy's own user is root here, since the test runs as root; the application is a thread
/// with another one.
#[tokio::test]
#[ignore = "needs root and iptables"]
async fn captured_traffic_finds_its_original_destination() {
    if !is_inside() {
        return in_namespace("redirect::captured_traffic_finds_its_original_destination");
    }
    run(&format!(
        "ip link set lo up; mount -t tmpfs none /run; ip netns add outside
        ip link add inner type veth peer name outer netns outside
        ip addr add {POD}/24 dev inner; ip link set inner up
        ip -n outside addr add {OUTSIDE}/24 dev outer; ip -n outside link set outer up"
    ));
    init("--proxy-uid=0");
    let application = serve("application", &format!("{POD}:8080"), None);
    let outside = serve("outside", &format!("{OUTSIDE}:9000"), Some("outside"));
    let proxy = Proxy::start(&Mesh::new(), "web");
    proxy.apply(pod_resources()).await;

    // Out by the service's address, over mutual TLS back into the same pod.
    let answer = ask(SERVICE).await;
    assert!(
        answer.contains("application") && answer.contains("200 OK"),
        "{answer}"
    );
    let labels = [
        "reporter=\"destination\"",
        "connection_security_policy=\"mutual_tls\"",
    ];
    proxy.wait_for("istio_requests_total", &labels, 1).await;
    // Out to what the mesh does not know.
    let answer = ask(&format!("{OUTSIDE}:9000")).await;
    assert!(answer.contains("outside"), "{answer}");
    let labels = ["destination_service_name=\"PassthroughCluster\""];
    proxy
        .wait_for("istio_tcp_connections_closed_total", &labels, 1)
        .await;
    drop((application, outside));
}

fn pod_resources() -> Vec<Resource> {
    let original = |name: &str| boxed(Cluster::new(name, Discovery::OriginalDst { port: None }));
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let mut captured = listener(
        address("0.0.0.0:15001"),
        Direction::Outbound,
        vec![chain(tcp_to("PassthroughCluster"))],
    );
    captured.use_original_dst = true;
    let http = Handler::Http(Box::new(manager(RouteSource::Rds("80".to_owned()))));
    let mut web = listener(
        address("0.0.0.0:80"),
        Direction::Outbound,
        vec![chain(http)],
    );
    web.bind_to_port = false;
    let Resource::Listener(mut inbound) =
        inbound_strict(address("0.0.0.0:15006"), http_to("inbound|8080||"))
    else {
        unreachable!("it is a listener")
    };
    inbound.filters.insert(0, ListenerFilter::OriginalDst);
    vec![
        original("PassthroughCluster"),
        original("inbound|8080||"),
        boxed(mesh_cluster(
            "web",
            &[address(&format!("{POD}:8080"))],
            "web",
        )),
        Resource::Route(routes("80", vec![route(&[("web", 1)])])),
        Resource::Listener(Box::new(captured)),
        Resource::Listener(Box::new(web)),
        Resource::Listener(inbound),
    ]
}

/// A server that answers each connection's first bytes with its name.
fn serve(
    name: &'static str,
    address: &str,
    namespace: Option<&'static str>,
) -> thread::JoinHandle<()> {
    let address = address.to_owned();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        if let Some(namespace) = namespace {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        }
        let listener = TcpListener::bind(address).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let length = name.len();
            let _closed = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}"
            );
        }
    });
    is_ready.recv().unwrap();
    server
}

/// Asks as the application's user.
async fn ask(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let asking = thread::spawn(move || {
        nix::unistd::setfsgid(APPLICATION.into());
        nix::unistd::setfsuid(APPLICATION.into());
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    tokio::task::spawn_blocking(move || asking.join().unwrap())
        .await
        .unwrap()
}
