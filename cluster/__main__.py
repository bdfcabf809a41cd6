"""`python -m cluster` is `portfolio-state`."""

from cluster.cli import main

main()
