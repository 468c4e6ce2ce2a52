"""Run folders made by hand, so that tests of pictures need no training."""

import json
from pathlib import Path
from typing import Any

CONFIG = {
    "recipe": "ijepa",
    "variant": "tiny",
    "craik": "0.1.0",
    "steps": 200,
    "init": None,
    "config": {"encoder": {"width": 96, "depth": 4}, "momentum": [0.99, 1.0], "sigreg": 0.0},
    "data": {"data": "toy:shapes", "images": 4000, "fingerprint": "abc"},
    "conduct": {"seed": 7},
}


def metric_rows(steps: int = 200, knn: float = 0.41) -> list[dict[str, Any]]:
    """Rows as training writes them: a healthy run whose kNN ends at `knn`, 20 % for the random encoder."""
    rows: list[dict[str, Any]] = []
    for step in range(0, steps + 1, 10):
        t = step / steps
        rows.append(
            {
                "step": step,
                "epoch": 4 * t,
                "loss": 0.5 - 0.3 * t,
                "loss/energy": 0.4 - 0.3 * t,
                "loss/sigreg": 0.1,
                "grad_norm": 1.0,
                "lr": 1e-3 * (1 - t),
                "momentum": 0.99 + 0.01 * t,
                "rate": 300.0,
                "wait_share": 0.02,
                "seconds": step / 2,
            }
        )
        if step % 50 == 0:
            rows.append(check_row(step, rank=10 + 30 * t, knn=0.2 + (knn - 0.2) * t))
    return rows


def check_row(step: int, rank: float, knn: float = 0.3) -> dict[str, Any]:
    """A row of a health check."""
    return {
        "step": step,
        "std_min": 0.1,
        "std_median": 0.5,
        "effective_rank": rank,
        "rankme": rank,
        "participation_ratio": rank / 2,
        "alpha_req": 1.0,
        "relative_std": 0.4,
        "target_between_samples": 0.3,
        "target_by_position": 0.2,
        "error": 0.2,
        "error_mean": 0.4,
        "error_context": 0.5,
        "error_position": 0.25,
        "error_ratio": 0.8,
        "target_distance": 0.05,
        "knn": knn,
        "knn_random": 0.2,
    }


def alarm_row(step: int, name: str, cure: str = "lower the learning rate") -> dict[str, Any]:
    """A row of events.jsonl."""
    return {"step": step, "kind": "alarm", "name": name, "evidence": "rank 2.0", "cure": cure, "last_healthy": 100}


def write_run(
    path: Path,
    metrics: list[dict[str, Any]] | None = None,
    events: list[dict[str, Any]] | None = None,
    probe: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """A run folder without a model."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config or CONFIG))
    (path / "env.json").write_text(json.dumps({"craik": "0.1.0", "torch": "2.13.0", "cpu_threads": 2, "gpu": None}))
    rows = metric_rows() if metrics is None else metrics
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in events or []))
    if probe is not None:
        (path / "probe.json").write_text(json.dumps(probe))
    return path


def probe_json() -> dict[str, Any]:
    """A probe as the probe command writes it."""

    def score(features: str, method: str, value: float) -> dict[str, Any]:
        interval = {"value": value, "low": value - 0.01, "high": value + 0.01}
        return {"features": features, "method": method, "accuracy": interval, "num_labels": 4000, "detail": ""}

    return {
        "scores": [
            score("target encoder, mean", "kNN", 0.612),
            score("target encoder, mean", "linear", 0.7034),
            score("random encoder", "kNN", 0.297),
        ],
        "protocol": ["Data: 4,000 training images", "kNN: k 20"],
        "train": "a.parquet",
        "test": "b.parquet",
        "num_train": 4000,
        "num_test": 1000,
        "num_classes": 10,
    }
