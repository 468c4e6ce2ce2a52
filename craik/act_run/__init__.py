"""The agent on a trained run: put together, left to live and learn, measured, saved, and opened for a control loop."""

from craik.act_run.asked import Asked
from craik.act_run.carry_out import act
from craik.act_run.learned import Opened, open_agent

__all__ = ["Asked", "Opened", "act", "open_agent"]
