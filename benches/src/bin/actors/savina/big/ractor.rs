//! Big in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::stage::on_tokio;
use super::*;

type Link = super::Link<ActorRef<ToNode>, ActorRef<Finished>>;
type State = super::Node<ActorRef<ToNode>, ActorRef<Finished>>;

enum ToNode {
    Link(Link),
    Start,
    Ping(Ping),
    Pong,
}

struct Node;
struct Sink;

impl Actor for Node {
    type Msg = ToNode;
    type State = State;
    type Arguments = usize;

    async fn pre_start(&self, _: ActorRef<ToNode>, number: usize) -> Result<State, ActorProcessingErr> {
        Ok(State::new(number))
    }

    async fn handle(&self, _: ActorRef<ToNode>, message: ToNode, node: &mut State) -> Result<(), ActorProcessingErr> {
        let ping = ToNode::Ping(Ping(node.number));
        match message {
            ToNode::Link(link) => node.link = Some(link),
            ToNode::Start => node.anyone().cast(ping)?,
            ToNode::Ping(Ping(from)) => node.neighbour(from).cast(ToNode::Pong)?,
            ToNode::Pong if node.goes_on() => node.anyone().cast(ping)?,
            ToNode::Pong => node.sink().cast(Finished(node.pongs))?,
        }
        Ok(())
    }
}

impl Actor for Sink {
    type Msg = Finished;
    type State = Sum;
    type Arguments = Sum;

    async fn pre_start(&self, _: ActorRef<Finished>, sum: Sum) -> Result<Sum, ActorProcessingErr> {
        Ok(sum)
    }

    async fn handle(
        &self,
        _: ActorRef<Finished>,
        Finished(pings): Finished,
        sum: &mut Sum,
    ) -> Result<(), ActorProcessingErr> {
        sum.add(pings);
        Ok(())
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let (sink, _) = Actor::spawn(None, Sink, Sum::new(done)).await.expect(RUNS);
        let mut all = Vec::with_capacity(ACTORS);
        for number in 0..ACTORS {
            all.push(Actor::spawn(None, Node, number).await.expect(RUNS).0);
        }
        let all: Arc<[_]> = all.into();
        for node in all.iter() {
            node.cast(ToNode::Link(Link::new(&all, &sink))).expect(RUNS);
        }
        for node in all.iter() {
            node.cast(ToNode::Start).expect(RUNS);
        }
    })
}
