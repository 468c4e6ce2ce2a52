"""craik demo world from beginning to end, with tiny numbers."""

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Craik


@pytest.mark.slow
def test_demo_world(craik: Craik) -> None:
    said = craik("demo", "world", "--collect", 40, "--steps", 3, "--second-steps", 5, "-n", 2, "--json")
    assert said.code == 0
    row = json.loads(said.out)
    assert row["run"] == "runs/demo-world/run"
    policies = {policy["policy"]: policy for policy in row["planning"]["policies"]}
    assert policies.keys() >= {"random", "no-op", "oracle", "planner"}
    assert policies["oracle"]["reached"]["value"] == 1 and policies["no-op"]["reached"]["value"] == 0
    settings = row["planning"]["settings"]
    assert settings["model"].startswith("compass:tiny") and settings["env"] == "two_rooms"
    assert Path(row["report"]).is_file()
    assert list(Path("runs/demo-world/run/planning").glob("*.gif"))
    assert "craik train compass:tiny --data data/rooms --out runs/rooms" in said.err
    again = craik("report", "runs/demo-world/run", "--json")
    assert again.code == 0
