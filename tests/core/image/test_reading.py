import io
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mitosis_core.errors import MissingScale, UnreadableField
from mitosis_core.image import reading, reading_apart
from mitosis_core.image.reading import IMAGE_SUFFIXES, MAX_SIDE_PX, read_field
from mitosis_core.types import UInt8

RGB: UInt8 = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
PER_CM = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}


def pillow(pixels: UInt8, kind: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **({"photometric": "rgb"} | options))
    return file.getvalue()


def cmyk(kind: str) -> bytes:
    return pillow(RGB, kind, mode="CMYK")


def png16(samples: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(samples))


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    "data",
    [
        pillow(RGB, "PNG"),
        pillow(RGB, "BMP"),
        pillow(RGB, "WEBP", lossless=True),
        tiff(RGB),
        tiff(RGB, compression="lzw"),
        tiff(RGB, compression="zlib", tile=(32, 32)),
        tiff(RGB, bigtiff=True),
        tiff(RGB, byteorder=">"),
        tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate"),
        tiff(np.moveaxis(RGB, -1, 0), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
        tiff(RGB.astype(np.uint16) * 257),
        png16(RGB.astype(np.uint16) * 257),
        tiff(np.dstack([RGB, RGB[..., :1]]), extrasamples=["unspecified"]),
    ],
    ids=[
        "png",
        "bmp",
        "webp",
        "tiff",
        "lzw",
        "deflate",
        "big",
        "endian",
        "planar",
        "ome",
        "tiff-16",
        "png-16",
        "extra",
    ],
)
def test_lossless_files_give_their_very_pixels(data: bytes) -> None:
    field = read_field(data)
    np.testing.assert_array_equal(field.pixels, RGB)
    assert (field.um_per_px, field.scale_source, field.name) == (None, "unknown", "field")


@pytest.mark.parametrize(
    "encode",
    [
        lambda pixels: pillow(pixels, "JPEG", quality=95),
        lambda pixels: pillow(pixels, "TIFF", mode="YCbCr", compression="jpeg", quality=95),
        lambda pixels: tiff(pixels, compression="jpeg", compressionargs={"level": 95}),
    ],
    ids=["jpeg", "tiff-ycbcr-jpeg", "tiff-rgb-jpeg"],
)
def test_lossy_files_give_nearly_their_pixels(encode: Any) -> None:
    y, x = np.mgrid[:90, :120]
    smooth = np.stack([x + 100, y + 50, 200 - x], -1).astype(np.uint8)
    assert np.abs(read_field(encode(smooth)).pixels.astype(int) - smooth).mean() < 1.5


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("encode", [tiff, png16], ids=["tiff", "png"])
def test_sixteen_bits_are_scaled_by_those_in_use(bits: int, encode: Any) -> None:
    samples = np.zeros((64, 64, 3), np.uint16)
    samples[0, 0], samples[0, 1, 0] = 2**bits - 1, 2 ** (bits - 1)
    field = read_field(encode(samples))
    assert field.pixels[0, 0].tolist() == [255, 255, 255]
    assert field.pixels[0, 1].tolist() == [128, 0, 0]
    assert any(f"{bits} of them in use" in note for note in field.notes)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "PREMULTIPLIED"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:32, :, 3] = 255
    rgba[32:48, :, 3] = 51  # a fifth
    if kind == "PREMULTIPLIED":
        rgba[32:48, :, 0], rgba[48:, :, 0] = 40, 0
        data = tiff(rgba, extrasamples=["assocalpha"])
    else:
        data = tiff(rgba, extrasamples=["unassalpha"]) if kind == "TIFF" else pillow(rgba, kind, lossless=True)
    field = read_field(data)
    assert field.pixels[0, 0].tolist() == [200, 0, 0]
    assert field.pixels[40, 0].tolist() == [244, 204, 204]
    if kind != "WEBP":  # lossless WebP does not keep the colour of what is invisible, but white it must be
        assert field.notes == ("Transparent parts were laid on white.",)
    assert field.pixels[63, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    if kind == "TIFF":
        data = tiff(RGB, extratags=[(0x0112, "H", 1, orientation, True)])
    else:
        data = pillow(RGB, kind, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_field(data).pixels, upright)


def test_of_several_pages_the_first_of_the_largest_is_read() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB[:64, :64], photometric="rgb")
        writer.write(RGB, photometric="rgb", compression="lzw")
        writer.write(np.zeros((400, 400), np.uint8), photometric="minisblack")
        writer.write(255 - RGB, photometric="rgb")
    field = read_field(file.getvalue())
    np.testing.assert_array_equal(field.pixels, RGB)
    assert "several images" in field.notes[0]


