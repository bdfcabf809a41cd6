"""Loading transactions: a file, or the sample. Checked before booking, and booked once however often it is run."""

from cluster.loading.file_load import load_file
from cluster.loading.report import LoadReport, Problem, show_report
from cluster.loading.sample_load import load_sample

__all__ = ["LoadReport", "Problem", "load_file", "load_sample", "show_report"]
