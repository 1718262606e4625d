"""Stand-in for nnU-Net 2.8: as much of its shape as the integration touches, on toy data."""
