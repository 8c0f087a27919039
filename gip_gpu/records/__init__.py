"""Text data sets as records: rows of JSON, Parquet and `datasets`, their texts, and chosen rows written again."""

from gip_gpu.records.collection import Records, Texts, TextSurvey
from gip_gpu.records.layouts import TextLayout, recognise
from gip_gpu.records.opening import open_records
from gip_gpu.records.writing import added_columns, check_output, write_records

__all__ = [
    "Records",
    "TextLayout",
    "TextSurvey",
    "Texts",
    "added_columns",
    "check_output",
    "open_records",
    "recognise",
    "write_records",
]  # fmt: skip
