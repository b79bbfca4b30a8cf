"""Makes the parquet files beside it, and rows.jsonl, which has the same rows. Needs pyarrow; tests read what it made."""
import datetime
import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
rows = [
    {"messages": [{"role": "user", "content": "Hi \"there\"\n<b>&"}, {"role": "assistant", "content": "数字 é 🙂"}]},
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": "a"},
                  {"role": "assistant", "content": "b", "loss": False}]},
    {"query": "two", "response": "columns", "history": [["q1", "a1"], ["q2", "a2"]]},
    {"query": "", "response": ""},
    {"messages": [{"role": "user", "content": "weather?"},
                  {"role": "tool_call", "content": "{\"name\": \"f\", \"arguments\": {\"a\": null}}"},
                  {"role": "tool_response", "content": "[1, 2]"}, {"role": "assistant", "content": "fine"}],
     "tools": "[{\"name\": \"f\", \"parameters\": {}}]", "score": 0.1, "margin": 1.0, "id": 9007199254740993, "ok": True},
    {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "loss_scale": [0.0, 1.0, 0.5]},
    {"query": "last", "response": "x" * 300, "ok": False, "margin": 1e5},
]
(here / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
schema = pa.schema([
    ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("loss", pa.bool_())]))),
    ("query", pa.string()), ("response", pa.string()), ("history", pa.list_(pa.list_(pa.string()))), ("tools", pa.string()),
    ("score", pa.float64()), ("margin", pa.float64()), ("id", pa.int64()), ("ok", pa.bool_()),
    ("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32())), ("loss_scale", pa.list_(pa.float32())),
])
table = pa.Table.from_pylist(rows, schema=schema)
for codec in ["none", "zstd", "snappy", "gzip"]:
    pq.write_table(table, here / f"rows.{codec}.parquet", compression=codec, row_group_size=3, data_page_version="1.0")
pq.write_table(table, here / "rows.one_group.parquet", compression="zstd", data_page_version="2.0")

# One row of every type that a row may hold; and a time, which it may not, in a column that no row is made of.
types = {
    "i8": pa.array([-8], pa.int8()), "i16": pa.array([-16], pa.int16()), "i32": pa.array([-32], pa.int32()),
    "u8": pa.array([8], pa.uint8()), "u16": pa.array([16], pa.uint16()), "u32": pa.array([32], pa.uint32()),
    "u64": pa.array([2**64 - 1], pa.uint64()), "f32": pa.array([0.5], pa.float32()), "nan": pa.array([float("nan")]),
    "decimal": pa.array([decimal.Decimal("12.50")], pa.decimal128(8, 2)), "bytes": pa.array([b"text"], pa.binary()),
    "large": pa.array(["large"], pa.large_string()), "large_bytes": pa.array([b"text"], pa.large_binary()),
    "dictionary": pa.array(["word"]).dictionary_encode(), "map": pa.array([[("k", 1), ("n", None)]], pa.map_(pa.string(), pa.int64())),
    "large_list": pa.array([["x", None]], pa.large_list(pa.string())), "fixed": pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": {"b": None, "c": [True]}}]), "null": pa.nulls(1),
    "created": pa.array([datetime.datetime(2026, 1, 1)]),
}
pq.write_table(pa.table(types), here / "types.parquet")
pq.write_table(pa.table({"query": ["a"], "Response": pa.array([datetime.datetime(2026, 1, 1)], pa.timestamp("ms"))}),
               here / "time.parquet")
pq.write_table(pa.table({"query": ["a", "b"], "response": pa.array([b"fine", b"\xff\xfe"])}), here / "latin.parquet")
