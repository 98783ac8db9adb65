"""Golden values for probability/curve.rs: scikit-learn 1.9.1.

    python crates/refrain-recommenders/tests/golden_probability.py
"""
import numpy as np
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

i = np.arange(60)
score = ((i * 37 + 11) % 101) / 100
hit = 0.7 * score + 0.3 * (((i * 53 + 7) % 29) / 29) > 0.55
at = np.array([0.0, 0.25, 0.5, 0.625, 0.75, 1.0])
print("platt", _SigmoidCalibration().fit(score, hit).predict(at).tolist())
isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, hit)
print("isotonic", isotonic.predict(at).tolist())
