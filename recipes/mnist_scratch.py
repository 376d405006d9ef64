"""MNIST from random weights: a fully connected net, pruned before training (Gebhart 2021, the Path-kernel paper).

Paper's row: six hidden layers of width 100, 500, 1000 or 2000, Kaiming normal, zero biases; Adam, 50 epochs, batch 64,
lr 0.01; compression 10^0.5 to 10^3, sparsity 1 - 1/compression; SynFlow, SynFlow-L2 and their -Dist forms in 100
rounds, SNIP and GraSP in one. Its accuracies are given only as figures. Weight decay is 0, as none is stated. Images
are shown as three equal channels, so the first layer is three times as large as the paper's. 10 images per class for
scoring. Not yet run by us on the real data: no expected range is given.

    python -m recipes.mnist_scratch --prune.method synflow-l2 --prune.sparsity 0.99 --seed 0
    python -m recipes.mnist_scratch --backbone random:fc_2000 --prune.method synflow --prune.sparsity 0.999
"""

from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="mnist-scratch",
    backbone="random:fc_500",
    data=Data(name="mnist", size=28),
    prune=Prune(method="synflow-l2", sparsity=0.99),
    train=Train(epochs=50, batch=64, optimizer="adam", lr=0.01, weight_decay=0.0),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
