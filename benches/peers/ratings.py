"""scikit-surprise's side of `ratings`: its models at their defaults on the folds that the Rust
program wrote.

    python benches/peers/ratings.py FOLDER

FOLDER holds train.N.tsv and test.N.tsv with user, item and rating. For each line "FOLD MODEL" on
standard input it fits surprise's MODEL() and prints one line of JSON: rmse, mae, seconds (of fit).
Needs scikit-surprise 1.1.5.
"""

import json
import os
import random
import sys
import time

import numpy as np
import surprise
from surprise import Dataset, Reader, accuracy


def main():
    folder = sys.argv[1]
    reader = Reader(line_format="user item rating", sep="\t", rating_scale=(1, 5))
    folds = {}
    for line in sys.stdin:
        fold, name = line.split()
        if fold not in folds:
            files = [os.path.join(folder, f"{side}.{fold}.tsv") for side in ("train", "test")]
            data = Dataset.load_from_folds([files], reader=reader)
            folds[fold] = [
                data.construct_trainset(data.read_ratings(files[0])),
                data.construct_testset(data.read_ratings(files[1])),
            ]
        train, test = folds[fold]
        random.seed(0)
        np.random.seed(0)
        options = {"verbose": False} if name.startswith(("KNN", "BaselineOnly")) else {}
        model = getattr(surprise, name)(**options)
        began = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - began
        predicted = model.test(test)
        row = {
            "rmse": accuracy.rmse(predicted, verbose=False),
            "mae": accuracy.mae(predicted, verbose=False),
            "seconds": seconds,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
