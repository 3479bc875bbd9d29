"""Programs that take the figures of docs/benchmarks.md; they may import everything."""
