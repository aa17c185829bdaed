"""YOLOv7's layers and sizes, against the numbers of the reference (counted there, not here)."""

from functools import partial

import pytest
import torch
from torch import nn

from detectors.backbones.attention import CBSS
from detectors.backbones.elan import ELANBackbone
from detectors.fusing import fuse
from detectors.heads.dense import ImplicitDenseHead
from detectors.necks.elan_pafpn import ELANPAFPN
from experiments import api

SIZES = {  # detector, classes -> parameters of the training graph, and fused
    ("yolov7", 80): (37_622_682, 36_907_898),
    ("yolov7", 20): (37_299_042, None),
    ("yolov7", 1): (37_196_556, 36_481_772),
    ("yolov7_tiny", 80): (6_228_762, 6_221_370),
    ("yolov7_tiny", 20): (6_066_402, None),
    ("yolov7_tiny", 1): (6_014_988, 6_007_596),
}
BLOCKS = {  # from the reference's table of layers
    "backbone.stem": 130_464,
    "backbone.stages.0": 230_656,
    "backbone.shrink.1": 213_760,
    "backbone.stages.1": 920_064,
    "backbone.shrink.2": 853_504,
    "backbone.stages.2": 3_675_136,
    "backbone.shrink.3": 3_410_944,
    "backbone.stages.3": 3_937_280,
    "neck.spp": 7_609_344,
    "neck.up4": 1_264_128,
    "neck.up3": 316_672,
    "neck.shrink3": 180_992,
    "neck.down4": 1_264_128,
    "neck.shrink4": 722_432,
    "neck.down5": 5_051_392,
    "neck.last.0": 328_704,
    "neck.last.1": 1_312_768,
    "neck.last.2": 5_246_976,
    "head": 460_282,
}
ATTENTION = {  # preset, kernel -> parameters more than YOLOv7's
    ("none", 1): 0,
    ("head", 1): 759_040,
    ("head", 3): 6_132_992,
    ("backbone", 1): 1_477_632,
    ("third_head_block", 1): 370_176,
    ("replace", None): 10_240,
}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(name: str, classes: int, *overrides: str) -> nn.Module:
    names = ",".join(f"c{i}" for i in range(classes))
    data = f"datamodule.info.class_names=[{names}]"
    with torch.device("meta"):
        return api.build_detector(f"detector={name}", "scale=paper", data, *overrides)


@pytest.mark.parametrize(("name", "classes"), SIZES)
def test_its_parameters_are_as_many_as_the_references(name, classes):
    assert count(build(name, classes)) == SIZES[name, classes][0]


@pytest.mark.parametrize(("name", "classes"), [key for key, size in SIZES.items() if size[1]])
def test_fused_they_are_as_many_less_the_references_leftovers(name, classes):
    """The reference's fused head keeps the implicit numbers it has folded in; ours does not."""
    net = build(name, classes)
    leftovers = sum(p.numel() for p in [*net.head.add, *net.head.multiply])
    assert count(fuse(net)) == SIZES[name, classes][1] - leftovers


def test_every_block_has_the_parameters_of_the_references_layers():
    net = build("yolov7", 80)
    assert {path: count(net.get_submodule(path)) for path in BLOCKS} == BLOCKS


@pytest.mark.parametrize(("preset", "kernel"), ATTENTION)
def test_every_reading_of_the_papers_cbss_has_its_parameters(preset, kernel):
    kept = [f"detector.net.neck.attention.kernel={kernel}"] if kernel is not None else []
    extra = count(build("yolov7_tinyobject", 1, f"attention={preset}", *kept)) - 37_196_556
    assert extra == ATTENTION[preset, kernel]


def test_the_default_reading_is_the_blocks_of_the_head():
    assert count(build("yolov7_tinyobject", 1)) == 37_955_596
    assert count(build("yolov7_tinyobject", 80)) == 38_381_722


