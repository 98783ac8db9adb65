"""Makes ../digits/digits.bin.gz from scikit-learn's copy of the UCI digits.

    python digits.py SITE_PACKAGES/sklearn/datasets/data/digits.csv.gz

One record of 65 bytes per image: 64 pixels (0 to 16, row by row), then the label (0 to 9).
"""

import gzip
import sys
from pathlib import Path


def main(source):
    records = bytearray()
    for line in gzip.open(source, "rt"):
        values = [int(float(v)) for v in line.strip().split(",")]
        assert len(values) == 65 and max(values[:64]) <= 16 and 0 <= values[64] <= 9
        records += bytes(values)
    out = Path(__file__).resolve().parent.parent / "digits" / "digits.bin.gz"
    out.write_bytes(gzip.compress(bytes(records), 9, mtime=0))
    print(f"{out}: {len(records) // 65} images, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
