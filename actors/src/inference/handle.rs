//! [`Inference`] loads models; [`LoadedModel`] is one that runs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ironcliw::{Address, Child, Overflow, Placement, SupervisorRef, least_loaded};
use parking_lot::Mutex;
use serde::Serialize;

use super::actor::ModelCounts;
use super::{Infer, InferenceActor, Model, Network, PackOptions, Precision, Tensor};
use crate::image::Planes;
use crate::pool::Pool;
use crate::scheduler::Scheduler;
use crate::{Error, Interrupt, Result};

/// Replicas a model may have: each has a thread of its own.
const REPLICAS_MAX: usize = 64;

/// Inferences that may wait for a replica before callers wait for room.
const QUEUE: usize = 4096;

/// How a model is to be loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How its weights are stored. Default: int8.
    pub precision: Precision,
    /// Its name in paths, metrics and leak reports; `model-<n>` if there is none.
    pub name: Option<String>,
    /// How many inferences may run at once, each on a thread of its own. Default: 1.
    pub replicas: usize,
    /// How it is packed.
    pub pack: PackOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { precision: Precision::Int8, name: None, replicas: 1, pack: PackOptions::default() }
    }
}

/// A model's figures at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelStats {
    /// Its name.
    pub name: String,
    /// How its weights are stored.
    pub precision: String,
    /// The instruction set its kernels use.
    pub instruction_set: &'static str,
    /// Bytes of its packed weights.
    pub weight_bytes: usize,
    /// Replicas.
    pub replicas: usize,
    /// Inferences done, well or with an error.
    pub inferences: u64,
    /// Of these, those that were split through the scheduler.
    pub split: u64,
    /// Of these, those that ended with an error.
    pub errors: u64,
    /// Of these, those that were stopped because nobody wanted them any more.
    pub cancelled: u64,
}

/// A cheap handle to the inference subsystem.
#[derive(Clone)]
pub struct Inference {
    supervisor: SupervisorRef,
    pool: Pool,
    scheduler: Scheduler,
    numbers: Arc<AtomicU64>,
    loaded: Loaded,
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inference({} models)", self.loaded.models().len())
    }
}

/// The models that are loaded. It keeps none of them: their replicas and their handles do.
#[derive(Clone, Default)]
pub(crate) struct Loaded(Arc<Mutex<Vec<Weak<Inner>>>>);

impl Loaded {
    fn models(&self) -> Vec<Arc<Inner>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn is_taken(&self, name: &str) -> bool {
        self.models().iter().any(|model| model.name == name)
    }

    /// Enters a model, unless one of its name is there.
    fn enter(&self, model: &Arc<Inner>) -> Result<(), ironcliw::Error> {
        let mut models = self.0.lock();
        models.retain(|other| other.strong_count() > 0);
        if models.iter().filter_map(Weak::upgrade).any(|other| other.name == model.name) {
            return Err(ironcliw::Error::NameTaken { path: format!("inference/{}", model.name) });
        }
        models.push(Arc::downgrade(model));
        Ok(())
    }

    fn leave(&self, model: &Arc<Inner>) {
        self.0.lock().retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(model)));
    }

    /// The figures of all loaded models.
    pub(crate) fn stats(&self) -> Vec<ModelStats> {
        self.models().iter().map(|model| model.stats()).collect()
    }
}

impl Inference {
    pub(crate) fn new(supervisor: SupervisorRef, pool: Pool, scheduler: Scheduler) -> Self {
        Self { supervisor, pool, scheduler, numbers: Arc::default(), loaded: Loaded::default() }
    }

    /// Checks what can be checked before any work is done.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a number of replicas outside 1 to 64.
    pub fn check(options: &LoadOptions) -> Result<()> {
        if (1..=REPLICAS_MAX).contains(&options.replicas) {
            Ok(())
        } else {
            Err(Error::invalid(format!("a model has 1 to {REPLICAS_MAX} replicas, not {}", options.replicas)))
        }
    }

    /// Packs a network's weights on the scheduler's threads and starts its replicas.
    ///
    /// # Errors
    /// [`Error::Model`] if it cannot be packed so, [`ironcliw::Error::NameTaken`] if a model has this name already, and what
    /// [`Inference::check`] refuses.
    pub async fn load(&self, network: Network, options: LoadOptions) -> Result<LoadedModel> {
        Self::check(&options)?;
        let (precision, pack) = (options.precision, options.pack);
        let model = self.scheduler.run(move || Model::pack(&network, precision, pack)).await??;
        let name = options.name.unwrap_or_else(|| self.free_name());
        let loaded = LoadedModel {
            inner: Arc::new(Inner {
                name,
                model: Arc::new(model),
                counts: Arc::default(),
                replicas: Mutex::default(),
                unloaded: AtomicBool::new(false),
                turn: AtomicUsize::new(0),
                supervisor: self.supervisor.clone(),
            }),
            loaded: self.loaded.clone(),
        };
        self.loaded.enter(&loaded.inner)?;
        for index in 0..options.replicas {
            let started = self.start_replica(&loaded.inner, index, options.replicas).await;
            match started {
                Ok(replica) => loaded.inner.replicas.lock().push(replica),
                Err(error) => {
                    loaded.unload().await;
                    return Err(error.into());
                }
            }
        }
        Ok(loaded)
    }

