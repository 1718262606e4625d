"""Other people's training pipelines, with the booster in their networks."""
