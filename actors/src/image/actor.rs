//! `ImageWorker`: runs image jobs on a thread of its own, results into pooled buffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ironcliw::{Actor, Address, Context, Handler, Message, StartError};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use serde::Serialize;
use tracing::debug;

use super::codec::{self, DecodeOptions};
use super::kernels::{analysis, convert, convolve, enhance, normalize, resize};
use super::{Answer, Channels, Image, ImageView, Job, Pipeline, Planes, Scratch, Size, Source};
use crate::pool::{Buffer, Owner, Pool, PoolActor, Pressure, PressureChanged, PublishedPressure, Subscribe};
use crate::scheduler::Scheduler;
use crate::{Error, Result};

/// A batch is split over the scheduler's threads from this many source bytes on: below, handing the parts out costs more
/// than it saves (a hand-off is some 10 µs, which is the time to resize about 100 kB).
const SPLIT_BYTES_MIN: usize = 1 << 20;

/// Working memory that a worker keeps between jobs at most: what frames of 4K need. Making more anew costs a photograph far
/// less than its job does, and one huge photograph must not hold its memory for ever, which no limit counts.
const IDLE_BYTES_MAX: usize = 64 << 20;

/// What a worker has seen, for observers; it outlives the worker's crashes.
#[derive(Debug, Default)]
pub struct WorkerCounts {
    jobs: AtomicU64,
    errors: AtomicU64,
    split_batches: AtomicU64,
    scratch_bytes: AtomicUsize,
    shrinks: AtomicU64,
    pressure: PublishedPressure,
    /// The next job is to crash, with its message in hand.
    armed: AtomicBool,
}

/// A worker's counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStats {
    /// Jobs done, well or with an error.
    pub jobs: u64,
    /// Of these, those that ended with an error.
    pub errors: u64,
    /// Batches that were split through the scheduler.
    pub split_batches: u64,
    /// Bytes of working memory held between jobs.
    pub scratch_bytes: usize,
    /// Times it gave its working memory back because memory was short.
    pub shrinks: u64,
    /// The memory pressure it was last told of.
    pub pressure: Pressure,
}

impl WorkerCounts {
    /// The counts now.
    pub fn stats(&self) -> WorkerStats {
        WorkerStats {
            jobs: self.jobs.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            split_batches: self.split_batches.load(Ordering::Relaxed),
            scratch_bytes: self.scratch_bytes.load(Ordering::Relaxed),
            shrinks: self.shrinks.load(Ordering::Relaxed),
            pressure: self.pressure.get(),
        }
    }

    /// Makes the next job panic, so that a message in hand is what a crash meets.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }
}

/// The worker.
pub struct ImageWorker {
    pool: Pool,
    keeper: Address<PoolActor>,
    scheduler: Scheduler,
    counts: Arc<WorkerCounts>,
    owner: Owner,
    scratch: Scratch,
    /// At `High` and above a batch is not split: fewer images are in the works at a time.
    pressure: Pressure,
}

impl ImageWorker {
    pub(crate) fn new(
        path: &str,
        pool: Pool,
        keeper: Address<PoolActor>,
        scheduler: Scheduler,
        counts: Arc<WorkerCounts>,
    ) -> Self {
        Self {
            pool,
            keeper,
            scheduler,
            counts,
            owner: Owner::named(path),
            scratch: Scratch::new(),
            pressure: Pressure::Low,
        }
    }

