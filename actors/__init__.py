"""The shard: it decides, appends, applies and acknowledges. Its Ray actor, the link to it, and who finds it."""
