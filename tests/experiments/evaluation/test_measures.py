"""The metrics of the field on a run's test clips: which are chosen, what is asked first, what is shown."""

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator import places
from directanimator.assets import is_fetched
from directanimator.errors import UserError
from directanimator.metrics.catalog import METRICS, SetMetric
from directanimator.metrics.clip_folder import Clip
from directanimator.metrics.features import EXTRACTORS, with_needed
from directanimator.metrics.measurement import networks_of
from directanimator.metrics.report import record
from directanimator.metrics.spec import NetworkName
from experiments.edit import edit
from experiments.evaluation.columns import METRICS as SCORES
from experiments.evaluation.measures import check_networks, means, measured, metrics_for, networks_for, render_measures
from experiments.experiment import run_experiment
from experiments.presets import SMOKE
from tests.strategies import seeds

NETWORKS = get_args(NetworkName)
FETCHED = [name for name in NETWORKS if not EXTRACTORS[name].files]
BROUGHT = [name for name in NETWORKS if EXTRACTORS[name].files]
some_networks = st.lists(st.sampled_from(NETWORKS), unique=True).map(tuple)


def clips(seed, count=4):
    rng = np.random.default_rng(seed)
    made = [rng.integers(0, 256, (3, 12, 12, 3), np.uint8) for _ in range(3 * count)]
    return {
        f"cross_{index:02d}": {
            "generated": Clip(made[3 * index], 8.0, "none"),
            "target": Clip(made[3 * index + 1], 8.0, "none"),
            "reference": Clip(made[3 * index + 2][:1], None, "none"),
        }
        for index in range(count)
    }


def test_the_spec_knows_every_network():
    assert set(NETWORKS) == EXTRACTORS.keys()


@given(some_networks, some_networks)
def test_more_networks_bring_more_metrics_and_lose_none(first, second):
    some, all_of_them = metrics_for(first), metrics_for((*first, *(name for name in second if name not in first)))
    assert set(map(id, some)) <= set(map(id, all_of_them))
    assert all(set(networks_of(metric)) <= set(with_needed(first)) for metric in some)


def test_no_metric_takes_the_name_of_a_score_by_ground_truth():
    assert not {metric.name for metric in metrics_for(NETWORKS)} & SCORES.keys()
    assert {metric.name for metric in metrics_for(())} == {"l1", "flicker", "color_drift"}
    left_out = {metric.name for metric in METRICS} - {metric.name for metric in metrics_for(NETWORKS)}
    assert left_out == {"psnr", "ssim", "psnr_disco"}


def test_a_distance_has_its_unbiased_sibling_beside_it():
    for network in ("i3d", "mobilenet_v2", "inception"):
        sets = [metric for metric in metrics_for((network,)) if isinstance(metric, SetMetric)]
        assert {metric.biased for metric in sets} == {True, False}


@given(seeds(), st.integers(1, 5))
def test_the_means_are_those_of_the_clips(seed, count):
    found = measured(clips(seed, count), ())
    for result in found.results:
        assert means(found)[result.metric.name] == pytest.approx(np.mean(list(result.clips.values())), abs=1e-12)
        assert set(result.clips) == set(clips(seed, count))


def test_what_is_shown_is_what_was_measured():
    found = measured(clips(1), ())
    shown = render_measures(json.loads(json.dumps({"measured": {"cross": record(found)}})))
    for result in found.results:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"cross/{result.metric.name} ")]
        assert f"{result.value:.4f} [{result.interval.low:.4f}, {result.interval.high:.4f}]" in line
        assert line.split()[-3:] == ["4", "0", result.protocol.id]


def test_an_evaluation_of_before_shows_nothing():
    assert render_measures({"clips": {}}) == ""


def test_a_clip_without_value_is_counted_and_not_dropped():
    made = clips(2)
    made["cross_01"] = {role: Clip(clip.frames[:1], 8.0, "none") for role, clip in made["cross_01"].items()}
    shown = render_measures({"measured": {"cross": record(measured(made, ()))}})
    counts = {line.split()[0]: line.split()[-3:-1] for line in shown.splitlines() if line.startswith("cross/")}
    assert counts == {"cross/l1": ["4", "0"], "cross/flicker": ["3", "1"], "cross/color_drift": ["3", "1"]}


@given(st.lists(st.sampled_from(FETCHED), unique=True, min_size=1))
def test_missing_weights_are_all_named_in_one_line(tmp_path_factory, networks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(places.ASSETS_VARIABLE, str(tmp_path_factory.getbasetemp() / "empty"))
        with pytest.raises(UserError) as refusal:
            check_networks(tuple(networks))
    line = str(refusal.value)
    assert "\n" not in line
    needed = {name for network in with_needed(networks) for name in EXTRACTORS[network].assets}
    assert set(line.rpartition("fetch ")[2].split()) == needed


@pytest.mark.parametrize("network", BROUGHT)
def test_files_to_be_brought_are_named_with_place_and_source(tmp_path, monkeypatch, network):
    monkeypatch.setenv(places.WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(UserError) as refusal:
        check_networks((network,))
    file, line = EXTRACTORS[network].files[0], str(refusal.value)
    assert "\n" not in line
    assert all(part in line for part in (*file.names, str(tmp_path), places.WEIGHTS_VARIABLE, file.page))


def test_missing_weights_end_a_run_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv(places.ASSETS_VARIABLE, str(tmp_path / "empty"))
    monkeypatch.setenv(places.RUNS_VARIABLE, str(tmp_path / "runs"))
    spec = edit(SMOKE.spec, {"evaluation.networks": ("mobilenet_v2",)})
    with pytest.raises(UserError, match=r"evaluation\.networks=mobilenet_v2: mobilenet_v2 not fetched; get it with"):
        run_experiment(spec, {"preset": "smoke", "ablation": "full"})
    assert not (tmp_path / "runs").exists()


def test_the_teacher_is_not_judged_by_networks():
    spec = edit(SMOKE.spec, {"evaluation.networks": ("mobilenet_v2",)})
    assert networks_for(spec, "same_id") == ()
    assert networks_for(spec, "cross_id") == ("mobilenet_v2",)


@pytest.mark.skipif(not is_fetched("mobilenet_v2"), reason="python -m directanimator.assets fetch mobilenet_v2")
def test_distances_say_n_and_bias_and_targets_are_looked_up_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv(places.FEATURES_VARIABLE, str(tmp_path))
    found = measured(clips(3, count=8), ("mobilenet_v2",))
    fid = next(result for result in found.results if result.metric.name == "fid_mobilenetv2")
    assert (fid.protocol.clips, fid.protocol.items) == (8, 24)
    assert means(found)["fid_mobilenetv2_bias"] == fid.bias > 0
    assert "kid_mobilenetv2_bias" not in means(found)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 8
    again = measured(clips(3, count=8), ("mobilenet_v2",))
    assert means(again) == pytest.approx(means(found), nan_ok=True)
    assert sorted(tmp_path.rglob("*.safetensors")) == kept
