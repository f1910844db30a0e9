#!/usr/bin/env python3
"""Writes the Parquet files here: one table in the types and encodings that writers use.

    python3 -m venv venv && venv/bin/pip install pyarrow==26.0.1 pandas polars fastparquet
    venv/bin/python tests/data/profile/make.py

Every file has the same values, so every profile of them has the same features. types.csv has them
as text. nested.parquet has a column that cannot be read.
"""

import csv
import datetime
from decimal import Decimal
from pathlib import Path

import fastparquet
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
ROWS = 240
EPOCH = datetime.datetime(1970, 1, 1)
MS = 1_764_547_200_000
"""2025-12-01T00:00:00Z."""


def column(make, missing=7):
    """A value per row, every seventh or so missing."""
    return [None if row % missing == missing - 1 else make(row) for row in range(ROWS)]


def moment(row):
    return EPOCH + datetime.timedelta(milliseconds=MS + row * 1_500)


TYPES = {
    "flag": (pa.bool_(), column(lambda row: row % 3 == 0)),
    "int8": (pa.int8(), column(lambda row: row % 11 - 5)),
    "uint8": (pa.uint8(), column(lambda row: 200 + row % 7)),
    "int16": (pa.int16(), column(lambda row: row * 100 - 9_000)),
    "uint16": (pa.uint16(), column(lambda row: 65_000 + row)),
    "int32": (pa.int32(), column(lambda row: row * -7_001)),
    "uint32": (pa.uint32(), column(lambda row: 4_294_967_000 + row)),
    "int64": (pa.int64(), column(lambda row: row * 1_000_000_007)),
    "uint64": (pa.uint64(), column(lambda row: 2**63 + row * 2048)),
    "half": (pa.float16(), column(lambda row: row / 8)),
    "float": (pa.float32(), column(lambda row: row / 4 - 20)),
    "double": (pa.float64(), column(lambda row: row / 10 - 3.3)),
    "full": (pa.float64(), [row / 2 for row in range(ROWS)]),
    "money": (pa.decimal128(9, 2), column(lambda row: Decimal(row * 37 - 900).scaleb(-2))),
    "wide": (pa.decimal128(38, 4), column(lambda row: Decimal(row * -12_345).scaleb(-4))),
    "day": (pa.date32(), column(lambda row: datetime.date(2025, 12, 1 + row % 28))),
    "at_ms": (pa.timestamp("ms"), column(moment)),
    "at_us": (pa.timestamp("us", tz="UTC"), column(moment)),
    "at_ns": (pa.timestamp("ns"), column(moment)),
    "text": (pa.string(), column(lambda row: ["red", "green", "blue", "été"][row % 4])),
    "dictionary": (
        pa.dictionary(pa.int8(), pa.string()),
        column(lambda row: ["basic", "plus", "gold"][row % 5 % 3]),
    ),
}


def as_text(value):
    """As the reader counts it: days and times in milliseconds."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return round((value - EPOCH) / datetime.timedelta(milliseconds=1))
    if isinstance(value, datetime.date):
        return (value - EPOCH.date()).days * 86_400_000
    return value


def main():
    schema = pa.schema([pa.field(name, kind) for name, (kind, _) in TYPES.items()])
    table = pa.table(
        {name: pa.array(values, kind) for name, (kind, values) in TYPES.items()}, schema=schema
    )
    with open(HERE / "types.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TYPES)
        for row in range(ROWS):
            writer.writerow([as_text(values[row]) for _, values in TYPES.values()])
    groups = {"row_group_size": 100, "data_page_size": 512, "store_schema": False}
    pq.write_table(table, HERE / "arrow.parquet", compression="snappy", **groups)
    pq.write_table(
        table,
        HERE / "plain.parquet",
        compression="zstd",
        use_dictionary=False,
        data_page_version="2.0",
        use_byte_stream_split=["double", "float"],
        store_decimal_as_integer=True,
        **groups,
    )
    old = [name for name in TYPES if name != "half"]
    pq.write_table(
        table.select(old),
        HERE / "spark.parquet",
        compression="gzip",
        version="1.0",
        use_deprecated_int96_timestamps=True,
        **groups,
    )
    known = ["flag", "int64", "float", "double", "full", "at_us", "text", "dictionary"]
    frame = table.select(known).to_pandas()
    frame.to_parquet(HERE / "pandas.parquet", compression="lz4")
    polars.from_arrow(table.select(known)).write_parquet(HERE / "polars.parquet")
    frame["int64"] = frame["int64"].astype("Int64")
    frame["flag"] = frame["flag"].astype("boolean")
    fastparquet.write(str(HERE / "fastparquet.parquet"), frame, compression="GZIP")
    tags, places = [["x"], ["y", "z"]], [{"lat": 1.0}, {"lat": 2.0}]
    nested = pa.table({"a": [1, 2], "tags": tags, "place": places})
    pq.write_table(nested, HERE / "nested.parquet")


if __name__ == "__main__":
    main()
