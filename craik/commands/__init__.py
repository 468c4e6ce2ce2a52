"""One file per command: its arguments, and what it says. The work is done below."""
