//! Work that nobody wants any more stops at its next look, gives its memory back, and the worker goes on to the next job.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ironcliw::Runtime;
use ironcliw_actors::image::codec::{self, Encoding};
use ironcliw_actors::image::kernels::convolve::Kernel;
use ironcliw_actors::image::{Answer, Channels, ImageView, Job, Pipeline, Request, Size, Source, Strides};
use ironcliw_actors::inference::{Infer, LoadOptions, LoadedModel, Network, Precision, Tensor};
use ironcliw_actors::{Config, Error, Interrupt, Signal, Subsystems};

/// Longer than anything here takes; a promise that is not kept by then is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Is set by the test once the work has looked so often that it must be under way.
#[derive(Default)]
struct Watched {
    looks: AtomicUsize,
    set: AtomicBool,
    /// Looks that were answered with yes.
    late: AtomicUsize,
}

impl Signal for Watched {
    fn is_set(&self) -> bool {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let set = self.set.load(Ordering::SeqCst);
        self.late.fetch_add(usize::from(set), Ordering::SeqCst);
        set
    }
}

struct House {
    runtime: Runtime,
    subsystems: Subsystems,
}

/// One image worker and two threads of the scheduler.
fn house() -> House {
    let config = Config { image_workers: 1, scheduler_threads: 2, pin: false, ..Config::default() };
    let runtime = Runtime::builder().workers(1).pin(false).build().unwrap();
    let subsystems = runtime.block_on(Subsystems::start(runtime.handle(), config)).unwrap();
    House { runtime, subsystems }
}

impl House {
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("an answer in time") })
    }

    /// Sends a job, calls it off once it is under way, and returns what it says and how often it looked after that.
    fn call_off(&self, job: Job) -> (Result<Answer, Error>, usize) {
        let watched = Arc::new(Watched::default());
        let request = Request { interrupt: Interrupt::by(watched.clone()), ..Request::from(job) };
        let outcome = self.run(async {
            let answer = self.subsystems.images.run(request);
            let stop = async {
                while watched.looks.load(Ordering::SeqCst) < 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                watched.set.store(true, Ordering::SeqCst);
            };
            tokio::join!(answer, stop).0
        });
        (outcome, watched.late.load(Ordering::SeqCst))
    }

    fn cancelled(&self) -> u64 {
        self.subsystems.images.stats()[0].cancelled
    }

    fn live(&self) -> (u64, usize) {
        let stats = self.subsystems.pool.stats();
        (stats.live_count, stats.live_bytes)
    }

    /// A small job is done, and nothing is on lease but its result.
    fn still_works(&self) {
        let job = Job::Resize(huge(40, 30), Size::new(8, 6).unwrap());
        let answer = self.run(self.subsystems.images.run(job)).unwrap();
        assert!(matches!(answer, Answer::Image(_)));
        assert_eq!(self.live().0, 1);
        drop(answer);
        assert_eq!(self.live(), (0, 0));
    }

    fn close(self) {
        self.runtime.shutdown(PATIENCE).unwrap();
    }
}

/// An image of any size in the memory of one pixel.
fn huge(width: usize, height: usize) -> Source {
    static PIXEL: [u8; 3] = [1, 2, 3];
    let size = Size::new(width, height).unwrap();
    // SAFETY: every pixel is the same one, a static.
    unsafe {
        let strides = Strides { row: 0, pixel: 0, channel: 1 };
        Source::lent(ImageView::from_raw_parts(PIXEL.as_ptr(), size, Channels::Rgb, strides), Box::new(()))
    }
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come to pass");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_image_job_stops_at_the_look_that_says_so_and_gives_its_buffer_back() {
    let house = house();
    let big = || huge(20_000, 8_000);
    let jobs = [
        Job::Convert(big(), Channels::Gray),
        Job::Normalize { source: big(), mean: vec![0.5; 3], std: vec![0.5; 3] },
        Job::Convolve(big(), Kernel::named("gaussian_5x5").unwrap()),
        Job::Convolve(big(), Kernel::custom(7, &[0.02; 49]).unwrap()),
        Job::Denoise(big(), 0.5),
        Job::Sharpen(big(), 0.5),
        Job::AutoProcess { source: big(), denoise_strength: 0.5, sharpen_amount: 0.5 },
        Job::DominantColors(big(), 3),
        Job::EdgeDensity(big()),
        Job::Texture(big()),
        Job::SpatialLayout(big()),
        Job::Encode(big(), Encoding::Png),
        Job::Encode(big(), Encoding::Jpeg { quality: 90 }),
    ];
    let count = jobs.len() as u64;
    for job in jobs {
        let name = format!("{job:?}");
        let (outcome, late) = house.call_off(job);
        assert_eq!(outcome.unwrap_err(), Error::Cancelled, "{name}");
        // A codec's error is asked about once more by whoever translates it.
        assert!((1..=2).contains(&late), "{name} looked {late} times after it was called off");
        assert_eq!(house.live(), (0, 0), "{name}");
    }
    assert_eq!(house.cancelled(), count);
    house.still_works();
    house.close();
}

