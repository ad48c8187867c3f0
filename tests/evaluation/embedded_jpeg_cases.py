"""JPEG files that hide a picture anywhere but in EXIF, and their twins."""

from __future__ import annotations

import base64
import gzip
import quopri
import zlib

from tests.evaluation.embedded_jpeg import (
    base64_lines,
    comment,
    extended_xmp,
    icc_jpeg,
    in_first_scan,
    in_scan,
    irb_jpeg,
    jpeg,
    jumbf_jpeg,
    lower,
    mpf_index,
    plain_jpeg,
    quoted_lines,
    split_resources,
    uuencoded,
    with_second_picture,
    xmp_jpeg,
)
from tests.evaluation.embedded_parts import (
    CAMERA,
    SMALL,
    Case,
    carried,
    film,
    harmless,
    jumbf,
    photoshop_thumbnail,
    profile,
    raw_thumbnail,
    resources,
    tiff_block,
    unaccounted_profile,
    zipped,
)
from tests.pipeline.pictures import segment, thumbnail
from tests.pipeline.test_replaced import (
    first_table,
    in_single_scans,
    planes,
    table_sized,
    with_late_tables,
    with_tables,
)


def _xmp_case(name: str, laden: str, clean: str, declared: str = "") -> Case:
    return Case(lambda: xmp_jpeg(laden, declared), lambda: xmp_jpeg(clean, declared), f"XMP {name}")


