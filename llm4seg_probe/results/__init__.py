"""Results in the hand: what every command gives, as one object in Python that writes nothing."""
