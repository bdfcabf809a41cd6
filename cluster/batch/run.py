"""The whole batch, from the list of portfolios to the file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console

from analytics.document import AnalysisTerms
from cluster.batch.chunks import Chunk, chunks_of_all, chunks_of_some
from cluster.batch.in_order import in_order
from cluster.batch.job import Part, analyse_chunk, read_panel
from cluster.batch.parquet_file import whole_parquet
from cluster.batch.reading import PATIENCE
from cluster.batch.table import SCHEMA
from cluster.loading.patience import Patience, patiently
from cluster.loading.progress import progress_bar
from portfolio.errors import AnalyticsUnavailable
"""
CHUNK
"""
