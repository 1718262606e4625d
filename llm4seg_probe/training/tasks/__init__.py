"""The needs of each task in training, scoring and prediction: target, loss, scores, words."""