def test_blank_glass_is_a_field() -> None:
    assert read_field(pillow(np.full((64, 64, 3), 255, np.uint8), "PNG")).pixels.min() == 255


def test_the_extension_does_not_matter_and_the_name_is_the_files(tmp_path: Path) -> None:
    assert ".png" in IMAGE_SUFFIXES
    path = tmp_path / "case 7.jpg"
    path.write_bytes(pillow(RGB, "PNG"))
    np.testing.assert_array_equal(read_field(path).pixels, RGB)
    assert read_field(str(path)).name == "case 7.jpg"
    assert read_field(path, name="A").name == "A"


# ---------------------------------------------------------------- µm per pixel


@pytest.mark.parametrize(
    ("data", "um_per_px", "source"),
    [
        (tiff(RGB, **PER_CM), 0.25, "TIFF resolution"),
        (tiff(RGB, resolution=(101600, 101600), resolutionunit="INCH"), 0.25, "TIFF resolution"),
        (tiff(RGB, resolution=(40000, 40000), resolutionunit="NONE"), None, "unknown"),
        (tiff(RGB, resolution=(72, 72), resolutionunit="INCH"), None, "unknown"),
        (tiff(RGB, description="Aperio Image Library|AppMag = 40|MPP = 0.2456", **PER_CM), 0.2456, "Aperio MPP"),
        (tiff(RGB, description="Aperio|MPP = 25", **PER_CM), 0.25, "TIFF resolution"),
        (tiff(RGB, imagej=True, photometric="rgb", resolution=(4, 4), metadata={"unit": "um"}), 0.25, "ImageJ"),
        (pillow(RGB, "PNG", dpi=(101600, 101600)), 0.25, "image resolution"),
        (pillow(RGB, "PNG", dpi=(96, 96)), None, "unknown"),
        (pillow(RGB, "JPEG", dpi=(50800, 50800)), 0.5, "image resolution"),
        (pillow(RGB, "JPEG", dpi=(300, 300)), None, "unknown"),
    ],
)
def test_scale_comes_from_metadata_that_is_plausible(data: bytes, um_per_px: float | None, source: str) -> None:
    field = read_field(data)
    assert field.um_per_px == (um_per_px and pytest.approx(um_per_px, rel=1e-4))
    assert field.scale_source == source


