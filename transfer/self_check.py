"""A check of some seconds on the embedded backbone and digits: each device alone, then all processes together."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import checkpoints
from checkpoints.backbone import digest
from checkpoints.errors import InputError, one_line
from transfer import data
from transfer.data.dataset import Dataset, Images
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
    """One check: what and where, what was seen, and what is wrong with what to do about it; None = well."""

    name: str
    where: str
    seen: str = ""
    wrong: str | None = None
    seconds: float = 0.0


class Subject:
    """A device under check, and what each part, in the order of PARTS, leaves for the next."""

    def __init__(self, device: torch.device, folder: Path) -> None:
        self.device, self.folder = device, folder

    def build(self) -> str:
        """Load the embedded backbone and digits."""
        backbone, digits = checkpoints.load("embedded"), data.load("digits")
        assert isinstance(digits, Dataset)
        assert isinstance(digits.train, Images)
        self.split, self.classes = digits.train, len(digits.classes)
        self.look: dict[str, Any] = {"size": 32, "mean": backbone.mean, "std": backbone.std, "device": self.device}
        self.model = classifier(backbone, self.classes).to(self.device)
        self.batches = Batches(self.split.subset(torch.arange(STEPS * BATCH)), batch=BATCH, **self.look)
        return f"{backbone.card.name} ({backbone.arch}), {STEPS} batches of {BATCH} digits"

    def score(self) -> str:
        """Score by px; the model stays as it is."""
        before = digest(self.model.state_dict())
        scores = score("px", self.model, self.batches)
        _expect(digest(self.model.state_dict()) == before, "scoring changed the model")
        total = sum(values.numel() for values in scores.values())
        return f"{total:,} weights by px"

    def masks(self) -> str:
        """Prune; the number of weights that stay is exact, the others are 0."""
        self.pruned = _prune(self.model, self.batches)
        return f"{self.pruned.kept:,} weights stay"

    def step(self) -> str:
        """Take one step; pruned weights stay 0, the others move."""
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        hold = self.pruned.hold(self.model, optimizer)
        before = {name: p.detach().clone() for name, p in self.pruned.match(self.model).items()}
        images, targets = next(iter(self.batches))
        loss = torch.nn.functional.cross_entropy(self.model.train()(images), targets)
        loss.backward()
        optimizer.step()
        hold.remove()
        _expect(bool(loss.isfinite()), f"the loss is {float(loss)}")
        _expect_held(self.pruned, self.model)
        moved = any(not torch.equal(p, before[name]) for name, p in self.pruned.match(self.model).items())
        _expect(moved, "no weight moved")
        self.optimizer = optimizer.state_dict()
        return f"loss {float(loss):.4f}, pruned weights stay 0"

    def state(self) -> str:
        """Save the training state and load it again; the bits are the same."""
        weights = self.model.state_dict()
        State(self.folder).save({**dict.fromkeys(KEYS), "model": weights, "optimizer": self.optimizer})
        saved = State(self.folder).load()
        _expect(saved is not None, "the state is not there after saving")
        assert saved is not None
        _expect_equal(saved["model"], weights)
        momenta = {key: value["momentum_buffer"] for key, value in self.optimizer["state"].items()}
        _expect_equal({key: saved["optimizer"]["state"][key]["momentum_buffer"] for key in momenta}, momenta)
        State(self.folder).clear()
        return "weights and momenta come back to the bit"


def check_device(device: torch.device, folder: Path) -> Iterator[Outcome]:
    """Score, prune, take a step, save and load on one device; the first part that fails is the last."""
    subject = Subject(device, folder)
    remedies = dict.fromkeys(PARTS, GPU if device.type == "cuda" else CPU) | {"state": DISK}
    for part in PARTS:
        outcome = attempt(part, str(device), getattr(subject, part), remedies[part])
        yield outcome
        if outcome.wrong:
            return


def check_together(accelerator: Any, folder: Path) -> Outcome:
    """Prune and fine-tune with all processes; their masks and weights are the same, and so is the saved state."""
    where = f"{accelerator.num_processes} process{'es' * (accelerator.num_processes > 1)}"
    return attempt("fine-tune", where, partial(_together, accelerator, folder), NETWORK)


def attempt(name: str, where: str, work: Callable[[], str], remedy: str) -> Outcome:
    """Do one check; whatever it raises becomes one line."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what so small a run does to a model
            return Outcome(name, where, work(), seconds=time.perf_counter() - start)
    except (InputError, RunError) as error:  # these say what to do
        return Outcome(name, where, wrong=str(error))
    except Exception as error:  # what is wrong with an installation raises anything
        reason = one_line((str(error).strip() or type(error).__name__).splitlines()[0])[:300]
        return Outcome(name, where, wrong=f"{reason}; {remedy}")


def _together(accelerator: Any, folder: Path) -> str:
    device, world = accelerator.device, accelerator.num_processes
    subject = Subject(device, folder)
    subject.build()
    model, batch = subject.model, max(BATCH, 2 * world)
    masks = _prune(model, subject.batches, accelerator)
    images = subject.split.subset(torch.arange(STEPS * batch))
    share = {**subject.look, "batch": batch, "rank": accelerator.process_index, "world": world}
    train = Train(epochs=1, batch=batch, lr=0.01)
    loaders = Loaders(Batches(images, shuffle=True, **share), Batches(images, **share))
    history = finetune(model, masks, loaders, train, accelerator=accelerator, folder=folder)
    _expect_held(masks, model)
    own = torch.tensor(list(bytes.fromhex(digest(model.state_dict()))), device=device)
    _expect(bool((accelerator.gather(own[None]) == own).all()), "the processes hold different weights")
    if accelerator.is_main_process:
        saved = State(folder).load()
        _expect(saved is not None, f"no state in {folder} after training")
        assert saved is not None
        _expect_equal(saved["model"], model.state_dict())
    return f"{STEPS} steps, loss {history.last['train_loss']:.4f}, the same weights everywhere and in the saved state"


def _prune(model: torch.nn.Module, batches: Batches, accelerator: Any = None) -> Masks:
    total = sum(w.numel() for w in prunable(model).values())
    masks = prune(model, batches, method="px", sparsity=SPARSITY, rounds=2, accelerator=accelerator)
    wanted = total - int(SPARSITY * total + 0.5)
    _expect(masks.kept == wanted, f"{masks.kept} of {total} weights stay, expected {wanted}")
    _expect_held(masks, model)
    return masks


def _expect_held(masks: Masks, model: torch.nn.Module) -> None:
    revived = sum(int((p[~masks[name].to(p.device)] != 0).sum()) for name, p in masks.match(model).items())
    _expect(revived == 0, f"{revived} pruned weights are not 0")


def _expect_equal(saved: dict[Any, Tensor], now: dict[Any, Tensor]) -> None:
    other = [key for key, value in now.items() if key not in saved or not torch.equal(saved[key], value.cpu())]
    _expect(not other and len(saved) == len(now), f"{len(other)} of {len(now)} tensors came back changed")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)
