"""CIFAR-100 from random weights: a VGG-16 with BatchNorm, pruned before training (Iurada 2024, §4.1).

Paper's row: VGG-16-BN, Kaiming normal; batch 128, 160 epochs, SGD with Nesterov momentum 0.9, lr 0.1 (× 0.1 at 60 and
120), weight decay 5e-4; random crop with padding 4, flip; 10 images per class for scoring, 100 rounds; 3 seeds. Its
accuracies are given only as a figure (fig. 2), its living units as fig. 6. Not yet run by us on the real data: no
expected range is given.

    python -m recipes.cifar100_scratch --prune.method px --prune.sparsity 0.982 --seed 0

The nets of the Path-kernel paper, with the settings in recipes/cifar10_scratch.py, run here too:
--backbone random:vgg11_bn_cifar, random:resnet20 or random:wide_resnet20.
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="cifar100-scratch",
    backbone="random:vgg16_bn_cifar",
    data=Data(name="cifar100", size=32, augment=Augment(pad_crop=4, flip=True)),
    prune=Prune(method="px", sparsity=0.982),
    train=Train(epochs=160, batch=128, lr=0.1, nesterov=True, weight_decay=5e-4, milestones=(60, 120)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
