"""Labelled folders of all formats: the same boxes from each, and errors that name the place."""

from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.annotations import (
    AnnotationError,
    LabelledBox,
    LabelledPicture,
    data_root,
    read_annotations,
)
from evaluation.attributes import Attributes
from evaluation.demo.sources import FACES
from evaluation.label_formats.classes import USUAL_NAMES
from evaluation.labels import read_labels
from evaluation.picture import read_upright
from pipeline.errors import ConfigurationError
from serving.geometry import Box
from tests.evaluation import label_writers as write

SIZE = (40, 30)
BY_HAND: dict[str, write.Writer] = {
    "native": write.write_native,
    "coco": write.write_coco,
    "voc": write.write_voc,
    "yolo": write.write_yolo,
}
BY_LIBRARY: dict[str, write.Writer] = {
    "coco": write.supervision_coco,
    "voc": write.supervision_voc,
    "yolo": write.supervision_yolo,
}
WRITERS = [
    *(pytest.param(name, writer, id=f"{name} by hand") for name, writer in BY_HAND.items()),
    *(pytest.param(name, writer, id=f"{name} by library") for name, writer in BY_LIBRARY.items()),
]
BORDERS = {
    "inside": (5, 6, 17, 18),
    "left": (0, 5, 8, 12),
    "top": (5, 0, 12, 8),
    "right": (30, 5, 40, 12),
    "bottom": (5, 20, 12, 30),
    "one pixel": (39, 29, 40, 30),
    "whole": (0, 0, 40, 30),
}


def labelled(*boxes: LabelledBox, name: str = "images/x.png") -> LabelledPicture:
    return LabelledPicture(name, *SIZE, ("face", "plate"), boxes)


def assert_same(
    found: tuple[LabelledPicture, ...], true: list[LabelledPicture], within: float
) -> None:
    assert [(p.image, p.width, p.height, p.labelled_classes) for p in found] == [
        (p.image, p.width, p.height, p.labelled_classes) for p in true
    ]
    for picture, wanted in zip(found, true, strict=True):
        assert [box.label for box in picture.boxes] == [box.label for box in wanted.boxes]
        for box, other in zip(picture.boxes, wanted.boxes, strict=True):
            assert box.box.as_tuple() == pytest.approx(other.box.as_tuple(), abs=within)


