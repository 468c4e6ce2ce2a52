"""The report of a run as one HTML file that needs nothing else: no network, no script, pictures inside."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from craik.report.card import duration, probe_table, software
from craik.report.measures import Level, Verdict, measures, newest
from craik.report.record import Json, Record, flatten


@dataclass(frozen=True, slots=True)
class Plate:
    """A picture with the sentence that tells how to read it."""

    name: str
    """Of its file, without suffix."""
    title: str
    caption: str
    content: bytes
    kind: str = "png"
    """What the bytes are: png or gif."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A table with the sentence that tells how to read it."""

    name: str
    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell names the row, the others are numbers."""


def page(
    record: Record,
    verdict: Verdict,
    plates: Sequence[Plate | Ledger],
    data: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    """The whole page.

    Args:
        record: The run.
        verdict: The run in plain words.
        plates: Pictures and tables in their order.
        data: Names and values that describe the training data.
        notes: What is missing in this report, and why.
    """
    parts = [
        header(record, verdict),
        listed("This report is not complete", notes),
        alarms(record),
        numbers(record),
        "" if is_world(record) and record.probe is None else probes(record.probe),
        *(figure(part) if isinstance(part, Plate) else ledger(part) for part in plates),
        section("data", "Data", pairs(data)) if data else "",
        events(record),
        section("use", "Load it", usage(record)),
        folded("config", "Configuration", pairs(flatten(record.config))),
        folded("env", "Environment", pairs(flatten(record.env))),
    ]
    title = escape(f"{record.method}: report")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def header(record: Record, verdict: Verdict) -> str:
    """What it is, and how it stands."""
    total = "" if record.total is None else f" of {record.total:,}"
    epoch = record.last("epoch")
    facts = [f"{record.step:,}{total} steps"]
    facts += [] if epoch is None else [f"{epoch:.1f} epochs"]
    facts += [f"{duration(record.seconds)} of training"] if record.seconds else []
    sign = {Level.good: "✓", Level.unclear: "?", Level.bad: "!"}[verdict.level]
    return (
        f"<header><p class=path>{escape(str(record.path))}</p><h1>{escape(record.method)}</h1>"
        f"<p class=facts>{escape(' · '.join(facts))}</p></header>\n"
        f'<section class="verdict {verdict.level}"><span class=sign aria-hidden=true>{sign}</span>'
        f"<div><h2>{escape(verdict.title)}</h2><p>{escape(verdict.text)}</p></div></section>"
    )


def alarms(record: Record) -> str:
    """The newest alarm of each kind, with its cure."""
    cards = []
    for alarm in newest(record.alarms):
        safe = "none yet" if alarm.last_healthy is None else f"step {alarm.last_healthy:,}"
        cards.append(
            f"<article class=alarm><h3>{escape(alarm.name)} <small>{escape(alarm.when)}</small></h3>"
            f"<p>{escape(alarm.evidence)}.</p><p><b>Usual cures:</b> {escape(alarm.cure)}.</p>"
            f"<p><b>Last healthy checkpoint:</b> {escape(safe)}</p></article>"
        )
    return section("alarms", "Alarms and their cures", "".join(cards)) if cards else ""


def numbers(record: Record) -> str:
    """Key measures beside their baselines."""
    rows = [(m.name, m.last, m.first, m.reading) for m in measures(record)]
    if not rows:
        return section("numbers", "Key numbers", "<p>Nothing was measured yet.</p>")
    head = ("", "now", "at the start, or random encoder", "how to read it")
    return section("numbers", "Key numbers", table(head, rows, numeric=2))


def probes(probe: Json | None) -> str:
    """Accuracy of the probes beside their baselines."""
    if probe is None:
        text = "<p>Not probed yet. <code>craik probe RUN --train PATH --test PATH</code> fills this in.</p>"
        return section("probes", "Probes", text)
    methods, rows = probe_table(probe)
    intro = (
        f"<p>Accuracy [%] with 95 % bootstrap intervals on {probe['num_test']:,} test images of "
        f"{probe['num_classes']} classes, {probe['num_train']:,} training images.</p>"
    )
    shown = table(("features", *methods), [(name, *cells) for name, cells in rows], numeric=len(methods))
    protocol = "".join(f"<li>{escape(line)}</li>" for line in probe.get("protocol", []))
    detail = f"<details><summary>Protocol</summary><ul>{protocol}</ul></details>" if protocol else ""
    return section("probes", "Probes", intro + shown + detail)


def figure(plate: Plate) -> str:
    """A picture, embedded."""
    data = base64.b64encode(plate.content).decode()
    image = f'<img class={plate.kind} alt="{escape(plate.title)}" src="data:image/{plate.kind};base64,{data}">'
    body = f"<figure><div class=plate>{image}</div><figcaption>{escape(plate.caption)}</figcaption></figure>"
    return section(plate.name, plate.title, body)


def ledger(part: Ledger) -> str:
    """A table of numbers."""
    shown = table(part.head, part.rows, numeric=len(part.head) - 1)
    return section(part.name, part.title, f"{shown}<p class=facts>{escape(part.caption)}</p>")


def is_world(record: Record) -> bool:
    """Whether the run trains a world model, on windows of episodes."""
    return "windows" in (record.config.get("data") or {})


def events(record: Record) -> str:
    """Everything that happened, oldest first."""
    rows = []
    for event in record.events:
        kind = str(event.get("kind", "event")).replace("_", " ")
        text = (
            event.get("text")
            or event.get("name")
            or ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("step", "kind"))
        )
        rows.append((f"{int(event.get('step', 0)):,}", kind, str(text)))
    return section("events", "Events", table(("step", "kind", "what"), rows)) if rows else ""


def usage(record: Record) -> str:
    """How to load the model, and what made it."""
    code = f"import craik\n\nmodel = craik.load({str(record.path)!r})\n"
    if is_world(record):
        code += "latents = model.encode(frames)  # uint8 [B, T, H, W, 3] -> [B, T, D]\n"
        code += "ahead = model.rollout(latents, past, actions)  # [B, T - 1, A], [B, K, A] -> [B, K, D]"
    else:
        code += "z = model.embed(images)  # float32 [B, D]"
    return f"<pre><code>{escape(code)}</code></pre><p class=facts>{escape(software(record.env))}</p>"


def section(name: str, title: str, body: str) -> str:
    """A titled part of the page."""
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>{body}</section>'


def folded(name: str, title: str, body: str) -> str:
    """A part that opens on demand."""
    return (
        f'<section id="{escape(name)}"><details><summary><h2>{escape(title)}</h2></summary>{body}</details></section>'
    )


def listed(title: str, lines: Sequence[str]) -> str:
    """A list of remarks; nothing without any."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section class=notes><h2>{escape(title)}</h2><ul>{items}</ul></section>" if lines else ""


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    return table((), list(rows))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: int = 0) -> str:
    """A table that scrolls sideways on a phone; `numeric` columns after the first are numbers."""
    top = "".join(f"<th scope=col>{escape(text)}</th>" for text in head)
    body = []
    for first, *rest in rows:
        cells = "".join(
            f"<td{' class=num' if place < numeric else ''}>{escape(text)}</td>" for place, text in enumerate(rest)
        )
        body.append(f"<tr><th scope=row>{escape(first)}</th>{cells}</tr>")
    start = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f"<div class=wide><table>{start}<tbody>{''.join(body)}</tbody></table></div>"


CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5a636e; --paper: #ffffff; --card: #f5f6f8;
  --line: #dfe3e8; --good: #00684d; --unclear: #8a5a00; --bad: #b03a00; --good-bg: #e3f4ee; --unclear-bg: #fdf2dc;
  --bad-bg: #fdeadf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #a0a9b4; --paper: #14171b; --card: #1e2329;
  --line: #343b44; --good: #5fd3ae; --unclear: #f0bf5a; --bad: #ff9a66; --good-bg: #12312a; --unclear-bg: #33290f;
  --bad-bg: #3a2013; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 0.75rem; letter-spacing: -0.01em; }
h3 { font-size: 1.05rem; margin: 0 0 0.35rem; }
h3 small { font-weight: 400; color: var(--soft); }
p { margin: 0 0 0.6rem; max-width: 46rem; }
section { margin-top: 2.75rem; }
.path { color: var(--soft); margin: 0 0 0.3rem; font-size: 0.9rem; overflow-wrap: anywhere; }
.facts { color: var(--soft); margin: 0.4rem 0 0; }
.verdict { display: flex; gap: 1rem; align-items: flex-start; margin-top: 1.5rem; padding: 1.1rem 1.25rem;
  border-radius: 12px; border-left: 6px solid; }
.verdict h2, .verdict p { margin: 0; }
.verdict.good { background: var(--good-bg); border-color: var(--good); }
.verdict.unclear { background: var(--unclear-bg); border-color: var(--unclear); }
.verdict.bad { background: var(--bad-bg); border-color: var(--bad); }
.sign { flex: none; width: 2rem; height: 2rem; border-radius: 50%; text-align: center; line-height: 2rem;
  font-weight: 700; color: var(--paper); }
.good .sign { background: var(--good); } .unclear .sign { background: var(--unclear); }
.bad .sign { background: var(--bad); }
.alarm { background: var(--card); border-radius: 12px; padding: 1rem 1.25rem; margin-bottom: 0.9rem;
  border-left: 6px solid var(--bad); }
.alarm p { margin-bottom: 0.35rem; }
.notes { background: var(--unclear-bg); border-radius: 12px; padding: 1rem 1.25rem; }
.notes h2 { font-size: 1.05rem; margin: 0 0 0.35rem; } .notes ul { margin: 0; padding-left: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.94rem; min-width: 50%; }
th, td { text-align: left; padding: 0.45rem 1.1rem 0.45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; font-size: 0.85rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
@media (min-width: 700px) { tbody th { white-space: nowrap; } }
td { overflow-wrap: break-word; }
td:last-child:not(.num) { min-width: 15rem; }
.num { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0; }
.plate { background: #ffffff; border: 1px solid var(--line); border-radius: 12px; padding: 0.75rem; overflow-x: auto; }
.plate img { display: block; width: 100%; min-width: 620px; height: auto; }
.plate img.gif { width: auto; min-width: 0; max-width: 100%; margin: 0 auto; }
figcaption { color: var(--soft); font-size: 0.94rem; margin-top: 0.6rem; max-width: 46rem; }
pre { background: var(--card); border-radius: 12px; padding: 0.9rem 1.1rem; overflow-x: auto; margin: 0; }
code { font: 0.92em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details > ul { margin-top: 0.5rem; }
summary { cursor: pointer; color: var(--soft); }
summary h2 { display: inline; color: var(--ink); }
details[open] > summary { margin-bottom: 0.75rem; }
"""
