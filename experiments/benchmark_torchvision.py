"""Faster R-CNN's part of `lineup benchmark`: beside torchvision's, of equal weights and counts."""

from collections.abc import Callable, Iterator
from typing import Any

from experiments.benchmark_clock import paired
from experiments.benchmark_figure import Figure
from experiments.benchmark_trained import Trained, inference

OVERRIDES = ("detector=faster_rcnn", "backbone=resnet50_fpn", "scale=paper")
SIZE, BATCH = 640, 1


def faster_rcnn() -> Iterator[Figure]:
    """Inference and step / those of torchvision's fasterrcnn_resnet50_fpn; share of the losses.

    The losses are matching, sampling and arithmetic of both stages; making the proposals and the
    second stage's network, which `loss` runs too, are not counted.
    """
    from detectors.families.faster_rcnn_loss import RoILoss, RPNLoss

    trained = Trained(OVERRIDES, 320, BATCH, "synthetic_varied")
    losses = [(RPNLoss, "__call__"), (RoILoss, "choose"), (RoILoss, "__call__")]
    yield from beside_torchvision(trained)
    yield trained.loss_share(SIZE, BATCH, 0.10, what="losses without networks", methods=losses)


def beside_torchvision(ours: Trained) -> Iterator[Figure]:
    """Inference comes first, so that the weights are the very same."""
    theirs = library_model(ours.module.net)
    scenes = [(each, *library_scenes(each)) for each in ours.scenes(SIZE, BATCH)]
    step = library_step(theirs, ours.module.optimizer)
    with inference(ours.module), inference(theirs):
        inferences = paired(lambda s: ours.infer(s[0]), lambda s: theirs(s[1]), scenes)
        found = ours.boxes_per_image(scenes[0][0])
    shape = f"{SIZE} px, batch {BATCH}"
    yield ours.ratio("inference / torchvision's", inferences, 1.05, f"{shape}, {found}")
    steps = paired(lambda s: ours.step(s[0]), lambda s: step(*s[1:]), scenes)
    yield ours.ratio("step / torchvision's", steps, 1.05, shape)


def library_model(net: Any) -> Any:
    """Torchvision's model with our weights and counts, for images that have their size already."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    model: Any = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=net.num_classes + 1,
        rpn_pre_nms_top_n_train=net.train_proposals.pre_nms,
        rpn_post_nms_top_n_train=net.train_proposals.post_nms,
        rpn_pre_nms_top_n_test=net.test_proposals.pre_nms,
        rpn_post_nms_top_n_test=net.test_proposals.post_nms,
        rpn_nms_thresh=net.test_proposals.nms_iou,
        rpn_batch_size_per_image=net.rpn_loss.sampler.size,
        box_batch_size_per_image=net.roi_loss.sampler.size,
        box_score_thresh=net.suppression.score_floor,
        box_nms_thresh=net.suppression.iou_threshold,
        box_detections_per_img=net.suppression.max_detections,
    )
    model.transform.resize = lambda image, target: (image, target)
    model.load_state_dict(_under_their_names(net, model))
    return model


def library_scenes(batch: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """Images and targets as torchvision's models take them; class 0 is the background."""
    images = list(batch.images / 255)
    return images, [{"boxes": t.boxes, "labels": t.labels.long() + 1} for t in batch.targets]


def library_step(model: Any, optimizer: Callable[..., Any]) -> Callable[[Any, Any], None]:
    """Forward, losses, backward and optimiser step of torchvision's model."""
    stepping = optimizer(model.parameters())

    def step(images: Any, targets: Any) -> None:
        total: Any = sum(model(images, targets).values())
        stepping.zero_grad()
        total.backward()
        stepping.step()

    return step


def _under_their_names(net: Any, model: Any) -> dict[str, Any]:
    """Our tensors; the background, which has box codes there, is given zeros."""
    import torch

    from detectors.families.faster_rcnn_weights import rename

    own = net.state_dict()
    state = {}
    for key, like in model.state_dict().items():
        tensor = own[rename(key)]
        missing = (len(like) - len(tensor)) if like.dim() else 0
        state[key] = torch.cat([torch.zeros_like(like[:missing]), tensor]) if missing else tensor
    return state
