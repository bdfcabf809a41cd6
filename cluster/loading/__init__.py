"""Loading transactions (a file, or the sample) and prices. Checked first, and there once however often it is run."""

from cluster.loading.file_load import load_file
from cluster.loading.price_load import load_prices
from cluster.loading.price_report import PriceReport, show_price_report
from cluster.loading.report import LoadReport, Problem, show_report
from cluster.loading.sample_history import load_sample_history
from cluster.loading.sample_load import load_sample

__all__ = [
    "LoadReport",
    "PriceReport",
    "Problem",
    "load_file",
    "load_prices",
    "load_sample",
    "load_sample_history",
    "show_price_report",
    "show_report",
]
