//! What of a traffic policy cannot be read, or is not acted on.

use fairlead_crds::networking::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, DestinationRule, HttpPool,
    LoadBalancer, LocalityBalancer, OutlierDetection, TcpPool, TrafficPolicy, ZoneAwareBalancer,
};

use super::Policy;
use crate::diagnostic::{Findings, is_given};

/// Reports on all policies of a rule.
pub(super) fn check(rule: &DestinationRule, findings: &mut Findings<'_>) {
    let spec = &rule.spec;
    if let Some(policy) = &spec.traffic_policy {
        check_policy("spec.trafficPolicy", policy, findings);
    }
    for (index, subset) in spec.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            let field = format!("spec.subsets[{index}].trafficPolicy");
            check_policy(&field, policy, findings);
        }
    }
}

fn check_policy(field: &str, policy: &TrafficPolicy, findings: &mut Findings<'_>) {
    findings.error_of(
        field,
        &[
            ("tunnel", policy.tunnel.is_some()),
            ("proxyProtocol", policy.proxy_protocol.is_some()),
        ],
        "is not supported and has no effect",
    );
    findings.not_acted_on(field, &[("retryBudget", policy.retry_budget.is_some())]);
    check_parts(field, &Policy::of_host(policy), findings);
    for (index, settings) in policy.port_level_settings.iter().enumerate() {
        let field = format!("{field}.portLevelSettings[{index}]");
        let number = settings.port.as_ref().map(|port| port.number);
        if number.is_none_or(|number| number == 0 || u16::try_from(number).is_err()) {
            findings.error(
                format!("{field}.port.number"),
                "is not a port; the settings have no effect",
            );
        }
        check_parts(&field, &Policy::of_port(settings), findings);
    }
}

fn check_parts(field: &str, policy: &Policy, findings: &mut Findings<'_>) {
    if let Some(balancer) = &policy.load_balancer {
        check_balancer(&format!("{field}.loadBalancer"), balancer, findings);
    }
    if let Some(ConnectionPool { tcp, http }) = &policy.connection_pool {
        let field = format!("{field}.connectionPool");
        if let Some(tcp) = tcp {
            check_tcp(&format!("{field}.tcp"), tcp, findings);
        }
        if let Some(http) = http {
            check_http(&format!("{field}.http"), http, findings);
        }
    }
    if let Some(outlier) = &policy.outlier_detection {
        check_outlier(&format!("{field}.outlierDetection"), outlier, findings);
    }
    if let Some(tls) = &policy.tls {
        check_tls(&format!("{field}.tls"), tls, findings);
    }
}

fn check_balancer(field: &str, balancer: &LoadBalancer, findings: &mut Findings<'_>) {
    // What is switched off is acted on by doing nothing.
    let is_by_locality = |locality: &LocalityBalancer| locality.enabled != Some(false);
    let is_by_zone = |zone: &ZoneAwareBalancer| zone.enabled != Some(false);
    let (locality, zone) = (
        balancer.locality_lb_setting.as_ref(),
        balancer.zone_aware_lb_setting.as_ref(),
    );
    findings.not_acted_on(
        field,
        &[
            ("backendUtilization", balancer.backend_utilization.is_some()),
            ("localityLbSetting", locality.is_some_and(is_by_locality)),
            ("warmup", balancer.warmup.is_some()),
            (
                "warmupDurationSecs",
                balancer.warmup_duration_secs.is_some(),
            ),
            ("zoneAwareLbSetting", zone.is_some_and(is_by_zone)),
        ],
    );
    if let Some(hash) = &balancer.consistent_hash {
        check_hash(&format!("{field}.consistentHash"), hash, findings);
    }
}

fn check_hash(field: &str, hash: &ConsistentHash, findings: &mut Findings<'_>) {
    let has_key = hash.http_header_name.is_some()
        || hash.http_cookie.is_some()
        || hash.use_source_ip == Some(true)
        || hash.http_query_parameter_name.is_some();
    if !has_key {
        findings.error(
            field,
            "needs `httpHeaderName`, `httpCookie`, `useSourceIp` or `httpQueryParameterName`; \
             requests are spread as if it were not there",
        );
    }
    let ring = hash.ring_hash.as_ref();
    findings.warn_of(
        field,
        &[
            ("minimumRingSize", hash.minimum_ring_size.is_some()),
            (
                "ringHash.minimumRingSize",
                ring.is_some_and(|ring| ring.minimum_ring_size.is_some()),
            ),
            (
                "maglev.tableSize",
                hash.maglev
                    .as_ref()
                    .is_some_and(|table| table.table_size.is_some()),
            ),
        ],
        "has no effect: proxies choose by the hash without a table, and so without its size",
    );
    if let Some(cookie) = &hash.http_cookie {
        let field = format!("{field}.httpCookie");
        findings.duration(&format!("{field}.ttl"), cookie.ttl.as_ref());
        findings.not_acted_on(&field, &[("attributes", !cookie.attributes.is_empty())]);
    }
}

