"""A check of a few seconds on the embedded backbone and digits: each device alone, then all processes together."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.backbone import digest
from checkpoints.errors import InputError, one_line, reason
from transfer import data
from transfer.data.dataset import Images
from transfer.data.image_batches import Batches
from transfer.errors import RunError
from transfer.models import classifier
from transfer.pruning import Masks, prune, score
from transfer.pruning.prunable import prunable
from transfer.recipe import Train
from transfer.training import Loaders, finetune
from transfer.training.checkpoint import KEYS, State

SPARSITY, BATCH, STEPS = 0.5, 16, 2
PARTS = ("build", "score", "masks", "step", "state")
CPU = "reinstall torch, torchvision and timm as versions that belong together"
GPU = "see whether nvidia-smi lists it and torch fits its driver, or hide it with CUDA_VISIBLE_DEVICES"
DISK = "free space in the folder of temporary files, or set TMPDIR to another"
NETWORK = (
    "see whether the processes reach each other (MASTER_ADDR, firewall, NCCL_SOCKET_IFNAME) and have equal versions"
)


@dataclass(frozen=True)
class Outcome:
    """Result of one check: its name and place, what was measured, and what went wrong with a remedy; None = passed."""

    name: str
    where: str
    seen: str = ""
    wrong: str | None = None
    seconds: float = 0.0


def check_device(device: torch.device, folder: Path) -> Iterator[Outcome]:
    """Score, prune, take a step, save and load on one device; stop at the first failure."""
    parts = _parts(device, folder)
    for name in PARTS:
        remedy = DISK if name == "state" else GPU if device.type == "cuda" else CPU
        outcome = _attempt(name, str(device), partial(next, parts), remedy)
        yield outcome
        if outcome.wrong:
            return


def check_together(accelerator: Any, folder: Path) -> Outcome:
    """Prune and fine-tune with all processes; check that masks, weights and the saved state agree."""
    where = f"{accelerator.num_processes} process{'es' * (accelerator.num_processes > 1)}"
    return _attempt("fine-tune", where, partial(_together, accelerator, folder), NETWORK)


def _attempt(name: str, where: str, work: Callable[[], str], remedy: str) -> Outcome:
    """Run one check; turn any error into one line."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # expected in so small a run
            return Outcome(name, where, work(), seconds=time.perf_counter() - start)
    except (InputError, RunError) as error:  # these messages include a remedy
        return Outcome(name, where, wrong=str(error))
    except Exception as error:  # a broken installation may raise any type
        return Outcome(name, where, wrong=f"{one_line(reason(error))}; {remedy}")


def _parts(device: torch.device, folder: Path) -> Iterator[str]:
    """Run the checks named in PARTS in order on a device; yield what each one measured."""
    model, images, look = _subject(device)
    batches = Batches(images.subset(torch.arange(STEPS * BATCH)), batch=BATCH, **look)
    yield f"embedded ({checkpoints.describe('embedded').arch}), {STEPS} batches of {BATCH} digits"

    before = digest(model.state_dict())
    scores = score("px", model, batches)
    _expect(digest(model.state_dict()) == before, "scoring changed the model")
    yield f"{sum(values.numel() for values in scores.values()):,} weights by px"

    masks = _pruned(model, batches)
    yield f"{masks.kept:,} weights stay"

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    hold, weights = masks.hold(model, optimizer), masks.match(model)
    old = {name: weight.detach().clone() for name, weight in weights.items()}
    inputs, targets = next(iter(batches))
    loss = nn.functional.cross_entropy(model.train()(inputs), targets)
    loss.backward()
    optimizer.step()
    hold.remove()
    _expect(bool(loss.isfinite()), f"the loss is {float(loss)}")
    _expect_held(masks, model)
    _expect(any(not torch.equal(weight, old[name]) for name, weight in weights.items()), "no weight moved")
    yield f"loss {float(loss):.4f}, pruned weights stay 0"

    State(folder).save({**dict.fromkeys(KEYS), "model": model.state_dict(), "optimizer": optimizer.state_dict()})
    states = [of["state"] for of in (_saved(folder, model)["optimizer"], optimizer.state_dict())]
    _expect_equal(*({key: held["momentum_buffer"] for key, held in state.items()} for state in states))
    State(folder).clear()
    yield "weights and momenta come back to the bit"


def _together(accelerator: Any, folder: Path) -> str:
    device, world = accelerator.device, accelerator.num_processes
    model, images, look = _subject(device)
    masks = _pruned(model, Batches(images.subset(torch.arange(STEPS * BATCH)), batch=BATCH, **look), accelerator)
    batch = max(BATCH, 2 * world)
    seen = images.subset(torch.arange(STEPS * batch))
    look |= {"batch": batch, "rank": accelerator.process_index, "world": world}
    loaders = Loaders(Batches(seen, shuffle=True, **look), Batches(seen, **look))
    train = Train(epochs=1, batch=batch, lr=0.01)
    history = finetune(model, masks, loaders, train, accelerator=accelerator, folder=folder)
    _expect_held(masks, model)
    own = torch.tensor(list(bytes.fromhex(digest(model.state_dict()))), device=device)
    _expect(bool((accelerator.gather(own[None]) == own).all()), "the processes hold different weights")
    if accelerator.is_main_process:
        _saved(folder, model)
    return f"{STEPS} steps, loss {history.last['train_loss']:.4f}, the same weights everywhere and in the saved state"


def _subject(device: torch.device) -> tuple[nn.Module, Images, dict[str, Any]]:
    """Return a model from the embedded backbone on the device, digits, and the preprocessing of their batches."""
    backbone, digits = checkpoints.load("embedded"), data.load("digits")
    assert isinstance(digits.train, Images)
    look = {"size": 32, "mean": backbone.mean, "std": backbone.std, "device": device}
    return classifier(backbone, len(digits.classes)).to(device), digits.train, look


def _pruned(model: nn.Module, batches: Batches, accelerator: Any = None) -> Masks:
    total = sum(weight.numel() for weight in prunable(model).values())
    masks = prune(model, batches, method="px", sparsity=SPARSITY, rounds=2, accelerator=accelerator)
    wanted = total - int(SPARSITY * total + 0.5)
    _expect(masks.kept == wanted, f"{masks.kept} of {total} weights stay, expected {wanted}")
    _expect_held(masks, model)
    return masks


def _saved(folder: Path, model: nn.Module) -> dict[str, Any]:
    """Return the training state in the folder after checking that it holds the model's exact weights."""
    saved = State(folder).load()
    if saved is None:
        raise RuntimeError("the state is not there after saving")
    _expect_equal(saved["model"], model.state_dict())
    return saved


def _expect_held(masks: Masks, model: nn.Module) -> None:
    revived = sum(int((p[~masks[name].to(p.device)] != 0).sum()) for name, p in masks.match(model).items())
    _expect(revived == 0, f"{revived} pruned weights are not 0")


def _expect_equal(saved: dict[Any, Tensor], now: dict[Any, Tensor]) -> None:
    other = [key for key, value in now.items() if key not in saved or not torch.equal(saved[key], value.cpu())]
    _expect(not other and len(saved) == len(now), f"{len(other)} of {len(now)} tensors came back changed")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)
