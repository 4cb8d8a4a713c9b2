"""MLflow holds what the record holds, or nothing is lost and nobody waits."""

import errno
import json
import math
import os
import shutil
import socket
import sqlite3
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from directanimator.command import run_command
from directanimator.errors import UserError
from directanimator.process_memory import resident_bytes
from experiments import ui
from experiments.evaluation.columns import METRICS
from experiments.record import PEAK_MEMORY, RunDirectory, peak_memory
from experiments.tracking import mirror as mirror_module
from experiments.tracking import server
from experiments.tracking.address import artifact_root, default_uri, public_uri
from experiments.tracking.comparison_page import page_state, prepared_page
from experiments.tracking.machine import Machine
from experiments.tracking.mirror import Mirror, flattened, sync
from experiments.tracking.server import connected_client, experiment_id, prepare
from experiments.tracking.tracker import MlflowTracker
from tests.forked import forks

LARGEST = sys.float_info.max


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings():
        # MLflow's migrations ask SQLAlchemy 2.1 for a deprecated loader.
        warnings.filterwarnings("ignore", message="The ``noload`` loader", category=DeprecationWarning)
        prepare(f"sqlite:///{database}")
    return database


@pytest.fixture
def uri(empty_database, tmp_path):
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_database, tmp_path / "mlruns" / "mlflow.db")
    yield f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    spec = {"cues": {"face": {"enabled": False}}, "layers": [1, 2]}
    return RunDirectory.claim(tmp_path / "runs", "a", spec=spec, tags={"seed": "3"}, experiment="exp")


@pytest.fixture
def dead() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def fill(run: RunDirectory, steps: range) -> None:
    for step in steps:
        run.metrics.append(step, {"loss": 1 / (step + 3), "val/psnr": step * math.pi})


def everything(name: str) -> list[tuple[int, float]]:
    return [(step, 1 / (step + 3) if name == "loss" else step * math.pi) for step in range(6)]


def write_model(run: RunDirectory, content: str = "{}") -> None:
    run.model.mkdir(exist_ok=True)
    (run.model / "config.json").write_text(content)


def measured(uri: str, run_id: str, *names: str) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(tracking_uri=uri)
    return {n: sorted((m.step, m.value) for m in client.get_metric_history(run_id, n)) for n in names}


def recorded(run: RunDirectory, *names: str) -> dict[str, list[tuple[int, float]]]:
    return {n: sorted((r.step, r.values[n]) for r in run.metrics.read() if n in r.values) for n in names}


def contents(uri: str) -> dict[str, list[tuple[object, ...]]]:
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    tables = ("metrics", "params", "tags", "runs", "logged_models", "logged_model_metrics", "inputs", "experiments")
    rows = {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}
    database.close()
    return rows


def test_the_copy_holds_the_values_of_the_record(run, uri):
    fill(run, range(600))
    run_id = sync(run.path, uri)
    assert measured(uri, run_id, "loss", "val/psnr") == recorded(run, "loss", "val/psnr")


def test_a_diverged_loss_is_seen_in_the_copy(run, uri):
    for step, value in enumerate([math.inf, -math.inf, math.nan]):
        run.metrics.append(step, {"loss": value})
    history = measured(uri, sync(run.path, uri), "loss")["loss"]
    assert history[:2] == [(0, LARGEST), (1, -LARGEST)]
    assert math.isnan(history[2][1])


def test_the_copy_holds_spec_tags_media_and_status(run, uri):
    (run.media / "step_000001" / ".a.tmp-x").mkdir(parents=True)
    (run.media / "step_000001" / ".a.tmp-x" / "a.png").write_bytes(b"half")
    (run.media / "step_000001" / "a.mp4").write_bytes(b"video")
    run.update(status="interrupted")
    run_id = sync(run.path, uri)
    client = MlflowClient(tracking_uri=uri)
    copy = client.get_run(run_id)
    assert copy.data.params == {"cues.face.enabled": "False", "layers": "[1, 2]"}
    assert copy.data.tags["seed"] == "3"
    assert copy.info.status == "KILLED"
    assert [f.path for f in client.list_artifacts(run_id, "media/step_000001")] == ["media/step_000001/a.mp4"]
    assert {f.path for f in client.list_artifacts(run_id)} >= {"spec.json", "environment.txt"}


@pytest.mark.parametrize(("tags", "name"), [({"title": "full, seed 0"}, "full, seed 0"), ({}, "a")])
def test_people_find_the_copy_by_its_title_or_else_its_name(tags, name, tmp_path, uri):
    run = RunDirectory.claim(tmp_path / "runs", "a", spec={}, tags=tags, experiment="exp")
    assert MlflowClient(tracking_uri=uri).get_run(sync(run.path, uri)).info.run_name == name


