"""What training, scoring and prediction need of each task: target, loss, scores, and words."""
