"""SQL over everything that the cluster holds: what a query may be, and the process that it runs in."""