fn check_tcp(field: &str, pool: &TcpPool, findings: &mut Findings<'_>) {
    findings.duration(
        &format!("{field}.connectTimeout"),
        pool.connect_timeout.as_ref(),
    );
    if let Some(keepalive) = &pool.tcp_keepalive {
        let field = format!("{field}.tcpKeepalive");
        findings.duration(&format!("{field}.time"), keepalive.time.as_ref());
        findings.duration(&format!("{field}.interval"), keepalive.interval.as_ref());
    }
    findings.not_acted_on(
        field,
        &[
            ("maxConnections", pool.max_connections.is_some()),
            ("tcpKeepalive", pool.tcp_keepalive.is_some()),
            (
                "maxConnectionDuration",
                pool.max_connection_duration.is_some(),
            ),
            ("idleTimeout", pool.idle_timeout.is_some()),
        ],
    );
}

fn check_http(field: &str, pool: &HttpPool, findings: &mut Findings<'_>) {
    findings.duration(&format!("{field}.idleTimeout"), pool.idle_timeout.as_ref());
    findings.not_acted_on(
        field,
        &[
            (
                "http1MaxPendingRequests",
                pool.http1_max_pending_requests.is_some(),
            ),
            (
                "maxRequestsPerConnection",
                pool.max_requests_per_connection.is_some(),
            ),
            ("maxRetries", pool.max_retries.is_some()),
            ("idleTimeout", pool.idle_timeout.is_some()),
            (
                "maxConcurrentStreams",
                pool.max_concurrent_streams.is_some(),
            ),
            ("http2KeepAlive", pool.http2_keep_alive.is_some()),
        ],
    );
}

fn check_outlier(field: &str, outlier: &OutlierDetection, findings: &mut Findings<'_>) {
    findings.duration(&format!("{field}.interval"), outlier.interval.as_ref());
    findings.duration(
        &format!("{field}.baseEjectionTime"),
        outlier.base_ejection_time.as_ref(),
    );
    findings.not_acted_on(
        field,
        &[
            (
                "outlierDetectionHttpErrorCodes",
                !outlier.outlier_detection_http_error_codes.is_empty(),
            ),
            ("minHealthPercent", outlier.min_health_percent.is_some()),
            (
                "splitExternalLocalOriginErrors",
                outlier.split_external_local_origin_errors == Some(true),
            ),
            (
                "consecutiveLocalOriginFailures",
                outlier.consecutive_local_origin_failures.is_some(),
            ),
        ],
    );
}

fn check_tls(field: &str, tls: &ClientTls, findings: &mut Findings<'_>) {
    let client = [
        (
            "clientCertificate",
            is_given(tls.client_certificate.as_ref()),
        ),
        ("privateKey", is_given(tls.private_key.as_ref())),
    ];
    let credential = ("credentialName", is_given(tls.credential_name.as_ref()));
    // The system's authorities are those that are used anyway.
    let is_system = tls.ca_certificates.as_deref() == Some("system");
    let roots = [
        (
            "caCertificates",
            is_given(tls.ca_certificates.as_ref()) && !is_system,
        ),
        ("caCrl", is_given(tls.ca_crl.as_ref())),
    ];
    let server = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("sni", is_given(tls.sni.as_ref())),
    ];
    let skip = ("insecureSkipVerify", tls.insecure_skip_verify == Some(true));
    let unverified = "is not supported: the server is verified with the system's authorities";
    let anonymous = "is not supported: connections are made without a client's certificate";
    match tls.mode.unwrap_or_default() {
        ClientTlsMode::Disable => {
            let useless = "has no effect: `mode` is DISABLE";
            for settings in [client, roots, server, [credential, skip]] {
                findings.warn_of(field, &settings, useless);
            }
        }
        ClientTlsMode::Simple => {
            findings.warn_of(field, &client, "has no effect: `mode` is SIMPLE");
            findings.error_of(field, &roots, unverified);
            findings.error_of(field, &[credential], unverified);
        }
        ClientTlsMode::Mutual => {
            findings.error(format!("{field}.mode"), format!("`MUTUAL` {anonymous}"));
            findings.error_of(field, &client, anonymous);
            findings.error_of(field, &[credential], anonymous);
            findings.error_of(field, &roots, unverified);
        }
        ClientTlsMode::IstioMutual => {
            let useless = "has no effect: with ISTIO_MUTUAL the mesh gives the certificates";
            for settings in [client, roots, [credential, skip]] {
                findings.warn_of(field, &settings, useless);
            }
        }
    }
}
