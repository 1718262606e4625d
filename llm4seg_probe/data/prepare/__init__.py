"""Prepare the published data sets of the paper."""
