//! What the feature `trace-messages` shows: a span a message, linked to where the message came from.

mod cast;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use cast::{SECOND, Scribe, Write, eventually, scribe};
use ironcliw::{Actor, Address, Child, Context, Handler, Message, Runtime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context as Around, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// What was told of a span.
#[derive(Debug, Clone)]
struct Told {
    id: u64,
    name: &'static str,
    fields: HashMap<&'static str, String>,
    has_parent: bool,
    follows: Vec<u64>,
    is_closed: bool,
}

/// Collects the spans of all tests, which tell them apart by their actors' names.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Told>>>);

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, around: Around<'_, S>) {
        let mut fields = HashMap::new();
        span.record(&mut Fields(&mut fields));
        let has_parent = around.span(id).expect("it is new").parent().is_some();
        let (id, name) = (id.into_u64(), span.metadata().name());
        self.0.lock().unwrap().push(Told { id, name, fields, has_parent, follows: Vec::new(), is_closed: false });
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Around<'_, S>) {
        self.change(span, |told| told.follows.push(follows.into_u64()));
    }

    fn on_close(&self, id: Id, _: Around<'_, S>) {
        self.change(&id, |told| told.is_closed = true);
    }
}

impl Spans {
    /// Collects from now on, or has done so already.
    fn collect() -> Self {
        static SPANS: OnceLock<Spans> = OnceLock::new();
        let begin = || {
            let spans = Spans::default();
            let subscriber = tracing_subscriber::registry().with(spans.clone());
            tracing::subscriber::set_global_default(subscriber).unwrap();
            spans
        };
        SPANS.get_or_init(begin).clone()
    }

    /// Of a number that is used again it is the last one.
    fn change(&self, id: &Id, change: impl FnOnce(&mut Told)) {
        let mut told = self.0.lock().unwrap();
        change(told.iter_mut().rfind(|told| told.id == id.into_u64()).expect("it was new once"));
    }

    fn named(&self, name: &str) -> Told {
        self.0.lock().unwrap().iter().find(|told| told.name == name).expect("there is one").clone()
    }

    /// Those of messages to an actor.
    fn of(&self, path: &str) -> Vec<Told> {
        let told = self.0.lock().unwrap();
        let is_it = |told: &&Told| told.name == "message" && told.fields.get("actor").is_some_and(|one| one == path);
        told.iter().filter(is_it).cloned().collect()
    }
}

struct Relay(Address<Scribe>);
impl Actor for Relay {}

struct Forward(u64);
impl Message for Forward {
    type Reply = u64;
}

impl Handler<Forward> for Relay {
    async fn handle(&mut self, Forward(n): Forward, _: &mut Context<Self>) -> u64 {
        tokio::task::yield_now().await;
        self.0.ask(Write(n)).await.unwrap()
    }
}

#[test]
fn a_message_has_a_span_that_is_linked_across_hops_and_not_nested() {
    let spans = Spans::collect();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let last = runtime.block_on(runtime.spawn(scribe("last").0)).unwrap();
    let relay = runtime.block_on(runtime.spawn(Child::new("relay", move || Relay(last.clone())))).unwrap();
    let answer = async { relay.ask(Forward(7)).await.unwrap() };
    let answer = runtime.block_on(answer.instrument(info_span!("outside")));
    assert_eq!(answer, 7);
    eventually(|| spans.of("user/relay").iter().chain(&spans.of("user/last")).all(|told| told.is_closed));
    let [first] = &spans.of("user/relay")[..] else { panic!("one message, one span") };
    let [second] = &spans.of("user/last")[..] else { panic!("one message, one span") };
    assert!(first.fields["message"].ends_with("Forward"), "{first:?}");
    assert!(second.fields["message"].ends_with("Write"), "{second:?}");
    assert_eq!(first.follows, [spans.named("outside").id]);
    assert_eq!(second.follows, [first.id], "the handler that sent it");
    assert!(!first.has_parent && !second.has_parent);
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn a_message_from_nowhere_has_a_span_without_a_link() {
    let spans = Spans::collect();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let alone = runtime.block_on(runtime.spawn(scribe("alone").0)).unwrap();
    alone.try_tell(Write(1)).unwrap();
    runtime.block_on(alone.tell_many((2..4).map(Write))).unwrap();
    runtime.block_on(async { alone.ask(Write(4)).await }).unwrap();
    eventually(|| spans.of("user/alone").len() == 4);
    assert!(spans.of("user/alone").iter().all(|told| told.follows.is_empty() && !told.has_parent));
    runtime.shutdown(5 * SECOND).unwrap();
}
