"""Checking that everything says the same: the journal, the checkpoint, the owners' memory and the mirror."""
