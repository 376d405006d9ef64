"""CIFAR-10 from random weights: a ResNet-20, pruned before training (Iurada 2024, §4.1).

Paper's row: ResNet-20, Kaiming normal; batch 128, 160 epochs, SGD momentum 0.9, lr 0.1 (× 0.1 at 80 and 120), weight
decay 1e-4; random crop with padding 4, flip; 10 images per class for scoring, 100 rounds; 3 seeds. Table 2 at 98.20 %:
PX 77.08 % with 100 rounds (magnitude 76.12, SNIP 75.39, SynFlow 75.19, random 72.31). Not yet run by us on the real
data: no expected range is given.

    python -m recipes.cifar10_scratch --prune.method px --prune.sparsity 0.982 --seed 0
    python -m recipes.cifar10_scratch --prune.sparsity 0            # the dense net

Rows of the Path-kernel paper (Gebhart 2021), batch 64 and weight decay 1e-4 in all: ResNet-20 and WideResNet-20, Adam,
100 epochs, lr 1e-3 (× 0.1 at 60); VGG-11 and VGG-16, Adam, 160 epochs, lr 1e-4 / 5e-4 (× 0.1 at 60 and 120):

    python -m recipes.cifar10_scratch --backbone random:wide_resnet20 --prune.method synflow-l2 \\
        --train.optimizer adam --train.batch 64 --train.epochs 100 --train.lr 1e-3 --train.milestones 60
    python -m recipes.cifar10_scratch --backbone random:vgg11_bn_cifar --prune.method synflow-l2 \\
        --train.optimizer adam --train.batch 64 --train.lr 1e-4 --train.milestones 60 120
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="cifar10-scratch",
    backbone="random:resnet20",
    data=Data(name="cifar10", size=32, augment=Augment(pad_crop=4, flip=True)),
    prune=Prune(method="px", sparsity=0.982),
    train=Train(epochs=160, batch=128, lr=0.1, weight_decay=1e-4, milestones=(80, 120)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
