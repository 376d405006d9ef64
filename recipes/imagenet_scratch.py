"""ImageNet (1,000 classes) from random weights: a ResNet-50, pruned before training (Iurada 2024, table 1).

Paper's row: ResNet-50 at 224 px, Kaiming normal; batch 448, 90 epochs, SGD momentum 0.9, lr 0.1 (× 0.1 at 30, 60 and
80), weight decay 1e-4; random resized crop (area 0.2-1), colour jitter 0.4, grayscale with probability 0.2, flip; test
on the centre of images whose shorter side is 256; 10 images per class for scoring, 100 rounds; 3 seeds. Published top-1
at 89.26 % / 95.60 %: PX 68.11 ± 0.29 / 60.28 ± 0.32. Not yet run by us on the real data: no expected range is given.

The images are a folder of yours, data/imagenet/train/<class>/*.JPEG and data/imagenet/val/<class>/*.JPEG; another one:
--data.name imagefolder:<path>. The headers of all files are read before any work.

    accelerate launch -m recipes.imagenet_scratch --prune.method px --prune.sparsity 0.956 --prune.rounds 100 --seed 0
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="imagenet-scratch",
    backbone="random:resnet50",
    data=Data(
        name="imagefolder:data/imagenet",
        size=224,
        augment=Augment(flip=True, resized_crop=(0.2, 1.0), jitter=0.4, grayscale=0.2),
    ),
    prune=Prune(method="px", sparsity=0.956),
    train=Train(epochs=90, batch=448, lr=0.1, weight_decay=1e-4, milestones=(30, 60, 80)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
