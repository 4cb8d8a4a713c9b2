"""The command on folders of clips, with metrics that need no network, and with nets that are stood in for."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from directanimator import places
from directanimator.errors import UserError
from directanimator.metrics import features
from directanimator.metrics.__main__ import main, parse
from directanimator.metrics.catalog import BY_NAME, METRICS, ClipMetric, chosen
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import Extractor, Networks
from directanimator.metrics.folders import Folders, measure
from directanimator.metrics.image import psnr
from directanimator.metrics.intervals import mean_interval
from directanimator.metrics.protocol import MetricProtocol
from tests.strategies import seeds

PLAIN = "l1,psnr,ssim,flicker,color_drift"
SIDE = 16


def clip(seed, frames=4, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), np.uint8)


def noisy(number):
    noise = np.random.default_rng(100 + number).integers(0, 4 + number, (4, SIDE, SIDE, 3), np.uint8)
    return clip(number) // 2 + noise


def write(folder, name, frames):
    (folder / name).mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name / f"{index}.png")


@pytest.fixture
def pair(tmp_path):
    """Seven true clips and as many noisy ones, as frame folders."""
    for number in range(7):
        write(tmp_path / "target", f"clip_{number}", clip(number) // 2)
        write(tmp_path / "generated", f"clip_{number}", noisy(number))
    return tmp_path


def run(root, *words, metrics=PLAIN):
    return main([f"generated={root / 'generated'}", f"target={root / 'target'}", f"output={root / 'out'}",
                 f"metrics={metrics}", "worst=0", *words])  # fmt: skip


def report(root):
    record = json.loads((root / "out" / "report.json").read_text())
    return record | {"by_name": {entry["metric"]: entry for entry in record["metrics"]}}


def test_what_was_measured_is_shown_even_if_no_report_can_be_written(pair, capsys):
    (pair / "out").touch()
    assert run(pair) == 2
    said = capsys.readouterr()
    assert "psnr (dB)" in said.out
    assert len(said.err.splitlines()) == 1


def test_the_report_holds_means_intervals_and_every_clip(pair, capsys):
    assert run(pair) == 0
    wanted = {f"clip_{number}": psnr(noisy(number), clip(number) // 2) for number in range(7)}
    found = report(pair)["by_name"]["psnr"]
    assert found["clips"] == pytest.approx(wanted)
    interval = mean_interval(list(wanted.values()))
    assert (found["value"], found["low"], found["high"]) == pytest.approx((interval.mean, interval.low, interval.high))
    with (pair / "out" / "clips.csv").open() as file:
        rows = {row["clip"]: float(row["psnr"]) for row in csv.DictReader(file)}
    assert rows == pytest.approx(wanted)
    shown = capsys.readouterr().out
    assert re.search(rf"psnr \(dB\) +higher +{interval.mean:.2f} \[", shown)
    assert found["protocol_id"] in shown
    assert found["protocol"]["clips"] == 7
    assert "<table>" in (pair / "out" / "report.html").read_text()


def test_the_names_of_clips_decide_and_not_their_order(pair):
    run(pair)
    before = report(pair)["by_name"]
    for number in range(7):
        for role in ("generated", "target"):
            (pair / role / f"clip_{number}").rename(pair / role / f"x{(3 * number) % 7}")
    run(pair)
    for name, entry in report(pair)["by_name"].items():
        assert entry["value"] == pytest.approx(before[name]["value"], rel=1e-12)
        assert sorted(entry["clips"].values()) == pytest.approx(sorted(before[name]["clips"].values()))


def test_equal_folders_get_the_best_values(pair):
    shutil.rmtree(pair / "generated")
    shutil.copytree(pair / "target", pair / "generated")
    assert run(pair) == 0
    assert [report(pair)["by_name"][name]["value"] for name in PLAIN.split(",")] == [0, 100, 1, 0, 0]


DIFFERENT = {
    "a clip too few": (lambda root: shutil.rmtree(root / "generated" / "clip_3"), "clip_3: not in generated"),
    "a clip too many": (lambda root: write(root / "generated", "new", clip(1)), "new: in generated, not in target"),
    "another size": (
        lambda root: (shutil.rmtree(root / "generated/clip_2"), write(root / "generated", "clip_2", clip(2, side=18))),
        "clip_2: generated 18x18, target 16x16 pixels",
    ),
    "another length": (
        lambda root: (root / "generated" / "clip_5" / "3.png").unlink(),
        "clip_5: generated 3, target 4 frames",
    ),
}


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_folders_that_differ_are_refused_and_the_difference_is_named(pair, capsys, name):
    spoil, line = DIFFERENT[name]
    spoil(pair)
    assert run(pair) == 2
    error = capsys.readouterr().err
    assert "match=common" in error
    assert line in error
    assert not (pair / "out").exists()


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_what_agrees_is_measured_and_what_is_left_out_is_listed(pair, capsys, name):
    run(pair)
    whole = report(pair)["by_name"]["psnr"]["clips"]
    spoil, line = DIFFERENT[name]
    spoil(pair)
    assert run(pair, "match=common") == 0
    found = report(pair)
    (listed,) = found["left_out"]
    assert listed.startswith(line)
    assert line in capsys.readouterr().out.replace("\n  ", " ")
    clips = found["by_name"]["psnr"]["clips"]
    untouched = whole.keys() - {line.partition(":")[0]}
    assert {key: clips[key] for key in untouched} == pytest.approx({key: whole[key] for key in untouched})
    assert ("clip_5" in clips) is True


def test_a_clip_with_a_colon_in_its_name_is_not_called_left_out(pair):
    for role, frames in (("generated", 3), ("target", 4)):
        write(pair / role, "12:30", clip(0, frames))
    assert run(pair, "match=common") == 0
    (line,) = [line for line in report(pair)["left_out"] if line.startswith("12:30")]
    assert line.endswith("(the first 3 are measured)")


def test_nothing_in_common_is_refused(pair, capsys):
    for number in range(7):
        (pair / "generated" / f"clip_{number}").rename(pair / "generated" / f"other_{number}")
    assert run(pair, "match=common") == 2
    assert "no clip is left to measure" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["generated", "target"])
def test_an_unreadable_clip_is_listed_and_the_rest_is_measured(pair, capsys, role):
    (pair / role / "clip_4" / "2.png").write_bytes(b"broken")
    assert run(pair) == 1
    found = report(pair)
    assert [(one["clip"], one["where"]) for one in found["failures"]] == [("clip_4", role)]
    assert found["by_name"]["psnr"]["protocol"]["clips"] == 6
    assert "clip_4" in found["clips"]
    shown = capsys.readouterr().out
    assert re.search(r"psnr \(dB\) +higher .* 6 +1 ", shown)
    assert f"no value: {role}: clip_4" in shown


def test_one_clip_of_one_frame_is_measured_as_far_as_it_goes(tmp_path, capsys):
    write(tmp_path / "generated", "a", clip(0, 1))
    write(tmp_path / "target", "a", clip(1, 1))
    assert run(tmp_path) == 1
    found = report(tmp_path)
    assert found["by_name"]["psnr"]["value"] > 0
    assert found["by_name"]["psnr"]["low"] is None
    assert found["by_name"]["flicker"]["value"] is None
    assert {one["where"] for one in found["failures"]} == {"flicker", "color_drift"}
    assert "[one clip: no interval]" in capsys.readouterr().out


def test_frames_too_small_for_a_metric_are_listed_by_name(tmp_path):
    write(tmp_path / "generated", "a", clip(0, side=8))
    write(tmp_path / "target", "a", clip(1, side=8))
    assert run(tmp_path) == 1
    (failure,) = report(tmp_path)["failures"]
    assert (failure["clip"], failure["where"]) == ("a", "ssim")
    assert "at least 11 pixels" in failure["reason"]


BAD = {
    "generated=/nowhere": "no such folder",
    "metrics=psrn": "did you mean 'psnr'",
    "match=comon": "did you mean 'common'",
    "window=8": "want a whole number 9..512",
    "worst=-1": "want a whole number",
    "drivng=x": "did you mean 'driving'",
    "target": "target needs a value",
    "--lst": "did you mean '--list'",
    "against=/nowhere": "against=/nowhere: no such file",
}


@pytest.mark.parametrize("word", sorted(BAD))
def test_bad_words_get_one_line(pair, capsys, word):
    words = {"generated": pair / "generated", "target": pair / "target", "output": pair / "out", "metrics": "l1"}
    words.pop(word.partition("=")[0], None)
    assert main([word, *(f"{key}={value}" for key, value in words.items())]) == 2
    error = capsys.readouterr().err
    assert BAD[word] in error
    assert error.count("\n") == 1


def test_missing_and_repeated_words_are_refused():
    with pytest.raises(UserError, match="missing generated=DIR, target=DIR; usage"):
        parse([])
    with pytest.raises(UserError, match="target is given twice"):
        parse(["generated=a", "target=b", "target=c"])


def test_the_list_names_every_metric(capsys):
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(BY_NAME)


def test_the_gallery_of_folders_shows_the_worst_in_every_role(pair):
    for number in range(7):
        write(pair / "driving", f"clip_{number}", clip(50 + number))
        write(pair / "reference", f"clip_{number}", clip(number, 1))
    words = [f"{role}={pair / role}" for role in ("generated", "target", "driving", "reference")]
    assert main([*words, f"output={pair / 'out'}", "metrics=psnr", "worst=2"]) == 0
    page = (pair / "out" / "gallery.html").read_text()
    clips = report(pair)["by_name"]["psnr"]["clips"]
    assert re.findall(r'<figure id="clip-(\w+)"', page) == sorted(clips, key=clips.__getitem__)[:2]
    captions = re.findall(r"<span[^>]*>([^<]+)</span>", page)
    assert captions[:5] == ["reference", "driving", "generated", "target", "difference x 3"]
    assert 'href="gallery.html"' in (pair / "out" / "report.html").read_text()


# ---------------------------------------------------------------- against an earlier report


def test_differences_to_an_earlier_report_are_paired_by_clip(pair, capsys):
    run(pair)
    earlier = pair / "earlier.json"
    (pair / "out" / "report.json").rename(earlier)
    for number in range(7):
        shutil.rmtree(pair / "generated" / f"clip_{number}")
        write(pair / "generated", f"clip_{number}", clip(number) // 2 + np.uint8(1))
    run(pair, f"against={earlier}")
    lines = {line.partition(":")[0]: line for line in report(pair)["differences"]}
    before, after = json.loads(earlier.read_text()), report(pair)["by_name"]["psnr"]["clips"]
    old = next(entry for entry in before["metrics"] if entry["metric"] == "psnr")["clips"]
    mean = np.mean([after[name] - old[name] for name in after])
    assert lines["psnr"].startswith(f"psnr: {mean:+.2f} [")
    assert lines["psnr"].endswith("on 7 clips")
    assert f"minus {earlier}" in capsys.readouterr().out


def test_a_clip_that_either_report_has_no_value_of_leaves_the_difference_of_the_others(pair):
    run(pair)
    earlier = pair / "earlier.json"
    before = json.loads((pair / "out" / "report.json").read_text())
    entry = next(entry for entry in before["metrics"] if entry["metric"] == "psnr")
    entry["clips"]["clip_0"] = None
    entry["protocol"] |= {"clips": 6, "items": 6}
    earlier.write_text(json.dumps(before))
    run(pair, f"against={earlier}")
    (line,) = [line for line in report(pair)["differences"] if line.startswith("psnr:")]
    assert "on 6 clips" in line


def test_where_no_clip_has_both_values_nothing_is_said_of_a_difference(pair):
    run(pair)
    earlier = pair / "earlier.json"
    before = json.loads((pair / "out" / "report.json").read_text())
    entry = next(entry for entry in before["metrics"] if entry["metric"] == "psnr")
    entry["clips"] = dict.fromkeys(entry["clips"])
    earlier.write_text(json.dumps(before))
    run(pair, f"against={earlier}")
    (line,) = [line for line in report(pair)["differences"] if line.startswith("psnr:")]
    assert line == "psnr: - (no clip has both)"


def test_reports_on_another_target_are_not_compared_and_the_field_is_named(pair):
    run(pair)
    earlier = pair / "earlier.json"
    (pair / "out" / "report.json").rename(earlier)
    pixel = np.asarray(Image.open(pair / "target" / "clip_0" / "0.png")).copy()
    pixel[0, 0, 0] ^= 1
    Image.fromarray(pixel).save(pair / "target" / "clip_0" / "0.png")
    run(pair, f"against={earlier}")
    assert all("not compared" in line and "differ in target (" in line for line in report(pair)["differences"])


def test_what_is_no_report_is_refused(pair, capsys):
    other = pair / "other.json"
    other.write_text("[]")
    assert run(pair, f"against={other}") == 2
    assert "not a report.json" in capsys.readouterr().err


# ---------------------------------------------------------------- networks that are stood in for


class Stub(Networks):
    """Counts how often a net looks at a clip."""

    def __init__(self):
        self.looks = []


def brightness(networks, frames, known, window):
    networks.looks.append(len(frames))
    vectors = frames.astype(np.float32).mean(axis=(1, 2))[:, :2]
    return {"i3d.logits": vectors, "i3d.pooled": vectors, "mobilenet_v2.pooled": vectors}


@pytest.fixture
def stub(monkeypatch):
    extractor = Extractor("i3d", 1, ("i3d",), brightness, lambda nets: None, windowed=True)
    monkeypatch.setattr(features, "EXTRACTORS", {"i3d": extractor})
    monkeypatch.setattr("directanimator.metrics.measurement.EXTRACTORS", {"i3d": extractor})
    return Stub()


def folders_of(root):
    return Folders({"generated": root / "generated", "target": root / "target"})


def test_features_of_the_target_are_looked_up_and_those_of_the_generated_clips_are_not(pair, stub, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    first = measure(folders_of(pair), chosen("fvd,kvd_i3d"), cache=cache, networks=stub)
    assert len(stub.looks) == 14
    second = measure(folders_of(pair), chosen("fvd,kvd_i3d"), cache=cache, networks=stub)
    assert len(stub.looks) == 21
    assert [result.value for result in first.results] == [result.value for result in second.results]


def test_a_distance_of_sets_says_n_and_its_bias(pair, stub):
    (fvd, kvd) = measure(folders_of(pair), chosen("fvd,kvd_i3d"), networks=stub).results
    assert (fvd.protocol.clips, fvd.protocol.items, fvd.protocol.window) == (7, 28, 16)
    assert re.fullmatch("[0-9a-f]{12}", fvd.protocol.weights)
    assert fvd.protocol.network == "i3d 1"
    assert math.isnan(fvd.bias)  # of seven clips there are no quarters
    assert kvd.bias == 0
    assert fvd.interval is None


def test_one_clip_has_no_distance_of_sets_but_all_else(tmp_path, stub, monkeypatch):
    one = lambda nets, frames, known, window: {"i3d.logits": np.ones((1, 2), np.float32)}  # noqa: E731
    monkeypatch.setitem(features.EXTRACTORS, "i3d", Extractor("i3d", 1, ("i3d",), one, lambda nets: None))
    write(tmp_path / "generated", "a", clip(0))
    write(tmp_path / "target", "a", clip(1))
    found = measure(folders_of(tmp_path), chosen("fvd,psnr"), networks=stub)
    values = {result.metric.name: result.value for result in found.results}
    assert values["psnr"] > 0
    assert math.isnan(values["fvd"])
    assert [(one.where, "has 1 items" in one.reason) for one in found.failures] == [("fvd", True)]


def test_missing_weights_leave_the_rest_of_the_report_whole(pair, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(places.ASSETS_VARIABLE, str(tmp_path / "no assets"))
    monkeypatch.setenv(places.FEATURES_VARIABLE, str(tmp_path / "cache"))
    assert run(pair, metrics="all") == 1
    found = report(pair)
    assert {"l1", "psnr", "psnr_disco", "ssim", "flicker", "color_drift"} == set(found["by_name"])
    assert found["not_measured"].keys() == {metric.name for metric in chosen("all")} - set(found["by_name"])
    assert "python -m directanimator.assets fetch i3d" in found["not_measured"]["fvd"]
    assert found["not_measured"]["fis_dlib_reference"] == "needs reference=DIR"
    assert "not measured: fvd" in capsys.readouterr().out


# ---------------------------------------------------------------- catalog


def test_every_metric_says_what_it_is():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.meaning
        assert set(metric.features) <= features.EXTRACTORS.keys()
    honest = [metric for metric in METRICS if "not comparable" in metric.meaning or "not ArcFace" in metric.meaning]
    assert {"lpips_mobilenetv2", "fid_mobilenetv2", "kid_mobilenetv2", "fis_dlib"} <= {metric.name for metric in honest}
    standard = {metric.name for metric in METRICS if not features_of(metric).isdisjoint(("inception", "alexnet"))}
    assert standard == {"fid", "kid", "lpips"}
    assert "fis" not in BY_NAME


def features_of(metric):
    return {*metric.features, metric.network}


@given(seeds())
def test_the_truth_gets_the_best_of_every_plain_metric(seed):
    from directanimator.metrics.catalog import ClipEvidence
    from directanimator.metrics.features import Observed

    truth = Observed(clip(seed))
    best = {"l1": 0, "psnr": 100, "psnr_disco": 100, "ssim": 1, "flicker": 0, "color_drift": 0}
    for name, value in best.items():
        metric = BY_NAME[name]
        assert isinstance(metric, ClipMetric)
        assert metric.compute(ClipEvidence(truth, truth), Networks()) == value


FIELDS = sorted(MetricProtocol.model_fields)


@given(st.sampled_from(FIELDS))
def test_any_field_of_a_protocol_changes_its_id_and_is_named(field):
    from directanimator.metrics.protocol import compare

    first = MetricProtocol(
        metric="fvd", version=1, parameters="", decoder="pyav", size="64x64", resize="none", fps="8", frames="16",
        window=16, clips=8, items=8, network="i3d 1", weights="abc", target="def",
    )  # fmt: skip
    value = getattr(first, field)
    second = first.model_copy(update={field: value + 1 if isinstance(value, int) else value + "x"})
    assert second.id != first.id
    with pytest.raises(UserError) as refusal:
        compare(first, second)
    assert re.findall(r"(\w+) \(", str(refusal.value)) == [field]
    assert MetricProtocol.of_record(json.loads(json.dumps(first.model_dump(mode="json")))) == first
