//! `rt.inference`, `Model` and `LoadedModel`.

use std::sync::Arc;

use ironcliw_actors::Error;
use ironcliw_actors::image::Planes;
use ironcliw_actors::inference::{self as domain, Infer, LoadOptions, Network, PackOptions, Precision};
use numpy::PyArray1;
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::args::{self, invalid};
use crate::arrays;
use crate::bridge::{self, Call, Failure, Keep, Outcome};
use crate::errors::to_py_err;
use crate::lending::Lending;
use crate::runtime::Inner;
use crate::send::{self, Shared};
use crate::work::Work;

fn model_error(message: String) -> PyErr {
    to_py_err(Error::Model(message))
}

/// One number for both directions, or a pair `(height, width)`.
fn pair(object: &Bound<'_, PyAny>, name: &str, at_least: usize) -> PyResult<[usize; 2]> {
    let as_model_error = |error: PyErr| {
        if error.is_instance_of::<PyTypeError>(object.py()) {
            error
        } else {
            model_error(error.value(object.py()).to_string())
        }
    };
    if let Ok(sides) = object.extract::<Vec<Bound<'_, PyAny>>>() {
        let [height, width] = <[_; 2]>::try_from(sides).map_err(|sides: Vec<_>| {
            model_error(format!("{name} has {} numbers: one, or (height, width)", sides.len()))
        })?;
        return Ok([
            args::count(&height, name, at_least).map_err(as_model_error)?,
            args::count(&width, name, at_least).map_err(as_model_error)?,
        ]);
    }
    let side = args::count(object, name, at_least).map_err(as_model_error)?;
    Ok([side, side])
}