    fn image(
        &mut self,
        size: Size,
        channels: Channels,
        draw: impl FnOnce(&mut [u8], &mut Scratch) -> Result<()>,
    ) -> Result<Answer> {
        let mut buffer = self.pool.allocate_for_overwrite(size.bytes(channels), self.owner)?;
        draw(&mut buffer, &mut self.scratch)?;
        Ok(Answer::Image(Image { buffer, size, channels }))
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Answer> {
        let header = codec::probe(bytes, &DecodeOptions::default())?;
        self.image(header.size, header.channels(), |out, _| codec::decode_into(bytes, &header, out))
    }

    fn filter(
        &mut self,
        source: &Source,
        run: impl FnOnce(&ImageView<'_>, &mut [u8], &mut Scratch) -> Result<()>,
    ) -> Result<Answer> {
        let view = source.view();
        self.image(view.size(), view.channels(), |out, scratch| run(&view, out, scratch))
    }

    fn normalize(&mut self, source: &Source, mean: &[f32], std: &[f32]) -> Result<Answer> {
        let view = source.view();
        let how = normalize::Normalization::new(mean, std, view.channels())?;
        let mut buffer = self.pool.allocate_for_overwrite(view.bytes() * size_of::<f32>(), self.owner)?;
        normalize::normalize(&view, &how, buffer.as_f32_mut()?, &mut self.scratch)?;
        let shape = vec![view.channels().count(), view.height(), view.width()];
        Ok(Answer::Planes(Planes { buffer, shape }))
    }

    async fn batch(&mut self, pipeline: Pipeline, sources: Vec<Source>) -> Result<Answer> {
        let plan = BatchPlan::new(&pipeline, &sources)?;
        let buffer = self.pool.allocate_for_overwrite(plan.bytes, self.owner)?;
        let worth_it = plan.source_bytes >= SPLIT_BYTES_MIN && sources.len() > 1 && self.scheduler.threads() > 1;
        let buffer = if worth_it && self.pressure < Pressure::High {
            self.counts.split_batches.fetch_add(1, Ordering::Relaxed);
            let (pool, owner) = (self.pool.clone(), self.owner);
            self.scheduler.run(move || run_parallel(&pipeline, &sources, buffer, &pool, owner)).await??
        } else {
            self.run_alone(&pipeline, &sources, buffer)?
        };
        Ok(Answer::Stack { planes: Planes { buffer, shape: plan.shape }, normalized: plan.normalized })
    }

    fn run_alone(&mut self, pipeline: &Pipeline, sources: &[Source], mut buffer: Buffer) -> Result<Buffer> {
        let each = buffer.len() / sources.len();
        for (source, out) in sources.iter().zip(buffer.chunks_exact_mut(each)) {
            pipeline.run(&source.view(), out, &mut self.scratch, &self.pool, self.owner)?;
        }
        Ok(buffer)
    }

    async fn run(&mut self, job: Job) -> Result<Answer> {
        match job {
            Job::Decode(bytes) => self.decode(&bytes),
            Job::Encode(source, encoding) => codec::encode(&source.view(), encoding).map(Answer::File),
            Job::Resize(source, size) => {
                let view = source.view();
                self.image(size, view.channels(), |out, scratch| resize::resize(&view, size, out, scratch))
            }
            Job::Convert(source, to) => {
                let view = source.view();
                self.image(view.size(), to, |out, scratch| convert::convert(&view, to, out, scratch))
            }
            Job::Normalize { source, mean, std } => self.normalize(&source, &mean, &std),
            Job::Convolve(source, kernel) => {
                self.filter(&source, |view, out, scratch| convolve::convolve(view, &kernel, out, scratch))
            }
            Job::Denoise(source, strength) => {
                self.filter(&source, |view, out, scratch| enhance::denoise(view, strength, out, scratch))
            }
            Job::Sharpen(source, amount) => {
                self.filter(&source, |view, out, scratch| enhance::sharpen(view, amount, out, scratch))
            }
            Job::AutoProcess { source, denoise_strength, sharpen_amount } => self
                .filter(&source, |view, out, scratch| {
                    enhance::auto_process(view, denoise_strength, sharpen_amount, out, scratch)
                }),
            Job::DominantColors(source, count) => {
                analysis::dominant_colors(&source.view(), count, &mut self.scratch).map(Answer::Colors)
            }
            Job::EdgeDensity(source) => {
                Ok(Answer::Number(analysis::edge_density(&source.view(), &mut self.scratch).into()))
            }
            Job::Texture(source) => Ok(Answer::Texture(analysis::texture(&source.view(), &mut self.scratch))),
            Job::SpatialLayout(source) => {
                Ok(Answer::Layout(analysis::spatial_layout(&source.view(), &mut self.scratch)))
            }
            Job::Batch(pipeline, sources) => self.batch(pipeline, sources).await,
        }
    }

    fn shrink(&mut self) {
        self.scratch.shrink();
        self.counts.scratch_bytes.store(0, Ordering::Relaxed);
    }

    /// Panics if a crash was asked for, once.
    fn crash_if_armed(&self) {
        if self.counts.armed.swap(false, Ordering::Relaxed) {
            panic!("a crash was asked for");
        }
    }
}

/// The size of a batch's result.
struct BatchPlan {
    shape: Vec<usize>,
    bytes: usize,
    source_bytes: usize,
    normalized: bool,
}

impl BatchPlan {
    fn new(pipeline: &Pipeline, sources: &[Source]) -> Result<Self> {
        let mut common = None;
        let mut source_bytes = 0_usize;
        for (index, source) in sources.iter().enumerate() {
            let view = source.view();
            source_bytes = source_bytes.saturating_add(view.bytes());
            let shape = pipeline.output(view.size(), view.channels())?;
            match common {
                None => common = Some(shape),
                Some(first) if first == shape => {}
                Some(first) => {
                    return Err(Error::invalid(format!(
                        "a batch has results of one shape: image 0 gives {:?}, image {index} gives {:?}",
                        first.dims(),
                        shape.dims()
                    )));
                }
            }
        }
        let shape = common.ok_or_else(|| Error::invalid("a batch needs at least one image"))?;
        let bytes = shape.bytes().checked_mul(sources.len()).ok_or_else(|| Error::invalid("the batch is too large"))?;
        let dims = std::iter::once(sources.len()).chain(shape.dims()).collect();
        Ok(Self { shape: dims, bytes, source_bytes, normalized: shape.normalized })
    }
}

/// On a thread of the scheduler: idle threads steal images one by one.
fn run_parallel(
    pipeline: &Pipeline,
    sources: &[Source],
    mut buffer: Buffer,
    pool: &Pool,
    owner: Owner,
) -> Result<Buffer> {
    let each = buffer.len() / sources.len();
    buffer.par_chunks_exact_mut(each).zip(sources).try_for_each_init(Scratch::new, |scratch, (out, source)| {
        pipeline.run(&source.view(), out, scratch, pool, owner)
    })?;
    Ok(buffer)
}

impl Actor for ImageWorker {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        // If the pool's actor has stopped the runtime is on its way down, and pressure no longer matters.
        let _ = self.keeper.tell(Subscribe(ctx.address().recipient())).await;
        Ok(())
    }
}

impl Message for Job {
    type Reply = Result<Answer>;
}

impl Handler<Job> for ImageWorker {
    async fn handle(&mut self, job: Job, _: &mut Context<Self>) -> Result<Answer> {
        self.crash_if_armed();
        let outcome = self.run(job).await;
        self.counts.jobs.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        let idle = self.scratch.bytes();
        self.counts.scratch_bytes.store(idle, Ordering::Relaxed);
        if idle > IDLE_BYTES_MAX || self.pressure >= Pressure::High {
            self.shrink();
        }
        outcome
    }
}

impl Handler<PressureChanged> for ImageWorker {
    async fn handle(&mut self, PressureChanged(level): PressureChanged, ctx: &mut Context<Self>) {
        self.pressure = level;
        if level >= Pressure::High {
            debug!(path = ctx.path(), %level, "gave its working memory back");
            self.shrink();
            self.counts.shrinks.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.pressure.set(level);
    }
}

impl Handler<crate::Crash> for ImageWorker {
    async fn handle(&mut self, _: crate::Crash, _: &mut Context<Self>) {
        // If a job came first, it has met the crash already.
        self.crash_if_armed();
    }
}
