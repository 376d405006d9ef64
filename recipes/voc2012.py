"""Pascal VOC 2012 segmentation: DeepLabV3+ on a pruned ResNet-50, the settings of PX's paper (Iurada 2024, Fig. 4).

    python -m recipes.voc2012 --backbone mocov2 --prune.sparsity 0.982
    accelerate launch -m recipes.voc2012 --backbone clip --data.name voc2012-aug

Backbones: imagenet-v1, imagenet-v2, mocov2, clip, dino. Data: VOC 2012 in ./data (or $TRANSFER_DATA) as distributed,
downloaded if it is absent: train, 1,464 images, and val, 1,449. voc2012-aug trains on 10,582 images, with SBD's masks,
which scripts/make_sbd_masks.py makes from its benchmark.tgz.

SGD, momentum 0.9, batch 4, 80 epochs, learning rate 0.001 for the backbone and 0.01 for the rest, divided by 10 at
epochs 50 and 60, weight decay 1e-4; random scale 0.5-2, crop 512 (the paper's 513 does not divide by the stride), flip.
Pruning set: 53 batches of 4. The paper tests centre crops (--data.protocol center); the default here is whole images,
as in VOC's own evaluation.

Expected: the paper gives figures only. For a dense ResNet-50 at stride 16 trained on train_aug, DeepLabV3+'s reference
is 77.2 mIoU; training on the 1,464 images gives less. Not yet run by us on the real data: no expected range is given.
"""

from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="voc2012",
    backbone="imagenet-v1",
    output_stride=16,
    data=Data(name="voc2012", size=512, workers=8),
    prune=Prune(method="px", sparsity=0.982, images=212, batch=4),
    train=Train(epochs=80, batch=4, lr=0.01, lr_trunk=0.001, weight_decay=1e-4, milestones=(50, 60)),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
