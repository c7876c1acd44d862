//! Three actors that stand and fall together: a connection to a database, and a cache and a writer that work over its
//! session. When the connection breaks, what the other two know of the session is worth nothing: one-for-all starts all three
//! again. What was queued for the writer waits for that, and nothing of it is lost.
//!
//! `cargo run --example database_group` tells the story on stdout; what the runtime logs, such as the panic, goes to stderr.

use std::collections::HashMap;
use std::future::{IntoFuture, pending};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Runtime, StartError, Strategy, Supervisor,
};

/// The database itself, which is on another machine and so outlives every connection.
#[derive(Default)]
struct Database {
    sessions: AtomicU64,
    rows: Mutex<Vec<&'static str>>,
}

/// A session of the database. It ends with the connection, and with it whatever was prepared in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session(u64);

/// A connection. Some rows break it, for the sake of the story.
struct Connection {
    to: Arc<Database>,
    session: Session,
}

const BREAKS: &str = "a row that breaks the connection";

impl Connection {
    fn open(to: Arc<Database>) -> Self {
        let session = Session(to.sessions.fetch_add(1, Ordering::Relaxed) + 1);
        println!("  connected: session {}", session.0);
        Self { to, session }
    }
}

impl Actor for Connection {}

/// Prepares statements in the present session.
struct Prepare;
impl Message for Prepare {
    type Reply = Session;
}

impl Handler<Prepare> for Connection {
    async fn handle(&mut self, Prepare: Prepare, _: &mut Context<Self>) -> Session {
        self.session
    }
}

/// Runs the statement that was prepared in a session.
struct Insert(Session, &'static str);
impl Message for Insert {
    type Reply = ();
}

impl Handler<Insert> for Connection {
    async fn handle(&mut self, Insert(prepared_in, row): Insert, _: &mut Context<Self>) {
        assert_eq!(prepared_in, self.session, "a statement of another session");
        assert!(row != BREAKS, "the server hung up");
        self.to.rows.lock().unwrap().push(row);
    }
}

/// The number of a row.
#[derive(Clone, Copy)]
struct Read(usize);
impl Message for Read {
    type Reply = Option<&'static str>;
}

impl Handler<Read> for Connection {
    async fn handle(&mut self, Read(number): Read, _: &mut Context<Self>) -> Option<&'static str> {
        self.to.rows.lock().unwrap().get(number).copied()
    }
}

/// Rows that were read over this connection: the next one may see others.
struct Cache {
    over: Address<Connection>,
    rows: HashMap<usize, &'static str>,
}

impl Actor for Cache {}

/// A row, and whether the cache had it.
struct Lookup(usize);
impl Message for Lookup {
    type Reply = Result<(&'static str, bool), Error>;
}

impl Handler<Lookup> for Cache {
    async fn handle(&mut self, Lookup(number): Lookup, _: &mut Context<Self>) -> Result<(&'static str, bool), Error> {
        if let Some(row) = self.rows.get(&number) {
            return Ok((row, true));
        }
        let row = self.over.ask(Read(number)).await?.unwrap_or("no such row");
        self.rows.insert(number, row);
        Ok((row, false))
    }
}

/// Inserts rows by a statement that it prepares when it starts.
struct Writer {
    over: Address<Connection>,
    prepared_in: Option<Session>,
}

impl Actor for Writer {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), StartError> {
        self.prepared_in = Some(self.over.ask(Prepare).await?);
        Ok(())
    }
}

/// Answers with the session that the row was written in.
struct Write(&'static str);
impl Message for Write {
    type Reply = Session;
}

impl Handler<Write> for Writer {
    async fn handle(&mut self, Write(row): Write, _: &mut Context<Self>) -> Session {
        let session = self.prepared_in.expect("it is prepared when the actor starts");
        match self.over.ask(Insert(session, row)).await {
            Ok(()) => session,
            // Nothing can be done in this session any more. The supervisor ends the wait, and with it this incarnation.
            Err(_) => pending().await,
        }
    }
}

fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let database = Arc::new(Database::default());
    let runtime = Runtime::builder().workers(2).build()?;
    runtime.block_on(story(&runtime, &database))?;
    runtime.shutdown(Duration::from_secs(5))
}

async fn story(runtime: &Runtime, database: &Arc<Database>) -> Result<(), Error> {
    println!("The three start, the connection first:");
    let group = runtime.supervise(Supervisor::new("database").strategy(Strategy::OneForAll)).await?;
    let to = database.clone();
    let quick = Backoff { min: Duration::from_millis(20), jitter: false, ..Backoff::default() };
    let connection = Child::new("connection", move || Connection::open(to.clone())).backoff(quick);
    let connection = group.spawn(connection).await?;
    let over = connection.clone();
    let cache = group.spawn(Child::new("cache", move || Cache { over: over.clone(), rows: HashMap::new() })).await?;
    // What it has in hand gets this long when it is to be started again.
    let patience = Duration::from_millis(20);
    let writer = Child::new("writer", move || Writer { over: connection.clone(), prepared_in: None });
    let writer = group.spawn(writer.shutdown(patience)).await?;

    for row in ["ebb", "flow"] {
        assert_eq!(writer.ask(Write(row)).await?, Session(1));
    }
    assert_eq!(cache.ask(Lookup(0)).await??, ("ebb", false));
    assert_eq!(cache.ask(Lookup(0)).await??, ("ebb", true));
    println!("  two rows are written; the second look at one of them is answered by the cache");

    println!("\nA row breaks the connection, with three good ones queued behind it:");
    let writes = join_all([BREAKS, "spring", "neap", "slack"].map(|row| writer.ask(Write(row)).into_future()));
    let [broke, queued @ ..] = <[_; 4]>::try_from(writes.await).expect("each has an outcome");
    let refused = broke.expect_err("it was in hand when the writer was started again");
    assert!(matches!(refused.error, Error::ActorRestarting { .. }));
    println!("  the one in hand: {refused}");
    for outcome in queued {
        assert_eq!(outcome?, Session(2), "it was kept, and written over the new connection");
    }
    println!("  the three behind it were kept, and written in session 2");

    assert_eq!(*database.rows.lock().unwrap(), ["ebb", "flow", "spring", "neap", "slack"], "in order, each once");
    assert_eq!(cache.ask(Lookup(0)).await??, ("ebb", false));
    println!("  the cache is a new one: it reads again");

    println!("\nEach was started once more:");
    for actor in runtime.snapshot().actors {
        println!("  {:<26} {}, restarts {}", actor.path, actor.state, actor.restarts);
        assert_eq!(actor.restarts, 1);
    }
    Ok(())
}
