//! What an operator may rely on of the endpoint, over a bare socket.
#![cfg(feature = "endpoint")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ironcliw::endpoint::{self, Endpoint};
use ironcliw::{
    Actor, ActorSnapshot, Backoff, Child, Context, Error, Handler, Message, Metric, MetricKind, Overflow, Placement,
    Runtime, Section, Supervisor,
};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

struct Idle;
impl Actor for Idle {}

struct Panic;
impl Message for Panic {
    type Reply = ();
}
impl Handler<Panic> for Idle {
    async fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("as asked");
    }
}

/// Takes so long.
struct Nap(Duration);
impl Message for Nap {
    type Reply = ();
}
impl Handler<Nap> for Idle {
    async fn handle(&mut self, Nap(time): Nap, _: &mut Context<Self>) {
        std::thread::sleep(time);
    }
}

/// Holds the actor's thread, not only the actor.
struct Jam(Arc<AtomicBool>);
impl Message for Jam {
    type Reply = ();
}
impl Handler<Jam> for Idle {
    async fn handle(&mut self, Jam(go_on): Jam, _: &mut Context<Self>) {
        while !go_on.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

fn connect(endpoint: &Endpoint) -> TcpStream {
    let address = endpoint.url().strip_prefix("http://").expect("a URL");
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(10 * SECOND)).unwrap();
    stream
}

/// Sends `request` as it is and reads to the end, so it must ask for the connection to be closed.
fn send(endpoint: &Endpoint, request: &str) -> Response {
    let mut stream = connect(endpoint);
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Response { status, head: head.to_owned(), body: body.to_owned() }
}

fn request(endpoint: &Endpoint, method: &str, path: &str, host: &str) -> Response {
    send(endpoint, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

fn get(endpoint: &Endpoint, path: &str) -> Response {
    request(endpoint, "GET", path, "127.0.0.1")
}

fn house() -> (Runtime, Endpoint) {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let endpoint = endpoint::serve(runtime.handle(), "127.0.0.1:0").unwrap();
    (runtime, endpoint)
}

fn idle(name: &str) -> Child<Idle> {
    Child::new(name, || Idle).backoff(Backoff::NONE)
}

fn eventually(done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < 10 * SECOND, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn liveness_and_readiness_are_told() {
    let (runtime, endpoint) = house();
    runtime.block_on(runtime.spawn(idle("idle"))).unwrap();
    let live = get(&endpoint, "/livez");
    assert_eq!((live.status, live.body.as_str()), (200, "ok\n"));
    let ready = get(&endpoint, "/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json(), json!({"ready": true, "state": "running", "not_running": []}));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn an_actor_that_waits_for_its_restart_makes_it_unready_with_the_reason() {
    let (runtime, endpoint) = house();
    let slow = Backoff { min: 60 * SECOND, max: 60 * SECOND, jitter: false, ..Backoff::default() };
    let idle = runtime.block_on(runtime.spawn(idle("idle").backoff(slow))).unwrap();
    idle.try_tell(Panic).unwrap();
    eventually(|| get(&endpoint, "/readyz").status == 503);
    let reason = get(&endpoint, "/readyz").json();
    assert_eq!(reason["ready"], false);
    assert_eq!(reason["state"], "running");
    assert_eq!(reason["not_running"][0]["path"], "user/idle");
    assert_eq!(reason["not_running"][0]["state"], "restarting");
    assert!(reason["not_running"][0]["last_exit"].as_str().unwrap().starts_with("panicked: as asked"));
    eventually(|| get(&endpoint, "/metrics").body.contains("ironcliw_backoff_seconds{path=\"user/idle\"} 60\n"));
    let metrics = get(&endpoint, "/metrics").body;
    for line in [
        "ironcliw_supervisor_children{path=\"user\"} 1\n",
        "ironcliw_supervisor_children_waiting{path=\"user\"} 1\n",
        "ironcliw_supervisor_max_restarts{path=\"user\"} 5\n",
        "ironcliw_supervisor_window_seconds{path=\"user\"} 10\n",
        "ironcliw_backoff_left_seconds{path=\"user/idle\"} ",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    let snapshot = get(&endpoint, "/api/v1/snapshot").json();
    let supervisors = snapshot["supervisors"].as_array().unwrap();
    let user = supervisors.iter().find(|supervisor| supervisor["path"] == "user").unwrap();
    assert_eq!((&user["waiting"][0]["path"], &user["waiting"][0]["delay_s"]), (&json!("user/idle"), &json!(60.0)));
    assert!(get(&endpoint, "/metrics").body.contains("\nironcliw_ready 0\n"));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_root_that_gave_up_makes_it_unready() {
    let (runtime, endpoint) = house();
    let root = runtime.root().unwrap();
    let frail = runtime.block_on(root.supervise(Supervisor::new("frail").restarts(0, SECOND).backoff(Backoff::NONE)));
    let frail = frail.unwrap();
    // Each failure costs the root one restart of `frail`, of the five it has.
    let idle = runtime.block_on(frail.spawn(idle("idle"))).unwrap();
    eventually(|| {
        let _ = idle.try_tell(Panic);
        !runtime.is_ready()
    });
    let ready = get(&endpoint, "/readyz");
    assert_eq!((ready.status, ready.json()["state"].as_str()), (503, Some("failed")));
    assert!(get(&endpoint, "/metrics").body.contains("ironcliw_supervisor_exhausted{path=\"/\"} 1\n"));
    let _ = runtime.shutdown(SECOND);
}

#[test]
fn it_still_answers_after_the_runtime_has_closed() {
    let (runtime, endpoint) = house();
    runtime.block_on(runtime.spawn(idle("idle"))).unwrap();
    runtime.shutdown(SECOND).unwrap();
    drop(runtime);
    assert_eq!(get(&endpoint, "/livez").status, 200);
    let ready = get(&endpoint, "/readyz");
    assert_eq!((ready.status, ready.json()["state"].as_str()), (503, Some("closed")));
    assert_eq!(get(&endpoint, "/metrics").status, 200);
    assert_eq!(get(&endpoint, "/api/v1/snapshot").json()["state"], "closed");
}

struct Shelf;
impl Section for Shelf {
    fn snapshot(&self) -> Value {
        json!({"live": 3})
    }

    fn details(&self) -> Option<Value> {
        Some(json!({"leases": [1, 2, 3]}))
    }

    fn metrics(&self) -> Vec<Metric> {
        let samples = vec![(vec![("owner", "a \"b\" \\c\n".to_owned())], 1.5)];
        vec![
            Metric::gauge("shelf_live_bytes", "Bytes that are lent", 3.0),
            Metric { name: "shelf_leases", help: "Leases", kind: MetricKind::Counter, samples },
        ]
    }
}

#[test]
fn the_snapshot_is_the_tree_and_a_key_a_subsystem() {
    let (runtime, endpoint) = house();
    runtime.register("shelf", Arc::new(Shelf));
    runtime.block_on(runtime.spawn(idle("idle").mailbox(7, Overflow::Reject))).unwrap();
    let answer = get(&endpoint, "/api/v1/snapshot");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let tree = answer.json();
    assert_eq!(tree["state"], "running");
    assert_eq!(tree["actors"][0]["path"], "user/idle");
    assert_eq!(tree["actors"][0]["capacity"], 7);
    assert_eq!(tree["subsystems"], json!({"shelf": {"live": 3}}));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn the_details_of_a_subsystem_are_served_by_its_name() {
    struct Plain;
    impl Section for Plain {
        fn snapshot(&self) -> Value {
            json!({})
        }
    }
    let (runtime, endpoint) = house();
    runtime.register("shelf", Arc::new(Shelf));
    runtime.register("plain", Arc::new(Plain));
    assert_eq!(get(&endpoint, "/api/v1/snapshot/shelf").json(), json!({"leases": [1, 2, 3]}));
    for nothing in ["plain", "other", "", "shelf/leases"] {
        assert_eq!(get(&endpoint, &format!("/api/v1/snapshot/{nothing}")).status, 404, "{nothing}");
    }
    runtime.shutdown(SECOND).unwrap();
}

/// Splits a sample line into its name, its labels and its value, or fails.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a sample has a value");
    let name = line[..end].to_owned();
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (key, quoted) = rest.split_once("=\"").expect("a label has a value in quotes");
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let close = loop {
                match chars.next().expect("a label's value ends") {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect("an escape has two characters").1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        c => panic!("{c:?} is not to be escaped"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((key.to_owned(), value));
            rest = &quoted[close + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("labels end");
    }
    (name, labels, rest.strip_prefix(' ').expect("a space").parse().expect("a number"))
}

#[test]
fn every_line_of_the_metrics_parses_and_says_what_the_snapshot_says() {
    let (runtime, endpoint) = house();
    runtime.register("shelf", Arc::new(Shelf));
    let idle = runtime.block_on(runtime.spawn(idle("an \"idle\" \\ actor").mailbox(7, Overflow::Reject))).unwrap();
    runtime.block_on(async { idle.ask(Panic).await }).unwrap_err();
    eventually(|| runtime.snapshot().restarts == 1 && get(&endpoint, "/readyz").status == 200);
    let answer = get(&endpoint, "/metrics");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
    let body = answer.body.strip_suffix("# EOF\n").expect("the end mark ends it");

    let mut family: Option<(String, &str)> = None;
    let mut families = Vec::new();
    let mut samples = Vec::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, text) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(name.starts_with("ironcliw_"), "{line}");
            match what {
                "HELP" => {
                    assert!(!families.contains(&name.to_owned()), "{name} comes twice");
                    families.push(name.to_owned());
                }
                "TYPE" => {
                    assert!(matches!(text, "gauge" | "counter"), "{line}");
                    assert_eq!(families.last().map(String::as_str), Some(name));
                    family = Some((name.to_owned(), text));
                }
                _ => panic!("unknown comment: {line}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let (of, kind) = family.as_ref().expect("a type before the samples");
        let expected = if *kind == "counter" { format!("{of}_total") } else { of.clone() };
        assert_eq!(name, expected, "{line}");
        let entry = (name, labels, value);
        assert!(!samples.iter().any(|(n, l, _)| (n, l) == (&entry.0, &entry.1)), "{line} comes twice");
        samples.push(entry);
    }

    let value = |name: &str, wanted: &[(&str, &str)]| {
        let found = samples.iter().find(|(n, labels, _)| {
            n == name && labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(wanted.iter().copied())
        });
        found.unwrap_or_else(|| panic!("no {name} {wanted:?} in {body}")).2
    };
    let path = ("path", "user/an \"idle\" \\ actor");
    assert_eq!(value("ironcliw_ready", &[]), 1.0);
    assert!(value("ironcliw_uptime_seconds", &[]) > 0.0);
    assert_eq!(value("ironcliw_actor_state", &[path, ("state", "running")]), 1.0);
    assert_eq!(value("ironcliw_actor_state", &[path, ("state", "restarting")]), 0.0);
    assert_eq!(value("ironcliw_mailbox_depth", &[path]), 0.0);
    assert_eq!(value("ironcliw_mailbox_capacity", &[path]), 7.0);
    assert_eq!(value("ironcliw_mailbox_high_water", &[path]), 1.0);
    assert_eq!(value("ironcliw_actor_handled_total", &[path]), 0.0);
    assert_eq!(value("ironcliw_actor_failures_total", &[path]), 1.0);
    assert_eq!(value("ironcliw_actor_restarts_total", &[path]), 1.0);
    assert_eq!(value("ironcliw_actor_dead_letters_total", &[path]), 0.0);
    assert_eq!(value("ironcliw_supervisor_budget_left", &[("path", "user")]), 4.0);
    assert_eq!(value("ironcliw_supervisor_budget_left", &[("path", "/")]), 5.0);
    assert_eq!(value("ironcliw_shelf_live_bytes", &[]), 3.0);
    assert_eq!(value("ironcliw_shelf_leases_total", &[("owner", "a \"b\" \\c\n")]), 1.5);
    assert_eq!(value("ironcliw_section_ok", &[("section", "shelf")]), 1.0);
    runtime.shutdown(SECOND).unwrap();
}

/// A histogram as a scraper reads it: its buckets in the order of the lines, and the two others.
#[derive(Debug, Default)]
struct Scraped {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

/// The histograms of one family, by path.
fn histograms(body: &str, family: &str) -> BTreeMap<String, Scraped> {
    let mut of_path = BTreeMap::<String, Scraped>::new();
    let is_of_family = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with('_'));
    for line in body.lines().filter(is_of_family) {
        let (name, labels, value) = sample(line);
        let of = |key: &str| labels.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let scraped = of_path.entry(of("path").expect("a histogram has a path").to_owned()).or_default();
        let keys: Vec<_> = labels.iter().map(|(key, _)| key.as_str()).collect();
        match &name[family.len()..] {
            "_bucket" => {
                assert_eq!(keys.len(), 2, "{line}");
                let bound = of("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound is a number") };
                scraped.buckets.push((bound, value));
            }
            "_count" => {
                assert_eq!((keys.as_slice(), scraped.count.replace(value)), (["path"].as_slice(), None), "{line}");
            }
            "_sum" => assert_eq!((keys.as_slice(), scraped.sum.replace(value)), (["path"].as_slice(), None), "{line}"),
            _ => panic!("a histogram has no such sample: {line}"),
        }
    }
    of_path
}

#[test]
fn durations_are_histograms_as_a_scraper_expects_them() {
    let (runtime, endpoint) = house();
    let (often, never) = ("a \"busy\" \\ actor", "a lazy one");
    let address = runtime.block_on(runtime.spawn(idle(often))).unwrap();
    runtime.block_on(runtime.spawn(idle(never))).unwrap();
    // From the second on each is measured, and the wait of each from the third on: they take long.
    for ms in [1, 1, 1, 1, 1, 1, 20] {
        runtime.block_on(async { address.ask(Nap(Duration::from_millis(ms))).await }).unwrap();
    }
    let measured = |actor: &ActorSnapshot| (actor.handled, actor.handler.count, actor.mailbox_wait.count) == (7, 6, 5);
    eventually(|| runtime.snapshot().actors.iter().any(measured));
    let body = get(&endpoint, "/metrics").body;
    let actors = runtime.snapshot().actors;
    let seen = actors.iter().find(|actor| measured(actor)).unwrap();
    for (family, summary) in
        [("ironcliw_actor_handler_seconds", &seen.handler), ("ironcliw_mailbox_wait_seconds", &seen.mailbox_wait)]
    {
        let types: Vec<_> = body.lines().filter(|line| line.starts_with(&format!("# TYPE {family} "))).collect();
        assert_eq!(types, [format!("# TYPE {family} histogram")]);
        assert_eq!(body.lines().filter(|line| line.starts_with(&format!("# HELP {family} "))).count(), 1);
        let of_path = histograms(&body, family);
        // Of whom nothing was measured there is nothing.
        assert_eq!(of_path.keys().collect::<Vec<_>>(), [&format!("user/{often}")], "{body}");
        let Scraped { buckets, count, sum } = of_path.values().next().unwrap();
        let (count, sum) = (count.expect("it has a count"), sum.expect("it has a sum"));
        assert!(summary.count > 0 && count == summary.count as f64, "{family}: {count} {summary:?}");
        assert!((sum - summary.sum_s).abs() < 1e-9, "{family}: {sum} {summary:?}");
        assert!(
            buckets.is_sorted_by(|(one, fewer), (other, more)| one < other && fewer <= more),
            "{family}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{family}: {buckets:?}");
        // Each says how many were below its bound, not how many were between it and the one before.
        let bounded: Vec<_> = summary.buckets.iter().map(|&(bound, below)| (bound, below as f64)).collect();
        assert_eq!(buckets[..buckets.len() - 1], bounded, "{family}");
    }
    // Each took a millisecond at least, and one of them twenty.
    let handler = &histograms(&body, "ironcliw_actor_handler_seconds")[&format!("user/{often}")];
    let below = |bound: f64| handler.buckets.iter().rev().find(|(upper, _)| *upper <= bound).unwrap().1;
    assert_eq!((below(1e-3), handler.count), (0.0, Some(6.0)), "{handler:?}");
    assert!(below(20e-3) <= 5.0 && handler.sum.unwrap() >= 25e-3, "{handler:?}");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn every_path_refuses_a_host_that_is_not_this_machine() {
    let (_runtime, endpoint) = house();
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/snapshot", "/nowhere", "/"] {
        for host in ["evil.example", "localhost.evil.example:80", "192.168.0.1", ""] {
            let answer = request(&endpoint, "GET", path, host);
            assert_eq!((answer.status, answer.body.as_str()), (403, "host not allowed\n"), "{path} of {host:?}");
        }
        for host in ["localhost", "localhost:1234", "127.0.0.1:9464", "[::1]", "[::1]:80"] {
            assert_ne!(request(&endpoint, "GET", path, host).status, 403, "{path} of {host}");
        }
    }
    let without = ["GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /livez HTTP/1.0\r\n\r\n"];
    let twice = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let absolute = "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for text in without.into_iter().chain([twice, absolute]) {
        assert_eq!(send(&endpoint, text).status, 403, "{text}");
    }
}

#[test]
fn only_reading_is_allowed_and_only_what_exists() {
    let (_runtime, endpoint) = house();
    assert_eq!(get(&endpoint, "/nowhere").status, 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in ["/metrics", "/nowhere"] {
            let answer = request(&endpoint, method, path, "localhost");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    let head = request(&endpoint, "HEAD", "/metrics", "localhost");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn every_answer_forbids_sniffing_and_caching_and_offers_no_other_origin_anything() {
    let (_runtime, endpoint) = house();
    let answers = [
        get(&endpoint, "/metrics"),
        get(&endpoint, "/nowhere"),
        request(&endpoint, "POST", "/metrics", "localhost"),
        request(&endpoint, "GET", "/metrics", "evil.example"),
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", answer.head);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.head);
        assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
    }
}

#[test]
fn bodies_and_long_headers_are_refused() {
    let (_runtime, endpoint) = house();
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    assert_eq!(send(&endpoint, &format!("{head}Content-Length: 5\r\n\r\nhello")).status, 413);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(send(&endpoint, &chunked).status, 413);
    assert_eq!(send(&endpoint, &format!("{head}X-Long: {}\r\n\r\n", "x".repeat(20_000))).status, 431);
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(send(&endpoint, &format!("{head}{many}\r\n")).status, 431);
    assert_eq!(get(&endpoint, "/livez").status, 200);
}

#[test]
fn addresses_that_others_can_reach_are_refused() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    for addr in ["0.0.0.0:0", "[::]:0", "192.168.1.7:0", "example.com:80", "nonsense", ""] {
        let refused = endpoint::serve(runtime.handle(), addr).unwrap_err();
        assert!(matches!(refused, Error::Setup { .. }), "{addr}: {refused}");
        assert_eq!(endpoint::check_address(addr), Err(refused), "the same is said without binding");
    }
    let refused = endpoint::serve(runtime.handle(), "0.0.0.0:9464").unwrap_err().to_string();
    assert!(refused.contains("this machine only") && refused.contains("0.0.0.0"), "{refused}");
}

#[test]
fn a_port_in_use_is_an_error() {
    let (runtime, endpoint) = house();
    let taken = endpoint.url().strip_prefix("http://").unwrap();
    let refused = endpoint::serve(runtime.handle(), taken).unwrap_err();
    assert!(matches!(&refused, Error::Setup { reason } if reason.contains(taken)), "{refused}");
}

#[test]
fn every_loopback_name_can_be_served() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let by_name = endpoint::serve(runtime.handle(), "localhost:0").unwrap();
    assert!(by_name.url().starts_with("http://127.0.0.1:"), "{}", by_name.url());
    assert_eq!(get(&by_name, "/livez").status, 200);
    // A machine may have no IPv6 at all.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let six = endpoint::serve(runtime.handle(), "[::1]:0").unwrap();
        assert!(six.url().starts_with("http://[::1]:"), "{}", six.url());
        assert_eq!(request(&six, "GET", "/livez", "[::1]").status, 200);
    }
}

#[test]
fn stuck_actors_do_not_keep_it_from_answering() {
    let (runtime, endpoint) = house();
    let go_on = Arc::new(AtomicBool::new(false));
    for (name, placement) in [("worker", Placement::Any), ("own", Placement::Dedicated)] {
        let stuck = runtime.block_on(runtime.spawn(idle(name).placement(placement))).unwrap();
        stuck.try_tell(Jam(go_on.clone())).unwrap();
        stuck.try_tell(Jam(go_on.clone())).unwrap();
        eventually(|| stuck.depth() == 1);
    }
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/snapshot"] {
        assert_eq!(get(&endpoint, path).status, 200, "{path}");
    }
    let metrics = get(&endpoint, "/metrics").body;
    assert!(metrics.contains("ironcliw_mailbox_depth{path=\"user/own\"} 1\n"), "{metrics}");
    go_on.store(true, Ordering::Relaxed);
    runtime.shutdown(5 * SECOND).unwrap();
}

struct Broken;
impl Section for Broken {
    fn snapshot(&self) -> Value {
        panic!("broken on purpose")
    }

    fn details(&self) -> Option<Value> {
        panic!("broken on purpose")
    }

    fn metrics(&self) -> Vec<Metric> {
        panic!("broken on purpose")
    }
}

#[test]
fn a_subsystem_that_panics_does_not_hide_the_others() {
    let (runtime, endpoint) = house();
    runtime.register("broken", Arc::new(Broken));
    runtime.register("shelf", Arc::new(Shelf));
    let subsystems = get(&endpoint, "/api/v1/snapshot").json()["subsystems"].clone();
    assert_eq!(subsystems["shelf"], json!({"live": 3}));
    assert!(subsystems["broken"]["error"].as_str().unwrap().starts_with("broken on purpose"));
    assert_eq!(get(&endpoint, "/api/v1/snapshot/broken").status, 500);
    let metrics = get(&endpoint, "/metrics").body;
    assert!(metrics.contains("ironcliw_section_ok{section=\"broken\"} 0\n"), "{metrics}");
    assert!(metrics.contains("ironcliw_section_ok{section=\"shelf\"} 1\n"), "{metrics}");
    assert!(metrics.contains("ironcliw_shelf_live_bytes 3\n"), "{metrics}");
}

/// Hangs while it is told to, and says how many look at it.
#[derive(Clone, Default)]
struct Hung {
    hangs: Arc<AtomicBool>,
    within: Arc<AtomicUsize>,
}

impl Section for Hung {
    fn snapshot(&self) -> Value {
        self.within.fetch_add(1, Ordering::SeqCst);
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.within.fetch_sub(1, Ordering::SeqCst);
        Value::Null
    }
}

/// A request whose answer is not waited for.
fn ask_for(endpoint: &Endpoint, path: &str) -> TcpStream {
    let mut stream = connect(endpoint);
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    stream
}

/// Everything until the other side closes the connection.
fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    // A connection that is cut off has no more to say.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_subsystem_that_hangs_costs_its_own_route_only() {
    let (runtime, endpoint) = house();
    let hung = Hung::default();
    hung.hangs.store(true, Ordering::SeqCst);
    runtime.register("hung", Arc::new(hung.clone()));
    let waiting: Vec<TcpStream> = (0..5).map(|_| ask_for(&endpoint, "/api/v1/snapshot")).collect();
    eventually(|| hung.within.load(Ordering::SeqCst) == 1);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(&endpoint, path).status, 200, "{path}");
    }
    // All of that while it hung, and those behind it waited without a thread of their own.
    assert_eq!(hung.within.load(Ordering::SeqCst), 1);
    for stream in waiting {
        let answer = rest_of(stream);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    assert_eq!(hung.within.load(Ordering::SeqCst), 1, "it hangs no more: that is why they were answered");
    hung.hangs.store(false, Ordering::SeqCst);
    assert_eq!(get(&endpoint, "/api/v1/snapshot").status, 200, "it recovers with the subsystem");
    assert_eq!(hung.within.load(Ordering::SeqCst), 0);
}

#[test]
fn a_subsystem_that_hangs_does_not_hold_up_the_end() {
    let (runtime, endpoint) = house();
    let hung = Hung::default();
    hung.hangs.store(true, Ordering::SeqCst);
    runtime.register("hung", Arc::new(hung.clone()));
    let waiting = ask_for(&endpoint, "/api/v1/snapshot");
    eventually(|| hung.within.load(Ordering::SeqCst) == 1);
    let address = endpoint.url().strip_prefix("http://").unwrap().to_owned();
    // On a thread of its own: if it waits for the subsystem it never ends, and this one says so.
    let (tell, told) = mpsc::channel();
    let closer = std::thread::spawn(move || {
        endpoint.close();
        tell.send(()).unwrap();
    });
    told.recv_timeout(10 * SECOND).expect("closing waits for a subsystem that hangs");
    assert_eq!(hung.within.load(Ordering::SeqCst), 1, "it still hangs");
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Whoever waited is sent away, with or without the word that there was no answer in time.
    let answer = rest_of(waiting);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
    hung.hangs.store(false, Ordering::SeqCst);
    closer.join().unwrap();
    eventually(|| hung.within.load(Ordering::SeqCst) == 0);
}

#[test]
fn closing_is_prompt_whatever_clients_do_and_may_be_repeated() {
    let (runtime, endpoint) = house();
    let mut kept = connect(&endpoint);
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut some = [0; 16];
    kept.read_exact(&mut some).unwrap();
    let _silent = connect(&endpoint);
    let since = Instant::now();
    endpoint.close();
    assert!(since.elapsed() < Duration::from_millis(400), "idle connections took {:?}", since.elapsed());
    endpoint.close();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).unwrap();

    let again = endpoint::serve(runtime.handle(), "127.0.0.1:0").unwrap();
    let mut halfway = connect(&again);
    halfway.write_all(b"GET /livez HT").unwrap();
    assert_eq!(get(&again, "/livez").status, 200);
    let address = again.url().strip_prefix("http://").unwrap().to_owned();
    let since = Instant::now();
    drop(again);
    assert!(since.elapsed() < 2 * SECOND, "a request that never ends took {:?}", since.elapsed());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn more_clients_than_it_serves_at_once_wait_and_are_served() {
    let (_runtime, endpoint) = house();
    let idle: Vec<TcpStream> = (0..63).map(|_| connect(&endpoint)).collect();
    assert_eq!(get(&endpoint, "/livez").status, 200);
    let last = connect(&endpoint);
    let extra = std::thread::scope(|scope| {
        let extra = scope.spawn(|| get(&endpoint, "/livez").status);
        std::thread::sleep(Duration::from_millis(50));
        drop((idle, last));
        extra.join().unwrap()
    });
    assert_eq!(extra, 200);
}
