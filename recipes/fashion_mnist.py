"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, shown as three channels of 32 px.

The images are looked for under $TRANSFER_DATA (else ``data/``) as torchvision lays them out, then where Debian's
package ``dataset-fashion-mnist`` puts them, and are downloaded otherwise.

    python -m recipes.fashion_mnist --prune.sparsity 0.982
    python -m recipes.fashion_mnist --backbone random:resnet20 --prune.sparsity 0
"""

from transfer.data.augment import Augment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import run_recipe

RECIPE = Recipe(
    name="fashion-mnist",
    backbone="random:resnet20",
    data=Data(name="fashion-mnist", size=32, augment=Augment(pad_crop=2, flip=True)),
    prune=Prune(sparsity=0.9),
    train=Train(epochs=10, batch=128, lr=0.1, weight_decay=5e-4, schedule="cosine", warmup=1, nesterov=True),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
