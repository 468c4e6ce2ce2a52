"""The model card of a run: what it is, what it learned, how to load it, and where its limits lie."""

import re
from pathlib import Path

from craik.report.measures import measures, verdict
from craik.report.record import Json, Record


def model_card(run_path: Path, data_summary: str) -> str:
    """A filled-in model card in Markdown, from the files of a run folder alone.

    Args:
        run_path: The run folder.
        data_summary: One line on the training data.

    Raises:
        UsageError: If the folder holds no run.
    """
    record = Record.read(run_path)
    found = verdict(record)
    sections = [
        front_matter(record),
        f"# {record.method}, trained with Craik",
        f"**{found.title}.** {found.text}",
        *facts(record, data_summary),
        *measured(record),
        *probed(record.probe),
        *usage(record),
        *limits(record),
    ]
    return "\n\n".join(sections) + "\n"


def front_matter(record: Record) -> str:
    """What model hubs read."""
    recipe = re.sub(r"[^\w.-]", "-", Path(str(record.config.get("recipe", "unknown"))).stem)
    return f"---\nlibrary_name: craik\ntags:\n- jepa\n- self-supervised\n- {recipe}\n---"


def facts(record: Record, data_summary: str) -> list[str]:
    """What was trained, on what, for how long."""
    total = "" if record.total is None else f" of {record.total:,}"
    epoch = record.last("epoch")
    rows = [
        ("Recipe", code(record.method)),
        ("Data", code(data_summary)),
        ("Steps", f"{record.step:,}{total}" + ("" if epoch is None else f" ({epoch:.1f} epochs)")),
        ("Training time", duration(record.seconds)),
        ("Seed", str(record.config.get("conduct", {}).get("seed", "unknown"))),
        ("Started from", code(str(record.config["init"])) if record.config.get("init") else "random weights"),
        ("Software", software(record.env)),
    ]
    return ["## Training", table(("", ""), rows)]


def software(env: Json) -> str:
    """Versions and hardware."""
    hardware = env.get("gpu") or f"CPU ({env.get('cpu_threads', 'unknown number of')} threads)"
    versions = ", ".join(f"{name} {env[name]}" for name in ("craik", "torch", "python") if name in env)
    return ", ".join(part for part in (versions, str(hardware)) if part)


def measured(record: Record) -> list[str]:
    """The last health check beside the first."""
    rows = [(m.name, m.first, m.last, m.reading) for m in measures(record)]
    if not rows:
        return ["## Measures", "No measure was recorded yet."]
    head = ("measure", "start, or random encoder", "end", "how to read it")
    alarms = [
        f"- Alarm at {a.when}: **{cell(a.name)}**. {cell(a.evidence)}. Usual cures: {cell(a.cure)}."
        for a in record.alarms
    ]
    return ["## Measures", table(head, rows), *(["\n".join(alarms)] if alarms else [])]


def probed(probe: Json | None) -> list[str]:
    """Accuracy of the probes beside their baselines."""
    if probe is None:
        return ["## Probes", "Not probed yet: `craik probe RUN --train PATH --test PATH` fills this in."]
    methods, rows = probe_table(probe)
    shown = [(features, *cells) for features, cells in rows]
    intro = (
        f"Accuracy [%] with 95 % bootstrap intervals on {probe['num_test']:,} test images of "
        f"{probe['num_classes']} classes ({code(probe['test'])}); {probe['num_train']:,} training images."
    )
    protocol = "\n".join(f"- {line}" for line in probe.get("protocol", []))
    return ["## Probes", intro, table(("features", *methods), shown), *([protocol] if protocol else [])]


def probe_table(probe: Json) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Methods, and for each kind of features one cell per method, such as `61.2 (60.3-62.1)`; `-` if unmeasured."""
    methods = list(dict.fromkeys(score["method"] for score in probe["scores"]))
    cells = {(score["features"], score["method"]): percent(score["accuracy"]) for score in probe["scores"]}
    features = dict.fromkeys(score["features"] for score in probe["scores"])
    return methods, [(name, [cells.get((name, method), "-") for method in methods]) for name in features]


def percent(interval: Json) -> str:
    """A figure in [0, 1] with its interval, times 100."""
    return f"{100 * interval['value']:.1f} ({100 * interval['low']:.1f}-{100 * interval['high']:.1f})"


EMBED = ('z = model.embed(["a.jpg", "b.jpg"])  # float32 [2, D]',)
IMAGINE = (
    "z = model.encode(frames)  # uint8 [B, T, H, W, 3] -> [B, T, D]",
    "future = model.rollout(z, past, actions)  # [B, T - 1, A] and [B, H, A] -> [B, H, D]",
)


def usage(record: Record) -> list[str]:
    """How to load and use the model."""
    lines = [
        "import craik",
        "",
        f"model = craik.load({str(record.path)!r})",
        *(IMAGINE if "windows" in (record.config.get("data") or {}) else EMBED),
    ]
    return ["## Use", "```python\n" + "\n".join(lines) + "\n```"]


def limits(record: Record) -> list[str]:
    """What not to expect."""
    lines = [
        "Trained without labels on the data above; images of another kind may be embedded poorly. Probe before use.",
        "Biases of the training data are in the embeddings.",
        "Energies and losses of this model are not calibrated and not comparable between runs.",
    ]
    if record.total is not None and record.step < record.total:
        lines.insert(0, f"Stopped at step {record.step:,} of {record.total:,}: schedules had not run to their end.")
    if record.probe is None:
        lines.append("No probe was run: what the embeddings hold is not known beyond the measures above.")
    return ["## Limits", "\n".join(f"- {line}" for line in lines)]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text that cannot break out of a table row."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text from outside as a code span, however many backticks it has."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
