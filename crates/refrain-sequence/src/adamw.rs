//! AdamW for tensor programs, with clipping by the *global* norm, which burn's own optimizers clip
//! per tensor.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::engine::{Parameters, Update};
use crate::entries::Entry;
use crate::{Error, Result};

/// One pair of moments per parameter, flat, in the order of the entries.
pub(crate) type Moments = Vec<(Tensor<1>, Tensor<1>)>;

/// The moments of a checkpoint, or zeros.
pub(crate) fn moments(entries: &[Entry], from: Option<&Parameters>, device: &Device) -> Moments {
    let plain = device.clone().inner();
    let tensor = |values: Option<&Vec<f32>>, entry: &Entry| match values
        .and_then(|all| all.get(entry.range.clone()))
    {
        Some(values) => Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &plain),
        None => Tensor::zeros([entry.range.len()], &plain),
    };
    let pair = |entry| {
        let (first, second) = (from.map(|p| &p.first), from.map(|p| &p.second));
        (tensor(first, entry), tensor(second, entry))
    };
    entries.iter().map(pair).collect()
}

/// Both moments of all parameters, flat.
pub(crate) fn read_moments(moments: &Moments) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mut all_first, mut all_second) = (Vec::new(), Vec::new());
    for (first, second) in moments {
        for (tensor, all) in [(first, &mut all_first), (second, &mut all_second)] {
            let values = tensor.clone().try_into_vec_as::<f32>();
            all.extend(values.map_err(Error::device)?);
        }
    }
    Ok((all_first, all_second))
}

/// One step on every parameter; returns the module and the gradient's norm before clipping. A
/// gradient that is not finite changes nothing.
pub(crate) fn step<M: Module + Clone>(
    module: M,
    gradients: &mut GradientsParams,
    moments: &mut Moments,
    entries: &[Entry],
    update: &Update,
) -> Result<(M, f64)> {
    let mut squares = Squares {
        gradients,
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    let sums = squares.sums;
    if sums.is_empty() {
        return Ok((module, 0.0));
    }
    let norm = Tensor::cat(sums, 0).sum().sqrt();
    let norm = norm
        .try_into_scalar::<f32>()
        .map(f64::from)
        .map_err(Error::device)?;
    if !norm.is_finite() {
        return Ok((module, norm));
    }
    let mut step = Step {
        gradients,
        moments,
        entries,
        update,
        shrink: update.shrink(norm),
        next: 0,
    };
    Ok((module.map(&mut step), norm))
}

/// Every parameter of a module, flat.
pub(crate) fn read<M: Module>(module: &M) -> Result<Vec<f32>> {
    let mut read = Read {
        values: Vec::new(),
        failed: None,
    };
    module.visit(&mut read);
    read.failed.map_or(Ok(read.values), Err)
}

/// The gradient of every parameter of a module, flat; 0 where there is none.
pub(crate) fn read_gradients<M: Module>(
    module: &M,
    gradients: &GradientsParams,
) -> Result<Vec<f32>> {
    let mut read = ReadGradients {
        gradients,
        values: Vec::new(),
        failed: None,
    };
    module.visit(&mut read);
    read.failed.map_or(Ok(read.values), Err)
}

/// The sum of squares of each parameter's gradient.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push((gradient.clone() * gradient).sum());
        }
    }
}

/// Copies each parameter to the host.
struct Read {
    values: Vec<f32>,
    failed: Option<Error>,
}

impl ModuleVisitor for Read {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match param.val().try_into_vec_as::<f32>() {
            Ok(values) => self.values.extend(values),
            Err(e) => self.failed = Some(Error::device(e)),
        }
    }
}

/// Copies each parameter's gradient to the host.
struct ReadGradients<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
    failed: Option<Error>,
}

impl ModuleVisitor for ReadGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            let none = param.val().shape().num_elements();
            self.values.resize(self.values.len() + none, 0.0);
            return;
        };
        match gradient.try_into_vec_as::<f32>() {
            Ok(values) => self.values.extend(values),
            Err(e) => self.failed = Some(Error::device(e)),
        }
    }
}

/// One AdamW step on each parameter.
struct Step<'a> {
    gradients: &'a mut GradientsParams,
    moments: &'a mut Moments,
    entries: &'a [Entry],
    update: &'a Update,
    shrink: f64,
    next: usize,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (entry, pair) = (&self.entries[self.next], &mut self.moments[self.next]);
        self.next += 1;
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let u = self.update;
        let gradient: Tensor<1> = gradient.flatten(0, D - 1) * self.shrink;
        let (first, second) = pair.clone();
        let first = first * u.beta1 + gradient.clone() * (1.0 - u.beta1);
        let second = second * u.beta2 + gradient.clone() * gradient * (1.0 - u.beta2);
        *pair = (first.clone(), second.clone());
        let (c1, c2) = u.corrections();
        let change = first / ((second / c2).sqrt() + u.epsilon) * (u.learning_rate / c1);
        let keep = match u.decay.applies(entry.role) {
            true => 1.0 - u.learning_rate * u.weight_decay,
            false => 1.0,
        };
        param.map(|value| {
            let strategy = value.gradient_checkpointing_strategy();
            let value = value.inner();
            let shape = value.shape();
            let next = (value * keep - change.reshape(shape)).autodiff();
            match strategy {
                Some(strategy) => next.with_gradient_checkpointing_strategy(strategy),
                None => next,
            }
            .require_grad()
        })
    }
}
