"""From an analysis file to its runs: planned, and made on an engine."""
