# What onnxruntime makes of the exported generators in tests/golden/onnx, for src/onnx_tests.rs.
# Run: REFRAIN_ONNX=anew cargo test -p refrain-gan --features onnx --lib onnx
#      python crates/refrain-gan/tests/golden/onnx.py
# with onnxruntime 1.32.0 and numpy 2.4.6
import pathlib

import numpy as np
import onnxruntime

for path in sorted((pathlib.Path(__file__).parent / "onnx").glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {}
    for value in session.get_inputs():
        k = np.arange(2 * value.shape[1])
        if value.name == "noise":
            numbers = (k * 7919 % 101 - 50) / 25
        else:
            numbers = (k % value.shape[1] == k // value.shape[1]) * 1.0  # the first class, the second
        inputs[value.name] = numbers.astype(np.float32).reshape(2, -1)
    (image,) = session.run(["image"], inputs)
    print(path.name, image.shape)
    path.with_suffix(".txt").write_text("\n".join(f"{v:.7f}" for v in image.flatten()) + "\n")
