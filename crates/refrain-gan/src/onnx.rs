//! A trained generator as an ONNX file, which other programs run.
//!
//! Every layer of a generator is a standard operator of opset 18, or a few of them. The `onnx-rs` crate
//! writes the file: it has no dependencies and no unsafe code, holds the format as plain structs, and its
//! files are checked by the reference implementation in its tests.

use burn::module::Param;
use burn::tensor::Tensor;
use onnx_rs::ast::{
    Attribute, AttributeType, DataType, Dimension, Graph, Model, Node, OpType, OperatorSetId,
    TensorProto, TensorShape, TensorShapeDimension, TensorTypeProto, TypeProto, TypeValue,
    ValueInfo,
};

use crate::net::{Conv, Dense, Layer, Net, Transposed};
use crate::params::{finite, host};
use crate::{Activation, Error, GanModel, ImageShape, Result};

/// The newest version of the operators that is used.
const OPSET: i64 = 18;

/// The format cannot hold more bytes than this.
const MOST_WEIGHTS: usize = (1 << 31) / 4 - (1 << 16);

impl GanModel {
    /// Writes the generator to an ONNX file (opset 18, 32-bit floats): its inputs are `noise`, `[batch,
    /// numbers of noise]`, standard normal, and, with classes, `class`, `[batch, classes]`, 1 for the
    /// class and 0 for the others; its output is `image`, `[batch, channels, height, width]`. An existing
    /// file is replaced in one step.
    ///
    /// # Errors
    /// [`refrain_core::Error::Io`]; [`Error::Config`] for a model beyond the format's 2 GB;
    /// [`Error::Device`].
    ///
    /// ```
    /// use refrain_gan::{Gan, ImageShape, Images};
    /// let squares = Images::from_f32(ImageShape::square(1, 4), [0.2, 0.8].repeat(64))?;
    /// let gan = Gan { epochs: 1, ..Gan::default() };
    /// let model = gan.fit(&squares, &refrain_core::device("cpu")?)?;
    /// # let folder = std::env::temp_dir().join(format!("refrain-onnx-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// model.export_onnx(folder.join("squares.onnx"))?;
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    #[doc(alias = "ONNX")]
    pub fn export_onnx(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        Ok(refrain_core::replace_file(path, &self.onnx_bytes()?)?)
    }

    /// The bytes that [`GanModel::export_onnx`] writes.
    ///
    /// # Errors
    /// As there, but for the file.
    pub fn onnx_bytes(&self) -> Result<Vec<u8>> {
        let (shape, classes) = (self.shape(), self.classes());
        let noise = self.config().generator.noise();
        let weights = self.config().generator.weights(shape, classes);
        if weights.is_none_or(|weights| weights > MOST_WEIGHTS) {
            let reason = "ONNX files hold no more than 2 GB of weights";
            return Err(Error::config("generator", reason));
        }
        let mut program = Program::default();
        let mut x = "noise".to_string();
        if classes > 0 {
            // As in `Generator::forward`.
            let loud = program.constant(&[], vec![(noise as f32).sqrt()]);
            let class = program.node(OpType::Mul, ["class".to_string(), loud], vec![]);
            x = program.node(OpType::Concat, [x, class], vec![int("axis", 1)]);
        }
        let x = program.net(self.painter.generator.net(), x)?;
        program.op(OpType::Identity, vec![x], "image".to_string(), vec![]);
        Ok(program.encode(noise, classes, shape))
    }
}

/// Nodes and constants so far; their names are numbers.
#[derive(Default)]
struct Program {
    nodes: Vec<Step>,
    floats: Vec<(String, Vec<i64>, Vec<f32>)>,
    integers: Vec<(String, Vec<i64>)>,
}

struct Step {
    op: OpType<'static>,
    inputs: Vec<String>,
    output: String,
    attributes: Vec<Attribute<'static>>,
}

impl Step {
    fn node(&self) -> Node<'_> {
        Node {
            op_type: self.op.clone(),
            input: self.inputs.iter().map(String::as_str).collect(),
            output: vec![&self.output],
            attribute: self.attributes.clone(),
            ..Node::default()
        }
    }
}

