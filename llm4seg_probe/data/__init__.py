"""Images, masks and splits: what the networks see, and who is on which side."""