@pytest.mark.parametrize(
    ("size", "unit"),
    [
        (0.25, None),
        (0.25, "µm"),
        (250, "nm"),
        (2.5e-4, "mm"),
        (2.5e-7, "m"),
        (2500, "Å"),
        (0.25 / 25400, "in"),
        (2.5e5, "pm"),
    ],
)
def test_scale_from_ome_xml_in_every_unit(size: float, unit: str | None) -> None:
    units = {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    data = tiff(RGB, ome=True, metadata={"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size, **units})
    field = read_field(data)
    assert field.um_per_px == pytest.approx(0.25)
    assert field.scale_source == "OME-XML"


@pytest.mark.parametrize("unit", ["ly", "pixel", "reference frame"])
def test_ome_units_that_are_no_length_here_are_no_scale(unit: str) -> None:
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    assert read_field(tiff(RGB, ome=True, metadata={"axes": "YXS", **sizes})).um_per_px is None


def test_pixels_that_are_not_square_have_no_scale_and_a_note() -> None:
    field = read_field(tiff(RGB, resolution=(40000, 43000), resolutionunit="CENTIMETER"))
    assert field.um_per_px is None
    assert "differs between x" in field.notes[0]
    nearly = read_field(tiff(RGB, resolution=(40000, 41000), resolutionunit="CENTIMETER"))
    assert nearly.um_per_px == pytest.approx(0.24693, abs=1e-5)


def test_a_given_scale_wins() -> None:
    field = read_field(tiff(RGB, **PER_CM), um_per_px=0.5)
    assert (field.um_per_px, field.scale_source) == (0.5, "given")


@pytest.mark.parametrize("um_per_px", [25, 0, -1, float("nan")])
def test_a_given_scale_that_is_not_plausible_is_refused(um_per_px: float) -> None:
    with pytest.raises(MissingScale, match="not plausible"):
        read_field(pillow(RGB, "PNG"), um_per_px=um_per_px)


# ---------------------------------------------------------------- what is no field


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"Dear colleague, the image follows.", "not an image that can be read"),
        (b"GIF89a" + bytes(50), "not an image that can be read"),
        (b"II*\0", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        (pillow(RGB[:1, :1], "PNG"), "only 1 × 1 pixels"),
        (tiff(RGB[:63]), "only 120 × 63 pixels"),
        (pillow(RGB, "PNG", mode="L"), "greyscale"),
        (pillow(RGB, "PNG", mode="I;16"), "greyscale"),
        (pillow(RGB, "JPEG", mode="L"), "greyscale"),
        (pillow(np.repeat(RGB[..., :1], 3, 2), "PNG"), "greyscale"),
        (tiff(RGB[..., 0], photometric="minisblack"), "greyscale"),
        (tiff(RGB[..., 0].astype(np.uint16), photometric="minisblack"), "greyscale"),
        (cmyk("JPEG"), "CMYK"),
        (cmyk("TIFF"), "CMYK"),
        (tiff(RGB.astype(np.float32)), "8-bit RGB"),
        (pillow(np.zeros((64, 30_000, 3), np.uint8), "PNG"), "30,000 × 64 pixels.*export a region"),
        (tiff(np.zeros((64, MAX_SIDE_PX + 1, 3), np.uint8), compression="zlib"), "export a region"),
    ],
)
def test_what_is_no_field_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableField, match=sentence) as refusal:
        read_field(data)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_000, 12_000, 30_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    header = pillow(RGB, "PNG")
    ihdr = b"IHDR" + side.to_bytes(4, "big") * 2 + header[24:29]
    bomb = header[:12] + ihdr + zlib.crc32(ihdr).to_bytes(4, "big") + header[33:]
    with pytest.raises(UnreadableField, match="export a region"):
        read_field(bomb)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "none", "lzw", "zlib", "jpeg"]), part=st.floats(0.02, 0.97))
def test_a_truncated_file_is_damaged(kind: str, part: float) -> None:
    data = pillow(RGB, kind) if kind.isupper() else tiff(RGB, compression=None if kind == "none" else kind)
    with pytest.raises(UnreadableField):
        read_field(data[: int(len(data) * part)])


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "BMP", "zlib", "jpeg"]), data=st.data())
def test_flipped_bytes_never_raise_anything_but_ours(kind: str, data: st.DataObject) -> None:
    file = bytearray(pillow(RGB, kind) if kind.isupper() else tiff(RGB, compression=kind))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, min(len(file), 600) - 1))] = data.draw(st.integers(0, 255))
    try:
        field = read_field(bytes(file))
    except UnreadableField:
        return
    assert field.pixels.dtype == np.uint8 and field.pixels.shape[2] == 3