def test_both_adds_what_backbone_and_head_add_apart():
    at_p4 = 1_477_632 - (512 * 512 + 2 * 512 + 2 * 512 * 32)  # the pyramid pooling is in both
    assert count(build("yolov7_tinyobject", 1, "attention=both")) - 37_955_596 == at_p4


@pytest.mark.parametrize(("plan", "gigaflops"), [("full", 105.769), ("tiny", 13.701)])
def test_a_forward_costs_the_references_operations(plan, gigaflops):
    from torch.utils.flop_counter import FlopCounterMode

    name = "yolov7" if plan == "full" else "yolov7_tiny"
    net = build(name, 80)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 640, 640, dtype=torch.uint8, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gigaflops, abs=1e-3)


def test_at_640_px_there_are_25200_priors():
    raw = build("yolov7", 80)(torch.zeros(1, 3, 640, 640, dtype=torch.uint8, device="meta"))
    assert raw.codes.shape == (1, 25_200, 4)
    assert raw.class_logits.shape == (1, 25_200, 80)
    assert [(level.rows, level.columns) for level in raw.levels] == [(80, 80), (40, 40), (20, 20)]


def test_batch_norms_have_the_references_epsilon_and_momentum():
    norms = [m for m in build("yolov7_tinyobject", 1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) > 90
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


def test_a_width_shrinks_every_channel_but_to_multiples_of_8():
    backbone = ELANBackbone(width=0.125)
    neck = ELANPAFPN(in_channels=backbone.channels, strides=backbone.strides, channels=16)
    assert backbone.channels == [64, 128, 128]
    assert neck.channels == [32, 64, 128]
    channels = {m.out_channels for m in backbone.modules() if isinstance(m, nn.Conv2d)}
    assert all(c % 8 == 0 for c in channels)


def test_every_consumer_of_a_point_sees_its_attention():
    """Without it, the pyramid pooling's second consumer (the last concatenation) would not."""
    torch.manual_seed(0)
    backbone = ELANBackbone(width=0.125)
    make = partial(ELANPAFPN, in_channels=backbone.channels, strides=backbone.strides, channels=16)
    neck = make(attention=CBSS, attention_points=["spp", "up4", "up3", "down4", "down5"]).eval()
    features = [torch.randn(1, c, s, s) for c, s in zip(backbone.channels, (16, 8, 4), strict=True)]
    with torch.no_grad():
        for point, seen_by in {
            "spp": (0, 1, 2),
            "up4": (0, 1, 2),
            "up3": (0, 1, 2),
            "down4": (1, 2),
            "down5": (2,),
        }.items():
            before = neck(features)
            neck.attention[point][0][1].bias += 1.0
            changed = [not torch.equal(a, b) for a, b in zip(before, neck(features), strict=True)]
            assert [i for i in range(3) if changed[i]] == list(seen_by), point


def test_squeeze_and_excitation_weighs_channels_not_places():
    block = CBSS(32, kernel=None)
    x = torch.rand(2, 32, 5, 7) + 0.1
    factors = block(x) / x
    assert torch.allclose(factors, factors[..., :1, :1].expand_as(factors), atol=1e-6)
    assert ((factors > 0) & (factors < 1)).all()
    assert factors[:, :, 0, 0].std() > 0


def test_implicit_knowledge_is_added_before_and_multiplied_after_the_convolution():
    head = ImplicitDenseHead(in_channels=[4], per_cell=[3], outputs=6)
    x = torch.randn(2, 4, 3, 5)
    weight, bias = head.layers[0].weight[:, :, 0, 0], head.layers[0].bias
    by_hand = torch.einsum("oc,bchw->bhwo", weight, x + head.add[0]) + bias
    by_hand = (by_hand * head.multiply[0].flatten()).reshape(2, -1, 6)
    assert torch.allclose(head([x]), by_hand, atol=1e-6)
    assert torch.allclose(head.fused()([x]), by_hand, atol=1e-6)
