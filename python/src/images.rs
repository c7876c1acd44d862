//! `rt.images` and `Pipeline`.

use std::sync::Arc;

use ironcliw_actors::image::codec::Encoding;
use ironcliw_actors::image::kernels::convolve::Kernel;
use ironcliw_actors::image::kernels::enhance::SHARPEN_MAX;
use ironcliw_actors::image::kernels::normalize::Normalization;
use ironcliw_actors::image::{self, Answer, Channels, Job, Request, Size, Source};
use ironcliw_actors::lent::LentMut;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::args::{self, finite, invalid};
use crate::arrays;
use crate::bridge::{Call, Keep, Outcome};
use crate::errors::to_py_err;
use crate::lending::Lending;
use crate::runtime::Inner;
use crate::work::{Many, Work};

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Images {
    inner: Arc<Inner>,
    /// While `map` calls the other methods: what their work is a part of.
    many: Option<Many>,
}

/// What every call of a worker may be told beside its job.
#[derive(Clone, Copy)]
struct Options<'a, 'py> {
    copy: bool,
    out: Option<&'a Bound<'py, PyAny>>,
    timeout: Option<f64>,
}

/// The values of a result that is to be written to `out`, and its shape.
enum Values<'a> {
    Bytes(&'a [usize]),
    Floats(&'a [usize]),
}

impl Images {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, many: None }
    }

    /// Sends a job whose result is no array.
    fn send<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        (copy, timeout): (bool, Option<f64>),
        job: impl FnOnce(&mut Lending) -> PyResult<Job>,
    ) -> PyResult<Bound<'py, Call>> {
        let mut lending = Lending::new(copy, false);
        let job = job(&mut lending)?;
        self.submit(py, name, job, lending, None, timeout, false)
    }

    /// For operations whose result is an image.
    fn send_image<'py>(
        &self,
        name: &'static str,
        image: &Bound<'py, PyAny>,
        options: Options<'_, 'py>,
        made: impl FnOnce(&Source) -> (Size, Channels),
        job: impl FnOnce(Source) -> Job,
    ) -> PyResult<Bound<'py, Call>> {
        let mut lending = Lending::new(options.copy, options.out.is_some());
        let source = arrays::image(image, &mut lending)?;
        // One channel stays an axis if it came as one.
        let keep_axis = source.view().channels() == Channels::Gray && arrays::has_channel_axis(image);
        let (size, channels) = made(&source);
        let shape = [size.height(), size.width(), channels.count()];
        let axes = if channels == Channels::Gray && !keep_axis { 2 } else { 3 };
        let out = options.out.map(|out| Out::new(&lending, out, Values::Bytes(&shape[..axes]))).transpose()?;
        self.submit(image.py(), name, job(source), lending, out, options.timeout, keep_axis)
    }

    /// For operations whose result has the shape of their input.
    fn send_alike<'py>(
        &self,
        name: &'static str,
        image: &Bound<'py, PyAny>,
        options: Options<'_, 'py>,
        job: impl FnOnce(Source) -> Job,
    ) -> PyResult<Bound<'py, Call>> {
        let same = |source: &Source| (source.view().size(), source.view().channels());
        self.send_image(name, image, options, same, job)
    }

    #[allow(clippy::too_many_arguments)] // What a call consists of.
    fn submit<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        input: Job,
        lending: Lending,
        out: Option<Out>,
        timeout: Option<f64>,
        keep_axis: bool,
    ) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let to = self.inner.open()?.images.next_worker();
        let (lent, array) = out.map(|Out { lent, array }| (lent, array)).unzip();
        let message = move |job, interrupt| Request { job, out: lent, interrupt };
        let convert = move |answer: ironcliw_actors::Result<Answer>| {
            Outcome::from_result(answer, |answer| outcome(answer, keep_axis, array))
        };
        let of = self.many.as_ref();
        Work { name, of, to, lending, input, timeout, message, convert }.submit(py, &self.inner)
    }
}

/// Where a result is to go.
struct Out {
    lent: LentMut<u8>,
    /// What the await returns.
    array: Keep,
}