def test_the_copy_holds_the_model_and_links_its_evaluation(run, uri, tmp_path):
    fill(run, range(3))
    write_model(run)
    run.evaluation_file.write_text('{"seed": 3, "summary": {"self": {"psnr": 21.5, "psnr_face": null}}}')
    sync(run.path, uri)
    client = MlflowClient(tracking_uri=uri)
    model = client.get_logged_model(run.record().mirrors[uri].model_id)
    assert model.status == "READY"
    assert [(m.key, m.value, m.step) for m in model.metrics] == [("self/psnr", 21.5, 2)]
    assert (Path(model.artifact_location) / "config.json").read_text() == "{}"
    assert Path(model.artifact_location).is_relative_to(tmp_path / "mlruns" / "artifacts")


def test_syncing_twice_changes_nothing(run, uri):
    fill(run, range(30))
    run.metrics.append(30, {"loss": math.nan})
    write_model(run)
    run.evaluation_file.write_text('{"summary": {"self": {"psnr": 21.5}}}')
    run.update(status="finished")
    run_id = sync(run.path, uri)
    before = contents(uri)
    assert sync(run.path, uri) == run_id
    assert contents(uri) == before


def kept(uri: str, run_id: str, file: str) -> str:
    location = MlflowClient(tracking_uri=uri).get_run(run_id).info.artifact_uri
    return (Path(location) / file).read_text()


def test_a_report_that_is_rewritten_at_the_same_size_is_sent_again(run, uri):
    run.media.mkdir()
    report = run.media / "table.md"
    for content in ("confirmed", "refuted  ", "no verdic"):
        report.write_text(content)
        assert kept(uri, sync(run.path, uri), "media/table.md") == content


def test_a_file_that_is_rewritten_at_the_same_size_while_the_run_goes_on_is_sent_again_and_no_other(
    run, uri, monkeypatch
):
    sent: list[str] = []
    log_artifact = MlflowClient.log_artifact

    def note(client: MlflowClient, run_id: str, path: str, folder: str | None = None) -> None:
        sent.append(Path(path).name)
        log_artifact(client, run_id, path, folder)

    monkeypatch.setattr(MlflowClient, "log_artifact", note)
    folder = run.media / "step_000001"
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_text("first ")
    (folder / "b.mp4").write_text("first ")
    Mirror(run, uri).push()
    mirror = Mirror(run, uri)
    mirror.push()  # of what is there already, the size is all that the server tells
    (folder / "a.mp4").write_text("second")
    os.utime(folder / "a.mp4", ns=(1, 1))
    mirror.push()
    mirror.push()
    assert sorted(name for name in sent if name.endswith(".mp4")) == ["a.mp4", "a.mp4", "b.mp4"]
    assert kept(uri, mirror.complete(), "media/step_000001/a.mp4") == "second"


def test_a_copy_is_found_again_when_the_record_forgot_it(run, uri):
    fill(run, range(5))
    record = run.record_file.read_bytes()
    run_id = sync(run.path, uri)
    run.record_file.write_bytes(record)
    assert sync(run.path, uri) == run_id


def test_a_model_trained_on_becomes_another_logged_model(run, uri):
    write_model(run)
    sync(run.path, uri)
    first = run.record().mirrors[uri].model_id
    write_model(run, '{"steps": 2}')
    sync(run.path, uri)
    assert run.record().mirrors[uri].model_id != first


def test_values_measured_anew_after_a_resume_are_not_doubled(run, uri):
    fill(run, range(10))
    run_id = sync(run.path, uri)
    run.metrics.truncate_after(4)
    fill(run, range(5, 12))
    sync(run.path, uri)
    assert measured(uri, run_id, "loss", "val/psnr") == recorded(run, "loss", "val/psnr")


@pytest.mark.parametrize(("back_to", "then"), [(0, 4), (2, 3), (3, 8), (5, 20)])
def test_a_mirror_that_looked_before_a_resume_cut_the_record_misses_and_doubles_nothing(run, uri, back_to, then):
    fill(run, range(6))
    mirror = Mirror(run, uri)
    mirror.push()
    run.metrics.truncate_after(back_to)
    fill(run, range(back_to + 1, then))
    mirror.push()
    assert measured(uri, mirror.complete(), "loss", "val/psnr") == {
        name: [(step, value) for step, value in recorded(run, name)[name]]
        + [(step, value) for step, value in everything(name) if then <= step < 6]
        for name in ("loss", "val/psnr")
    }