fn vector(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<f32>> {
    let (values, shape) = arrays::weights(object, name)?;
    if shape.len() == 1 {
        Ok(values)
    } else {
        Err(model_error(format!("{name} has one axis, not the shape {}", arrays::tuple(&shape))))
    }
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Model(Mutex<Network>);

impl Model {
    /// A step that fails leaves the model as it was.
    fn then(
        slf: PyRef<'_, Self>,
        step: impl FnOnce(&mut Network) -> ironcliw_actors::Result<()>,
    ) -> PyResult<PyRef<'_, Self>> {
        step(&mut slf.0.lock()).map_err(to_py_err)?;
        Ok(slf)
    }

    fn with(slf: PyRef<'_, Self>, step: impl FnOnce(&mut Network)) -> PyRef<'_, Self> {
        step(&mut slf.0.lock());
        slf
    }
}

#[pymethods]
impl Model {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(Network::new()))
    }

    #[pyo3(signature = (weights, bias=None))]
    fn linear<'py>(
        slf: PyRef<'py, Self>,
        weights: &Bound<'py, PyAny>,
        bias: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (weights, shape) = arrays::weights(weights, "weights")?;
        let bias = bias.map(|bias| vector(bias, "bias")).transpose()?;
        let [outputs, inputs] = shape[..] else {
            return Err(model_error(format!(
                "linear's weights have the shape (out, in), not {}",
                arrays::tuple(&shape)
            )));
        };
        Self::then(slf, |network| network.linear(weights, outputs, inputs, bias).map(drop))
    }

    #[pyo3(signature = (weights, bias=None, *, stride=None, padding=None, groups=None),
        text_signature = "($self, weights, bias=None, *, stride=1, padding=0, groups=1)")]
    fn conv2d<'py>(
        slf: PyRef<'py, Self>,
        weights: &Bound<'py, PyAny>,
        bias: Option<&Bound<'py, PyAny>>,
        stride: Option<&Bound<'py, PyAny>>,
        padding: Option<&Bound<'py, PyAny>>,
        groups: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (weights, shape) = arrays::weights(weights, "weights")?;
        let bias = bias.map(|bias| vector(bias, "bias")).transpose()?;
        let stride = stride.map_or(Ok([1, 1]), |stride| pair(stride, "stride", 1))?;
        let padding = padding.map_or(Ok([0, 0]), |padding| pair(padding, "padding", 0))?;
        let groups = groups.map_or(Ok([1, 1]), |groups| pair(groups, "groups", 1))?[0];
        let Ok(shape) = <[usize; 4]>::try_from(shape.as_slice()) else {
            let got = arrays::tuple(&shape);
            return Err(model_error(format!("conv2d's weights have the shape (out, in / groups, kh, kw), not {got}")));
        };
        Self::then(slf, |network| network.conv2d(weights, shape, bias, stride, padding, groups).map(drop))
    }

    fn relu(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.relu();
        })
    }

    fn relu6(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.relu6();
        })
    }

    fn hard_swish(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.hard_swish();
        })
    }

    fn sigmoid(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.sigmoid();
        })
    }

    fn gelu(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.gelu();
        })
    }

    fn softmax(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.softmax();
        })
    }

    fn global_avg_pool(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.global_avg_pool();
        })
    }

    fn flatten(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        Self::with(slf, |network| {
            network.flatten();
        })
    }

    #[pyo3(signature = (kernel, stride=None, padding=None), text_signature = "($self, kernel, stride=None, padding=0)")]
    fn max_pool2d<'py>(
        slf: PyRef<'py, Self>,
        kernel: &Bound<'py, PyAny>,
        stride: Option<&Bound<'py, PyAny>>,
        padding: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (kernel, stride, padding) = window(kernel, stride, padding)?;
        Self::then(slf, |network| network.max_pool2d(kernel, stride, padding).map(drop))
    }

    #[pyo3(signature = (kernel, stride=None, padding=None), text_signature = "($self, kernel, stride=None, padding=0)")]
    fn avg_pool2d<'py>(
        slf: PyRef<'py, Self>,
        kernel: &Bound<'py, PyAny>,
        stride: Option<&Bound<'py, PyAny>>,
        padding: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (kernel, stride, padding) = window(kernel, stride, padding)?;
        Self::then(slf, |network| network.avg_pool2d(kernel, stride, padding).map(drop))
    }

    #[pyo3(signature = (gamma, beta, mean, var, eps=1e-5))]
    fn batch_norm2d<'py>(
        slf: PyRef<'py, Self>,
        gamma: &Bound<'py, PyAny>,
        beta: &Bound<'py, PyAny>,
        mean: &Bound<'py, PyAny>,
        var: &Bound<'py, PyAny>,
        eps: f64,
    ) -> PyResult<PyRef<'py, Self>> {
        let (gamma, beta) = (vector(gamma, "gamma")?, vector(beta, "beta")?);
        let (mean, var) = (vector(mean, "mean")?, vector(var, "var")?);
        Self::then(slf, |network| network.batch_norm2d(&gamma, &beta, &mean, &var, eps as f32).map(drop))
    }

    fn residual<'py>(slf: PyRef<'py, Self>, model: &Bound<'py, Model>) -> PyResult<PyRef<'py, Self>> {
        // Copied first: a model may be its own body.
        let body = model.get().0.lock().clone();
        Self::then(slf, |network| network.residual(body).map(drop))
    }

    fn __len__(&self) -> usize {
        self.0.lock().len()
    }

    fn __repr__(&self) -> String {
        let layers = self.0.lock().len();
        format!("<ironcliw.Model of {layers} {}>", if layers == 1 { "layer" } else { "layers" })
    }
}

type Window = ([usize; 2], [usize; 2], [usize; 2]);

