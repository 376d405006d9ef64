"""CIFAR-100 from a pretrained ResNet-50, pruned before fine-tuning (Iurada 2024, §4.2).

Paper's row: ResNet-50 pretrained on ImageNet, MoCov2 or CLIP; images resized to 224; batch 256, 182 epochs, SGD
momentum 0.9, lr 0.1 (× 0.1 at 91 and 136), weight decay 1e-4; 10 images per class for scoring, 100 rounds; 3 seeds. Its
accuracies are given only as a figure (fig. 3). Not yet run by us on the real data: no expected range is given.

    python -m recipes.cifar100 --backbone mocov2 --prune.method px --prune.sparsity 0.982 --seed 0
    accelerate launch -m recipes.cifar100 --backbone clip --prune.sparsity 0.956
    python -m recipes.cifar100 --data.size 32 --stem cifar       # cheaper: no resizing, a new 3x3 stem
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="cifar100",
    backbone="imagenet-v1",
    data=Data(name="cifar100", size=224, augment=Augment(pad_crop=4, flip=True)),
    prune=Prune(method="px", sparsity=0.982),
    train=Train(epochs=182, batch=256, lr=0.1, weight_decay=1e-4, milestones=(91, 136)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
