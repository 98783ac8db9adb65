"""Makes `blocks.gguf`: a tensor of each kind that can be read, and beside each, as `NAME.expected`, what
PyPI gguf 0.19 itself decodes it to; and metadata of every type.

    pip install gguf==0.19.0 numpy && python3 make_gguf.py
"""

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, quants

rng = np.random.default_rng(7)
writer = GGUFWriter("blocks.gguf", "llama")
writer.add_uint8("t.u8", 200)
writer.add_int8("t.i8", -100)
writer.add_uint16("t.u16", 60000)
writer.add_int16("t.i16", -30000)
writer.add_uint32("t.u32", 4000000000)
writer.add_int32("t.i32", -2000000000)
writer.add_float32("t.f32", 0.15625)
writer.add_bool("t.bool", True)
writer.add_string("t.string", "né")
writer.add_uint64("t.u64", 1 << 60)
writer.add_int64("t.i64", -(1 << 60))
writer.add_float64("t.f64", 1e-300)
writer.add_array("t.words", ["a", "", "猫"])
writer.add_array("t.numbers", [3, -4, 5])


def add(name, shape, data, kind, expected):
    # Data of quantised kinds are bytes; the writer turns the shape of bytes into that of values.
    writer.add_tensor(name, data, raw_dtype=kind)
    writer.add_tensor(name + ".expected", expected.astype(np.float32))


plain = rng.normal(size=(3, 256)).astype(np.float32)
writer.add_tensor("f32", plain)
writer.add_tensor("f32.expected", plain)
half = plain.astype(np.float16)
writer.add_tensor("f16", half)
writer.add_tensor("f16.expected", half.astype(np.float32))
for name, kind in [("bf16", Kind.BF16), ("q8_0", Kind.Q8_0), ("q4_0", Kind.Q4_0), ("q4_1", Kind.Q4_1)]:
    data = quants.quantize(plain, kind)
    add(name, plain.shape, data, kind, quants.dequantize(data, kind))
for name, kind, size, halves in [("q4_k", Kind.Q4_K, 144, [0, 2]), ("q6_k", Kind.Q6_K, 210, [208])]:
    # Any bytes are a block, but for its scales, which must be finite.
    blocks = rng.integers(0, 256, size=(3, size), dtype=np.uint8)
    for at in halves:
        scale = rng.normal(size=3).astype(np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(3, 2)
    add(name, (3, 256), blocks, kind, quants.dequantize(blocks, kind))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