fn window(
    kernel: &Bound<'_, PyAny>,
    stride: Option<&Bound<'_, PyAny>>,
    padding: Option<&Bound<'_, PyAny>>,
) -> PyResult<Window> {
    let kernel = pair(kernel, "kernel", 1)?;
    let stride = stride.map_or(Ok(kernel), |stride| pair(stride, "stride", 1))?;
    let padding = padding.map_or(Ok([0, 0]), |padding| pair(padding, "padding", 0))?;
    Ok((kernel, stride, padding))
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Inference(pub(crate) Arc<Inner>);

#[pymethods]
impl Inference {
    #[pyo3(signature = (model, precision="int8", *, name=None, replicas=None, simd=true, timeout=None),
        text_signature = "($self, model, precision='int8', *, name=None, replicas=1, simd=True, timeout=None)")]
    #[allow(clippy::too_many_arguments)] // Python's keywords; in Rust they are `LoadOptions`.
    fn load<'py>(
        &self,
        py: Python<'py>,
        model: &Bound<'py, Model>,
        precision: &str,
        name: Option<String>,
        replicas: Option<&Bound<'py, PyAny>>,
        simd: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let precision: Precision = precision.parse().map_err(to_py_err)?;
        let replicas = args::optional_count(replicas, "replicas", 1)?.unwrap_or(1);
        let options = LoadOptions { precision, name, replicas, pack: PackOptions::default().simd(simd) };
        domain::Inference::check(&options).map_err(to_py_err)?;
        let network = model.get().0.lock().clone();
        let inference = self.0.open()?.inference.clone();
        let inner = self.0.clone();
        bridge::submit(py, "inference.load", |completer| {
            let shared = Shared::new(completer);
            if let Some(after) = timeout {
                send::expire(self.0.handle(), "inference", &shared, after);
            }
            self.0.handle().spawn_task(async move {
                let loaded = inference.load(network, options).await;
                match loaded {
                    Ok(model) if shared.is_closed() => model.unload().await,
                    Ok(model) => shared
                        .complete(Outcome::value(move |py| Ok(Py::new(py, LoadedModel { model, inner })?.into_any()))),
                    Err(error) => shared.complete(Outcome::Error(Failure::from(error))),
                }
            });
            Ok(())
        })
    }

    fn quantize<'py>(&self, py: Python<'py>, weights: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<i8>>> {
        let (weights, _) = arrays::weights(weights, "weights").map_err(|error| {
            if error.is_instance_of::<PyTypeError>(py) { error } else { invalid(error.value(py).to_string()) }
        })?;
        let (quantized, _scale) = domain::quantize_symmetric(&weights).map_err(to_py_err)?;
        Ok(PyArray1::from_vec(py, quantized))
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.Inference: {} models loaded>", self.0.subsystems.inference.stats().len())
    }
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct LoadedModel {
    model: domain::LoadedModel,
    inner: Arc<Inner>,
}

#[pymethods]
impl LoadedModel {
    #[pyo3(signature = (x, *, copy=false, out=None, timeout=None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        copy: bool,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        self.inner.open()?;
        let to = &self.model.next_replica().map_err(to_py_err)?;
        let mut lending = Lending::new(copy, out.is_some());
        let input = arrays::tensor(x, &mut lending)?;
        let shape = self.model.model().output_shape(input.shape()).map_err(to_py_err)?;
        let lent = out.map(|out| lending.output::<f32>(out, &shape)).transpose()?;
        let array = out.map(Keep::new);
        let message = move |input, interrupt| Infer { input, out: lent, interrupt };
        let convert = move |answer: ironcliw_actors::Result<Option<Planes>>| {
            Outcome::from_result(answer, |planes| match planes {
                Some(planes) => arrays::from_planes(planes),
                None => arrays::from_out(array),
            })
        };
        Work { name: "inference", of: None, to, lending, input, timeout, message, convert }.submit(py, &self.inner)
    }

    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    #[getter]
    fn precision(&self) -> &'static str {
        self.model.model().precision().name()
    }

    #[getter]
    fn weight_bytes(&self) -> usize {
        self.model.model().weight_bytes()
    }

    fn unload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.inner.open()?;
        let model = self.model.clone();
        bridge::submit(py, "inference.unload", |completer| {
            self.inner.handle().spawn_task(async move {
                model.unload().await;
                completer.complete(Outcome::Unit);
            });
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        let stats = self.model.stats();
        format!(
            "<ironcliw.LoadedModel {:?}: {}, {} bytes of weights, {} replicas, {}>",
            stats.name, stats.precision, stats.weight_bytes, stats.replicas, stats.instruction_set
        )
    }
}

/// A model that dies is unloaded, in the background.
impl Drop for LoadedModel {
    fn drop(&mut self) {
        if self.inner.is_usable_here() {
            let model = self.model.clone();
            self.inner.handle().spawn_task(async move { model.unload().await });
        }
    }
}
