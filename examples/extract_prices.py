"""Makes sp500_closes.parquet, sp500_index.parquet and LICENSE-skfolio from the skfolio package.

    python examples/extract_prices.py PACKAGE

PACKAGE is a skfolio wheel file, or the `skfolio` folder of an installation.
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from fnmatch import fnmatch
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl

EXAMPLES: Final = Path(__file__).parent
STOCKS: Final = "skfolio/datasets/data/sp500_dataset.csv.gz"
INDEX: Final = "skfolio/datasets/data/sp500_index.csv.gz"
LICENSE: Final = "skfolio-*.dist-info/licenses/LICENSE"
FIRST_DATE: Final = date(2018, 1, 1)
SCALE: Final = 3
"""The decimals that the source is written with."""


def extract(package: Path) -> list[bytes]:
    """The gzipped prices of stocks and index, and the licence text of a package.

    Raises FileNotFoundError if it has not one of each.
    """
    wanted = (STOCKS, INDEX, LICENSE)
    if package.is_dir():
        site = package.parent
        paths = chain.from_iterable(map(site.glob, wanted))
        files = {path.relative_to(site).as_posix(): path.read_bytes for path in paths}
        return [_only(files, pattern)() for pattern in wanted]
    with zipfile.ZipFile(package) as wheel:
        files = {name: partial(wheel.read, name) for name in wheel.namelist()}
        return [_only(files, pattern)() for pattern in wanted]


def _only(files: Mapping[str, Callable[[], bytes]], pattern: str) -> Callable[[], bytes]:
    found = [read for name, read in files.items() if fnmatch(name, pattern)]
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} files are {pattern}, expected one")
    return found[0]


def closes(csv_gz: bytes) -> pl.DataFrame:
    """One row an instrument and day, ordered by both: instrument_id, date, close. Raises ValueError if a close is rounded."""
    # Read as text: a decimal that has been a float on the way would no longer be what the source says.
    wide = pl.read_csv(gzip.decompress(csv_gz), infer_schema=False).with_columns(pl.col("Date").str.to_date())
    long = (
        wide.filter(pl.col("Date") >= FIRST_DATE)
        .rename({"Date": "date"})
        .unpivot(index="date", variable_name="instrument_id", value_name="text")
        .with_columns(pl.col("text").str.to_decimal(scale=SCALE).alias("close"))
        .sort("instrument_id", "date")
    )
    for text, close in long.select("text", "close").iter_rows():
        if Decimal(text) != close:
            raise ValueError(f"a close is {text}, expected at most {SCALE} decimals")
    return long.select("instrument_id", "date", pl.col("close").cast(pl.Decimal(12, SCALE)))


def main() -> None:
    """Write the three files beside this script."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    stocks, index, text = extract(Path(sys.argv[1]))
    for content, name in ((stocks, "sp500_closes.parquet"), (index, "sp500_index.parquet")):
        closes(content).write_parquet(EXAMPLES / name, compression="zstd", compression_level=19)
    (EXAMPLES / "LICENSE-skfolio").write_bytes(text)


if __name__ == "__main__":
    main()
