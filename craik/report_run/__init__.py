"""The report of a run, from its folder to report.html."""

from craik.report_run.write import report, still_active

__all__ = ["report", "still_active"]
