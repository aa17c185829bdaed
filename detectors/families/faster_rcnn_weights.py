"""torchvision's fasterrcnn_resnet50_fpn, key by key."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from detectors.pretrained import fetch, load_matching, read_weights

COCO = "coco"
PUBLISHED = FasterRCNN_ResNet50_FPN_Weights.COCO_V1
PREFIXES = {
    "backbone.body.": "backbone.net.",
    "backbone.fpn.": "neck.net.",
    "rpn.head.conv.0.0.": "rpn.conv.",
    "rpn.head.conv.": "rpn.conv.",  # files of torchvision before 0.13
    "rpn.head.cls_logits.": "rpn.objectness.",
    "rpn.head.bbox_pred.": "rpn.deltas.",
    "roi_heads.box_head.": "head.",
    "roi_heads.box_predictor.cls_score.": "head.class_logits.",
    "roi_heads.box_predictor.bbox_pred.": "head.box_codes.",
}
"""Their names -> ours; the first that fits counts."""


def load_torchvision(net: nn.Module, weights: str) -> None:
    """Loads `coco` (what torchvision publishes) or a file of the same keys into a FasterRCNN.

    The published weights were trained with an epsilon of 0 in the frozen batch norms, which
    torchvision therefore sets when it loads them; so does this.
    """
    if weights == COCO:
        state = fetch(lambda: PUBLISHED.get_state_dict(progress=False), PUBLISHED.url)
    else:
        state = read_weights(weights)
    load_matching(net, translate(state), weights)
    if weights == COCO or Path(weights).name == Path(PUBLISHED.url).name:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under our names; of the box codes, without the background's, which we lack."""
    translated = {rename(key): tensor for key, tensor in state.items()}
    for key in ("head.box_codes.weight", "head.box_codes.bias"):
        if key in translated:
            translated[key] = translated[key][4:]
    return translated


def rename(key: str) -> str:
    """Our name of one of their tensors."""
    for theirs, ours in PREFIXES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