impl Out {
    fn new(lending: &Lending, out: &Bound<'_, PyAny>, result: Values<'_>) -> PyResult<Self> {
        let lent = match result {
            Values::Bytes(shape) => lending.output::<u8>(out, shape)?,
            Values::Floats(shape) => lending.output::<f32>(out, shape)?,
        };
        Ok(Self { lent, array: Keep::new(out) })
    }
}

/// An answer as Python gets it.
fn outcome(answer: Answer, keep_axis: bool, out: Option<Keep>) -> Outcome {
    match answer {
        Answer::Written => arrays::from_out(out),
        Answer::Image(image) => arrays::from_image(image, keep_axis),
        Answer::Planes(planes) => arrays::from_planes(planes),
        Answer::Stack { planes, normalized: true } => arrays::from_planes(planes),
        Answer::Stack { planes, normalized: false } => arrays::from_bytes(planes),
        Answer::File(bytes) => Outcome::value(move |py| Ok(PyBytes::new(py, &bytes).into_any().unbind())),
        Answer::Colors(colors) => Outcome::value(move |py| {
            let colors = colors.into_iter().map(|[r, g, b]| (r, g, b));
            Ok(PyList::new(py, colors)?.into_any().unbind())
        }),
        Answer::Number(number) => Outcome::value(move |py| Ok(number.into_pyobject(py)?.into_any().unbind())),
        Answer::Texture(texture) => Outcome::value(move |py| {
            let dict = PyDict::new(py);
            dict.set_item("mean", texture.mean)?;
            dict.set_item("std_dev", texture.std_dev)?;
            dict.set_item("entropy", texture.entropy)?;
            dict.set_item("edge_density", texture.edge_density)?;
            Ok(dict.into_any().unbind())
        }),
        Answer::Layout(layout) => Outcome::value(move |py| {
            let dict = PyDict::new(py);
            dict.set_item("width", layout.width)?;
            dict.set_item("height", layout.height)?;
            dict.set_item("channels", layout.channels)?;
            dict.set_item("aspect_ratio", layout.aspect_ratio)?;
            dict.set_item("center_brightness", layout.center_brightness)?;
            dict.set_item("edge_density", layout.edge_density)?;
            Ok(dict.into_any().unbind())
        }),
    }
}