impl Program {
    fn name(&self) -> String {
        (self.nodes.len() + self.floats.len() + self.integers.len()).to_string()
    }

    fn op(
        &mut self,
        op: OpType<'static>,
        inputs: Vec<String>,
        output: String,
        attributes: Vec<Attribute<'static>>,
    ) {
        self.nodes.push(Step {
            op,
            inputs,
            output,
            attributes,
        });
    }

    /// A node; gives back the name of its result.
    fn node<const N: usize>(
        &mut self,
        op: OpType<'static>,
        inputs: [String; N],
        attributes: Vec<Attribute<'static>>,
    ) -> String {
        let output = self.name();
        self.op(op, inputs.to_vec(), output.clone(), attributes);
        output
    }

    fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> String {
        let name = self.name();
        let shape = shape.iter().map(|&n| n as i64).collect();
        self.floats.push((name.clone(), shape, values));
        name
    }

    fn weight<const D: usize>(&mut self, weight: &Param<Tensor<D>>) -> Result<String> {
        let weight = weight.val().inner();
        let shape = weight.dims();
        let flat = weight.reshape([shape.iter().product::<usize>()]);
        Ok(self.constant(
            &shape,
            finite("weights to export", "a weight", host(flat)?)?,
        ))
    }

    fn shape(&mut self, numbers: &[usize]) -> String {
        let name = self.name();
        let numbers = numbers.iter().map(|&n| n as i64).collect();
        self.integers.push((name.clone(), numbers));
        name
    }

    fn net(&mut self, net: &Net, x: String) -> Result<String> {
        net.layers
            .iter()
            .try_fold(x, |x, layer| self.layer(layer, x))
    }

    fn layer(&mut self, layer: &Layer, x: String) -> Result<String> {
        match layer {
            Layer::Dense(dense) => self.dense(dense, x),
            Layer::Conv(conv) => self.conv(conv, x),
            Layer::Transposed(conv) => self.transposed(conv, x),
            Layer::Resize(to) => {
                let size = self.shape(&[to.height, to.width]);
                let floor = vec![
                    text("mode", b"nearest"),
                    text("coordinate_transformation_mode", b"asymmetric"),
                    text("nearest_mode", b"floor"),
                    ints("axes", &[2, 3]),
                ];
                // Two inputs that are not there: a region and factors.
                Ok(self.node(
                    OpType::Resize,
                    [x, String::new(), String::new(), size],
                    floor,
                ))
            }
            Layer::Activate(activate) => Ok(self.activation(activate.function, x)),
            Layer::PixelNorm(norm) => {
                let channels = self.shape(&[1]);
                let epsilon = self.constant(&[], vec![norm.epsilon as f32]);
                let square = self.node(OpType::Mul, [x.clone(), x.clone()], vec![]);
                let mean = self.node(OpType::ReduceMean, [square, channels], vec![]);
                let sum = self.node(OpType::Add, [mean, epsilon], vec![]);
                let root = self.node(OpType::Sqrt, [sum], vec![]);
                Ok(self.node(OpType::Div, [x, root], vec![]))
            }
            Layer::Residual(ways) => {
                let body = self.net(&ways.body, x.clone())?;
                let skip = self.net(&ways.skip, x)?;
                Ok(self.node(OpType::Add, [body, skip], vec![]))
            }
            Layer::Pool(_) | Layer::BatchSpread(_) => Err(Error::config(
                "generator",
                "a layer of a discriminator has no place in it",
            )),
        }
    }

    fn dense(&mut self, dense: &Dense, x: String) -> Result<String> {
        let (weight, bias) = (self.weight(&dense.weight)?, self.weight(&dense.bias)?);
        let flat = self.node(OpType::Flatten, [x], vec![]);
        let y = self.node(OpType::Gemm, [flat, weight, bias], vec![]);
        // 0 keeps the batch.
        let to = self.shape(&[0, dense.channels, dense.height, dense.width]);
        Ok(self.node(OpType::Reshape, [y, to], vec![]))
    }

