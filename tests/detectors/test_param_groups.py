import torch

from detectors.param_groups import decay_weights_only
from experiments import api, build


def test_weights_decay_and_biases_norms_and_factors_do_not():
    net = api.build_detector("detector=yolov7_tinyobject")
    groups = {group["name"]: group for group in decay_weights_only(net)}
    assert [groups[name].get("weight_decay") for name in ("weight", "bias", "other")] == [
        None,
        0,
        0,
    ]
    names = {id(p): name for name, p in net.named_parameters()}
    of = {kind: {names[id(p)] for p in group["params"]} for kind, group in groups.items()}
    assert "backbone.stem.0.0.weight" in of["weight"]
    assert {"head.layers.0.bias", "backbone.stem.0.1.bias"} <= of["bias"]
    assert {"head.add.0", "head.multiply.2", "backbone.stem.0.1.weight"} <= of["other"]


def test_every_parameter_that_learns_is_in_one_group():
    net = api.build_detector("detector=yolov7")
    net.backbone.stem.requires_grad_(False)
    grouped = [id(p) for group in decay_weights_only(net) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in net.parameters() if p.requires_grad}


def test_the_optimiser_gives_its_decay_to_the_weights_alone():
    config = build.compose(
        ["detector=yolov7", "optimizer=sgd", "detector.optimizer.weight_decay=0.1"]
    )
    optimizer = build.instantiate(config.detector).configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0, 0.0]
