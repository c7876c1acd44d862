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
use super::{Answer, Channels, Image, ImageView, Input, Job, Pipeline, Planes, Request, Scratch, Size, Source};
use crate::lent::LentMut;
use crate::output::Output;
use crate::pool::{Owner, Pool, PoolActor, Pressure, PressureChanged, PublishedPressure, Subscribe};
use crate::scheduler::Scheduler;
use crate::{Error, Interrupt, Result};

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
    cancelled: AtomicU64,
    split_batches: AtomicU64,
    scratch_bytes: AtomicUsize,
    shrinks: AtomicU64,
    pressure: PublishedPressure,
    /// The next job is to crash, with its message in hand.
    armed: AtomicBool,
    /// A job is in hand.
    busy: AtomicBool,
}

/// Whoever holds it has a job in hand; a panic ends that too.
struct AtWork(Arc<WorkerCounts>);

impl AtWork {
    fn begin(counts: &Arc<WorkerCounts>) -> Self {
        counts.busy.store(true, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A worker's counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStats {
    /// Jobs done, well or with an error.
    pub jobs: u64,
    /// Of these, those that ended with an error.
    pub errors: u64,
    /// Of the jobs, those that were stopped because nobody wanted them any more.
    pub cancelled: u64,
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
    /// Whether a job is in hand now.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The counts now.
    pub fn stats(&self) -> WorkerStats {
        WorkerStats {
            jobs: self.jobs.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
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
        out: Option<LentMut<u8>>,
        draw: impl FnOnce(&mut [u8], &mut Scratch) -> Result<()>,
    ) -> Result<Answer> {
        let mut output = Output::of(out, size.bytes(channels), &self.pool, self.owner)?;
        draw(&mut output, &mut self.scratch)?;
        let answer = |buffer| Answer::Image(Image { buffer, size, channels });
        Ok(output.into_pooled().map_or(Answer::Written, answer))
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        size: Option<Size>,
        out: Option<LentMut<u8>>,
        interrupt: &Interrupt,
    ) -> Result<Answer> {
        let header = codec::probe(bytes, &DecodeOptions::default())?;
        if let Some(size) = size.filter(|size| *size != header.size) {
            let message = format!("the image is {} pixels, not {size} as out is", header.size);
            return Err(Error::invalid(message));
        }
        self.image(header.size, header.channels(), out, |out, _| codec::decode_into(bytes, &header, out, interrupt))
    }

    /// For results of the source's shape.
    fn filter(
        &mut self,
        source: &Source,
        out: Option<LentMut<u8>>,
        run: impl FnOnce(&ImageView<'_>, &mut [u8], &mut Scratch) -> Result<()>,
    ) -> Result<Answer> {
        let view = source.view();
        self.image(view.size(), view.channels(), out, |out, scratch| run(&view, out, scratch))
    }

    fn normalize(
        &mut self,
        source: &Source,
        (mean, std): (&[f32], &[f32]),
        out: Option<LentMut<u8>>,
        interrupt: &Interrupt,
    ) -> Result<Answer> {
        let view = source.view();
        let how = normalize::Normalization::new(mean, std, view.channels())?;
        let mut output = Output::of(out, view.bytes() * size_of::<f32>(), &self.pool, self.owner)?;
        normalize::normalize(&view, &how, output.elements_mut()?, &mut self.scratch, interrupt)?;
        let shape = vec![view.channels().count(), view.height(), view.width()];
        Ok(output.into_pooled().map_or(Answer::Written, |buffer| Answer::Planes(Planes { buffer, shape })))
    }

    async fn batch(
        &mut self,
        pipeline: Pipeline,
        inputs: Vec<Input>,
        out: Option<LentMut<u8>>,
        interrupt: Interrupt,
    ) -> Result<Answer> {
        let plan = BatchPlan::new(&pipeline, &inputs)?;
        let output = Output::of(out, plan.bytes, &self.pool, self.owner)?;
        let worth_it = plan.source_bytes >= SPLIT_BYTES_MIN && inputs.len() > 1 && self.scheduler.threads() > 1;
        let output = if worth_it && self.pressure < Pressure::High {
            self.counts.split_batches.fetch_add(1, Ordering::Relaxed);
            let (pool, owner) = (self.pool.clone(), self.owner);
            let split = move || run_parallel(&pipeline, &inputs, output, (&pool, owner), &interrupt);
            self.scheduler.run(split).await??
        } else {
            self.run_alone(&pipeline, &inputs, output, &interrupt)?
        };
        let stack =
            |buffer| Answer::Stack { planes: Planes { buffer, shape: plan.shape }, normalized: plan.normalized };
        Ok(output.into_pooled().map_or(Answer::Written, stack))
    }

    fn run_alone(
        &mut self,
        pipeline: &Pipeline,
        inputs: &[Input],
        mut output: Output,
        interrupt: &Interrupt,
    ) -> Result<Output> {
        let each = output.len() / inputs.len();
        let memory = (&self.pool, self.owner);
        for (input, out) in inputs.iter().zip(output.chunks_exact_mut(each)) {
            let run = |view: &ImageView<'_>| pipeline.run(view, out, &mut self.scratch, memory, interrupt);
            input.with_view(memory, interrupt, run)?;
        }
        Ok(output)
    }

    async fn run(&mut self, request: Request) -> Result<Answer> {
        let Request { job, out, interrupt } = request;
        interrupt.check()?;
        let interrupt = &interrupt;
        match job {
            Job::Decode(bytes, size) => self.decode(&bytes, size, out, interrupt),
            Job::Resize(source, size) => {
                let view = source.view();
                let draw = |out: &mut [u8], scratch: &mut _| resize::resize(&view, size, out, scratch, interrupt);
                self.image(size, view.channels(), out, draw)
            }
            Job::Convert(source, to) => {
                let view = source.view();
                let draw = |out: &mut [u8], scratch: &mut _| convert::convert(&view, to, out, scratch, interrupt);
                self.image(view.size(), to, out, draw)
            }
            Job::Normalize { source, mean, std } => self.normalize(&source, (&mean, &std), out, interrupt),
            Job::Convolve(source, kernel) => self
                .filter(&source, out, |view, out, scratch| convolve::convolve(view, &kernel, out, scratch, interrupt)),
            Job::Denoise(source, strength) => self
                .filter(&source, out, |view, out, scratch| enhance::denoise(view, strength, out, scratch, interrupt)),
            Job::Sharpen(source, amount) => {
                self.filter(&source, out, |view, out, scratch| enhance::sharpen(view, amount, out, scratch, interrupt))
            }
            Job::AutoProcess { source, denoise_strength, sharpen_amount } => {
                self.filter(&source, out, |view, out, scratch| {
                    enhance::auto_process(view, denoise_strength, sharpen_amount, out, scratch, interrupt)
                })
            }
            Job::Batch(pipeline, inputs) => self.batch(pipeline, inputs, out, interrupt.clone()).await,
            _ if out.is_some() => Err(Error::invalid("this job has no result that could be written to out")),
            Job::Encode(source, encoding) => codec::encode(&source.view(), encoding, interrupt).map(Answer::File),
            Job::DominantColors(source, count) => {
                analysis::dominant_colors(&source.view(), count, &mut self.scratch, interrupt).map(Answer::Colors)
            }
            Job::EdgeDensity(source) => analysis::edge_density(&source.view(), &mut self.scratch, interrupt)
                .map(|density| Answer::Number(density.into())),
            Job::Texture(source) => {
                analysis::texture(&source.view(), &mut self.scratch, interrupt).map(Answer::Texture)
            }
            Job::SpatialLayout(source) => {
                analysis::spatial_layout(&source.view(), &mut self.scratch, interrupt).map(Answer::Layout)
            }
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
    fn new(pipeline: &Pipeline, inputs: &[Input]) -> Result<Self> {
        let mut common = None;
        let mut source_bytes = 0_usize;
        for (index, input) in inputs.iter().enumerate() {
            source_bytes = source_bytes.saturating_add(input.bytes());
            let shape = pipeline.output(input.size(), input.channels())?;
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
        let bytes = shape.bytes().checked_mul(inputs.len()).ok_or_else(|| Error::invalid("the batch is too large"))?;
        let dims = std::iter::once(inputs.len()).chain(shape.dims()).collect();
        Ok(Self { shape: dims, bytes, source_bytes, normalized: shape.normalized })
    }
}

/// On a thread of the scheduler: idle threads steal images one by one.
fn run_parallel(
    pipeline: &Pipeline,
    inputs: &[Input],
    mut output: Output,
    memory: (&Pool, Owner),
    interrupt: &Interrupt,
) -> Result<Output> {
    let each = output.len() / inputs.len();
    output.par_chunks_exact_mut(each).zip(inputs).try_for_each_init(Scratch::new, |scratch, (out, input)| {
        let run = |view: &ImageView<'_>| pipeline.run(view, out, scratch, memory, interrupt);
        input.with_view(memory, interrupt, run)
    })?;
    Ok(output)
}

impl Actor for ImageWorker {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        // If the pool's actor has stopped the runtime is on its way down, and pressure no longer matters.
        let _ = self.keeper.tell(Subscribe(ctx.address().recipient())).await;
        Ok(())
    }
}

impl Message for Request {
    type Reply = Result<Answer>;
}

impl Message for Job {
    type Reply = Result<Answer>;
}

impl Handler<Job> for ImageWorker {
    async fn handle(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<Answer> {
        self.handle(Request::from(job), ctx).await
    }
}

impl Handler<Request> for ImageWorker {
    async fn handle(&mut self, request: Request, _: &mut Context<Self>) -> Result<Answer> {
        let _at_work = AtWork::begin(&self.counts);
        self.crash_if_armed();
        let outcome = self.run(request).await;
        self.counts.jobs.fetch_add(1, Ordering::Relaxed);
        match &outcome {
            Ok(_) => {}
            Err(Error::Cancelled) => {
                self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
            }
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
