"""Does a world model plan? From a run and a simulator to success beside baselines.

`asked.py` is the question, `subject.py` the run and its world, `prepare.py` what planning needs before the first goal,
`run.py` plays, `reachable.py` asks when to say "cannot reach", `report.py` tells.
"""

from craik.plan_run.asked import Asked
from craik.plan_run.report import PlanReport, write
from craik.plan_run.run import plan_run

__all__ = ["Asked", "PlanReport", "plan_run", "write"]
