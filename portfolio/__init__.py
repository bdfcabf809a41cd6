"""The pure core: what a portfolio is and what may happen to it. No I/O, no clock, no third party."""