def tolerance(name: str) -> float:
    """YOLO's decimals are rounded."""
    return 0.02 if name == "yolo" else 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one picture, ``images/x.png``."""
    write.draw(tmp_path, "images/x.png", size=SIZE)
    return tmp_path


@pytest.fixture
def photographed(tmp_path: Path, photographs: Path) -> tuple[Path, list[LabelledPicture]]:
    """A folder of photographs and their labels; one without a box."""
    (tmp_path / "images").mkdir()
    pictures = []
    for name in ("astronaut.png", "coffee.png", "grace_hopper.jpg"):
        shutil.copy(photographs / name, tmp_path / "images" / name)
        height, width = read_upright(photographs / name).shape[:2]
        boxes = (
            [LabelledBox("face", Box(*(float(v) for v in FACES[name])))] if name in FACES else []
        )
        if name == "grace_hopper.jpg":
            boxes.append(LabelledBox("plate", Box(width - 60, height - 20, width, height)))
        pictures.append(
            LabelledPicture(f"images/{name}", width, height, ("face", "plate"), tuple(boxes))
        )
    return tmp_path, pictures


# --- the same boxes from every format


@pytest.mark.parametrize(("name", "writer"), WRITERS)
def test_photographs_come_back(
    photographed: tuple[Path, list[LabelledPicture]], name: str, writer: write.Writer
) -> None:
    folder, pictures = photographed
    writer(folder, pictures)
    assert_same(read_labels(folder), pictures, tolerance(name))


@pytest.mark.parametrize("corners", BORDERS.values(), ids=BORDERS)
@pytest.mark.parametrize(("name", "writer"), WRITERS)
def test_boxes_at_borders_come_back(
    folder: Path, name: str, writer: write.Writer, corners: tuple[int, int, int, int]
) -> None:
    pictures = [labelled(LabelledBox("face", Box(*corners)), LabelledBox("plate", Box(*corners)))]
    writer(folder, pictures)
    assert_same(read_labels(folder), pictures, tolerance(name))


@settings(max_examples=40, deadline=None)
@given(
    spans=st.lists(
        st.tuples(
            st.lists(st.integers(0, 997), min_size=2, max_size=2, unique=True),
            st.lists(st.integers(0, 641), min_size=2, max_size=2, unique=True),
        ),
        min_size=1,
        max_size=4,
    ),
    name=st.sampled_from(sorted(BY_LIBRARY)),
    by_library=st.booleans(),
)
def test_any_boxes_come_back(
    spans: list[tuple[list[int], list[int]]], name: str, by_library: bool
) -> None:
    boxes = [Box(min(x), min(y), max(x), max(y)) for x, y in spans]
    # one of each class first, so that all formats list both
    items = [LabelledBox(label, boxes[0]) for label in ("face", "plate")]
    items += [LabelledBox("plate", box) for box in boxes[1:]]
    picture = LabelledPicture("images/x.png", 997, 641, ("face", "plate"), tuple(items))
    with tempfile.TemporaryDirectory() as place:
        write.draw(Path(place), "images/x.png", size=(997, 641))
        (BY_LIBRARY if by_library else BY_HAND)[name](Path(place), [picture])
        assert_same(read_labels(Path(place)), [picture], 0.02 if name == "yolo" else 0)


def test_fractions_of_pixels_come_back_from_coco(folder: Path) -> None:
    pictures = [labelled(LabelledBox("plate", Box(1.1, 2.7, 33.3, 29.9)))]
    write.write_coco(folder, pictures)
    assert_same(read_labels(folder), pictures, 0)


def test_development_folders_read_the_same() -> None:
    files = sorted((data_root() / "dev").glob("*/annotations.jsonl"))
    if not files:
        pytest.skip("no development data: set STREETBLUR_DATA to a folder that holds dev/")
    for file in files:
        assert read_labels(file.parent) == read_annotations(file)


# --- what is labelled


@pytest.mark.parametrize(("name", "writer"), WRITERS)
def test_a_picture_without_boxes_stays(folder: Path, name: str, writer: write.Writer) -> None:
    write.draw(folder, "images/y.png", size=SIZE)
    items = [LabelledBox("face", Box(1, 2, 9, 9)), LabelledBox("plate", Box(1, 2, 9, 9))]
    pictures = [labelled(*items), labelled(name="images/y.png")]
    writer(folder, pictures)
    assert_same(read_labels(folder), pictures, tolerance(name))


@pytest.mark.parametrize("name", ["native", "coco", "voc"])
def test_a_picture_without_labels_is_left_out(folder: Path, name: str) -> None:
    write.draw(folder, "images/unlabelled.png")
    BY_HAND[name](folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    assert [picture.image for picture in read_labels(folder)] == ["images/x.png"]


def test_a_yolo_folder_without_labels_is_left_out(folder: Path) -> None:
    write.draw(folder, "images/test/y.png")
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    assert [picture.image for picture in read_labels(folder)] == ["images/x.png"]


def test_the_class_list_says_what_was_labelled(folder: Path) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    assert read_labels(folder)[0].labelled_classes == ("face", "plate")
    (picture,) = read_labels(folder, labelled_classes=["plate"])
    assert picture.labelled_classes == ("plate",)


def test_voc_labels_the_classes_that_occur(folder: Path) -> None:
    write.write_voc(folder, [labelled(LabelledBox("plate", Box(1, 2, 9, 9)))])
    assert read_labels(folder)[0].labelled_classes == ("plate",)


def test_a_set_that_names_no_class_is_refused(folder: Path) -> None:
    write.write_voc(folder, [labelled()])
    with pytest.raises(AnnotationError, match="nothing says what was labelled"):
        read_labels(folder)
    (picture,) = read_labels(folder, labelled_classes=("plate", "face"))
    assert (picture.boxes, picture.labelled_classes) == ((), ("face", "plate"))


def test_an_override_goes_for_the_native_format_too(folder: Path) -> None:
    write.write_native(folder, [labelled()])
    assert read_labels(folder, labelled_classes=["face"])[0].labelled_classes == ("face",)
    with pytest.raises(ConfigurationError, match="dog"):
        read_labels(folder, labelled_classes=["dog"])  # type: ignore[list-item]


# --- class names


@pytest.mark.parametrize(
    ("name", "label"), [*USUAL_NAMES.items(), ("License_Plate", "plate"), ("numberplate", "plate")]
)
def test_usual_names_are_known(folder: Path, name: str, label: str) -> None:
    write.voc(folder / "x.xml", [write.voc_object(name.upper(), (1, 2, 9, 9))], SIZE)
    assert read_labels(folder)[0].boxes[0].label == label


def test_unknown_names_are_listed(folder: Path) -> None:
    objects = [write.voc_object(name, (1, 2, 9, 9)) for name in ("car", "face", "head")]
    write.voc(folder / "x.xml", objects, SIZE)
    with pytest.raises(AnnotationError, match="plates: car, head"):
        read_labels(folder)


def test_own_names_go_first_and_none_leaves_out(folder: Path) -> None:
    objects = [write.voc_object(name, (1, 2, 9, 9)) for name in ("Big Car", "face", "head", "LP")]
    write.voc(folder / "x.xml", objects, SIZE)
    (picture,) = read_labels(folder, classes={"big-car": None, "head": "face", "lp": None})
    assert [box.label for box in picture.boxes] == ["face", "face"]


@pytest.mark.parametrize("classes", [{"car": "dog"}, {"a b": "face", "A-b": "plate"}])
def test_wrong_own_names_are_refused(folder: Path, classes: dict[str, str]) -> None:
    write.voc(folder / "x.xml", [write.voc_object("face", (1, 2, 9, 9))], SIZE)
    with pytest.raises(ConfigurationError, match="class"):
        read_labels(folder, classes=classes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "occlusion"),
    [("with_mask", "mask"), ("mask_weared_incorrect", "mask_incorrect"), ("face", None)],
)
def test_masks_are_told_by_the_class(folder: Path, name: str, occlusion: str | None) -> None:
    write.voc(folder / "x.xml", [write.voc_object(name, (1, 2, 9, 9))], SIZE)
    assert read_labels(folder)[0].boxes[0].occlusion == occlusion


# --- what libraries drop


@pytest.mark.parametrize(
    ("more", "ignore"),
    [
        ({"iscrowd": 1}, True),
        ({"ignore": 1}, True),
        ({"ignore": True}, True),
        ({"attributes": {"ignore": True}}, True),
        ({"iscrowd": 0, "ignore": False}, False),
    ],
)
def test_coco_crowds_are_ignored(folder: Path, more: dict[str, object], ignore: bool) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **more}
    write.coco(folder / "a.json", [{"id": 1, "file_name": "x.png"}], [row], {1: "face"})
    assert read_labels(folder)[0].boxes == (LabelledBox("face", Box(1, 2, 4, 6), ignore=ignore),)


def test_coco_attributes_are_kept(folder: Path) -> None:
    attributes = {"occlusion": "mask", "region": "eu", "rotation": 0.5, "occluded": False, "x": []}
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "attributes": attributes}
    write.coco(folder / "a.json", [{"id": 1, "file_name": "x.png"}], [row], {1: "face"})
    (box,) = read_labels(folder)[0].boxes
    assert box.occlusion == "mask"
    assert box.attrs == {"region": "eu", "rotation": "0.5", "occluded": "false"}


def test_coco_outlines_do_not_matter(folder: Path) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[9, 9, 20, 20]]}
    write.coco(folder / "a.json", [{"id": 1, "file_name": "x.png"}], [row], {1: "face"})
    assert read_labels(folder)[0].boxes[0].box == Box(1, 2, 4, 6)


def test_coco_categories_of_the_same_name_are_one(folder: Path) -> None:
    rows = [{"image_id": 1, "category_id": i, "bbox": [1, 2, 3, 4]} for i in (0, 1)]
    write.coco(folder / "a.json", [{"id": 1, "file_name": "x.png"}], rows, {0: "face", 1: "face"})
    assert [box.label for box in read_labels(folder)[0].boxes] == ["face", "face"]


def test_difficult_voc_objects_are_ignored(folder: Path) -> None:
    objects = [
        write.voc_object("face", (1, 2, 9, 9), "<difficult>0</difficult>"),
        write.voc_object("face", (2, 3, 9, 9), "<difficult>1</difficult><pose>Left</pose>"),
    ]
    write.voc(folder / "x.xml", objects, SIZE)
    easy, difficult = read_labels(folder)[0].boxes
    assert (easy.ignore, difficult.ignore) == (False, True)
    assert difficult.box == Box(2, 3, 9, 9)
    assert difficult.attrs == {"pose": "Left"}


def test_voc_outlines_do_not_matter(folder: Path) -> None:
    outline = "<polygon><x1>9</x1><y1>9</y1><x2>20</x2><y2>9</y2><x3>20</x3><y3>20</y3></polygon>"
    write.voc(folder / "x.xml", [write.voc_object("face", (1, 2, 9, 9), outline)], SIZE)
    assert read_labels(folder)[0].boxes[0].box == Box(1, 2, 9, 9)


def test_voc_counted_from_zero_stays_within_the_picture(folder: Path) -> None:
    write.voc(folder / "x.xml", [write.voc_object("face", (-1, -1, 9, 9))], SIZE)
    assert read_labels(folder)[0].boxes[0].box == Box(0, 0, 9, 9)


@pytest.mark.parametrize(
    ("line", "yaml"),
    [
        ("0 0.5 0.5 0.5 0.2", ""),
        ("0 0.5 0.5 0.5 0.2 0.93", ""),
        ("0 0.25 0.4 0.75 0.4 0.75 0.6 0.25 0.6", ""),
        ("0 0.5 0.5 0.5 0.2 0.1 0.1 2 0.9 0.9 2", "kpt_shape: [2, 3]\n"),
    ],
    ids=["box", "box and confidence", "polygon", "keypoints"],
)
def test_all_kinds_of_yolo_lines_are_read(folder: Path, line: str, yaml: str) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    (folder / "labels" / "x.txt").write_text(f"\n{line}\n")
    (folder / "data.yaml").write_text(f"names: {{0: face}}\n{yaml}")
    assert read_labels(folder)[0].boxes[0].box.as_tuple() == pytest.approx((10, 12, 30, 18))


def test_native_attributes_are_kept(folder: Path) -> None:
    attrs = Attributes({"region": "eu", "occlusion": "mask"})
    write.write_native(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9), attrs=attrs))])
    (box,) = read_labels(folder)[0].boxes
    assert (box.occlusion, box.attrs) == ("mask", {"region": "eu"})


def test_attributes_are_values() -> None:
    attrs = Attributes({"b": "2", "a": "1"})
    assert attrs == Attributes([("a", "1"), ("b", "2")])
    assert hash(attrs) == hash(Attributes([("a", "1"), ("b", "2")]))
    assert pickle.loads(pickle.dumps(attrs)) == attrs  # noqa: S301
    with pytest.raises(AttributeError, match="cannot be changed"):
        attrs.a = "3"  # type: ignore[attr-defined]


# --- where things lie


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("name", "writer"), [p for p in WRITERS if p.values[0] != "native"])
def test_labels_are_of_the_upright_picture(
    tmp_path: Path, name: str, writer: write.Writer, orientation: int
) -> None:
    stored = SIZE[::-1] if orientation == 6 else SIZE
    write.draw(tmp_path, "images/x.jpg", size=stored, orientation=orientation)
    items = [LabelledBox(label, Box(30, 5, 40, 12)) for label in ("face", "plate")]
    pictures = [labelled(*items, name="images/x.jpg")]
    writer(tmp_path, pictures)
    assert_same(read_labels(tmp_path), pictures, tolerance(name))


@pytest.mark.parametrize(
    ("picture", "label_file"),
    [
        ("x.png", "_annotations.coco.json"),
        ("images/x.png", "annotations.json"),
        ("val2017/x.png", "annotations/instances_val2017.json"),
        ("images/val/x.png", "annotations/instances_val.json"),
        ("images/a/x.png", "annotations/labels.json"),
    ],
)
def test_coco_pictures_are_found(tmp_path: Path, picture: str, label_file: str) -> None:
    write.draw(tmp_path, picture)
    name = "a/x.png" if "/a/" in picture else "x.png"
    write.coco(tmp_path / label_file, [{"id": 1, "file_name": name}], [], {1: "face"})
    assert [found.image for found in read_labels(tmp_path)] == [picture]


@pytest.mark.parametrize(
    ("picture", "label_file"),
    [
        ("x.jpg", "x.xml"),
        ("JPEGImages/x.jpg", "Annotations/x.xml"),
        ("images/x.PNG", "annotations/x.xml"),
        ("images/other.jpg", "annotations/x.xml"),
    ],
)
def test_voc_pictures_are_found(tmp_path: Path, picture: str, label_file: str) -> None:
    write.draw(tmp_path, picture)
    objects = [write.voc_object("face", (1, 2, 9, 9))]
    write.voc(tmp_path / label_file, objects, None, name=Path(picture).name)
    assert [found.image for found in read_labels(tmp_path)] == [picture]


@pytest.mark.parametrize(
    ("picture", "label_file"),
    [
        ("images/x.jpg", "labels/x.txt"),
        ("images/val/x.jpg", "labels/val/x.txt"),
        ("valid/images/x.jpg", "valid/labels/x.txt"),
    ],
)
@pytest.mark.parametrize("names", ["data.yaml", "data.yml", "dataset.yaml"])
def test_yolo_pictures_are_found(tmp_path: Path, picture: str, label_file: str, names: str) -> None:
    write.draw(tmp_path, picture)
    (tmp_path / label_file).parent.mkdir(parents=True)
    (tmp_path / label_file).write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / names).write_text("names: [face]\n")
    (found,) = read_labels(tmp_path)
    assert (found.image, len(found.boxes)) == (picture, 1)


def test_nothing_to_read_is_an_error(folder: Path) -> None:
    with pytest.raises(AnnotationError, match=r"no labels of a known format.*annotations\.jsonl"):
        read_labels(folder)
    with pytest.raises(AnnotationError, match="no yolo labels"):
        read_labels(folder, format="yolo")
    with pytest.raises(AnnotationError, match="no such folder"):
        read_labels(folder / "absent")


def test_several_formats_must_be_chosen_from(folder: Path) -> None:
    pictures = [labelled(LabelledBox("face", Box(1, 2, 9, 9)))]
    for writer in BY_HAND.values():
        writer(folder, pictures)
    with pytest.raises(AnnotationError, match="several labels") as raised:
        read_labels(folder)
    assert "Annotations (voc), data.yaml (yolo)" in str(raised.value)
    assert read_labels(folder, format="voc")[0].boxes[0].box == Box(1, 2, 9, 9)


def test_several_files_must_be_chosen_from(folder: Path) -> None:
    for name in ("a.json", "b.json"):
        write.coco(folder / name, [{"id": 1, "file_name": "x.png"}], [], {1: "face"})
    with pytest.raises(AnnotationError, match=r"a\.json \(coco\), b\.json \(coco\)"):
        read_labels(folder, format="coco")
    assert len(read_labels(folder, annotations=folder / "b.json")) == 1


def test_other_json_and_xml_is_no_label_file(folder: Path) -> None:
    write.write_native(folder, [labelled()])
    (folder / "figures.json").write_text('{"images": 3}')
    (folder / "broken.json").write_text("{")
    (folder / "sitemap.xml").write_text("<urlset/>")
    assert len(read_labels(folder)) == 1


@pytest.mark.parametrize("name", BY_HAND)
def test_the_label_file_may_lie_elsewhere(folder: Path, tmp_path: Path, name: str) -> None:
    BY_HAND[name](folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    written = {
        "native": folder / "annotations.jsonl",
        "coco": folder / "_annotations.coco.json",
        "voc": folder / "Annotations",
        "yolo": folder / "data.yaml",
    }[name]
    moved = tmp_path / "elsewhere" / written.name
    moved.parent.mkdir()
    written.rename(moved)
    (picture,) = read_labels(folder, annotations=moved)
    assert (picture.image, len(picture.boxes)) == ("images/x.png", 1)


def test_formats_that_cannot_be_told_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be told"):
        read_labels(folder, annotations=folder / "labels.csv")
    with pytest.raises(ConfigurationError, match="'csv' is no label format"):
        read_labels(folder, format="csv")  # type: ignore[arg-type]


# --- wrong files


IMAGE = '{"id": 1, "file_name": "x.png"}'
CATEGORY = '{"id": 1, "name": "face"}'


def coco_text(
    image: str = IMAGE, bbox: str = "[1, 2, 3, 4]", more: str = "", category: str = CATEGORY
) -> str:
    row = f'{{"id": 5, "image_id": 1, "category_id": 1, "bbox": {bbox}{more}}}'
    return f'{{"images": [{image}], "annotations": [{row}], "categories": [{category}]}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (coco_text()[:-9], r"as JSON .*line 1"),
        ("[]", "not COCO: field images"),
        ('{"images": [], "annotations": [1]}', "not COCO: field annotations"),
        ('{"images": [], "annotations": []}', "not COCO: field categories"),
        (coco_text(category='{"id": 2, "name": "face"}'), "annotation 5: category_id 1 is not in"),
        (coco_text(category='{"id": 1}'), "category 1: field name"),
        (coco_text(category=f"{CATEGORY}, {CATEGORY}"), "two categories have the same id"),
        (coco_text(category='{"name": "face"}'), r"field id of category 0"),
        (coco_text(image='{"id": 2, "file_name": "x.png"}'), "annotation 5: image_id 1 is not in"),
        (coco_text(image=f"{IMAGE}, {IMAGE}"), "two images have the same id"),
        (coco_text(image=f'{IMAGE}, {{"id": 2, "file_name": "x.png"}}'), "labelled twice"),
        (coco_text(image='{"id": 1, "file_name": "y.png"}'), "image 1: the picture y.png is in"),
        (coco_text(image='{"id": 1, "file_name": "/x.png"}'), "field file_name"),
        (
            coco_text(image='{"id": 1, "file_name": "../images/x.png"}'),
            r"images/\.\./images/x\.png is not in",
        ),
        (coco_text(image='{"id": 1, "file_name": "x.png", "width": 0}'), "width and height"),
        (
            coco_text(image='{"id": 1, "file_name": "x.png", "width": 30, "height": 40}'),
            r"30x40 pixels, the upright picture x\.png has 40x30.*EXIF",
        ),
        (coco_text("[]"), "not COCO"),
        (coco_text(bbox="[1, 2, 3]"), "annotation 5: field bbox"),
        (coco_text(bbox="null"), "field bbox"),
        (coco_text(bbox="[1, 2, 3, NaN]"), "field bbox"),
        (coco_text(bbox=f"[1, 2, 3, 1{'0' * 400}]"), "field bbox"),
        (coco_text(bbox="[1, 2, -3, 4]"), "no width or height"),
        (coco_text(bbox="[1, 2, 3, 0]"), "no width or height"),
        (coco_text(bbox="[41, 2, 3, 4]"), "annotation 5: .*lies outside the picture of 40x30"),
        (coco_text(more=', "iscrowd": "perhaps"'), "iscrowd is 'perhaps'"),
        (coco_text(more=', "attributes": [1]'), "field attributes"),
    ],
)
def test_a_wrong_coco_file_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "annotations.json").write_text(text)
    with pytest.raises(AnnotationError, match=message) as raised:
        read_labels(folder, annotations=folder / "annotations.json")
    assert "annotations.json" in str(raised.value)


def voc_text(corners: str = "1 2 9 9", size: str = "40 30", name: str = "face") -> str:
    values = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=False))
    bndbox = "".join(f"<{k}>{v}</{k}>" for k, v in values.items())
    width, height = size.split()
    return (
        f"<annotation>\n<size><width>{width}</width><height>{height}</height></size>"
        f"<object><name>{name}</name><bndbox>{bndbox}</bndbox></object>\n</annotation>"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (voc_text()[:-4], r"x\.xml:3: not valid XML"),
        (voc_text(corners="1 2 9"), "object 1: field bndbox/ymax: '' is no number"),
        (voc_text(corners="1 2 9 nine"), "'nine' is no number"),
        (voc_text(corners="1 2 9 inf"), "'inf' is no number"),
        (voc_text(corners="9 2 1 9"), "object 1: the box .* is inverted"),
        (voc_text(corners="50 2 60 9"), "object 1: .*outside the picture"),
        (voc_text(name=" "), "object 1: field name"),
        (voc_text(size="-1 30"), "'-1' is no size"),
        (voc_text(size="400 300"), "400x300 pixels, the upright"),
        (voc_text().replace("<bndbox>", "<difficult>2</difficult><bndbox>"), "difficult is '2'"),
        ("<annotations/>", "its element is annotations"),
        (
            '<!DOCTYPE a [<!ENTITY e "1">]><annotation>&e;</annotation>',
            "cannot be read as XML .*Entit",
        ),
    ],
)
def test_a_wrong_voc_file_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "x.xml").write_text(text)
    with pytest.raises(AnnotationError, match=message) as raised:
        read_labels(folder, format="voc")
    assert "x.xml" in str(raised.value)


def test_voc_of_size_zero_takes_the_pictures_size(folder: Path) -> None:
    (folder / "x.xml").write_text(voc_text(size="0 0"))
    assert (read_labels(folder)[0].width, read_labels(folder)[0].height) == SIZE


def test_voc_without_its_picture_is_refused(folder: Path) -> None:
    (folder / "y.xml").write_text(voc_text())
    with pytest.raises(AnnotationError, match=r"y\.xml: there is no picture y"):
        read_labels(folder)


def test_voc_with_two_pictures_of_its_name_is_refused(folder: Path) -> None:
    write.draw(folder, "x.jpg")
    (folder / "x.xml").write_text(voc_text())
    with pytest.raises(AnnotationError, match="several pictures"):
        read_labels(folder)
    write.voc(folder / "x.xml", [write.voc_object("face", (1, 2, 9, 9))], SIZE, name="x.jpg")
    assert read_labels(folder)[0].image == "x.jpg"


def test_voc_without_files_is_refused(folder: Path) -> None:
    with pytest.raises(AnnotationError, match="no XML files"):
        read_labels(folder, annotations=folder / "images")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", "at least four numbers"),
        ("0 0.5 0.5 0.5 half", "not a number"),
        ("0 0.5 0.5 1.5 0.5", r"1\.5 is outside 0\.\.1"),
        ("0 0.5 0.5 -0.5 0.5", r"-0\.5 is outside 0\.\.1"),
        ("0 0.5 0.5 nan 0.5", r"nan is outside 0\.\.1"),
        ("0 0.1 0.1 0.2 0.1 20 0.9", r"20 is outside 0\.\.1"),
        ("0 0.5 0.5 0 0.5", "empty or inverted"),
        ("7 0.5 0.5 0.5 0.5", r"class 7 is not in data\.yaml"),
        ("-1 0.5 0.5 0.5 0.5", r"class -1 is not in data\.yaml"),
        ("0.5 0.5 0.5 0.5 0.5", "no class number"),
    ],
)
def test_a_wrong_yolo_line_is_named(folder: Path, line: str, message: str) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    (folder / "labels" / "x.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(AnnotationError, match=message) as raised:
        read_labels(folder)
    assert "x.txt:2" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [face", "cannot be read"),
        ("names: " + "[" * 5000, "cannot be read"),
        ("nc: 2", "field names"),
        ("names: face", "field names"),
        ("names: {a: face}", "field names"),
        ("names: [face]\nkpt_shape: 3", "field kpt_shape"),
    ],
)
def test_a_wrong_class_file_is_named(folder: Path, text: str, message: str) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    (folder / "data.yaml").write_text(text)
    with pytest.raises(AnnotationError, match=message) as raised:
        read_labels(folder)
    assert "data.yaml" in str(raised.value)


def test_yolo_without_its_picture_is_refused(folder: Path) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    (folder / "labels" / "classes.txt").write_text("face\n")
    assert len(read_labels(folder)) == 1
    (folder / "labels" / "y.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(AnnotationError, match=r"y\.txt: there is no picture for it"):
        read_labels(folder)


def test_yolo_of_two_pictures_is_refused(folder: Path) -> None:
    write.write_yolo(folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    write.draw(folder, "images/x.jpg")
    with pytest.raises(AnnotationError, match=r"both x\.jpg and x\.png"):
        read_labels(folder)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("native", "annotations.jsonl"),
        ("coco", "_annotations.coco.json"),
        ("voc", "Annotations/x.xml"),
        ("yolo", "labels/x.txt"),
        ("yolo", "data.yaml"),
    ],
)
def test_a_file_that_is_no_utf_8_is_named(folder: Path, name: str, file: str) -> None:
    BY_HAND[name](folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content.replace(b"face", b"f\xe4ce") + b"\xe4")
    with pytest.raises(AnnotationError, match=Path(file).name):
        read_labels(folder)


@pytest.mark.parametrize("name", BY_LIBRARY)
def test_a_broken_picture_is_named(folder: Path, name: str) -> None:
    BY_HAND[name](folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    (folder / "images" / "x.png").write_bytes(b"broken")
    with pytest.raises(AnnotationError, match=r"x\.png: the labelled picture cannot be read"):
        read_labels(folder)


@pytest.mark.parametrize("name", BY_LIBRARY)
def test_a_missing_library_is_named(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BY_HAND[name](folder, [labelled(LabelledBox("face", Box(1, 2, 9, 9)))])
    for module in [m for m in sys.modules if m.startswith("supervision.dataset.formats")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigurationError, match=r"streetblur\[evaluate\]"):
        read_labels(folder)
