"""A recipe whose cells take about a second."""

from transfer.recipe import Data, Prune, Recipe, Train

RECIPE = Recipe(
    name="small",
    backbone="random:resnet20",
    data=Data(name="digits", size=8),
    prune=Prune(method="magnitude", sparsity=0.5, rounds=2, per_class=2),
    train=Train(epochs=0, batch=256, precision="no"),
)