    fn free_name(&self) -> String {
        loop {
            let name = format!("model-{}", self.numbers.fetch_add(1, Ordering::Relaxed));
            if !self.loaded.is_taken(&name) {
                return name;
            }
        }
    }

    async fn start_replica(
        &self,
        inner: &Arc<Inner>,
        index: usize,
        replicas: usize,
    ) -> Result<Address<InferenceActor>, ironcliw::Error> {
        let child = if replicas == 1 { inner.name.clone() } else { format!("{}-{index}", inner.name) };
        let path = format!("inference/{child}");
        let (inner, pool, scheduler) = (inner.clone(), self.pool.clone(), self.scheduler.clone());
        let factory = move || {
            InferenceActor::new(&path, inner.model.clone(), pool.clone(), scheduler.clone(), inner.counts.clone())
        };
        // A batch computes for as long as the model is large.
        let child =
            Child::new(child, factory).placement(Placement::Dedicated).stuck_after(None).shutdown(crate::tree::DRAIN);
        self.supervisor.spawn(child.mailbox(QUEUE, Overflow::Block)).await
    }

    /// The replica at this path.
    pub(crate) fn replica(&self, path: &str) -> Option<Address<InferenceActor>> {
        let models = self.loaded.models();
        models.iter().find_map(|model| model.replicas.lock().iter().find(|replica| replica.path() == path).cloned())
    }

    /// The figures of all loaded models.
    pub fn stats(&self) -> Vec<ModelStats> {
        self.loaded.stats()
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

/// What the handles of a model share. Its replicas keep it too, so that a model whose handles are gone still runs and is
/// still seen, until it is unloaded or the runtime ends.
pub(crate) struct Inner {
    name: String,
    model: Arc<Model>,
    counts: Arc<ModelCounts>,
    replicas: Mutex<Vec<Address<InferenceActor>>>,
    unloaded: AtomicBool,
    turn: AtomicUsize,
    supervisor: SupervisorRef,
}

/// A model whose replicas run. Clones are handles of the same model.
#[derive(Clone)]
pub struct LoadedModel {
    inner: Arc<Inner>,
    loaded: Loaded,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadedModel({}, {})", self.inner.name, self.inner.model.precision())
    }
}

impl LoadedModel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The packed weights.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// The replica with the fewest inferences waiting, in turn among equals.
    ///
    /// # Errors
    /// [`Error::Model`] after [`LoadedModel::unload`].
    pub fn next_replica(&self) -> Result<Address<InferenceActor>> {
        let unloaded = || Error::Model(format!("the model {} was unloaded", self.inner.name));
        if self.inner.unloaded.load(Ordering::Acquire) {
            return Err(unloaded());
        }
        let replicas = self.inner.replicas.lock();
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        least_loaded(replicas.iter(), turn).cloned().ok_or_else(unloaded)
    }

    /// Runs the model. Dropping the future calls the run off: it is skipped if it waits, and ends between two layers, samples
    /// or blocks of rows if it runs.
    ///
    /// # Errors
    /// [`Error::Model`] for an input that it does not take, and those of the mailbox and the pool.
    pub async fn infer(&self, input: Tensor) -> Result<Planes> {
        let (interrupt, _called_off) = Interrupt::on_drop();
        let infer = Infer { interrupt, ..Infer::from(input) };
        let planes = self.next_replica()?.ask(infer).await.map_err(ironcliw::Error::from)??;
        planes.ok_or_else(|| Error::Model("the output was written elsewhere".to_owned()))
    }

    /// Stops the replicas once they have answered what they were asked. The weights go with the last handle.
    pub async fn unload(&self) {
        let Inner { replicas, unloaded, supervisor, .. } = &*self.inner;
        unloaded.store(true, Ordering::Release);
        let next = || replicas.lock().last().cloned();
        // A replica stays on the list until it is gone: a call that is given up midway can be made again.
        while let Some(replica) = next() {
            supervisor.stop_child(replica.path()).await;
            replicas.lock().retain(|other| other.path() != replica.path());
        }
        self.loaded.leave(&self.inner);
    }

    /// Its figures.
    pub fn stats(&self) -> ModelStats {
        self.inner.stats()
    }
}

impl Inner {
    fn stats(&self) -> ModelStats {
        let Self { name, model, counts, replicas, .. } = self;
        ModelStats {
            name: name.clone(),
            precision: model.precision().to_string(),
            instruction_set: model.instruction_set(),
            weight_bytes: model.weight_bytes(),
            replicas: replicas.lock().len(),
            inferences: counts.inferences.load(Ordering::Relaxed),
            split: counts.split.load(Ordering::Relaxed),
            errors: counts.errors.load(Ordering::Relaxed),
            cancelled: counts.cancelled.load(Ordering::Relaxed),
        }
    }
}
