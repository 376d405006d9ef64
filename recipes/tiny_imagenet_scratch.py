"""Tiny-ImageNet (200 classes, 64 px) from random weights: a ResNet-18, pruned before training (Iurada 2024, §4.1).

Paper's row: ResNet-18 with a 3×3 stem and no max-pool after it, Kaiming normal; batch 256, 200 epochs, SGD momentum
0.9, lr 0.2 (× 0.1 at 100 and 150), weight decay 1e-4; random resized crop (area 0.1-1, ratio 0.8-1.25), flip; 10 images
per class for scoring, 100 rounds; 3 seeds. Its accuracies are given only as a figure (fig. 2). Not yet run by us on the
real data: no expected range is given.

    python -m recipes.tiny_imagenet_scratch --prune.method px --prune.sparsity 0.982 --seed 0
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="tiny-imagenet-scratch",
    backbone="random:resnet18",
    stem="cifar",
    data=Data(name="tiny-imagenet", size=64, augment=Augment(flip=True, resized_crop=(0.1, 1.0), ratio=(0.8, 1.25))),
    prune=Prune(method="px", sparsity=0.982),
    train=Train(epochs=200, batch=256, lr=0.2, weight_decay=1e-4, milestones=(100, 150)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