def show(run: RunDirectory, uri: str) -> None:
    tracker = MlflowTracker(uri)
    tracker.start(run)
    tracker.finish()


def test_a_tracker_mirrors_while_the_run_goes_on_and_completes_at_the_end(run, uri, capfd):
    tracker = MlflowTracker(uri, every_seconds=0.05)
    tracker.start(run)
    for start in range(0, 40, 10):
        fill(run, range(start, start + 10))
        time.sleep(0.1)
    run.update(status="finished")
    tracker.finish()
    run_id = run.record().mirrors[uri].run_id
    assert measured(uri, run_id, "loss", "val/psnr") == recorded(run, "loss", "val/psnr")
    copy = MlflowClient(tracking_uri=uri).get_run(run_id)
    assert copy.info.status == "FINISHED"
    assert "system/cpu_utilization_percentage" in copy.data.metrics
    assert copy.data.metrics[PEAK_MEMORY] == pytest.approx(peak_memory(run.system.read()))
    assert capfd.readouterr() == ("", "")


def test_a_finished_run_is_not_measured_with_those_that_meet_it_later(run, uri):
    run.system.append(0, {PEAK_MEMORY: 1.0})
    run.finish()
    show(run, uri)
    assert peak_memory(run.system.read()) == 1.0
    assert run.record().mirrors[uri].run_id


def test_a_finished_run_is_shown_once_by_a_process_and_again_if_it_changes(run, uri, monkeypatch):
    completed: list[RunDirectory] = []
    complete = Mirror.complete
    monkeypatch.setattr(Mirror, "complete", lambda mirror: completed.append(run) or complete(mirror))
    show(run, uri)
    show(run, uri)
    assert len(completed) == 2  # it is not finished, and may get more measurements
    run.finish()
    show(run, uri)
    show(run, uri)
    assert len(completed) == 3
    run.update(tags={"trial": "3"})
    show(run, uri)
    assert len(completed) == 4
    assert MlflowClient(tracking_uri=uri).get_run(run.record().mirrors[uri].run_id).data.tags["trial"] == "3"


def test_a_finished_run_that_could_not_be_shown_is_tried_again(run, uri, monkeypatch):
    run.finish()
    with monkeypatch.context() as broken:
        broken.setattr(mirror_module, "connected_client", _unreachable)
        show(run, uri)
    assert not run.record().mirrors
    show(run, uri)
    assert run.record().mirrors.keys() == {uri}


def _unreachable(uri: str) -> None:
    raise UserError(f"MLflow at {uri} cannot be reached")


def test_a_finished_run_is_shown_at_every_address(run, uri, tmp_path):
    run.finish()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    show(run, uri)
    show(run, elsewhere)
    assert run.record().mirrors.keys() == {uri, elsewhere}


def test_what_a_process_held_before_a_run_is_not_in_the_runs_peak(run):
    np.ones(300_000_000, np.uint8)
    machine = Machine(run.system)
    machine.sample()
    assert peak_memory(run.system.read()) * 1e6 < resident_bytes() + 100e6
    np.ones(300_000_000, np.uint8)
    machine.sample()
    assert peak_memory(run.system.read()) * 1e6 > resident_bytes() + 200e6


def test_a_server_dead_from_the_start_costs_one_line_and_no_data(run, uri, dead, capfd):
    tracker = MlflowTracker(dead, every_seconds=0.05, retry_seconds=0.1)
    begun = time.monotonic()
    tracker.start(run)
    fill(run, range(10))
    assert time.monotonic() - begun < 1.0
    time.sleep(0.3)
    tracker.finish()
    stderr = capfd.readouterr().err
    assert stderr.count("\n") == 1
    assert dead in stderr
    assert measured(uri, sync(run.path, uri), "loss") == recorded(run, "loss")


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_server_that_dies_midway_loses_nothing(run, uri, capfd, monkeypatch, comes_back):
    tracker = MlflowTracker(uri, every_seconds=0.02, retry_seconds=0.02)
    fill(run, range(10))
    tracker.start(run)
    while not run.record().mirrors:
        time.sleep(0.02)
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", _refuse)
        fill(run, range(10, 20))
        while "warning" not in (said := capfd.readouterr().err):
            time.sleep(0.02)
        if not comes_back:
            tracker.finish()
    if comes_back:
        tracker.finish()
    else:
        sync(run.path, uri)
    assert said.count("\n") == 1
    assert capfd.readouterr().err == ""
    assert measured(uri, run.record().mirrors[uri].run_id, "loss") == recorded(run, "loss")


def _refuse(*_: object, **__: object) -> None:
    raise ConnectionError("gone")