def chunked_png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [len(c).to_bytes(4, "big") + kind + c + zlib.crc32(kind + c).to_bytes(4, "big") for kind, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_of(side: int, depth: int, colour: int, row: bytes, *, rows: int = 0, **chunks: bytes) -> bytes:
    """side x side pixels of which `rows` are there, all of them the same."""
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(b"\0" + row) for _ in range(rows or side)) + squeeze.flush()
    head = side.to_bytes(4, "big") * 2 + bytes([depth, colour, 0, 0, 0])
    between = [(kind.encode(), chunk) for kind, chunk in chunks.items()]
    return chunked_png((b"IHDR", head), *between, (b"IDAT", body), (b"IEND", b""))


def claims(jpeg: bytes, side: int) -> bytes:
    """The same JPEG with another size in its header."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + side.to_bytes(2, "big") * 2 + jpeg[place + 4 :]


def short_strip(samples: np.ndarray, compression: str) -> bytes:
    """A TIFF of one strip that says it has half the bytes it should have."""
    data = bytearray(tiff(samples, compression=compression, rowsperstrip=len(samples)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        data[tag.valueoffset : tag.valueoffset + 4] = (tag.value[0] // 2).to_bytes(4, "little")
    return bytes(data)


JPEG = pillow(RGB, "JPEG", quality=90)


@pytest.mark.parametrize(
    "data",
    [
        claims(JPEG, 7700),
        claims(JPEG, 200),
        JPEG[: len(JPEG) // 2] + b"\xff\xd9",
        pillow(RGB, "JPEG", progressive=True)[:-1000] + b"\xff\xd9",
        png_of(120, 8, 2, b"\xc8\x64\x96" * 120, rows=60),
        png_of(120, 16, 2, b"\xc8\0\x64\0\x96\0" * 120, rows=60),
        png_of(120, 8, 3, b"\0" * 120, rows=60, PLTE=b"\xc8\x64\x96"),
        *(short_strip(RGB, compression) for compression in ("lzw", "zlib", "zstd", "jpeg", "webp", "packbits")),
    ],
)
def test_missing_rows_are_never_filled_up_in_silence(data: bytes) -> None:
    with pytest.raises(UnreadableField, match="damaged or incomplete"):
        read_field(data)


def test_a_jpeg_with_a_small_fault_is_read_and_told_of() -> None:
    place = JPEG.index(b"\xff\xc0")
    field = read_field(JPEG[:place] + b"abc" + JPEG[place:])
    np.testing.assert_array_equal(field.pixels, read_field(JPEG).pixels)
    assert "faults" in field.notes[0] and not read_field(JPEG).notes


@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}, {"keep_rgb": True}])
def test_a_jpeg_gives_the_pixels_that_pillow_gives(options: dict[str, Any]) -> None:
    y, x = np.mgrid[:90, :121]
    data = pillow(np.stack([x + 100, y + 50, 200 - x], -1).astype(np.uint8), "JPEG", **options)
    np.testing.assert_array_equal(read_field(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}])
def test_a_webp_gives_the_pixels_that_pillow_gives(options: dict[str, Any]) -> None:
    data = pillow(RGB, "WEBP", **options)
    np.testing.assert_array_equal(read_field(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


# ---------------------------------------------------------------- memory and time

SIDE = 2000
HUNGRY = {
    "palette with transparency": lambda: png_of(
        SIDE, 8, 3, bytes(SIDE), PLTE=b"\xc8\x64\x96", tRNS=b"\x80", pHYs=b"\0\x3d\x09\0" * 2 + b"\1"
    ),
    "16-bit RGBA PNG": lambda: png_of(SIDE, 16, 6, b"\xc8\0\x64\0\x96\0\x80\0" * SIDE),
    "zstd TIFF": lambda: tiff(
        np.full((SIDE, SIDE, 4), (51_400, 25_700, 38_550, 32_896), np.uint16),
        compression="zstd",
        extrasamples=["unassalpha"],
    ),
}
PEAK = """
import resource, sys, re
from mitosis_core.image.reading import read_field
import PIL.Image, imagecodecs, simplejpeg, tifffile, numpy, json, tempfile
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
def peak():
    own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
