//! Walking a network's weights: by name for files, in order for optimizers and averages.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::rng::Stream;
use refrain_core::{ModelFile, ModelWriter};

use crate::random::normal;
use crate::{Error, Result};

/// One weight of a network, flat and off the tape.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    /// Where it is, such as `net.layers.0.weight`.
    pub(crate) name: String,
    /// Its shape in the network.
    pub(crate) shape: Vec<usize>,
    /// Its values, on the plain device.
    pub(crate) values: Tensor<1>,
}

/// All weights of `module`, in an order that depends on its structure alone.
pub(crate) fn weights(module: &impl Module) -> Vec<Weight> {
    struct Collect {
        path: Vec<Option<String>>,
        found: Vec<Weight>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, of: &str) {
            // The kind of a layer is no part of its name.
            let variant = of.starts_with("Enum:");
            self.path.push((!variant).then(|| name.to_string()));
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val().inner();
            let shape = tensor.dims().to_vec();
            let values = tensor.reshape([shape.iter().product::<usize>()]);
            let path: Vec<&str> = self.path.iter().flatten().map(String::as_str).collect();
            self.found.push(Weight {
                name: path.join("."),
                shape,
                values,
            });
        }
    }
    let mut collect = Collect {
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut collect);
    collect.found
}

/// The module with each weight replaced by what `change` makes of it (its place in the order, and
/// its flat values off the tape). Whether a weight is trained stays as it is.
pub(crate) fn map_weights<M: Module>(
    module: M,
    change: impl FnMut(usize, Tensor<1>) -> Tensor<1>,
) -> M {
    struct Change<F> {
        next: usize,
        change: F,
    }
    impl<F: FnMut(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Change<F> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let (taped, trained) = (tensor.is_autodiff(), tensor.is_require_grad());
            let shape = tensor.dims();
            let flat = tensor.inner().reshape([shape.iter().product::<usize>()]);
            let mut tensor = (self.change)(self.next, flat).reshape(shape);
            self.next += 1;
            if taped {
                tensor = tensor.autodiff();
            }
            if trained {
                tensor = tensor.require_grad();
            }
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    module.map(&mut Change { next: 0, change })
}

/// The module with first weights: normal draws of the standard deviation that `deviation` names for a
/// weight's shape, zeros where it names none. They are drawn on the host, so that a seed means the same
/// on every device.
pub(crate) fn drawn<M: Module>(
    module: M,
    rng: &mut Stream,
    device: &Device,
    deviation: impl Fn(&[usize]) -> Option<f32>,
) -> M {
    let shapes: Vec<Vec<usize>> = weights(&module).into_iter().map(|w| w.shape).collect();
    map_weights(module, |i, old| {
        match shapes.get(i).and_then(|shape| deviation(shape)) {
            Some(deviation) => {
                let values = normal(rng, old.dims()[0]).into_iter();
                tensor(values.map(|v| v * deviation).collect(), device)
            }
            None => old.zeros_like(),
        }
    })
}

/// Adds every weight to a file, as `prefix.name`; weights that are not finite are refused, as
/// [`read`] would refuse the file.
pub(crate) fn write<'a>(
    mut file: ModelWriter<'a>,
    prefix: &str,
    module: &impl Module,
) -> Result<ModelWriter<'a>> {
    for weight in weights(module) {
        let name = format!("{prefix}.{}", weight.name);
        let values = finite("weights to save", &name, host(weight.values)?)?;
        file = file.f32(name, &weight.shape, values)?;
    }
    Ok(file)
}

/// The values, if they are finite.
pub(crate) fn finite(what: &'static str, name: &str, values: Vec<f32>) -> Result<Vec<f32>> {
    match values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((at, value)) => Err(Error::Numeric {
            what,
            reason: format!("{name}, value {at} is {value}"),
        }),
        None => Ok(values),
    }
}

/// The module with every weight read from a file; shapes are checked and values must be finite.
pub(crate) fn read<M: Module>(
    file: &ModelFile,
    prefix: &str,
    module: M,
    device: &Device,
) -> Result<M> {
    let mut values = Vec::new();
    for weight in weights(&module) {
        let name = format!("{prefix}.{}", weight.name);
        let array = file.f32(&name)?.expect_shape(&name, &weight.shape)?;
        if let Some(at) = array.data.iter().position(|v| !v.is_finite()) {
            let reason = format!(
                "tensor {name:?}, value {at}: {} is not finite",
                array.data[at]
            );
            return Err(Error::Saved {
                file: file.origin().to_string(),
                reason,
            });
        }
        values.push(tensor(array.data.into_owned(), device));
    }
    let mut values = values.into_iter();
    Ok(map_weights(module, |_, old| values.next().unwrap_or(old)))
}

/// Refuses a file whose weights under `prefix` are not `expected` numbers. Asked before a network is
/// built, so that a file cannot ask for more memory than it is long.
pub(crate) fn check_size(file: &ModelFile, prefix: &str, expected: Option<usize>) -> Result<()> {
    let mut found = 0;
    for name in file
        .names()
        .filter(|name| name.starts_with(&format!("{prefix}.")))
    {
        found += file.f32(name)?.data.len();
    }
    match expected {
        Some(expected) if expected == found => Ok(()),
        _ => {
            let expected = expected.map_or("too many".to_string(), |n| n.to_string());
            let reason =
                format!("its configuration needs {expected} {prefix} weights, it holds {found}");
            Err(Error::Saved {
                file: file.origin().to_string(),
                reason,
            })
        }
    }
}

/// A flat tensor's values on the host.
pub(crate) fn host(values: Tensor<1>) -> Result<Vec<f32>> {
    let data = values.try_into_data().map_err(Error::device)?;
    data.try_into_vec::<f32>().map_err(Error::device)
}

/// A flat tensor on `device`.
pub(crate) fn tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GeneratorConfig, ImageShape, MlpGenerator};

    #[test]
    fn weights_that_are_no_numbers_are_not_written() {
        let device = refrain_core::device("cpu").unwrap();
        let config = GeneratorConfig::from(MlpGenerator::default());
        let module = config.build(ImageShape::square(1, 2), 0, 1, &device);
        let write = |module: &_| super::write(ModelWriter::new("x", 1), "net", module).map(|_| ());
        write(&module).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            let spoilt = map_weights(module.clone(), |i, old| match i {
                2 => old * 0.0 + value,
                _ => old,
            });
            let error = write(&spoilt).unwrap_err();
            assert!(matches!(error, Error::Numeric { .. }), "{error}");
            assert!(error.to_string().contains("value 0 is"), "{error}");
        }
    }
}
