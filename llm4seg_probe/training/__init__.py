"""One run: fit, evaluate, and the run folder that holds what came of it."""