    fn conv(&mut self, conv: &Conv, x: String) -> Result<String> {
        let pad = (conv.weight.dims()[2] / 2) as i64;
        let (weight, bias) = (self.weight(&conv.weight)?, self.weight(&conv.bias)?);
        let windows = vec![
            ints("pads", &[pad; 4]),
            ints("strides", &[conv.stride as i64; 2]),
        ];
        Ok(self.node(OpType::Conv, [x, weight, bias], windows))
    }

    /// The operator doubles the sides; what is beyond the image is cut off.
    fn transposed(&mut self, conv: &Transposed, x: String) -> Result<String> {
        let (weight, bias) = (self.weight(&conv.weight)?, self.weight(&conv.bias)?);
        let windows = vec![ints("pads", &[1; 4]), ints("strides", &[2; 2])];
        let y = self.node(OpType::ConvTranspose, [x, weight, bias], windows);
        let starts = self.shape(&[0, 0]);
        let ends = self.shape(&[conv.height, conv.width]);
        let axes = self.shape(&[2, 3]);
        Ok(self.node(OpType::Slice, [y, starts, ends, axes], vec![]))
    }

    fn activation(&mut self, function: Activation, x: String) -> String {
        match function {
            Activation::LeakyRelu { slope } => {
                self.node(OpType::LeakyRelu, [x], vec![float("alpha", slope as f32)])
            }
            Activation::Silu => {
                let gate = self.node(OpType::Sigmoid, [x.clone()], vec![]);
                self.node(OpType::Mul, [x, gate], vec![])
            }
            Activation::Tanh => self.node(OpType::Tanh, [x], vec![]),
            Activation::Sigmoid => self.node(OpType::Sigmoid, [x], vec![]),
        }
    }

    fn encode(self, noise: usize, classes: usize, image: ImageShape) -> Vec<u8> {
        let mut input = vec![value("noise", &[noise])];
        if classes > 0 {
            input.push(value("class", &[classes]));
        }
        let floats = self.floats.iter().map(|(name, shape, values)| {
            TensorProto::from_f32(name, shape.clone(), values.clone())
        });
        let integers = self.integers.iter().map(|(name, values)| {
            TensorProto::from_i64(name, vec![values.len() as i64], values.clone())
        });
        let graph = Graph {
            name: "generator",
            node: self.nodes.iter().map(Step::node).collect(),
            initializer: floats.chain(integers).collect(),
            input,
            output: vec![value("image", &[image.channels, image.height, image.width])],
            ..Graph::default()
        };
        onnx_rs::encode(&Model {
            ir_version: 8,
            producer_name: "refrain",
            opset_import: vec![OperatorSetId {
                domain: "",
                version: OPSET,
            }],
            graph: Some(graph),
            ..Model::default()
        })
    }
}

/// Floats of any batch, then of these sizes.
fn value(name: &'static str, sizes: &[usize]) -> ValueInfo<'static> {
    let dimension = |value| TensorShapeDimension {
        value,
        ..TensorShapeDimension::default()
    };
    let sizes = sizes.iter().map(|&n| dimension(Dimension::Value(n as i64)));
    let batch = dimension(Dimension::Param("batch"));
    let tensor = TensorTypeProto {
        elem_type: DataType::Float,
        shape: Some(TensorShape {
            dim: std::iter::once(batch).chain(sizes).collect(),
        }),
    };
    ValueInfo {
        name,
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfo::default()
    }
}

fn int(name: &'static str, i: i64) -> Attribute<'static> {
    Attribute {
        name,
        r#type: AttributeType::Int,
        i,
        ..Attribute::default()
    }
}

fn float(name: &'static str, f: f32) -> Attribute<'static> {
    Attribute {
        name,
        r#type: AttributeType::Float,
        f,
        ..Attribute::default()
    }
}

fn ints(name: &'static str, ints: &[i64]) -> Attribute<'static> {
    Attribute {
        name,
        r#type: AttributeType::Ints,
        ints: ints.to_vec(),
        ..Attribute::default()
    }
}

fn text(name: &'static str, s: &'static [u8]) -> Attribute<'static> {
    Attribute {
        name,
        r#type: AttributeType::String,
        s,
        ..Attribute::default()
    }
}

#[cfg(test)]
#[path = "onnx_tests.rs"]
mod tests;