def test_finishing_waits_no_longer_than_it_was_told(run, uri, capfd, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(mirror_module, "connected_client", lambda _: _refuse(release.wait(10)))
    tracker = MlflowTracker(uri, every_seconds=0.05, patience_seconds=0.1)
    tracker.start(run)
    thread = tracker._thread
    begun = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begun < 5
    assert "too slow" in capfd.readouterr().err
    release.set()
    thread.join(10)


@pytest.mark.slow
def test_two_processes_make_one_experiment(uri):
    with forks().Pool(2) as pool:
        ids = pool.map(_make_experiment, [uri, uri], chunksize=1)
    names = [e.name for e in MlflowClient(tracking_uri=uri).search_experiments()]
    assert len(set(ids)) == 1
    assert sorted(names) == ["Default", "raced"]


def _make_experiment(uri: str) -> str:
    return experiment_id(connected_client(uri), "raced", artifact_root(uri))


def test_the_page_of_ablations_is_prepared_once_there_are_runs_and_shows_what_they_log(uri):
    assert prepared_page(uri, "shown") is None
    client = connected_client(uri)
    made = experiment_id(client, "shown", artifact_root(uri))
    for _ in range(2):
        assert prepared_page(uri, "shown") == f"#/experiments/{made}/runs?viewStateShareKey=ablations"
        tags = client.get_experiment(made).tags
        assert json.loads(tags["mlflow.sharedViewState.ablations"]) == page_state()
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    logged = {f"metrics.`{subset}/{name}`" for subset in ("self", "cross") for name in METRICS}
    assert {column for column in page_state()["selectedColumns"] if column.startswith("metrics.")} <= logged
    assert page_state()["orderByKey"] in logged
    client.search_runs([made], page_state()["searchFilter"], order_by=["metrics.`cross/psnr_foreground` DESC"])


def test_an_experiment_made_by_another_process_in_between_is_taken(uri):
    class Late(MlflowClient):
        calls = 0

        def get_experiment_by_name(self, name):
            Late.calls += 1
            return None if Late.calls == 1 else super().get_experiment_by_name(name)

    made = MlflowClient(tracking_uri=uri).create_experiment("raced")
    assert experiment_id(Late(tracking_uri=uri), "raced", None) == made


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = 'f00d'", "DROP TABLE alembic_version"])
def test_a_database_of_another_version_is_one_line_and_untouched(run, uri, statement, capfd):
    database = Path(uri.removeprefix("sqlite:///"))
    connection = sqlite3.connect(database)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = database.read_bytes()
    tracker = MlflowTracker(uri, every_seconds=0.05)
    tracker.start(run)
    fill(run, range(3))
    tracker.finish()
    stderr = capfd.readouterr().err
    assert stderr.count("\n") == 1
    assert "MLflow" in stderr
    assert database.read_bytes() == before
    assert len(run.metrics.read()) == 3


@pytest.mark.parametrize("obstacle", ["file", "text"])
def test_an_unusable_place_is_one_line(run, tmp_path, obstacle):
    (tmp_path / "place").write_text("not a database, and no directory either")
    place = tmp_path / "place" / "mlflow.db" if obstacle == "file" else tmp_path / "place"
    with pytest.raises(UserError) as caught:
        sync(run.path, f"sqlite:///{place}")
    assert "\n" not in str(caught.value)


def test_a_read_only_place_costs_one_line_and_no_data(run, capfd, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(server, "atomic_write", refuse)
    tracker = MlflowTracker(f"sqlite:///{run.path.parent / 'ro' / 'mlflow.db'}", every_seconds=0.05)
    tracker.start(run)
    fill(run, range(3))
    tracker.finish()
    stderr = capfd.readouterr().err
    assert (stderr.count("\n"), "Read-only file system" in stderr) == (1, True)
    assert len(run.metrics.read()) == 3


def test_syncing_what_is_no_run_is_refused(tmp_path, uri):
    with pytest.raises(UserError, match=r"record\.json"):
        sync(tmp_path, uri)


def test_a_password_in_the_address_is_not_shown():
    assert public_uri("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"


def test_the_default_address_is_absolute_and_follows_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    assert default_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert artifact_root(default_uri()) == f"{tmp_path}/artifacts"


def test_flattening_keeps_every_leaf():
    assert flattened({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}


@pytest.mark.parametrize("argument", ["port=x", "port=0", "port=70000", "prot=1", "port"])
def test_the_ui_refuses_an_illegal_argument_in_one_line(argument, capsys):
    assert run_command(ui.main, [argument]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_ui_listens_on_this_machine_alone():
    command = ui.server_command("sqlite:////x/mlflow.db", 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--default-artifact-root") + 1] == "/x/artifacts"
