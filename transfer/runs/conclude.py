"""Write the results of a finished run: result.json, tables, plots and weights."""

from dataclasses import asdict
from typing import Any

from checkpoints.backbone import digest
from transfer.analysis.flops import MultiplyAdds
from transfer.environment import versions
from transfer.pruning import Masks, effective_sparsity, report
from transfer.pruning.prunable import prunable
from transfer.report import plots
from transfer.runs import predictor
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import Setup
from transfer.runs.prune_model import Pruning
from transfer.training import History
from transfer.training.checkpoint import save_weights

Layers = list[dict[str, Any]]


def layer_rows(setup: Setup, masks: Masks | None, work: MultiplyAdds) -> Layers:
    """Return the rows of ``layers.csv``: per prunable layer its weights, units, and multiply-adds on one image."""
    masks = masks or Masks.full(prunable(setup.model))
    rows = report(setup.model, masks, setup.noise[0])
    counts = (work.layers[name] for name in masks)
    return [
        row | {"multiply_adds": count.dense, "multiply_adds_kept": count.kept}
        for row, count in zip(rows, counts, strict=True)
    ]


def described(setup: Setup, pruning: Pruning, layers: Layers, work: MultiplyAdds, history: History) -> dict[str, Any]:
    """Return the content of ``result.json``.

    Args:
        setup: the run's setup; its model is trained.
        pruning: the masks and the pruning set.
        layers: the rows of :func:`layer_rows`.
        work: multiply-adds on one image, excluded layers included.
        history: metrics per epoch.
    """
    return {
        **_asked(setup),
        **_pruning(setup, pruning, layers),
        "multiply_adds": {"dense": work.dense, "kept": work.kept},
        **_scores(setup, history),
        "weights_digest": digest(setup.model.state_dict()),
    }


def conclude(setup: Setup, folder: RunFolder, layers: Layers, history: History, metrics: dict[str, Any]) -> None:
    """Write tables, plots and weights, then ``result.json``, which marks the run as finished; remove saved states."""
    assert history.counts is not None  # set by the last epoch's test
    classes, headline, title = setup.task.table(history.counts), setup.task.headline, folder.path.name
    save_weights(setup.model, folder.file("model.safetensors"))
    folder.write_json(predictor.NAME, predictor.describe(setup))
    if classes:
        folder.write_table("classes.csv", classes)
    folder.write_table("layers.csv", layers)
    plots.metric(history.epochs, headline, folder.file("plots") / f"{headline.name}.png", title)
    plots.density(layers, folder.file("plots/density.png"), title=title)
    folder.write_json("result.json", metrics)
    folder.clear()


def _asked(setup: Setup) -> dict[str, Any]:
    recipe, backbone = setup.recipe, setup.backbone
    return {
        "recipe": recipe.name,
        "backbone": recipe.backbone,
        "arch": backbone.arch,
        "backbone_digest": setup.origin.backbone,
        "licence": backbone.card.licence,
        "card": asdict(backbone.card),
        "dataset": recipe.data.name,
        **setup.task.facts(setup.dataset, recipe),
        "image_size": recipe.data.size,
        "method": recipe.prune.method,
        "sparsity_asked": recipe.prune.sparsity,
        "rounds": recipe.prune.rounds,
        "statistics": recipe.prune.statistics,
        "seed": recipe.seed,
        "epochs": recipe.train.epochs,
        "device": setup.accelerator.device.type,
        "processes": setup.accelerator.num_processes,
        "precision": str(setup.accelerator.mixed_precision),
        "versions": versions(),
    }


def _pruning(setup: Setup, pruning: Pruning, layers: Layers) -> dict[str, Any]:
    masks = pruning.masks
    if masks is None:
        total = sum(row["total"] for row in layers)
        return {"sparsity": 0.0, "kept": total, "total": total, "pruning_set": None}
    asked = setup.recipe.prune
    return {
        "sparsity": masks.sparsity, "effective_sparsity": effective_sparsity(layers),
        "kept": masks.kept, "total": masks.total, "masks_digest": masks.digest(),
        "empty_layers": [name.removesuffix(".weight") for name in masks.collapsed()],
        "dead_units": sum(row["dead_units"] for row in layers), "recalibrated": asked.recalibrate,
        "allocation": asked.allocation, "pattern": asked.pattern, "ablate": asked.ablate,
        "options": asked.method_options(), "pruning_set": pruning.seen,
    }  # fmt: skip


def _scores(setup: Setup, history: History) -> dict[str, Any]:
    assert history.counts is not None
    name, last, best = setup.task.headline.name, history.last, history.best
    measured = {key: value for key, value in last.items() if key not in ("epoch", "lr", "train_loss")}
    found = {**measured, "headline": name, f"best_{name}": best[name], "best_epoch": best["epoch"]}
    if setup.task.table(history.counts):
        found["absent_classes"] = setup.task.absent(history.counts)
    return found
