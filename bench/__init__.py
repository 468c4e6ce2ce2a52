"""How fast a training step is, beside a plain step written as the published code works: `make bench`."""
