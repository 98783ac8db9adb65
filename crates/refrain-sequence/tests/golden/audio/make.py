"""Makes log_mel.json: log-mel features by NumPy alone, from the definitions.

    python make.py
"""

import json

import numpy as np

RATE, WINDOW, HOP, FFT, BANDS, LOW, HIGH = 8000, 200, 80, 256, 12, 60.0, 3800.0
t = np.arange(900) / RATE
noise = np.random.default_rng(1).normal(size=900)
samples = 0.5 * np.sin(2 * np.pi * (300 + 900 * t) * t) + 0.02 * noise
samples = samples.round(6).astype(np.float32)


def mel(hertz):
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def hertz(mel):
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # periodic Hann
corners = hertz(np.linspace(mel(LOW), mel(HIGH), BANDS + 2))
bins = np.arange(FFT // 2 + 1) * RATE / FFT
rise = (bins[:, None] - corners[None, :-2]) / (corners[1:-1] - corners[:-2])
fall = (corners[None, 2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
filters = np.maximum(0.0, np.minimum(rise, fall))
frames = []
for start in range(0, len(samples) - WINDOW + 1, HOP):
    frame = samples[start : start + WINDOW].astype(np.float64) * window
    power = np.abs(np.fft.rfft(frame, FFT)) ** 2
    frames.append(np.log(np.maximum(power @ filters, 1e-10)).round(5).tolist())
with open("log_mel.json", "w") as file:
    json.dump({"samples": [round(float(x), 6) for x in samples], "frames": frames}, file)
