"""What the trackers have stored, read back by their own means, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stein_bench.errors import RunError
from stein_bench.report.document import read_report
from stein_bench.trackers import log
from stein_bench.trackers.choice import Tracker
from stein_bench.trackers.log import log_report
from stein_bench.trackers.quiet import SILENCED, silenced
from tests import reports


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without settings of trackers."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))
    return tmp_path


@pytest.fixture
def two():
    """A report of two variants, of which the second has a failed attack and a failed check."""
    failed = reports.variant("stein", attacks={"fgsm": reports.attack("fgsm"), "pgd": reports.bits(45)})
    return reports.report(reports.variant(), failed, diagnostics=[reports.diagnostic(variant="stein/running")])


def test_tensorboard_reads_every_number_and_text(here, two):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert (
        log_report(two, Tracker("tensorboard", {"dir": "tb"})) == "tensorboard, in tb: see with tensorboard --logdir tb"
    )
    folders = sorted(path.parent for path in here.rglob("report.json"))
    assert [folder.name for folder in folders] == ["timm-resnet18-sample-running", "timm-resnet18-stein-running"]
    assert len({folder.parent for folder in folders}) == 1
    events = [EventAccumulator(str(folder)).Reload() for folder in folders]
    assert events[0].Scalars("clean/accuracy")[0].value == pytest.approx(0.9)
    assert events[1].Scalars("robust accuracy/pgd 8/255")[0].value == pytest.approx(0.55)
    assert "robust accuracy/fgsm 8/255" in events[0].Tags()["scalars"]
    assert "robust accuracy/fgsm 8/255" not in events[1].Tags()["scalars"]
    (text,) = events[1].Tensors("robust accuracy/fgsm 8/255/text_summary")
    assert text.tensor_proto.string_val == [b"failed: RuntimeError: no memory"]
    assert "check/stronger/text_summary" in events[1].Tags()["tensors"]
    assert "_hparams_/session_start_info" in events[0].summary_metadata
    assert read_report(folders[1] / "report.json") == two


def test_wandb_stores_runs_offline(here, two):
    wandb = pytest.importorskip("wandb")
    where = log_report(two, Tracker("wandb", {"project": "robust"}))
    wandb.teardown()  # its service writes the last records after `finish`, and at the latest when the program ends
    folders = sorted(here.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    assert where.startswith("wandb, offline, in 2 folders of wandb: send with wandb sync wandb/offline-run-")
    records = [_records(folder) for folder in folders]
    by_name = {record["run"].display_name: record for record in records}
    plain, stein = by_name["timm:resnet18 sample/running"], by_name["timm:resnet18 stein/running"]
    assert plain["run"].project == "robust"
    assert plain["run"].run_group == stein["run"].run_group != ""
    assert plain["summary"]["clean/accuracy"] == 0.9
    assert stein["summary"]["robust accuracy/pgd 8/255"] == 0.55
    assert stein["summary"]["robust accuracy/fgsm 8/255"] == "failed: RuntimeError: no memory"
    assert set(stein["run"].tags) == {"untrustworthy", "failed check/stronger"}
    assert {item.key: json.loads(item.value_json) for item in stein["run"].config.update}["bn"] == "stein"
    assert all(read_report(folder / "files" / "report.json") == two for folder in folders)
    assert all("report.json" in record["files"] for record in records)


def _records(folder):
    """Return what a run's file would send: the run, its last summary and the names of its files."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("run-*.wandb")
    found = {"summary": {}, "files": set()}
    for data in _frames(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            found["run"] = record.run
        found["files"] |= {item.path for item in record.files.files}
        for item in (*record.summary.update, *record.history.item):
            found["summary"]["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def _frames(content, block=32768, head=7):
    """Yield the records of a file of wandb: the format of LevelDB's log after seven bytes of its own."""
    at, record = head, b""
    while at + head <= len(content):
        if block - at % block < head:  # the rest of a block that has no room for a header
            at += block - at % block
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + head : at + head + size]
        at += head + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_mlflow_stores_runs_in_a_folder(here, two, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    assert log_report(two, Tracker("mlflow", {"experiment": "robust"})) == "mlflow, experiment robust in mlruns"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(here / "mlruns").as_uri())
    found = client.search_runs([client.get_experiment_by_name("robust").experiment_id])
    by_bn = {run.data.params["bn"]: run for run in found}
    plain, stein = by_bn["sample"], by_bn["stein"]
    assert (plain.info.run_name, plain.info.status) == ("timm:resnet18 sample/running", "FINISHED")
    assert plain.data.tags["group"] == stein.data.tags["group"]
    assert plain.data.metrics["clean/accuracy"] == 0.9
    assert stein.data.metrics["robust accuracy/pgd 8_255"] == 0.55
    assert "robust accuracy/fgsm 8_255" not in stein.data.metrics
    assert stein.data.tags["robust accuracy/fgsm 8_255"] == "failed: RuntimeError: no memory"
    assert [file.path for file in client.list_artifacts(stein.info.run_id)] == ["report.json"]


def test_names_for_mlflow_are_distinct_and_allowed():
    from stein_bench.trackers.mlflow_runs import _names

    assert _names(["robust accuracy/pgd 8/255 steps=20", "robust accuracy/pgd 8/255 steps:20"]) == {
        "robust accuracy/pgd 8/255 steps=20": "robust accuracy/pgd 8_255 steps_20",
        "robust accuracy/pgd 8/255 steps:20": "robust accuracy/pgd 8_255 steps_20 2",
    }


def test_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setenv("MINE", "1")
    before = dict(os.environ)
    with silenced({"MINE": "2", "OTHER": "3"}):
        assert {name: os.environ[name] for name in SILENCED} == dict(SILENCED)
        assert (os.environ["MINE"], os.environ["OTHER"]) == ("1", "3")
        os.environ["SET_BY_A_LIBRARY"] = "1"
    assert dict(os.environ) == before


def test_what_a_library_raises_becomes_one_line(monkeypatch, capsys):
    def broken(runs, options):
        print("chatter")  # noqa: T201
        raise ValueError("no\nserver")

    monkeypatch.setattr(log, "LOGS", {"wandb": broken})
    with pytest.raises(RunError, match=r"^--log wandb failed: ValueError: no server$"):
        log_report(reports.report(), Tracker("wandb"))
    assert capsys.readouterr() == ("", "chatter\n")


@pytest.mark.integration
def test_nothing_is_sent_and_stdout_stays_empty(here, two):
    """In a program of its own: a library that opens a connection ends it, and its output is seen whole."""
    pytest.importorskip("wandb")
    (here / "report.json").write_text(two.to_json())
    script = (
        "import socket, sys\n"
        "def refuse(self, address, *rest):\n"
        "    if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', 'localhost', '::1'):\n"
        "        sys.stderr.write(f'CONNECTED {address}')\n"
        "        raise OSError('no network')\n"
        "    return connect(self, address, *rest)\n"
        "connect, socket.socket.connect = socket.socket.connect, refuse\n"
        "from stein_bench.cli import main\n"
        "sys.argv = ['stein-bench', 'report', 'report.json', '--log', 'wandb', '--log', 'tensorboard']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    lines = done.stderr.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["logged: wandb", "logged: tensorboard"], done.stderr
