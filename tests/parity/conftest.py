"""Golden fixtures are opened by name; see --golden."""

from collections.abc import Callable

import pytest

from tests.parity.golden import BESIDE, Fixture


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[[str], Fixture]:
    """golden("ijepa_model") opens that fixture."""
    given = request.config.getoption("--golden")

    def open_fixture(name: str) -> Fixture:
        folder = (given or BESIDE) / name
        if not (folder / "config.json").exists():
            if given is not None:
                pytest.fail(f"no golden fixture at {folder}")
            pytest.skip(f"no golden fixture at {folder}; give their folder with --golden DIR")
        return Fixture(folder)

    return open_fixture
