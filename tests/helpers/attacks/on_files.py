"""Folders that are no run, and a `windows.parquet` that is not the run's."""

from __future__ import annotations

import os
import shutil

import pandas as pd

from .table import WHOLE, expect


@expect(r"windows\.parquet: not readable as Parquet; the reader process crashed")
def when_a_codec_that_there_is_not_makes_arrow_abort(workspace):
    path = workspace.run / "windows.parquet"
    content = path.read_bytes()
    column = b"\x19\x18\x05trial\x15"  # Thrift's path of a column, and the field of its codec
    assert column + b"\x02" in content
    path.write_bytes(content.replace(column + b"\x02", column + b"\x7f"))


def rows_changed(change, **options):
    """`windows.parquet`, rewritten."""

    def apply(workspace):
        path = workspace.run / "windows.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False, **options)

    return apply


def one_number(rows):
    rows.loc[7, "wpe"] *= 0.999
    return rows


def one_missing(rows):
    rows["origin"] = rows["origin"].astype("Int64").where(rows.index != 7)
    return rows


PARQUETS = {
    r"windows\.parquet: row 7, wpe: the record says": rows_changed(one_number),
    r"windows\.parquet: row 7, origin: the record says None": rows_changed(one_missing),
    r"windows\.parquet: holds 10000 rows, where the protocol asks for 60": rows_changed(
        lambda rows: pd.concat([rows] * 167, ignore_index=True)[:10_000]
    ),
    r"windows\.parquet: unexpected columns": rows_changed(lambda rows: rows.drop(columns="gain")),
    r"windows\.parquet: unexpected (columns)": rows_changed(lambda r: r.assign(wpe="x" * (1 << 20))),
    r"windows\.parquet: (unexpected) columns": rows_changed(lambda rows: rows.assign(more="x")),
    r"windows\.parquet: unsupported compression GZIP; expected SNAPPY or none": rows_changed(
        lambda r: r, compression="gzip"
    ),
    r"windows\.parquet: unsupported compression ZSTD": rows_changed(lambda r: r, compression="zstd"),
    r"windows\.parquet: not readable as Parquet": lambda workspace: (workspace.run / "windows.parquet").write_bytes(
        b"PAR1PAR1"
    ),
    r"windows\.parquet: larger than": lambda workspace: os.truncate(workspace.run / "windows.parquet", 1 << 33),
}
for reason, apply in PARQUETS.items():
    expect(reason)(apply)


def columns_changed(**changes):
    """Columns of the windows times a factor, in a run from "another machine", where single episodes may part."""

    def apply(workspace):
        workspace.edit("provenance", "cpu", to="Another processor")
        rows_changed(lambda rows: rows.assign(**{name: rows[name] * by for name, by in changes.items()}))(workspace)

    return apply


OTHER_MACHINES = {
    r"windows\.parquet: row \d+, return_forecast \(half of all 60 are off": columns_changed(return_forecast=1.2),
    r"windows\.parquet: row \d+, return_true \(half of all 60 are off": columns_changed(return_true=0.9),
    r"windows\.parquet: row \d+, gain: the record says -?0\.0, recomputed -0\.5": columns_changed(gain=0.0),
    r"windows\.parquet: row \d+, repw_persistence: the record says 5\.0": columns_changed(repw_persistence=10.0),
}
for reason, apply in OTHER_MACHINES.items():
    expect(reason)(apply)


# Folders that are not a run.


@expect("'forecasts.safetensors' is not a plain file; links and folders are not allowed")
def when_the_forecasts_are_a_link_out_of_the_folder(workspace):
    path = workspace.run / "forecasts.safetensors"
    path.rename(workspace.submission.parent / "elsewhere")
    path.symlink_to(workspace.submission.parent / "elsewhere")


@expect("'record.json' is not a plain file")
def when_the_record_is_a_link(workspace):
    (workspace.run / "record.json").unlink()
    (workspace.run / "record.json").symlink_to("/etc/hostname")


@expect("'windows.parquet' is not a plain file")
def when_a_file_is_a_pipe(workspace):
    (workspace.run / "windows.parquet").unlink()
    os.mkfifo(workspace.run / "windows.parquet")


@expect("'forecasts.safetensors' is not a plain file")
def when_a_file_is_a_folder(workspace):
    (workspace.run / "forecasts.safetensors").unlink()
    (workspace.run / "forecasts.safetensors").mkdir()


@expect(r"'x\\nok: run' is an unexpected file")
def when_a_file_name_holds_a_line_break(workspace):
    (workspace.run / "x\nok: run").touch()


@expect("'conftest.py' is an unexpected file")
def when_there_is_code_beside_it(workspace):
    (workspace.run / "conftest.py").write_text("raise SystemExit(0)")


@expect("is an unexpected file")
def when_there_are_ten_thousand_files_beside_it(workspace):
    for number in range(10_000):
        (workspace.run / f"{number}.json").touch()


@expect("forecasts.safetensors is missing")
def when_there_are_no_forecasts(workspace):
    (workspace.run / "forecasts.safetensors").unlink()


@expect(r"'run\\nok: other' is not a run folder", WHOLE)
def when_the_folders_name_forges_a_line_of_the_report(workspace):
    workspace.run.rename(workspace.submission / "run\nok: other")


@expect(r"'run\\udcff\\u202e' is not a run folder", WHOLE)
def when_the_folders_name_is_no_text(workspace):
    os.rename(bytes(workspace.run), bytes(workspace.submission) + b"/run\xff\xe2\x80\xae")  # noqa: PTH104


@expect("'link' is not a run folder", WHOLE)
def when_a_run_is_a_link(workspace):
    (workspace.submission / "link").symlink_to(workspace.run)


@expect("holds 10001 entries; a submission has at most 100 runs", WHOLE)
def when_there_are_ten_thousand_folders(workspace):
    for number in range(10_000):
        (workspace.submission / str(number)).mkdir()


@expect("holds no run", WHOLE)
def when_there_is_nothing(workspace):
    shutil.rmtree(workspace.run)
