"""The tables of this folder: python results/latent_z/measure.py RUNS OUT [--horizon 2].

RUNS holds the runs certain-0, discrete-0, gaussian-0, optimized-0, certain-1, ...; OUT/seed-N.json gets every figure.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console

import craik
from craik.envs import find
from craik.evaluate.chance import SIMULATOR, ChanceReport, Seer, chance_report

KINDS = ("certain", "discrete", "gaussian", "optimized")
SOURCES = ("certain", "certain with noise", "discrete", "gaussian", "optimized", SIMULATOR)
SITUATIONS_SEED = 7  # settings were chosen on the situations of seed 0


def measure(runs: Path, seed: int, horizon: int) -> ChanceReport:
    """The four models of one training seed on the same situations."""
    seers = {}
    for kind in KINDS:
        run = craik.load(runs / f"{kind}-{seed}")
        seers[kind] = Seer(run.recipe.model, run.recipe.view.show)
    return chance_report(
        seers, find("ice"), baseline="certain", columns=("x", "y"), horizon=horizon, num=400, seed=SITUATIONS_SEED
    )


def over_seeds(values: list[float], digits: int = 1) -> str:
    """Mean, and the least and greatest of the seeds."""
    return f"{sum(values) / len(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def score_rows(reports: list[ChanceReport], certain: bool) -> list[str]:
    """A row of the README's table for each source."""
    rows = []
    for source in SOURCES:
        found = [report.score(source, certain) for report in reports]
        cells = [
            over_seeds([score.nearest.best.value**0.5 for score in found], 2),
            over_seeds([100 * score.coverage.covered.value for score in found]),
            over_seeds([100 * score.coverage.precise.value for score in found]),
            over_seeds([100 * score.share_error.value for score in found]),
            over_seeds([100 * score.ranks.unevenness for score in found]),
        ]
        rows.append(f"| {source} | " + " | ".join(cells) + " |")
    return rows


def energy_rows(reports: list[ChanceReport]) -> list[str]:
    """Energies at forks, % of the variance of latents."""
    rows = []
    for number, kind in enumerate(KINDS):
        found = [report.energies[number] for report in reports]
        best = [f.min_over_z for f in found]
        cells = [
            over_seeds([100 * getattr(b, name).value for b in best], 2) for name in ("deterministic", "best", "noise")
        ]
        controls = [f.control for f in found if f.control is not None]
        cells += [over_seeds([100 * control[i] for control in controls], 2) if controls else "-" for i in range(3)]
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return rows


def information_rows(reports: list[ChanceReport]) -> list[str]:
    """Nats at forks and elsewhere, and the budget."""
    rows = []
    for number, kind in enumerate(KINDS[1:]):
        found = [report.information[number] for report in reports if report.information]
        if found:
            cells = [over_seeds([f.forks for f in found], 2), over_seeds([f.certain or 0.0 for f in found], 2)]
            rows.append(f"| {kind} | " + " | ".join(cells) + f" | {found[0].budget:.2f} |")
    return rows


def main() -> None:
    """Measure every seed, write figures, print rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--horizon", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    reports = []
    for seed in sorted(
        int(run.name.split("-")[1]) for run in options.runs.glob("optimized-?") if (run / "model").is_dir()
    ):
        reports.append(measure(options.runs, seed, options.horizon))
        name = f"seed-{seed}.json" if options.horizon == 1 else f"seed-{seed}-horizon-{options.horizon}.json"
        (options.out / name).write_text(json.dumps(reports[-1].to_json(), indent=1) + "\n")
        for table in reports[-1].tables():
            Console(width=150).print(table)
    first = reports[0]
    print(
        f"{first.num_forks} forks, {first.num_certain} others, within {first.tolerance:.2f}, {first.entropy:.2f} nats"
    )
    print(*score_rows(reports, certain=False), "", *score_rows(reports, certain=True), sep="\n")
    print("", *energy_rows(reports), "", *information_rows(reports), sep="\n")


if __name__ == "__main__":
    main()
