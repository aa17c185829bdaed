"""torchvision's fasterrcnn_resnet50_fpn: its weights load, and then the two say the same.

No weights can be downloaded here: torchvision's model is given random ones, spread so that it
detects something. Its transform (resize, normalise, pad) is taken out: it gets the tensor that our
network makes of the same pixels.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList

from datamodules.sources.images import read_image
from detectors.families.faster_rcnn import FasterRCNN
from experiments import api, build, checkpoints
from tests.detectors.samples import frame

NAMES = "datamodule.info.class_names=[" + ",".join(f"c{i}" for i in range(6)) + "]"
FLOOR = ("protocol.score_floor=0.05", "protocol.nms_iou=0.5", "protocol.max_detections=100")
IMAGES = ("voc2012_subset", "windmill_naip", "traffic_signs_gtsdb")


@pytest.fixture(scope="module")
def library() -> nn.Module:
    """Torchvision's model with random weights that tell places, sizes and classes apart."""
    torch.manual_seed(0)
    net = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7)
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.2, 0.6)
            if name.endswith(("cls_logits", "rpn.head.bbox_pred", "cls_score")):
                module.weight.normal_(0, 0.05)
            if name.endswith("box_predictor.bbox_pred"):
                module.weight.normal_(0, 0.02)
    return net.eval()


@pytest.fixture(scope="module")
def own(library: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> FasterRCNN:
    path = tmp_path_factory.mktemp("weights") / "torchvision.pth"
    torch.save(library.state_dict(), path)
    overrides = ["detector=faster_rcnn", "scale=paper", NAMES, *FLOOR]
    net = api.build_detector(*overrides, f"detector.net.weights={path}")
    assert isinstance(net, FasterRCNN)
    return net.eval()


def pixels(path: Path, height: int = 320, width: int = 448) -> torch.Tensor:
    """The upper left of an image as a batch of one, 0 where it is smaller."""
    image = read_image(path)[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(canvas).permute(2, 0, 1)[None].contiguous()


def library_detections(library: nn.Module, own: FasterRCNN, images: torch.Tensor):
    """Torchvision's model behind its transform, on our normalised input."""
    normalised = (images / 255 - own.mean) / own.std
    batch = ImageList(normalised, [tuple(images.shape[-2:])])
    features = library.backbone(batch.tensors)
    proposals, _ = library.rpn(batch, features)
    return library.roi_heads(features, proposals, batch.image_sizes)[0][0], proposals[0]


def test_every_tensor_of_the_file_is_used_and_none_of_ours_is_left(library, own):
    theirs = sum(t.numel() for k, t in library.state_dict().items() if "num_batches" not in k)
    ours = sum(t.numel() for k, t in own.state_dict().items() if "num_batches" not in k)
    background_box = 4 * (1024 + 1)
    assert theirs - ours == background_box
    assert torch.equal(
        own.backbone.net.layer4[2].conv3.weight, library.backbone.body.layer4[2].conv3.weight
    )
    assert torch.equal(own.head.box_codes.bias, library.roi_heads.box_predictor.bbox_pred.bias[4:])


@pytest.mark.parametrize("folder", IMAGES)
def test_with_equal_weights_our_detections_are_torchvisions(library, own, real_data, folder):
    path = sorted(p for p in (real_data / folder).rglob("*") if p.suffix in (".jpg", ".png"))[0]
    images = pixels(path)
    with torch.no_grad():
        wanted, proposals = library_detections(library, own, images)
        raw = own(images)
        (found,) = own.decode(raw, [frame((320, 448))])
        (proposed,) = own.propose(raw, own.test_proposals)
    assert len(proposed) == len(proposals) > 300
    apart = torch.cdist(proposed, proposals, p=torch.inf)  # of equal scores, either may be first
    assert apart.amin(0).max() < 0.01
    assert apart.amin(1).max() < 0.01
    assert len(found) == len(wanted["boxes"]) > 5
    assert (found.boxes - wanted["boxes"]).abs().max() < 0.01
    assert (found.scores - wanted["scores"]).abs().max() < 1e-5
    assert torch.equal(found.labels + 1, wanted["labels"])


def test_another_number_of_classes_leaves_only_the_last_layers_fresh(library, tmp_path, caplog):
    path = tmp_path / "torchvision.pth"
    torch.save(library.state_dict(), path)
    api.build_detector("detector=faster_rcnn", "scale=paper", f"detector.net.weights={path}")
    (said,) = [r.getMessage() for r in caplog.records if "tensors loaded" in r.getMessage()]
    assert "of another shape: head.class_logits.weight, head.class_logits.bias" in said
    assert "absent" not in said


def test_a_checkpoint_is_rebuilt_without_the_file_it_started_from(tmp_path):
    config = build.compose(["detector=faster_rcnn", "detector.net.weights=/gone/away.pth"])
    whole = build.compose(["detector=faster_rcnn"])
    state = {f"net.{k}": v for k, v in build.instantiate(whole.detector.net).state_dict().items()}
    plain = OmegaConf.to_container(config, resolve=True)
    torch.save({"state_dict": state, "lineup": {"config": plain}}, tmp_path / "last.ckpt")
    net, _ = checkpoints.load_detector(tmp_path / "last.ckpt")
    assert isinstance(net, FasterRCNN)