JPEG_CASES: dict[str, Case] = {
    "jfif-thumbnail": Case(
        lambda: jpeg(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\x10\x0c" + SMALL.tobytes())),
        lambda: jpeg(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")),
        "JFIF thumbnail",
    ),
    "jfif-thumbnail-left-behind": Case(
        lambda: jpeg(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0" + SMALL.tobytes())),
        lambda: jpeg(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")),
        "JFIF thumbnail",
    ),
    "jfxx-jpeg": Case(
        lambda: jpeg(segment(0xE0, b"JFXX\0\x10" + thumbnail())), plain_jpeg, "JFXX thumbnail"
    ),
    "jfxx-pixels": Case(
        lambda: jpeg(segment(0xE0, b"JFXX\0\x13\x10\x0c" + SMALL.tobytes())),
        plain_jpeg,
        "JFXX thumbnail",
    ),
    "mpf-second-picture": Case(
        lambda: with_second_picture(thumbnail()), lambda: jpeg(mpf_index((0, 0))), "MPF picture"
    ),
    "mpf-index-alone": Case(
        lambda: jpeg(mpf_index((0, 0), (9000, 99_000))),
        lambda: jpeg(mpf_index((0, 0))),
        "MPF picture",
    ),
    "behind-jpeg": Case(lambda: jpeg(behind=thumbnail()), plain_jpeg),
    "behind-film": Case(lambda: jpeg(behind=film()), plain_jpeg, "HEIF or film"),
    "behind-samsung-trailer": Case(
        lambda: jpeg(behind=b"\0\0\1\x0a\x0e\0\0\0Image_UTC_Data17726" + b"SEFH\0\0SEFT"),
        plain_jpeg,
        "data behind the end",
    ),
    "behind-zip": Case(lambda: jpeg(behind=zipped()), plain_jpeg, "ZIP"),
    "behind-one-byte": Case(lambda: jpeg(behind=b"\n"), plain_jpeg, "data behind the end"),
    "xmp-thumbnails": _xmp_case(
        "xmp:Thumbnails",
        "><xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:width='9'/></rdf:Alt></xmp:Thumbnails>",
        "><xmp:Thumbnails/>",
    ),
    "xmp-image-of-another-prefix": _xmp_case(
        "g:image",
        "><xmp:T><rdf:li><g:image>iVBO&#xA;</g:image></rdf:li></xmp:T>",
        "><xmp:T><rdf:li><g:width>40</g:width></rdf:li></xmp:T>",
        'xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"',
    ),
    "xmp-thumbnail-base64": carried(
        lambda h: xmp_jpeg(
            "><my:Preview>"
            + base64.encodebytes(h).decode().replace("\n", "&#xA;")
            + "</my:Preview>"
        )
    ),
    "xmp-gimage": _xmp_case("GImage:Data", 'GImage:Data="iVBO">', 'GImage:Mime="image/png">'),
    "xmp-gdepth": _xmp_case("GDepth:Data", 'GDepth:Data="iVBO">', 'GDepth:Format="x">'),
    "xmp-container": _xmp_case(
        "Item:Semantic",
        '><Container:Item Item:Semantic="Primary"/><Container:Item Item:Semantic="GainMap"/>',
        '><Container:Item Item:Semantic="Primary"/>',
    ),
    "xmp-motion-photo": _xmp_case(
        "GCamera:MotionPhoto", 'GCamera:MotionPhoto="1">', 'GCamera:MotionPhoto="0">'
    ),
    "xmp-micro-video": _xmp_case(
        "GCamera:MicroVideo", 'GCamera:MicroVideo="1">', 'GCamera:MicroVideo="0">'
    ),
    "xmp-extended": carried(extended_xmp),
    "photoshop-thumbnail": Case(
        lambda: irb_jpeg(photoshop_thumbnail(0x040C, 1, thumbnail())),
        lambda: irb_jpeg(resources((0x03ED, bytes(16)))),
        "Photoshop thumbnail",
    ),
    "photoshop-other-resource": carried(lambda h: irb_jpeg(resources((0x0FA0, h)))),
    "photoshop-thumbnail-pixels": Case(
        lambda: irb_jpeg(photoshop_thumbnail(0x0409, 0, SMALL.tobytes())),
        lambda: irb_jpeg(resources((0x03ED, bytes(16)), (0x0404, b"\x1c\2\0\0\2\0\4"))),
        "Photoshop thumbnail",
    ),
    "photoshop-thumbnail-split": Case(
        lambda: split_resources(photoshop_thumbnail(0x040C, 1, thumbnail())),
        lambda: split_resources(resources((0x03ED, bytes(16)), (0x0404, harmless(500)))),
    ),
    "photoshop-exif": Case(
        lambda: irb_jpeg(resources((0x0422, b"Exif\0\0" + tiff_block(CAMERA, raw_thumbnail())))),
        lambda: irb_jpeg(resources((0x0422, b"Exif\0\0" + tiff_block(CAMERA)))),
        "EXIF thumbnail",
    ),
    "ducky": carried(lambda h: jpeg(segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x50" + h))),
    "thermal": Case(
        lambda: jpeg(segment(0xE1, b"FLIR\0\1\0\0FFF\0" + SMALL.tobytes())),
        lambda: jpeg(segment(0xE1, b"FLAT\0\1\0\0" + SMALL.tobytes())),
        "thermal picture",
    ),
    "comment-base64-in-json": carried(lambda h: comment(base64_lines(h))),
    "comment-base64url": carried(lambda h: comment(b"see: " + base64.urlsafe_b64encode(h))),
    "comment-data-url": carried(
        lambda h: comment(b"data:image/jpeg;base64," + base64.b64encode(h).replace(b"/", b"%2F"))
    ),
    "comment-quoted-lines": carried(lambda h: comment(quoted_lines(base64.b64encode(h)))),
    "comment-hexadecimal": carried(lambda h: comment(h.hex(" ").encode())),
    "comment-uuencode": carried(lambda h: comment(uuencoded(h))),
    "comment-quoted-printable": carried(lambda h: comment(quopri.encodestring(h))),
    "comment-base85": carried(lambda h: comment(b"see: " + base64.b85encode(h))),
    "comment-base85-of-adobe": carried(lambda h: comment(base64.a85encode(h, wrapcol=70))),
    "comment-c-array": carried(lambda h: comment(", ".join(f"0x{b:02X}" for b in h).encode())),
    "comment-zlib-in-hexadecimal": carried(lambda h: comment(zlib.compress(h).hex().encode())),
    "segment-zlib": carried(lambda h: jpeg(segment(0xE7, b"ABC\0" + zlib.compress(h)))),
    "segment-gzip": carried(lambda h: jpeg(segment(0xE7, b"ABC\0" + gzip.compress(h, mtime=0)))),
    "segment-bare-jpeg-xl": carried(
        lambda h: jpeg(segment(0xE7, h)), "JPEG XL", b"\xff\x0a" + harmless()
    ),
    "c2pa-thumbnail": Case(
        lambda: jumbf_jpeg(jumbf(b"c2pa.thumbnail.claim.jpeg", b"")),
        lambda: jumbf_jpeg(jumbf(b"c2pa.claim", b"")),
        "C2PA thumbnail",
    ),
    "c2pa-split": carried(lambda h: jumbf_jpeg(jumbf(b"c2pa.claim", h), 30)),
    "icc-private-tag": carried(lambda h: icc_jpeg(profile(h))),
    "icc-between-tags": Case(
        lambda: icc_jpeg(unaccounted_profile(SMALL.tobytes())),
        lambda: icc_jpeg(unaccounted_profile(b"")),
        "data that no tag accounts for",
    ),
    "icc-private-tag-zlib": carried(lambda h: icc_jpeg(profile(zlib.compress(h)))),
    "icc-known-tag-zlib": carried(lambda h: icc_jpeg(profile(zlib.compress(h), b"meas"))),
    "icc-printing-table-zlib": carried(lambda h: icc_jpeg(profile(zlib.compress(h), b"B2A0"))),
    "scan": Case(
        lambda: in_scan(thumbnail()), lambda: in_scan(b""), "data behind the picture", refused=True
    ),
    "scan-no-signature": Case(
        lambda: in_scan(b"\x55" * 100),
        lambda: in_scan(b""),
        "data behind the picture",
        refused=True,
    ),
    "scan-in-progressive": Case(
        lambda: in_first_scan(b"\x55" * 100),
        lambda: in_first_scan(b""),
        "data behind the picture",
        refused=True,
    ),
    "rows-behind-the-last": Case(
        lambda: lower(plain_jpeg(), 32), plain_jpeg, "data behind the picture", refused=True
    ),
    "second-start": Case(
        lambda: plain_jpeg()[:-2] + thumbnail(), plain_jpeg, "second JPEG", refused=True
    ),
    "between-segments": Case(
        lambda: jpeg(segment(0xFE, b"x"), b"\x55" * 100),
        plain_jpeg,
        "data between segments",
        refused=True,
    ),
    "replaced-tables": Case(
        lambda: with_tables(table_sized(thumbnail())),
        lambda: with_tables([b"\7" * 64] * 100),
        "unused table",
    ),
    "late-tables": Case(
        lambda: with_late_tables(table_sized(thumbnail())),
        lambda: with_late_tables([first_table()] * 9),
        "unused table",
    ),
    "late-table": Case(
        lambda: with_late_tables([bytes(range(1, 65))]),
        lambda: with_late_tables([first_table()]),
        "unused table",
    ),
    "scan-that-another-replaces": Case(
        lambda: in_single_scans([*planes(9), *planes(0, 1, 2)]),
        lambda: in_single_scans(planes(0, 1, 2)),
        "picture that another replaces",
    ),
}
