"""The commands of `portfolio-state`, one module for each kind; `cluster.cli` imports only the one that is called."""
