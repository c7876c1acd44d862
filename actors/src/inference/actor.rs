//! `InferenceActor`: runs one replica of a model on a thread of its own, with memory from the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironcliw::{Actor, Context, Handler, Message};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::{Model, Tensor};
use crate::image::Planes;
use crate::lent::LentMut;
use crate::output::Output;
use crate::pool::{Buffer, Owner, Pool};
use crate::scheduler::Scheduler;
use crate::{Error, Interrupt, Result};

/// A batch is split over the scheduler's threads from this many input values on: below, handing the parts out (some 10 µs)
/// costs more than a second core gains.
const SPLIT_VALUES_MIN: usize = 1 << 18;

/// Counts of a model, over its replicas and their crashes.
#[derive(Debug, Default)]
pub(crate) struct ModelCounts {
    pub(crate) inferences: AtomicU64,
    pub(crate) split: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) cancelled: AtomicU64,
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

    async fn infer(&self, Infer { input, out, interrupt }: Infer) -> Result<Option<Planes>> {
        interrupt.check()?;
        let shape = self.model.output_shape(input.shape())?;
        let len = elements(&shape)?;
        let output = Output::of(out, bytes_of(len)?, &self.pool, self.owner)?;
        // The only axis of a vector is not one of samples.
        let rows = if input.shape().len() > 1 { input.shape()[0] } else { 1 };
        let parts = self.scheduler.threads().min(rows);
        let output = if input.len() >= SPLIT_VALUES_MIN && parts > 1 {
            self.counts.split.fetch_add(1, Ordering::Relaxed);
            let (model, pool, owner) = (self.model.clone(), self.pool.clone(), self.owner);
            let split = move || {
                let work = Work { model: &model, pool: &pool, owner, interrupt: &interrupt };
                work.split(&input, rows, parts, output)
            };
            self.scheduler.run(split).await??
        } else {
            let work = Work { model: &self.model, pool: &self.pool, owner: self.owner, interrupt: &interrupt };
            work.whole(&input, output)?
        };
        Ok(output.into_pooled().map(|buffer| Planes { buffer, shape }))
    }
}

/// What one inference needs, on whatever thread it runs.
#[derive(Clone, Copy)]
struct Work<'a> {
    model: &'a Model,
    pool: &'a Pool,
    owner: Owner,
    interrupt: &'a Interrupt,
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

    fn whole(&self, input: &Tensor, mut out: Output) -> Result<Output> {
        self.with_dense(input, |values| self.run(values, input.shape(), out.elements_mut()?))?;
        Ok(out)
    }

    fn run(&self, values: &[f32], shape: &[usize], out: &mut [f32]) -> Result<()> {
        let mut scratch = self.floats(self.model.scratch_len(shape)?)?;
        self.model.run_unless(self.interrupt, values, shape, scratch.as_f32_mut()?, out)
    }

    /// On a thread of the scheduler: rows of the first axis in `parts` parts; the results do not depend on the split.
    fn split(&self, input: &Tensor, rows: usize, parts: usize, mut out: Output) -> Result<Output> {
        let rows_each = rows.div_ceil(parts);
        let (row_in, row_out) = (input.len() / rows, out.len() / size_of::<f32>() / rows);
        self.with_dense(input, |values| {
            let ins = values.par_chunks(rows_each * row_in);
            let outs = out.elements_mut()?.par_chunks_mut(rows_each * row_out);
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

/// Runs the model on an input. Answers with the output, unless that was to be written to `out`.
#[derive(Debug)]
pub struct Infer {
    /// What the model is run on.
    pub input: Tensor,
    /// Where the output is to be written, aligned for `f32` and as long as it is; pooled memory if nowhere. After an error its
    /// contents mean nothing.
    pub out: Option<LentMut<u8>>,
    /// Says when the output is no longer wanted: the run ends with [`Error::Cancelled`].
    pub interrupt: Interrupt,
}

impl From<Tensor> for Infer {
    fn from(input: Tensor) -> Self {
        Self { input, out: None, interrupt: Interrupt::never() }
    }
}

impl Message for Infer {
    type Reply = Result<Option<Planes>>;
}

impl Handler<Infer> for InferenceActor {
    async fn handle(&mut self, infer: Infer, _: &mut Context<Self>) -> Result<Option<Planes>> {
        let outcome = self.infer(infer).await;
        self.counts.inferences.fetch_add(1, Ordering::Relaxed);
        match &outcome {
            Ok(_) => {}
            Err(Error::Cancelled) => {
                self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }
}