/// `(width, height)`.
fn size(object: &Bound<'_, PyAny>) -> PyResult<Size> {
    let pair = object.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
    let Some(pair) = pair else {
        let (width, height): (Bound<'_, PyAny>, Bound<'_, PyAny>) = object
            .extract::<Vec<Bound<'_, PyAny>>>()
            .ok()
            .and_then(|sides| sides.try_into().ok())
            .map(|[width, height]: [Bound<'_, PyAny>; 2]| (width, height))
            .ok_or_else(|| invalid("a size is a pair: (width, height)"))?;
        return checked_size(&width, &height);
    };
    checked_size(&pair.get_item(0)?, &pair.get_item(1)?)
}

fn checked_size(width: &Bound<'_, PyAny>, height: &Bound<'_, PyAny>) -> PyResult<Size> {
    Size::new(args::count(width, "width", 1)?, args::count(height, "height", 1)?).map_err(to_py_err)
}

fn mode(name: &str) -> PyResult<Channels> {
    Channels::from_name(name).map_err(to_py_err)
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// A mean and a deviation a channel: one for all would hide a mistake.
fn one_a_channel(mean: &[f64], std: &[f64], channels: Channels) -> PyResult<(Vec<f32>, Vec<f32>)> {
    for (name, values) in [("mean", mean), ("std", std)] {
        if values.len() != channels.count() {
            let (got, want) = (values.len(), channels.count());
            return Err(invalid(format!("{name} has {got} values for an image of {want} channels")));
        }
    }
    let (mean, std) = (narrow(mean), narrow(std));
    Normalization::new(&mean, &std, channels).map_err(to_py_err)?;
    Ok((mean, std))
}

/// A kernel by name, or a square array of weights.
fn kernel(object: &Bound<'_, PyAny>) -> PyResult<Kernel> {
    if let Ok(name) = object.extract::<String>() {
        return Kernel::named(&name).map_err(to_py_err);
    }
    let as_weights = || -> PyResult<(Vec<f32>, Vec<usize>)> {
        let numpy = object.py().import("numpy")?;
        let array = numpy.call_method1("asarray", (object, "float32"))?;
        arrays::weights(&array, "a kernel")
    };
    if !object.hasattr("__array__")? {
        let kind = object.get_type().qualname()?;
        return Err(pyo3::exceptions::PyTypeError::new_err(format!("a kernel is a name or a numpy array, not {kind}")));
    }
    let (weights, shape) = as_weights().map_err(|error| invalid(format!("a kernel must be numbers: {error}")))?;
    match shape[..] {
        [rows, columns] if rows == columns => Kernel::custom(rows, &weights).map_err(to_py_err),
        _ => Err(invalid(format!("a kernel is square, not {}", arrays::tuple(&shape)))),
    }
}

fn strength(value: f64) -> PyResult<f32> {
    let strength = finite(value, "strength")?;
    if (0.0..=1.0).contains(&strength) {
        Ok(strength)
    } else {
        Err(invalid(format!("strength must be between 0 and 1, not {value}")))
    }
}

fn amount(value: f64) -> PyResult<f32> {
    let amount = finite(value, "amount")?;
    if (0.0..=SHARPEN_MAX).contains(&amount) {
        Ok(amount)
    } else {
        Err(invalid(format!("amount must be between 0 and {SHARPEN_MAX}, not {value}")))
    }
}

/// What `auto_process` does unless told otherwise: a change that is seen in noise and edges, not in the picture.
const AUTO_DENOISE: f64 = 0.3;
const AUTO_SHARPEN: f64 = 0.3;

/// What `map` may call: every method that takes one image, or the bytes of one, first.
const MAPPED: [&str; 13] = [
    "decode",
    "encode",
    "resize",
    "convert",
    "normalize",
    "convolve",
    "denoise",
    "sharpen",
    "auto_process",
    "dominant_colors",
    "edge_density",
    "texture",
    "spatial_layout",
];

#[pymethods]
impl Images {
    #[pyo3(signature = (method, images, /, *args, **options))]
    fn map<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        images: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Call>> {
        if !MAPPED.contains(&method) {
            return Err(invalid(format!("there is nothing to map called {method:?}: {}", MAPPED.join(", "))));
        }
        if options.is_some_and(|options| options.contains("out").unwrap_or(false)) {
            return Err(invalid("map takes no out: it would be one array for many results"));
        }
        self.inner.open()?;
        let images: Vec<Bound<'py, PyAny>> = images.try_iter()?.collect::<PyResult<_>>()?;
        let (call, many) = Many::begin(py, "images.map", images.len())?;
        let parts = Bound::new(py, Self { inner: Arc::clone(&self.inner), many: Some(many) })?;
        for image in images {
            let args = std::iter::once(image).chain(args.iter());
            let args = PyTuple::new(py, args.collect::<Vec<_>>())?;
            // A bad argument ends it all: the call is dropped, and with it what has been queued.
            parts.call_method(method, args, options)?;
        }
        Ok(call)
    }

    #[pyo3(signature = (data, *, copy=false, out=None, timeout=None))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let mut lending = Lending::new(copy, out.is_some());
        let bytes = arrays::bytes(data, &mut lending)?;
        let mut size = None;
        let lend = |out| -> PyResult<Out> {
            // What the file holds only the worker knows, who refuses it if it is of another size.
            let fits = |shape: &[usize]| {
                size = match shape {
                    &[height, width, 3] => Size::new(width, height).ok(),
                    _ => None,
                };
                size.is_some()
            };
            let lent = lending.output_where::<u8>(out, "(H, W, 3)", fits)?;
            Ok(Out { lent, array: Keep::new(out) })
        };
        let out = out.map(lend).transpose()?;
        let job = Job::Decode(bytes, size);
        self.submit(py, "images.decode", job, lending, out, timeout, false)
    }

    #[pyo3(signature = (image, format, quality=None, *, copy=false, timeout=None),
        text_signature = "($self, image, format, quality=90, *, copy=False, timeout=None)")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        format: &str,
        quality: Option<&Bound<'py, PyAny>>,
        copy: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let quality = args::optional_count(quality, "quality", 1)?.unwrap_or(90);
        let quality = u8::try_from(quality).map_err(|_| invalid(format!("quality is 1 to 100, not {quality}")))?;
        let encoding = Encoding::from_name(format, Some(quality)).map_err(to_py_err)?;
        self.send(py, "images.encode", (copy, timeout), |lending| {
            Ok(Job::Encode(arrays::image(image, lending)?, encoding))
        })
    }

    #[pyo3(signature = (image, size, *, copy=false, out=None, timeout=None))]
    fn resize<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        size: &Bound<'py, PyAny>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let size = self::size(size)?;
        let made = |source: &Source| (size, source.view().channels());
        let options = Options { copy, out, timeout };
        self.send_image("images.resize", image, options, made, |source| Job::Resize(source, size))
    }

    #[pyo3(signature = (image, mode, *, copy=false, out=None, timeout=None))]
    fn convert<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        mode: &str,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let channels = self::mode(mode)?;
        let mut lending = Lending::new(copy, out.is_some());
        let source = arrays::image(image, &mut lending)?;
        let (height, width) = (source.view().height(), source.view().width());
        let shape = [height, width, channels.count()];
        let axes = if channels == Channels::Gray { 2 } else { 3 };
        let out = out.map(|out| Out::new(&lending, out, Values::Bytes(&shape[..axes]))).transpose()?;
        self.submit(image.py(), "images.convert", Job::Convert(source, channels), lending, out, timeout, false)
    }

    #[pyo3(signature = (image, mean, std, *, copy=false, out=None, timeout=None))]
    #[allow(clippy::too_many_arguments)] // Python's keywords.
    fn normalize<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        mean: Vec<f64>,
        std: Vec<f64>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let mut lending = Lending::new(copy, out.is_some());
        let source = arrays::image(image, &mut lending)?;
        let view = source.view();
        let (mean, std) = one_a_channel(&mean, &std, view.channels())?;
        let shape = [view.channels().count(), view.height(), view.width()];
        let out = out.map(|out| Out::new(&lending, out, Values::Floats(&shape))).transpose()?;
        self.submit(py, "images.normalize", Job::Normalize { source, mean, std }, lending, out, timeout, false)
    }

    #[pyo3(signature = (image, kernel, *, copy=false, out=None, timeout=None))]
    fn convolve<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        kernel: &Bound<'py, PyAny>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let kernel = self::kernel(kernel)?;
        self.send_alike("images.convolve", image, Options { copy, out, timeout }, |source| {
            Job::Convolve(source, kernel)
        })
    }

    #[pyo3(signature = (image, strength, *, copy=false, out=None, timeout=None))]
    fn denoise<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        strength: f64,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let strength = self::strength(strength)?;
        self.send_alike("images.denoise", image, Options { copy, out, timeout }, |source| {
            Job::Denoise(source, strength)
        })
    }

    #[pyo3(signature = (image, amount, *, copy=false, out=None, timeout=None))]
    fn sharpen<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        amount: f64,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let amount = self::amount(amount)?;
        self.send_alike("images.sharpen", image, Options { copy, out, timeout }, |source| Job::Sharpen(source, amount))
    }

    #[pyo3(signature = (image, *, denoise_strength=AUTO_DENOISE, sharpen_amount=AUTO_SHARPEN, copy=false, out=None,
        timeout=None))]
    fn auto_process<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        denoise_strength: f64,
        sharpen_amount: f64,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let (denoise_strength, sharpen_amount) = (strength(denoise_strength)?, amount(sharpen_amount)?);
        self.send_alike("images.auto_process", image, Options { copy, out, timeout }, |source| Job::AutoProcess {
            source,
            denoise_strength,
            sharpen_amount,
        })
    }

    #[pyo3(signature = (image, n=None, *, copy=false, timeout=None),
        text_signature = "($self, image, n=5, *, copy=False, timeout=None)")]
    fn dominant_colors<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        n: Option<&Bound<'py, PyAny>>,
        copy: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let n = args::optional_count(n, "n", 1)?.unwrap_or(5);
        self.send(py, "images.dominant_colors", (copy, timeout), |lending| {
            Ok(Job::DominantColors(arrays::image(image, lending)?, n))
        })
    }

    #[pyo3(signature = (image, *, copy=false, timeout=None))]
    fn edge_density<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        copy: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.edge_density", (copy, timeout), |lending| {
            Ok(Job::EdgeDensity(arrays::image(image, lending)?))
        })
    }

    #[pyo3(signature = (image, *, copy=false, timeout=None))]
    fn texture<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        copy: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.texture", (copy, timeout), |lending| Ok(Job::Texture(arrays::image(image, lending)?)))
    }

    #[pyo3(signature = (image, *, copy=false, timeout=None))]
    fn spatial_layout<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        copy: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.spatial_layout", (copy, timeout), |lending| {
            Ok(Job::SpatialLayout(arrays::image(image, lending)?))
        })
    }

    #[pyo3(signature = (pipeline, images, *, copy=false, out=None, timeout=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        pipeline: &Bound<'py, Pipeline>,
        images: Vec<Bound<'py, PyAny>>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        if images.is_empty() {
            return Err(invalid("a batch needs at least one image"));
        }
        let mut lending = Lending::new(copy, out.is_some());
        let inputs = images.iter().map(|image| arrays::input(image, &mut lending)).collect::<PyResult<Vec<_>>>()?;
        let steps = pipeline.get().0.lock().clone();
        let mut first = None;
        for input in &inputs {
            let made = steps.output(input.size(), input.channels()).map_err(to_py_err)?;
            first.get_or_insert(made);
        }
        let lend = |(out, made): (_, image::Shape)| {
            // The worker refuses a batch whose results differ in shape.
            let shape: Vec<usize> = std::iter::once(inputs.len()).chain(made.dims()).collect();
            let values = if made.normalized { Values::Floats(&shape) } else { Values::Bytes(&shape) };
            Out::new(&lending, out, values)
        };
        let out = out.zip(first).map(lend).transpose()?;
        self.submit(py, "images.run", Job::Batch(steps, inputs), lending, out, timeout, false)
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.Images: {} workers>", self.inner.subsystems.images.workers().len())
    }
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Pipeline(Mutex<image::Pipeline>);

