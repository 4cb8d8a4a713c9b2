"""The page of MLflow that a researcher wants first: finished runs by variant, seeds together, columns that tell.

MLflow shares the state of a page by a tag of the experiment that the page's address names; so it can be prepared."""

import json
from collections.abc import Iterator

from experiments.record import VARIANT_TAG
from experiments.tracking.server import connected_client, failures_explained

KEY = "ablations"
"""What the address calls the page."""
METRICS = ("psnr_foreground", "mask_iou", "ssim", "motion", "identity")
"""As the README's tables have them."""
_STATE_TAG, _KIND_TAG = f"mlflow.sharedViewState.{KEY}", "mlflow.experimentKind"


def columns() -> Iterator[str]:
    """MLflow's names of the columns: who is compared, by what."""
    yield from ("attributes.`Run Name`", "attributes.`Duration`")
    yield from (f"tags.`{name}`" for name in (VARIANT_TAG, "seed"))
    yield from (f"metrics.`cross/{name}`" for name in METRICS)
    yield "metrics.`self/motion`"


def page_state() -> dict[str, object]:
    """What is shown: evaluated students, grouped by variant with the mean over seeds, best first. Trials of sweeps and
    reproductions, which are measured on other clips or are no further seeds, have no variant."""
    return {
        "searchFilter": f"tags.{VARIANT_TAG} LIKE '%' and attributes.status = 'FINISHED'",
        "orderByKey": "metrics.`cross/psnr_foreground`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns()),
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": VARIANT_TAG}]},
    }


def prepared_page(uri: str, experiment: str) -> str | None:
    """Where the page is, from the server's root; None while there is no such experiment. Afterwards MLflow knows the
    page, and the experiment as one of trained models.

    Raises: UserError if MLflow cannot be used."""
    with failures_explained(uri):
        client = connected_client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        for tag, value in ((_STATE_TAG, json.dumps(page_state())), (_KIND_TAG, "custom_model_development")):
            if found.tags.get(tag) != value:
                client.set_experiment_tag(found.experiment_id, tag, value)
        return f"#/experiments/{found.experiment_id}/runs?viewStateShareKey={KEY}"
