"""Limits of settings: a number that makes no sense is refused where it is set, by its name.

Each raises ValueError, which the command line shows to people. NaN is inside no limits.
"""


def at_least(least: float, **values: float) -> None:
    """Refuse numbers below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} {value:g}: give at least {least:g}")


def within(low: float, high: float, **values: float) -> None:
    """Refuse numbers outside of [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} {value:g}: give a number in [{low:g}, {high:g}]")


def rising(low: float, high: float, **ranges: tuple[float, float]) -> None:
    """Refuse ranges (from, to) that fall, are empty at 0, or leave [low, high]."""
    for name, (start, end) in ranges.items():
        if not low <= start <= end <= high or end == 0:
            raise ValueError(
                f"{name} {start:g} {end:g}: give two numbers in [{low:g}, {high:g}], the smaller one first"
            )
