"""Options of the whole suite, and one thread: tests are small and machines are shared."""

from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of golden fixtures for tests/parity; default ../shared/golden, skipped when absent. "
        "With DIR given, a missing fixture fails.",
    )


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