impl Pipeline {
    fn then<'py>(
        slf: PyRef<'py, Self>,
        step: impl FnOnce(image::Pipeline) -> ironcliw_actors::Result<image::Pipeline>,
    ) -> PyResult<PyRef<'py, Self>> {
        {
            let mut steps = slf.0.lock();
            *steps = step(steps.clone()).map_err(to_py_err)?;
        }
        Ok(slf)
    }
}

#[pymethods]
impl Pipeline {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    #[pyo3(signature = (size, /))]
    fn resize<'py>(slf: PyRef<'py, Self>, size: &Bound<'py, PyAny>) -> PyResult<PyRef<'py, Self>> {
        let size = self::size(size)?;
        Self::then(slf, |steps| steps.resize(size))
    }

    #[pyo3(signature = (mode, /))]
    fn convert<'py>(slf: PyRef<'py, Self>, mode: &str) -> PyResult<PyRef<'py, Self>> {
        let channels = self::mode(mode)?;
        Self::then(slf, |steps| steps.convert(channels))
    }

    fn normalize(slf: PyRef<'_, Self>, mean: Vec<f64>, std: Vec<f64>) -> PyResult<PyRef<'_, Self>> {
        Self::then(slf, |steps| steps.normalize(&narrow(&mean), &narrow(&std)))
    }

    fn __len__(&self) -> usize {
        self.0.lock().len()
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.Pipeline: {}>", self.0.lock())
    }
}
