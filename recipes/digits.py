"""Handwritten digits from the embedded backbone: one run, offline, under a minute on two cores.

python -m recipes.digits --prune.method snip --prune.sparsity 0.982
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="digits",
    backbone="embedded",
    data=Data(name="digits", size=32, augment=Augment(pad_crop=2)),
    prune=Prune(sparsity=0.9),
    train=Train(epochs=8, batch=64, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup=1),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
