"""DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611): a pretrained, dilated trunk with a new decoder and head."""

import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer.models.encoder import Encoder, encoder

RATES = {16: (6, 12, 18), 8: (12, 24, 36), 4: (6, 12, 18)}  # 4: trunks for small images
WIDTH = 256


class Segmenter(nn.Module):
    """An encoder, smp's decoder and smp's head; at strides 8 and 16 the keys are those of smp's DeepLabV3Plus.

    smp upsamples with ``align_corners=True``, which stretches maps: at output stride s, features of the deepest map are
    in place at the left edge and s - 1 pixels too far right at the right edge (likewise downwards). It was kept because
    no gain was measured without it: on ``recipes.voc_quickstart``, dense, three seeds, mIoU is 67.1 % (standard
    deviation 1.6), 66.4 % (5.6) with ``align_corners=False`` and 65.5 % (5.7) with value i at pixel s · i. Those images
    have sides near 64 and s = 4; larger ones were not tried.
    """

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        stride, channels = encoder.output_stride, encoder.out_channels
        width = min(WIDTH, channels[-1])
        self.encoder = encoder
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=channels,
            encoder_depth=len(channels) - 1,
            out_channels=width,
            atrous_rates=RATES[stride],
            output_stride=16 if stride == 16 else 8,  # upsamples by 4 or by 2, to the low-level map
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        self.segmentation_head = SegmentationHead(width, num_classes, kernel_size=1, upsampling=encoder.detail)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K, H, W) for images (N, 3, H, W).

        Raises:
            InputError: a side is not a multiple of the output stride, or a training batch has one image.
        """
        if torch.compiler.is_exporting():
            for side in x.shape[-2:]:
                torch._check(side % self.encoder.output_stride == 0)
        else:
            self._check(x)
        return self.segmentation_head(self.decoder(self.encoder(x)))

    def _check(self, x: Tensor) -> None:
        stride, (height, width) = self.encoder.output_stride, x.shape[-2:]
        if height % stride or width % stride:
            raise InputError(f"images are {height}×{width} px; pad or crop both sides to multiples of {stride}")
        if self.training and len(x) == 1:
            raise InputError("a training batch has 1 image, too few for the pooled branch's BatchNorm; give 2 or more")


def segmenter(backbone: Backbone, num_classes: int, *, output_stride: int = 16, seed: int = 0) -> nn.Module:
    """Return DeepLabV3+ on the backbone: (N, 3, H, W) → logits (N, ``num_classes``, H, W).

    Its modules are ``encoder``, ``decoder`` and ``segmentation_head``; the names of the trunk's parameters begin with
    ``encoder.`` (:data:`transfer.recipe.TRUNK`). H and W are multiples of the output stride. The decoder has 256
    channels, or as many as the trunk's last stage if that is narrower.

    Args:
        backbone: trunk weights; every tensor must be loaded.
        num_classes: K ≥ 1.
        output_stride: side of the image over that of the deepest map: 16 (atrous rates 6, 12, 18) or 8 (12, 24, 36). A
            trunk for small images, such as resnet20, supports its natural stride only: 4 (6, 12, 18).
        seed: of the decoder and the head (Kaiming normal, zero biases).

    Raises:
        InputError: ``num_classes`` is below 1; the architecture has no such feature maps or does not allow the stride,
            or the weights do not fit.
    """
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; give 1 or more")
    with torch.random.fork_rng(devices=[]):  # timm and smp initialise weights that are overwritten
        model = Segmenter(encoder(backbone, output_stride), num_classes)
    generator = torch.Generator().manual_seed(seed)
    for part in (model.decoder, model.segmentation_head):
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                _draw(module, generator)
    return model


def _draw(conv: nn.Conv2d, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
