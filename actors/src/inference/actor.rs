//! `InferenceActor`: runs one replica of a model on a thread of its own, with memory from the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironcliw::{Actor, Context, Handler, Message};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::{Model, Tensor};
use crate::image::Planes;
use crate::pool::{Buffer, Owner, Pool};
use crate::scheduler::Scheduler;
use crate::{Error, Result};

/// A batch is split over the scheduler's threads from this many input values on: below, handing the parts out (some 10 µs)
/// costs more than a second core gains.
const SPLIT_VALUES_MIN: usize = 1 << 18;

/// Counts of a model, over its replicas and their crashes.
#[derive(Debug, Default)]
pub(crate) struct ModelCounts {
    pub(crate) inferences: AtomicU64,
    pub(crate) split: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// One replica. The weights are shared and outlive it.
pub struct InferenceActor {
    model: Arc<Model>,
    pool: Pool,
    scheduler: Scheduler,
    owner: Owner,
    counts: Arc<ModelCounts>,
}

impl InferenceActor {
    pub(crate) fn new(
        path: &str,
        model: Arc<Model>,
        pool: Pool,
        scheduler: Scheduler,
        counts: Arc<ModelCounts>,
    ) -> Self {
        Self { model, pool, scheduler, owner: Owner::named(path), counts }
    }

    async fn infer(&self, input: Tensor) -> Result<Planes> {
        let shape = self.model.output_shape(input.shape())?;
        let len = elements(&shape)?;
        let out = self.pool.allocate_for_overwrite(bytes_of(len)?, self.owner)?;
        // The only axis of a vector is not one of samples.
        let rows = if input.shape().len() > 1 { input.shape()[0] } else { 1 };
        let parts = self.scheduler.threads().min(rows);
        let buffer = if input.len() >= SPLIT_VALUES_MIN && parts > 1 {
            self.counts.split.fetch_add(1, Ordering::Relaxed);
            let (model, pool, owner) = (self.model.clone(), self.pool.clone(), self.owner);
            self.scheduler
                .run(move || Work { model: &model, pool: &pool, owner }.split(&input, rows, parts, out))
                .await??
        } else {
            Work { model: &self.model, pool: &self.pool, owner: self.owner }.whole(&input, out)?
        };
        Ok(Planes { buffer, shape })
    }
}

/// What one inference needs, on whatever thread it runs.
#[derive(Clone, Copy)]
struct Work<'a> {
    model: &'a Model,
    pool: &'a Pool,
    owner: Owner,
}

impl Work<'_> {
    fn floats(&self, len: usize) -> Result<Buffer> {
        self.pool.allocate_for_overwrite(bytes_of(len)?, self.owner)
    }

    /// The input as the model takes it: borrowed where it is dense, else gathered into pooled memory.
    fn with_dense<T>(&self, input: &Tensor, run: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
        match input.as_dense() {
            Some(values) => run(values),
            None => {
                let mut gathered = self.floats(input.len())?;
                input.gather(gathered.as_f32_mut()?);
                run(gathered.as_f32()?)
            }
        }
    }

    fn whole(&self, input: &Tensor, mut out: Buffer) -> Result<Buffer> {
        self.with_dense(input, |values| self.run(values, input.shape(), out.as_f32_mut()?))?;
        Ok(out)
    }

    fn run(&self, values: &[f32], shape: &[usize], out: &mut [f32]) -> Result<()> {
        let mut scratch = self.floats(self.model.scratch_len(shape)?)?;
        self.model.run(values, shape, scratch.as_f32_mut()?, out)
    }

    /// On a thread of the scheduler: rows of the first axis in `parts` parts; the results do not depend on the split.
    fn split(&self, input: &Tensor, rows: usize, parts: usize, mut out: Buffer) -> Result<Buffer> {
        let rows_each = rows.div_ceil(parts);
        let (row_in, row_out) = (input.len() / rows, out.as_f32()?.len() / rows);
        self.with_dense(input, |values| {
            let ins = values.par_chunks(rows_each * row_in);
            let outs = out.as_f32_mut()?.par_chunks_mut(rows_each * row_out);
            ins.zip(outs).try_for_each(|(values, out)| {
                let mut shape = input.shape().to_vec();
                shape[0] = values.len() / row_in;
                self.run(values, &shape, out)
            })
        })?;
        Ok(out)
    }
}

fn elements(shape: &[usize]) -> Result<usize> {
    let len = shape.iter().try_fold(1_usize, |len, &side| len.checked_mul(side));
    len.ok_or_else(|| Error::Model(format!("a result of shape {shape:?} is too large")))
}

fn bytes_of(len: usize) -> Result<usize> {
    len.checked_mul(size_of::<f32>()).ok_or_else(|| Error::Model(format!("{len} values are too many")))
}

impl Actor for InferenceActor {}

/// Runs the model on an input.
#[derive(Debug)]
pub struct Infer(pub Tensor);

impl Message for Infer {
    type Reply = Result<Planes>;
}

impl Handler<Infer> for InferenceActor {
    async fn handle(&mut self, Infer(input): Infer, _: &mut Context<Self>) -> Result<Planes> {
        let outcome = self.infer(input).await;
        self.counts.inferences.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}
