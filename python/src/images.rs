//! `rt.images` and `Pipeline`.

use std::sync::Arc;

use ironcliw_actors::image::codec::Encoding;
use ironcliw_actors::image::kernels::convolve::Kernel;
use ironcliw_actors::image::kernels::enhance::SHARPEN_MAX;
use ironcliw_actors::image::kernels::normalize::Normalization;
use ironcliw_actors::image::{self, Answer, Channels, Job, Size, Source};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::args::{self, finite, invalid};
use crate::arrays;
use crate::bridge::{Call, Outcome};
use crate::errors::to_py_err;
use crate::runtime::Inner;
use crate::send;

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Images(pub(crate) Arc<Inner>);

impl Images {
    fn send<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        job: Job,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.submit(py, name, job, timeout, false)
    }

    /// For operations whose result has the axes of their input.
    fn send_alike<'py>(
        &self,
        name: &'static str,
        image: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        job: impl FnOnce(Source) -> Job,
    ) -> PyResult<Bound<'py, Call>> {
        let job = job(arrays::image(image)?);
        self.submit(image.py(), name, job, timeout, arrays::has_channel_axis(image))
    }

    fn submit<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        job: Job,
        timeout: Option<f64>,
        keep_axis: bool,
    ) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let worker = self.0.open()?.images.next_worker();
        send::ask(py, name, self.0.handle(), worker, job, timeout, move |answer| {
            Outcome::from_result(answer, |answer| outcome(answer, keep_axis))
        })
    }
}

/// An answer as Python gets it.
fn outcome(answer: Answer, keep_axis: bool) -> Outcome {
    match answer {
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

#[pymethods]
impl Images {
    #[pyo3(signature = (data, *, timeout=None))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.decode", Job::Decode(arrays::bytes(data)?), timeout)
    }

    #[pyo3(signature = (image, format, quality=None, *, timeout=None),
        text_signature = "($self, image, format, quality=90, *, timeout=None)")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        format: &str,
        quality: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let quality = args::optional_count(quality, "quality", 1)?.unwrap_or(90);
        let quality = u8::try_from(quality).map_err(|_| invalid(format!("quality is 1 to 100, not {quality}")))?;
        let encoding = Encoding::from_name(format, Some(quality)).map_err(to_py_err)?;
        self.send(py, "images.encode", Job::Encode(arrays::image(image)?, encoding), timeout)
    }

    #[pyo3(signature = (image, size, *, timeout=None))]
    fn resize<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        size: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let size = self::size(size)?;
        self.send_alike("images.resize", image, timeout, |source| Job::Resize(source, size))
    }

    #[pyo3(signature = (image, mode, *, timeout=None))]
    fn convert<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        mode: &str,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.convert", Job::Convert(arrays::image(image)?, self::mode(mode)?), timeout)
    }

    #[pyo3(signature = (image, mean, std, *, timeout=None))]
    fn normalize<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        mean: Vec<f64>,
        std: Vec<f64>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let source = arrays::image(image)?;
        let (mean, std) = one_a_channel(&mean, &std, source.view().channels())?;
        self.send(py, "images.normalize", Job::Normalize { source, mean, std }, timeout)
    }

    #[pyo3(signature = (image, kernel, *, timeout=None))]
    fn convolve<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        kernel: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let kernel = self::kernel(kernel)?;
        self.send_alike("images.convolve", image, timeout, |source| Job::Convolve(source, kernel))
    }

    #[pyo3(signature = (image, strength, *, timeout=None))]
    fn denoise<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        strength: f64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let strength = self::strength(strength)?;
        self.send_alike("images.denoise", image, timeout, |source| Job::Denoise(source, strength))
    }

    #[pyo3(signature = (image, amount, *, timeout=None))]
    fn sharpen<'py>(&self, image: &Bound<'py, PyAny>, amount: f64, timeout: Option<f64>) -> PyResult<Bound<'py, Call>> {
        let amount = self::amount(amount)?;
        self.send_alike("images.sharpen", image, timeout, |source| Job::Sharpen(source, amount))
    }

    #[pyo3(signature = (image, *, denoise_strength=AUTO_DENOISE, sharpen_amount=AUTO_SHARPEN, timeout=None))]
    fn auto_process<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        denoise_strength: f64,
        sharpen_amount: f64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let (denoise_strength, sharpen_amount) = (strength(denoise_strength)?, amount(sharpen_amount)?);
        self.send_alike("images.auto_process", image, timeout, |source| Job::AutoProcess {
            source,
            denoise_strength,
            sharpen_amount,
        })
    }

    #[pyo3(signature = (image, n=None, *, timeout=None), text_signature = "($self, image, n=5, *, timeout=None)")]
    fn dominant_colors<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        n: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let n = args::optional_count(n, "n", 1)?.unwrap_or(5);
        self.send(py, "images.dominant_colors", Job::DominantColors(arrays::image(image)?, n), timeout)
    }

    #[pyo3(signature = (image, *, timeout=None))]
    fn edge_density<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.edge_density", Job::EdgeDensity(arrays::image(image)?), timeout)
    }

    #[pyo3(signature = (image, *, timeout=None))]
    fn texture<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.texture", Job::Texture(arrays::image(image)?), timeout)
    }

    #[pyo3(signature = (image, *, timeout=None))]
    fn spatial_layout<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        self.send(py, "images.spatial_layout", Job::SpatialLayout(arrays::image(image)?), timeout)
    }

    #[pyo3(signature = (pipeline, images, *, timeout=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        pipeline: &Bound<'py, Pipeline>,
        images: Vec<Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        if images.is_empty() {
            return Err(invalid("a batch needs at least one image"));
        }
        let sources = images.iter().map(arrays::image).collect::<PyResult<Vec<_>>>()?;
        let steps = pipeline.get().0.lock().clone();
        for source in &sources {
            let view = source.view();
            steps.output(view.size(), view.channels()).map_err(to_py_err)?;
        }
        self.send(py, "images.run", Job::Batch(steps, sources), timeout)
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.Images: {} workers>", self.0.subsystems.images.workers().len())
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