#[test]
fn a_file_is_not_decoded_to_its_end() {
    let house = house();
    let pixels: Vec<u8> = (0..4000 * 2000 * 3_usize).map(|n| (n * 31 / 7 % 251) as u8).collect();
    let view = ImageView::dense(&pixels, 4000, 2000, Channels::Rgb).unwrap();
    for encoding in [Encoding::Png, Encoding::Jpeg { quality: 90 }] {
        let file = codec::encode(&view, encoding, &Interrupt::never()).unwrap();
        let (outcome, late) = house.call_off(Job::Decode(file.into(), None));
        assert_eq!(outcome.unwrap_err(), Error::Cancelled, "{encoding:?}");
        assert_eq!(late, 2, "{encoding:?}");
        assert_eq!(house.live(), (0, 0), "{encoding:?}");
    }
    house.still_works();
    house.close();
}

#[test]
fn a_batch_stops_between_its_images_on_every_thread_it_was_split_over() {
    let house = house();
    let pipeline = Pipeline::new().resize(Size::new(8, 8).unwrap()).unwrap();
    let sources = (0..20_000).map(|_| huge(2_000, 800));
    let (outcome, late) = house.call_off(Job::batch(pipeline, sources));
    assert_eq!(outcome.unwrap_err(), Error::Cancelled);
    assert!((1..=2).contains(&late), "{late} looks by two threads");
    assert_eq!(house.live(), (0, 0));
    assert_eq!(house.subsystems.images.stats()[0].split_batches, 1);
    house.still_works();
    house.close();
}

#[test]
fn dropping_the_future_calls_the_work_off() {
    let house = house();
    let job = Job::Convolve(huge(20_000, 8_000), Kernel::custom(7, &[0.02; 49]).unwrap());
    house.run(async {
        let wait = Duration::from_millis(50);
        tokio::time::timeout(wait, house.subsystems.images.run(job)).await.unwrap_err();
    });
    eventually("the end of the job", || house.cancelled() == 1);
    house.still_works();
    house.close();
}

fn slow_model(house: &House, precision: Precision) -> LoadedModel {
    let weights: Vec<f32> = (0..512 * 512).map(|n| (n * 7 % 23) as f32 / 11_000.0 - 0.001).collect();
    let mut network = Network::new();
    for _ in 0..200 {
        network.linear(weights.clone(), 512, 512, None).unwrap();
    }
    let options = LoadOptions { precision, ..LoadOptions::default() };
    house.run(house.subsystems.inference.load(network, options)).unwrap()
}

#[test]
fn an_inference_stops_between_two_layers() {
    let house = house();
    for precision in [Precision::Fp32, Precision::Int8] {
        let model = slow_model(&house, precision);
        let rows = |count| Tensor::owned(vec![0.5; count * 512], vec![count, 512]).unwrap();
        // Alone, and split over the scheduler's threads.
        for count in [400, 4000] {
            let watched = Arc::new(Watched::default());
            let infer = Infer { interrupt: Interrupt::by(watched.clone()), ..Infer::from(rows(count)) };
            let answer = house.run(async {
                let answer = model.next_replica().unwrap().ask(infer).into_future();
                let stop = async {
                    while watched.looks.load(Ordering::SeqCst) < 3 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    watched.set.store(true, Ordering::SeqCst);
                };
                tokio::join!(answer, stop).0.unwrap()
            });
            assert_eq!(answer.unwrap_err(), Error::Cancelled, "{precision} {count}");
            assert!((1..=2).contains(&watched.late.load(Ordering::SeqCst)), "{precision} {count}");
            assert_eq!(house.live(), (0, 0), "{precision} {count}");
        }
        let dropped = model.infer(rows(4000));
        house.run(async { tokio::time::timeout(Duration::from_millis(20), dropped).await.unwrap_err() });
        eventually("the end of the run", || model.stats().cancelled == 3 && house.live().0 == 0);
        assert_eq!(house.run(model.infer(rows(1))).unwrap().shape, [1, 512]);
    }
    house.close();
}
