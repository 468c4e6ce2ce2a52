"""Modules, one concept a file."""
