"""Arbitrary and mutated files: valid samples or one DataError that names the file, nothing else."""

import math
from datetime import timedelta

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.guess import Guess, guess
from datamodules.sources.images import image_hw, read_image
from datamodules.sources.source import Source
from detectors.errors import DataError
from tests.datamodules.sources.formats import FORMATS, picture

FUZZ = settings(
    max_examples=40,
    deadline=timedelta(seconds=5),  # a hang, not a speed
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SURROGATE = "\ud800".encode("utf-8", "surrogatepass")
ODD = (
    *("nan", "-1", "1e999", "-1e999", "", "0", "1" * 5000, "1e-320", "null", "true", '"', "'", "["),
    *("{", "\0", "\r\n", SURROGATE, "\u2028", "]]>", "&x;", ": ", "*a", "&a [*a]", "<object>"),
    *(",", "2 3", "9" * 400, "../../x.jpg", "NaN", "Infinity", "\ufeff"),
)


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with up to five cuts: bytes removed, and others put in their place."""
    data = valid
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20, 200])))
        copied = data[end : end + draw(st.integers(0, 100))]
        other = draw(st.one_of(st.binary(max_size=4), st.sampled_from(ODD), st.just(copied)))
        data = data[:start] + as_bytes(other) + data[end:]
    return data


def check(source: Source) -> None:
    """Whatever was read is usable."""
    for index in range(len(source)):
        target = source.target(index)
        height, width = target.frame.original_hw
        boxes = target.boxes
        assert boxes.dtype == torch.float32
        assert target.labels.dtype == torch.int64
        assert target.crowd.dtype == target.difficult.dtype == torch.bool
        assert ((boxes >= 0) & (boxes <= torch.tensor([width, height, width, height]))).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (target.labels < len(source.info.class_names)).all()
        assert (target.area >= 0).all()
        assert target.area.isfinite().all()
        if target.keypoints is not None:
            assert target.keypoints.isfinite().all()
            assert ((target.keypoints[..., 2:] == torch.arange(3)).any(dim=-1)).all()
        assert image_hw(source.file(index) or "") == (height, width)


def outcome(function, *args, **kwargs):
    """The result, or the message of the one error that is allowed."""
    try:
        return function(*args, **kwargs)
    except DataError as error:
        return str(error)


def read(name: str, root, content: bytes) -> None:
    """Reads the folder with this file in it, strictly and tolerantly."""
    _, file, make = FORMATS[name]
    (root / file).write_bytes(content)
    for mistakes in ("error", "drop_all"):
        found = outcome(make, root, mistakes=mistakes)
        if isinstance(found, Source):
            check(found)
        else:
            assert found.isprintable()
            assert str(root) in found
    found = outcome(guess, root)
    assert isinstance(found, Guess) or str(root) in found


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A valid folder of each format, and what its file should hold."""
    folders = {}
    for name, (write, file, make) in FORMATS.items():
        root = write(tmp_path_factory.mktemp("set"))
        check(make(root))
        folders[name] = root, (root / file).read_bytes()
    return folders


@pytest.mark.parametrize("name", FORMATS)
@FUZZ
@given(data=st.data())
def test_a_mutated_file_gives_valid_samples_or_one_error_that_names_it(roots, name, data):
    root, valid = roots[name]
    read(name, root, data.draw(mutated(valid)))


@pytest.mark.parametrize("name", FORMATS)
@FUZZ
@given(content=st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "replace"))))
def test_an_arbitrary_file_gives_valid_samples_or_one_error_that_names_it(roots, name, content):
    read(name, roots[name][0], content)


LAUGHS = "".join(
    f'<!ENTITY {name} "{f"&{inner};" * 1000 if inner else "x" * 1000}">'
    for name, inner in (("b", ""), ("c", "b"), ("d", "c"))
)
DEEP = {
    "lists": ("coco", b'{"images": [], "annotations": ' + b"[" * 100_000),
    "flow lists": ("yolo names", b"names: " + b"[" * 1000),
    "flow maps": ("yolo names", b"names: " + b"{a: " * 5000),
    "elements": (
        "voc",
        b"<annotation>%s</annotation>" % (b"<object>" * 9**5 + b"</object>" * 9**5),
    ),
    "entities": ("voc", f"<!DOCTYPE a [{LAUGHS}]><annotation>&d;</annotation>".encode()),
    "cell": ("csv", b"filename,class,xmin,ymin,xmax,ymax\n" + b"a" * 200_000),
    "header": ("deeplabcut", b"scorer" * 100_000),
    "number": ("yolo", b"1 0.5 0.5 0.5 " + b"1" * 100_000),
}


@pytest.mark.parametrize(("name", "content"), DEEP.values(), ids=DEEP)
def test_deep_and_long_files_end_in_one_error_too(roots, name, content):
    read(name, roots[name][0], content)


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["with a byte order mark", "without"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", FORMATS)
def test_byte_order_marks_and_windows_line_ends_change_nothing(roots, name, mark, end):
    root, valid = roots[name]
    _, file, make = FORMATS[name]
    (root / file).write_bytes(valid)
    expected = make(root).fingerprint()
    (root / file).write_bytes((mark + valid.decode().replace("\n", end)).encode())
    assert make(root).fingerprint() == expected


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@FUZZ
@given(data=st.data())
def test_a_mutated_image_is_read_or_refused_in_one_line(tmp_path, suffix, data):
    valid = picture(tmp_path / f"valid{suffix}", (9, 11)).read_bytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data.draw(mutated(valid)))
    for function in (read_image, image_hw):
        found = outcome(function, path)
        if isinstance(found, str):
            assert found.isprintable()
            assert found.startswith(str(path))
        else:
            assert math.prod(getattr(found, "shape", found)) > 0
