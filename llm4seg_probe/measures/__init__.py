"""Pure functions on tensors: rank, activation maps, attention, similarity, segmentation scores."""
