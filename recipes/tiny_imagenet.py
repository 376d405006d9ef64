"""Tiny-ImageNet (200 classes, 64 px) from a pretrained ResNet-50, pruned before fine-tuning (Iurada 2024, §4.2).

Paper's row: images resized to 224 for training and test alike; batch 256, 182 epochs, SGD momentum 0.9, lr 0.1 (× 0.1
at 91 and 136), weight decay 1e-4; random resized crop (area 0.1-1, ratio 0.8-1.25), flip; 10 images per class for
scoring, 100 rounds; 3 seeds. Its accuracies are given only as a figure (fig. 3). Not yet run by us on the real data:
no expected range is given.

    python -m recipes.tiny_imagenet --backbone mocov2 --prune.method px --prune.sparsity 0.982 --seed 0
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="tiny-imagenet",
    backbone="imagenet-v1",
    data=Data(name="tiny-imagenet", size=224, augment=Augment(flip=True, resized_crop=(0.1, 1.0), ratio=(0.8, 1.25))),
    prune=Prune(method="px", sparsity=0.982),
    train=Train(epochs=182, batch=256, lr=0.1, weight_decay=1e-4, milestones=(91, 136)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