before = peak()
field = read_field(sys.argv[1])
print(json.dumps([peak() - before, field.pixels[0, 0].tolist()]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak of a process")
@pytest.mark.parametrize("kind", HUNGRY)
def test_decoding_takes_a_few_bytes_of_memory_for_each_pixel(kind: str, tmp_path: Path) -> None:
    """16 bytes for each of the 60 million pixels of the largest image, and the program itself, are below 1.5 GB."""
    path = tmp_path / "image"
    path.write_bytes(HUNGRY[kind]())
    assert path.stat().st_size < 200_000
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    taken, first = json.loads(done.stdout)
    assert taken < 16 * SIDE**2, f"{taken / SIDE**2:.1f} bytes a pixel"
    assert first in ([227, 177, 202], [228, 177, 202], [195, 97, 156])


def test_pages_that_lead_back_to_themselves_come_to_an_end() -> None:
    data = bytearray(tiff(RGB))
    first = int.from_bytes(data[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[after : after + 4] = data[4:8]
    with pytest.raises(UnreadableField, match="damaged or incomplete"):
        read_field(bytes(data))


@pytest.mark.parametrize("planes", [{"SizeZ": 30_000, "SizeT": 3_000}, {"SizeZ": 1, "SizeT": 90_000_000}])
def test_planes_that_are_only_announced_take_no_memory(planes: dict[str, int]) -> None:
    sizes = " ".join(f'{name}="{count}"' for name, count in planes.items())
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="120" SizeY="90" SizeC="3" {sizes}>'
        '<Channel ID="c" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
    with pytest.raises(UnreadableField, match="more than 1,000 images"):
        read_field(tiff(RGB, description=xml, metadata=None))


LZMA = tiff(np.full((400, 400, 3), (200, 100, 150), np.uint8), compression="lzma")


def test_an_uncommon_tiff_is_read_in_a_process_of_its_own_with_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_field(LZMA).pixels[9, 9].tolist() == [200, 100, 150]
    with pytest.raises(UnreadableField, match="longer than"):
        reading_apart.decode_in_subprocess(LZMA, longest_s=0.001)
    with pytest.raises(UnreadableField, match="damaged or incomplete"):
        reading_apart.decode_in_subprocess(b"II*\0" + bytes(100))
    pytest.importorskip("resource")
    monkeypatch.setattr(reading_apart, "MAX_BYTES", 1)
    monkeypatch.setattr(sys, "argv", ["reading_apart", "image", "folder"])
    ran: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.setrlimit", lambda kind, limits: ran.append(limits))
    reading_apart._limit_memory()
    assert ran == [(1, 1), (4, 4)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of memory")
def test_a_decoder_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(LZMA)
    code = (
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from mitosis_core.image import reading, reading_apart\n"
        "reading.decode_tiff = lambda data: np.ones(3_000_000_000, np.uint8)\n"
        f"reading_apart._main(Path({str(tmp_path / 'image')!r}), Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "more memory" in json.loads((tmp_path / "facts.json").read_text())["refused"]


def test_a_common_tiff_is_read_in_this_process_and_no_jpeg_in_it_is_larger_than_its_tile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "decode_in_subprocess", lambda data: pytest.fail("read apart"))
    for compression in (None, "lzw", "zlib", "packbits", "jpeg"):
        read_field(tiff(RGB, compression=compression))
    with pytest.raises(UnreadableField, match="damaged or incomplete"):
        read_field(claims(tiff(RGB, compression="jpeg"), 9000))


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableField, match="is a folder"):
        read_field(tmp_path)
    with pytest.raises(UnreadableField, match="There is no file"):
        read_field(tmp_path / "none.png")
