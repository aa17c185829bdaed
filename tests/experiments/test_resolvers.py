import pytest

from experiments import build


def test_the_gains_of_yolov7_at_paper_scale_follow_the_size_of_the_input_and_the_classes():
    sizes = ["protocol.input_hw=[320,640]", "datamodule.info.class_names=[a,b]"]
    weights = build.compose(["detector=yolov7", "scale=paper", *sizes]).detector.loss_weights
    assert weights.objectness == pytest.approx(0.7 * (320 * 640) / 640**2)
    assert weights["class"] == pytest.approx(0.3 * 2 / 80)
    assert weights.box == 0.05
