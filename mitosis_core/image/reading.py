"""A file becomes a Field: RGB, 8 bits, upright, with µm/px from its metadata where they can be believed."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import ConcentricError, UnreadableField
from mitosis_core.image.reading_apart import decode_in_subprocess
from mitosis_core.scale import PLAUSIBLE_UM_PER_PX, check_um_per_px
from mitosis_core.types import Field, UInt8

IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAX_PIXELS = 60_000_000
MAX_SIDE_PX = 20_000
MIN_SIDE_PX = 64
MAX_BYTES = 500_000_000

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STRIP_ROWS = 64  # of an image that is brought to 8-bit RGB at a time
_PLAIN_TIFF = (1, 5, 8, 32773, 32946)  # not compressed, LZW, deflate, PackBits: decoders that write where they are told
_JPEG_TIFF, _JPEG_END = 7, b"\xff\xd9"
_MOST_PAGES, _MOST_PLANES = 1_000, 100_000
_TOO_MANY_PAGES = f"This TIFF says it holds more than {_MOST_PAGES:,} images; please export the one field alone."
_MOST_DECODED_BYTES = 200_000_000  # of a TIFF in this process: 8-bit RGB up to MAX_PIXELS
_MOST_SAMPLE_BYTES = 8  # of a pixel: 16-bit RGBA
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY = "This is a greyscale image; mitoses are counted in colour images of H&E-stained tissue."
_CMYK = "This image is in CMYK (print) colours; please save it as RGB."
_DAMAGED = "The image file is damaged or incomplete; please export it again."
_FAULTY = "The JPEG data of this image has faults; please look whether the picture is whole."
_ODD_COLOURS = "The colours of this image are stored in an unusual way; please save it as 8-bit RGB."

# Micrometres in the length units of OME-XML (those of astronomy cannot describe a pixel).
_SI_PREFIXES = {"": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "\u03bc": -6, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18}
_SI_PREFIXES |= {
    "z": -21,
    "y": -24,
    "da": 1,
    "h": 2,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
    "E": 18,
    "Z": 21,
    "Y": 24,
}
_UM_PER_UNIT = {f"{prefix}m": 10.0 ** (power + 6) for prefix, power in _SI_PREFIXES.items()}
_UM_PER_UNIT |= {"Å": 1e-4, "\u212b": 1e-4, "thou": 25.4, "li": 25_400 / 12, "in": 25_400.0, "pt": 25_400 / 72}
_UM_PER_UNIT |= {"ft": 304_800.0, "yd": 914_400.0, "mi": 1.609344e9}


@dataclass(frozen=True)
class _Scale:
    """What a file says about the size of its pixels."""

    x_um: float
    y_um: float
    source: str


@dataclass(frozen=True, eq=False)
class _Picture:
    """A decoded file before it is made upright: UInt8[H, W, 3], EXIF/TIFF orientation 1 to 8, scales by trust."""

    pixels: UInt8
    orientation: int
    scales: tuple[_Scale, ...]
    notes: tuple[str, ...]


def read_field(source: str | Path | bytes, *, name: str | None = None, um_per_px: float | None = None) -> Field:
    """Read a PNG, JPEG, TIFF (also OME-TIFF and 16-bit), BMP or WebP image of an H&E field.

    source: a path or the bytes of the file. name: how the field is called, by default the file's name.
    um_per_px: wins over the file's metadata; with neither, the field's um_per_px is None and scale_source "unknown".
    Raises UnreadableField for a file that is no such image, and MissingScale for an um_per_px that is not plausible.
    """
    given = None if um_per_px is None else check_um_per_px(um_per_px)
    data = load_bytes(source)
    picture = _decode(data)
    _refuse_grey(picture.pixels)
    scale, scale_source, scale_notes = (given, "given", ()) if given else _believable(picture.scales)
    return Field(
        pixels=_upright(picture.pixels, picture.orientation),
        um_per_px=scale,
        name=name or ("field" if isinstance(source, bytes) else Path(source).name),
        scale_source=scale_source,
        notes=picture.notes + scale_notes,
    )


def load_bytes(source: str | Path | bytes) -> bytes:
    """The bytes of an image file. Raises UnreadableField: not there, empty, too large."""
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        if path.is_dir():
            raise UnreadableField(f"“{path.name}” is a folder; please choose one image file.")
        if not path.exists():
            raise UnreadableField(f"There is no file “{path}”.")
        try:
            if path.stat().st_size > MAX_BYTES:
                raise _too_large(f"The file has {path.stat().st_size / 1e6:,.0f} MB")
            data = path.read_bytes()
        except OSError as error:
            raise UnreadableField(f"The file “{path.name}” cannot be opened.") from error
    if not data:
        raise UnreadableField("The file is empty.")
    if len(data) > MAX_BYTES:
        raise _too_large(f"The file has {len(data) / 1e6:,.0f} MB")
    return data


def _decode(data: bytes) -> _Picture:
    try:
        return _decode_tiff(data) if data[:4] in _TIFF_MAGIC else _decode_other(data)
    except ConcentricError:
        raise
    # Decoders meet damaged files with almost any exception: to the user they all mean the same.
    except Exception as error:
        raise UnreadableField(_DAMAGED) from error


# ---------------------------------------------------------------- PNG, JPEG, BMP, WebP


def _decode_other(data: bytes) -> _Picture:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(data), formats=_PILLOW_FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableField("This is not an image that can be read: use PNG, JPEG, TIFF, BMP or WebP.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("The image has far more pixels than one field") from error
    with image:
        _check_size(*image.size)
        if image.mode == "CMYK":
            raise UnreadableField(_CMYK)
        if image.mode not in ("RGB", "RGBA", "P", "PA"):
            raise UnreadableField(_GREY)
        pixels, notes = _pixels_of(image, data)
        return _Picture(pixels, _exif_orientation(image, data), tuple(_pillow_scales(image.info)), notes)


def _pixels_of(image: Any, data: bytes) -> tuple[UInt8, tuple[str, ...]]:
    """Decoded by whoever tells that rows are missing, in the least memory. Pillow would keep only the upper byte of
    16-bit PNG besides, which blackens 12-bit data."""
    if image.format == "PNG":
        import imagecodecs

        _check_same_size(image, (int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")))
        return _to_rgb8(imagecodecs.png_decode(data))
    if image.format == "WEBP" and not image.is_animated:
        import imagecodecs

        samples = imagecodecs.webp_decode(data)
        _check_same_size(image, samples.shape[:2])
        return _to_rgb8(samples)
    if image.format == "JPEG" and image.mode == "RGB":
        return _jpeg_pixels(image, data)
    if image.mode == "RGB":
        return np.asarray(image), ()
    samples = np.empty((image.height, image.width, 4), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        samples[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert("RGBA"))
    return _to_rgb8(samples)


def _jpeg_pixels(image: Any, data: bytes) -> tuple[UInt8, tuple[str, ...]]:
    """A JPEG without its end is filled up with grey by most decoders; here it is refused, smaller faults are told."""
    import simplejpeg

    _check_same_size(image, simplejpeg.decode_jpeg_header(data, strict=False)[:2])
    try:
        return simplejpeg.decode_jpeg(data, strict=True), ()
    except ValueError as error:
        if "remature end" in str(error):
            raise UnreadableField(_DAMAGED) from error
        return np.asarray(image), (_FAULTY,)


def _check_same_size(image: Any, shape: tuple[int, int]) -> None:
    """A file that tells one decoder another (height, width) than the one that was checked is damaged, or worse."""
    if (image.height, image.width) != shape:
        raise UnreadableField(_DAMAGED)


def _exif_orientation(image: Any, data: bytes) -> int:
    if "exif" not in image.info and b"eXIf" in data:  # a PNG may have it behind its pixels
        image.load()
    from PIL import Image

    return int(Image.Image.getexif(image).get(0x0112, 1))


def _pillow_scales(info: dict[Any, Any]) -> Iterator[_Scale]:
    """PNG pHYs and JPEG density: Pillow has turned both into dots per inch."""
    x_dpi, y_dpi = info.get("dpi", (0, 0))
    if x_dpi > 0 and y_dpi > 0:
        yield _Scale(25_400 / float(x_dpi), 25_400 / float(y_dpi), "image resolution")


# ---------------------------------------------------------------- TIFF


@contextmanager
def _open_tiff(data: bytes) -> Iterator[Any]:
    """A TIFF whose pages have an end, without a line in the log for every tag that is not as it should be."""
    import tifffile

    tifffile.logger().setLevel(logging.CRITICAL)
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        places: set[int] = set()
        for page in tiff.pages:  # each names the place of the next one, which may be its own
            if page.offset in places or len(places) >= _MOST_PAGES:
                raise UnreadableField(_DAMAGED if page.offset in places else _TOO_MANY_PAGES)
            places.add(page.offset)
        _check_planes(tiff.ome_metadata)
        yield tiff


def _check_planes(ome_xml: str | None) -> None:
    """Refuse OME-XML that announces planes without end: room is made for each, whether it is there or not."""
    announced = 0
    try:
        told = list(ElementTree.fromstring(ome_xml).iter()) if ome_xml else []
    except ElementTree.ParseError:  # the image is read without it
        return
    for one in told:
        counts = [int(one.attrib[name]) for name in ("SizeC", "SizeZ", "SizeT", "PlaneCount") if name in one.attrib]
        announced += prod(counts) if counts else 0
    if announced > _MOST_PLANES:
        raise UnreadableField(_TOO_MANY_PAGES)


def _decode_tiff(data: bytes) -> _Picture:
    with _open_tiff(data) as tiff:
        if _is_plain(_checked_series(tiff, data), data):
            return _tiff_picture(tiff, data)
    pixels, facts = decode_in_subprocess(data)
    return _Picture(pixels, facts["orientation"], tuple(_Scale(*one) for one in facts["scales"]), tuple(facts["notes"]))


def decode_tiff(data: bytes) -> tuple[UInt8, dict[str, Any]]:
    """Pixels of a TIFF of any compression, and its orientation, scales and notes; for a process of limited memory.

    Raises UnreadableField, MemoryError, and whatever decoders raise on damaged files.
    """
    with _open_tiff(data) as tiff:
        picture = _tiff_picture(tiff, data)
    scales = [astuple(one) for one in picture.scales]
    return picture.pixels, {"orientation": picture.orientation, "scales": scales, "notes": picture.notes}


def _tiff_picture(tiff: Any, data: bytes) -> _Picture:
    series = _checked_series(tiff, data)
    page = series.keyframe
    if len(page.shape) == 2:  # the three colours are three pages
        pixels, notes = _to_rgb8(np.moveaxis(series.asarray(), 0, -1))
    else:
        samples = np.moveaxis(page.asarray(), page.axes.index("S"), -1)
        alpha = int(page.extrasamples[0]) if page.extrasamples else 0
        # An extra sample that is not declared as alpha (1 premultiplied, 2 not) says nothing about colour.
        pixels, notes = _to_rgb8(samples[..., : 4 if alpha else 3], premultiplied=alpha == 1)
        if len(tiff.series) > 1 or len(series.pages) > 1:
            notes += ("The file holds several images; the first of the largest was read.",)
    orientation = page.tags.valueof("Orientation", default=1)
    return _Picture(pixels, int(orientation), tuple(_tiff_scales(tiff, series)), notes)


def _checked_series(tiff: Any, data: bytes) -> Any:
    """The image of a TIFF that is to be read, once what the file says of it is found to be possible."""
    series = _colour_series(tiff)
    page = series.keyframe
    _check_size(page.imagewidth, page.imagelength)
    if page.dtype not in (np.uint8, np.uint16) or page.nbytes > MAX_PIXELS * _MOST_SAMPLE_BYTES:
        raise UnreadableField(_ODD_COLOURS)
    _check_segments(series, data)
    return series


def _is_plain(series: Any, data: bytes) -> bool:
    """Whether decoding takes no more memory than the size of the image says, whatever is in the file."""
    page = series.keyframe
    segments = [
        (at, count) for one in series.pages for at, count in zip(one.dataoffsets, one.databytecounts, strict=True)
    ]
    if prod(page.chunks) * page.dtype.itemsize * len(segments) > _MOST_DECODED_BYTES:
        return False
    if page.compression == _JPEG_TIFF:
        return all(_fits(data[at : at + count], page) for at, count in segments)
    return page.compression in _PLAIN_TIFF


def _fits(jpeg: bytes, page: Any) -> bool:
    """Whether a JPEG in a TIFF is one whose size can be told. Raises UnreadableField if it is more than its tile."""
    import simplejpeg

    try:
        height, width = simplejpeg.decode_jpeg_header(jpeg, strict=False)[:2]
    except ValueError:
        return False
    if height * width * page.samplesperpixel > prod(page.chunks):
        raise UnreadableField(_DAMAGED)
    return True


def _colour_series(tiff: Any) -> Any:
    """The largest RGB image of a TIFF, the first of equals; raises UnreadableField saying what there is instead."""
    colour = [one for one in tiff.series if _is_colour(one)]
    if colour:
        return max(colour, key=lambda one: one.keyframe.imagewidth * one.keyframe.imagelength)
    photometric = tiff.pages[0].photometric
    if photometric is not None and photometric.name == "SEPARATED":
        raise UnreadableField(_CMYK)
    raise UnreadableField(_GREY if photometric in (0, 1) else _ODD_COLOURS)


def _is_colour(series: Any) -> bool:
    page = series.keyframe
    kind = page.photometric.name if page.photometric is not None else ""
    if kind == "YCBCR":
        # tifffile turns YCbCr into RGB only in JPEG (6 the old kind, 7 the new one).
        return page.samplesperpixel == 3 and page.compression in (6, 7)
    if page.compression == 33003:  # Aperio's JPEG 2000 holds YCbCr, whatever the TIFF says
        return False
    if kind == "RGB":
        return page.samplesperpixel >= 3 and len(page.shape) == 3
    # Some OME writers store red, green and blue as three grey pages.
    return kind == "MINISBLACK" and series.axes == "CYX" and series.shape[0] == 3


def _check_segments(series: Any, data: bytes) -> None:
    """Refuse pixels that are not in the file, or tiles that blow up (before anything is decoded)."""
    keyframe = series.keyframe
    for page in series.pages:
        if page is None or not page.dataoffsets:
            raise UnreadableField(_DAMAGED)
        for at, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if not 0 < count <= len(data) - at:
                raise UnreadableField(_DAMAGED)
            # Decoders fill up a JPEG without its end.
            if keyframe.compression == _JPEG_TIFF and _JPEG_END not in data[max(at, at + count - 16) : at + count]:
                raise UnreadableField(_DAMAGED)
    if keyframe.is_tiled and keyframe.tilewidth * keyframe.tilelength > MAX_PIXELS:
        raise UnreadableField(_DAMAGED)


def _tiff_scales(tiff: Any, series: Any) -> Iterator[_Scale]:
    """What a TIFF says of its scale, most explicit first."""
    page = series.keyframe
    if tiff.ome_metadata:
        yield from _ome_scale(tiff.ome_metadata, tiff.series.index(series))
    if aperio := re.search(r"\bMPP\s*=\s*(\d*\.?\d+)", page.description):
        yield _Scale(float(aperio[1]), float(aperio[1]), "Aperio MPP")
    x_tag, y_tag = page.tags.valueof("XResolution"), page.tags.valueof("YResolution")
    if not (x_tag and y_tag and all((*x_tag, *y_tag))):
        return
    x_per_unit, y_per_unit = x_tag[0] / x_tag[1], y_tag[0] / y_tag[1]
    unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ").replace("micron", "µm")
    if unit in _UM_PER_UNIT:
        yield _Scale(_UM_PER_UNIT[unit] / x_per_unit, _UM_PER_UNIT[unit] / y_per_unit, "ImageJ")
    um = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}.get(int(page.resolutionunit or 0))
    if um:
        yield _Scale(um / x_per_unit, um / y_per_unit, "TIFF resolution")


def _ome_scale(xml: str, index: int) -> Iterator[_Scale]:
    try:
        images = ElementTree.fromstring(xml).findall(".//{*}Pixels")
        pixels = images[index if index < len(images) else 0].attrib
        x_um, y_um = (
            float(pixels[f"PhysicalSize{axis}"]) * _UM_PER_UNIT[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        )
    except (ElementTree.ParseError, IndexError, KeyError, ValueError):
        return
    yield _Scale(x_um, y_um, "OME-XML")


# ---------------------------------------------------------------- pixels and scale


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise UnreadableField(
            f"The image is only {width} × {height} pixels; a field needs at least {MIN_SIDE_PX} on each side."
        )
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
        raise _too_large(f"The image is {width:,} × {height:,} pixels")


def _too_large(what: str) -> UnreadableField:
    limit = f"{MAX_PIXELS // 1_000_000} megapixels, {MAX_SIDE_PX:,} on a side"
    return UnreadableField(f"{what}, more than fits ({limit}); please export a region of it, such as one HPF.")


def _to_rgb8(samples: npt.NDArray[Any], premultiplied: bool = False) -> tuple[UInt8, tuple[str, ...]]:
    """[H, W, 3 or 4] of 8 or 16 bits to UInt8[H, W, 3]: alpha on white, 16 bits by those really in use.

    Some rows at a time: what numbers of 8 bits become on the way takes many times their memory.
    """
    if samples.dtype not in (np.uint8, np.uint16):
        raise UnreadableField(_ODD_COLOURS)
    if samples.dtype == np.uint8 and samples.shape[-1] == 3:
        return np.ascontiguousarray(samples), ()
    notes: tuple[str, ...] = ()
    tables: tuple[UInt8, ...] = ()
    if samples.dtype == np.uint16:
        tables, bits = zip(
            *(_to_8_bits(part) for part in (samples[..., :3], samples[..., 3:]) if part.size), strict=True
        )
        notes = (f"The image has 16 bits per colour, {bits[0]} of them in use; it was brought to 8 bits.",)
    pixels, transparent = np.empty((*samples.shape[:2], 3), np.uint8), False
    for top in range(0, len(samples), _STRIP_ROWS):
        strip = samples[top : top + _STRIP_ROWS]
        colour, alpha = strip[..., :3], strip[..., 3:]
        if tables:
            colour, alpha = tables[0][colour], tables[-1][alpha]
        if alpha.size and alpha.min() < 255:
            colour, transparent = _on_white(colour, alpha, premultiplied), True
        pixels[top : top + _STRIP_ROWS] = colour
    return pixels, (*notes, "Transparent parts were laid on white.") if transparent else notes


def _to_8_bits(samples: npt.NDArray[np.uint16]) -> tuple[UInt8, int]:
    """Table that scales by the smallest bit depth of cameras that holds the data (16 bits: divide by 257), and that."""
    brightest = int(samples.max())
    bits = next(depth for depth in (8, 10, 12, 14, 16) if brightest < 2**depth)
    return np.rint(np.arange(brightest + 1) * (255 / (2**bits - 1))).astype(np.uint8), bits


def _on_white(colour: UInt8, alpha: UInt8, premultiplied: bool) -> UInt8:
    part = alpha.astype(np.float32) / 255
    ink = colour.astype(np.float32) if premultiplied else colour * part
    laid: UInt8 = np.rint(np.clip(ink + 255 * (1 - part), 0, 255)).astype(np.uint8)
    return laid


def _refuse_grey(pixels: UInt8) -> None:
    """A colour image whose channels agree everywhere is grey, unless it is blank glass (nothing darker than 200)."""
    for part in (pixels[::16, ::16], pixels):  # a sparse look settles nearly every image
        red, green, blue = part[..., 0], part[..., 1], part[..., 2]
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            return
    if pixels.min() < 200:
        raise UnreadableField(_GREY)


def _upright(pixels: UInt8, orientation: int) -> UInt8:
    """Undo the camera's rotation: orientation 1 to 8 as in EXIF and TIFF (5 to 8 lie on their side)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _believable(scales: tuple[_Scale, ...]) -> tuple[float | None, str, tuple[str, ...]]:
    """The first plausible scale and its source; none, with a note, where its pixels are not square."""
    low, high = PLAUSIBLE_UM_PER_PX
    for scale in scales:
        if not (low <= scale.x_um <= high and low <= scale.y_um <= high):
            continue
        if abs(scale.x_um / scale.y_um - 1) > 0.05:
            note = (
                f"The file's scale differs between x ({scale.x_um:.4g}) and y ({scale.y_um:.4g} µm/px) and is not used."
            )
            return None, "unknown", (note,)
        return round((scale.x_um * scale.y_um) ** 0.5, 6), scale.source, ()
    return None, "unknown", ()
