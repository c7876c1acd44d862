//! Every pool there is, by name. Outlives the actor, whose messages alone change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironcliw::Handle;
use parking_lot::RwLock;

use super::core::{Core, Remaining};
use super::crew::Making;
use super::{Pool, PoolSpec, PoolStats};
use crate::{Error, Result};

/// The name of the pool that is always there.
pub const DEFAULT_POOL: &str = "default";

/// Pools beside the default one: each has threads of its own, so many are a mistake.
const POOLS_MAX: usize = 64;

/// The default pool: how many threads and which cores.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) threads: usize,
    pub(crate) pin: bool,
    pub(crate) niceness: Option<i32>,
}

pub(crate) struct Pools {
    clock: Handle,
    defaults: Defaults,
    default: Arc<Core>,
    /// `None` after the end.
    named: RwLock<Option<BTreeMap<String, Arc<Core>>>>,
}

impl Pools {
    pub(crate) fn start(clock: &Handle, defaults: Defaults) -> Result<Arc<Self>> {
        let making =
            Making { prefix: "ironcliw-s".to_owned(), cores: cores(defaults.pin, None), niceness: defaults.niceness };
        let (name, path, threads) = (DEFAULT_POOL.to_owned(), "scheduler".to_owned(), defaults.threads);
        let default = Core::start(name, path, threads, super::spec::QUEUE_DEFAULT, making, clock.clone())?;
        let named = RwLock::new(Some(BTreeMap::new()));
        Ok(Arc::new(Self { clock: clock.clone(), defaults, default, named }))
    }

    pub(crate) fn default_core(&self) -> &Arc<Core> {
        &self.default
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Core>> {
        if name == DEFAULT_POOL {
            return Ok(self.default.clone());
        }
        let named = self.named.read();
        named.as_ref().and_then(|named| named.get(name)).cloned().ok_or_else(|| no_such(name))
    }

    /// The default one first, then by name.
    pub(crate) fn all(&self) -> Vec<Arc<Core>> {
        let named = self.named.read();
        let named = named.iter().flat_map(BTreeMap::values).cloned();
        std::iter::once(self.default.clone()).chain(named).collect()
    }

    pub(crate) fn stats(&self) -> Vec<PoolStats> {
        self.all().iter().map(|core| core.stats()).collect()
    }

    pub(crate) fn create(&self, spec: PoolSpec) -> Result<Pool> {
        spec.check()?;
        let path = format!("scheduler/{}", spec.name);
        let pin = spec.pin.unwrap_or(self.defaults.pin);
        let making = Making {
            prefix: format!("{path}/"),
            cores: cores(pin, spec.cores),
            niceness: spec.niceness.or(self.defaults.niceness),
        };
        let threads = spec.threads.unwrap_or_else(|| ironcliw::allowed_cores().len().max(1));
        // Held while the threads are made, so that a name is taken once; readers are looks at the list, and rare.
        let mut named = self.named.write();
        let named = named.as_mut().ok_or_else(|| self.default.stopped())?;
        if spec.name == DEFAULT_POOL || named.contains_key(&spec.name) {
            return Err(Error::PoolExists { name: spec.name });
        }
        if named.len() >= POOLS_MAX {
            return Err(Error::invalid(format!("there are at most {POOLS_MAX} pools beside the default one")));
        }
        let core = Core::start(spec.name.clone(), path, threads, spec.queue, making, self.clock.clone())?;
        named.insert(spec.name, core.clone());
        Ok(Pool::new(core))
    }

    pub(crate) fn remove(&self, name: &str, remaining: Remaining) -> Result<()> {
        if name == DEFAULT_POOL {
            return Err(Error::invalid("the default pool cannot be removed: others use it"));
        }
        let core = self.named.write().as_mut().and_then(|named| named.remove(name)).ok_or_else(|| no_such(name))?;
        core.close(remaining);
        Ok(())
    }

    fn close(&self) {
        let named = self.named.write().take();
        named.into_iter().flat_map(BTreeMap::into_values).for_each(|core| core.close(Remaining::Run));
        self.default.close(Remaining::Run);
    }
}

fn no_such(name: &str) -> Error {
    Error::NoSuchPool { name: name.to_owned() }
}

fn cores(pin: bool, given: Option<Vec<usize>>) -> Vec<usize> {
    if !pin {
        return Vec::new();
    }
    given.unwrap_or_else(|| ironcliw::allowed_cores().to_vec())
}

/// Whoever keeps the pools open: once it is dropped their threads run what waits, and end. The counts may still be read.
pub(crate) struct Running(Arc<Pools>);

impl Running {
    pub(crate) fn new(pools: Arc<Pools>) -> Self {
        Self(pools)
    }

    pub(crate) fn pools(&self) -> &Arc<Pools> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.close();
    }
}
