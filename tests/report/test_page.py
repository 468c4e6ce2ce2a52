import base64
import re
from html.parser import HTMLParser
from pathlib import Path

from craik.report.measures import verdict
from craik.report.page import Plate, page
from craik.report.record import Record

from .runs import CONFIG, alarm_row, probe_json, write_run

EVIL = "<script>alert('x')</script>&\"'"
PNG = b"\x89PNG not really"


class Reader(HTMLParser):
    """Tags, attributes and text of a page; also whether tags are closed in order."""

    void = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def make(path: Path, **files) -> str:
    record = Record.read(write_run(path, **files))
    plates = [Plate("pca", f"Maps {EVIL}", f"Caption {EVIL}", PNG)]
    return page(record, verdict(record), plates, [("classes", EVIL)], [f"note {EVIL}"])


def test_nothing_comes_from_outside(tmp_path: Path) -> None:
    text = make(tmp_path, probe=probe_json(), events=[alarm_row(50, "full collapse")])
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    tags = Reader(text).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    sources = [attributes["src"] for _, attributes in tags if "src" in attributes]
    assert len(sources) == 1 and all(src is not None and src.startswith("data:image/png;base64,") for src in sources)
    assert base64.b64decode(sources[0].partition(",")[2]) == PNG
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    config = {**CONFIG, "recipe": EVIL, "data": {"data": EVIL}}
    events = [alarm_row(50, EVIL, EVIL), {"step": 60, "kind": EVIL, "text": EVIL}]
    probe = probe_json()
    probe["scores"][0]["features"] = EVIL
    probe["protocol"] = [EVIL]
    text = make(tmp_path, config=config, events=events, probe=probe)
    assert "<script" not in text
    words = " ".join(Reader(text).words)
    assert words.count(EVIL) >= 9


def test_the_page_begins_with_the_verdict_and_shows_numbers_beside_baselines(tmp_path: Path) -> None:
    text = make(tmp_path, probe=probe_json())
    order = [text.index(part) for part in (">Healthy<", ">Key numbers<", ">Probes<", "<figure>", ">Configuration<")]
    assert order == sorted(order)
    assert "<th scope=row>kNN accuracy</th><td class=num>41.0%</td><td class=num>20.0%</td>" in text
    assert "<th scope=row>random encoder</th><td class=num>29.7 (28.7-30.7)</td><td class=num>-</td>" in text
    assert "200 of 200 steps" in text


def test_alarms_come_with_their_cures(tmp_path: Path) -> None:
    text = make(tmp_path, events=[alarm_row(40, "full collapse"), alarm_row(90, "full collapse", "use a regularizer")])
    assert text.count("class=alarm>") == 1
    assert "use a regularizer" in text and "step 100" in text and "Alarm: full collapse" in text


def test_a_run_without_metrics_has_a_page(tmp_path: Path) -> None:
    record = Record.read(write_run(tmp_path, metrics=[]))
    text = page(record, verdict(record), [], [], [])
    assert "Too early to say" in text and "Nothing was measured yet" in text
    Reader(text)
