"""A question from its analysis file to its answer: runs, probes, comparisons, page."""
