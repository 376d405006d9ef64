"""Prune a pretrained backbone before moving it to a new task, and see what each way of pruning costs.

The embedded ResNet-20, trained on Fashion-MNIST, is moved to handwritten digits: dense, and with 90 % and 98.2 % of its
weights removed by the recommended method, by Path eXclusion, by magnitude, and at random. Offline, under two minutes on
two cores. Ends with a table, a picture, and the command that does the same to your own images.

    python -m recipes.quickstart
    python -m recipes.quickstart --seeds 0 1 2
    python -m recipes.quickstart --methods snip grasp --sparsities 0.95 0.99
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import Comparing, run_comparison

RECIPE = Recipe(
    name="quickstart",
    backbone="embedded",
    data=Data(name="digits", size=24, augment=Augment(pad_crop=2)),
    prune=Prune(sparsity=0.982, rounds=20),
    train=Train(epochs=6, batch=64, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup=1),
)

if __name__ == "__main__":
    run_comparison(Comparing(RECIPE))
