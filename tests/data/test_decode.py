"""Every kind of odd or broken image file: seen as a person would see it, or refused with a reason."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from craik.data.decode import UnreadableImage, decode, decode_canvas


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth, so that JPEG changes little; not symmetric, so that turns show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return Image.fromarray(np.stack([x * 5, y * 7, (x + y) * 3], axis=2).astype(np.uint8))


def png16(values: np.ndarray, *, transparent: int | None = None) -> bytes:
    """A 16-bit gray PNG, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))]
    if transparent is not None:
        parts.append(chunk(b"tRNS", struct.pack(">H", transparent)))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels(kind):
    data = encode(photo(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(photo()))


def test_a_misnamed_jpeg_is_read_by_content(tmp_path):
    path = tmp_path / "really_a_jpeg.png"
    path.write_bytes(encode(photo(), "JPEG", quality=95))
    assert np.abs(np.asarray(decode(path)).astype(int) - np.asarray(photo())).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation, kind):
    # What the file stores for a camera held so that the scene is `photo()`.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    scene = np.asarray(photo())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store(scene)))
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encode(stored, kind, exif=exif, **options)
    seen = np.asarray(decode(data)).astype(int)
    assert seen.shape == scene.shape
    assert np.abs(seen - scene).mean() < 3
    assert decode_canvas(data, 16)[1] == (32, 48)


def test_damaged_exif_does_not_lose_the_picture():
    data = encode(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).size == (48, 32)


def test_transparency_lies_over_white():
    clear = photo().convert("RGBA")
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    clear.putalpha(Image.fromarray(alpha))
    seen, scene = np.asarray(decode(encode(clear, "PNG"))), np.asarray(photo()).astype(float)
    assert (seen[:, :10] == 255).all()
    half = scene[:, 10:20] * 128 / 255 + 255 * 127 / 255
    assert np.abs(seen[:, 10:20] - half).max() <= 1
    np.testing.assert_array_equal(seen[:, 20:], scene[:, 20:])


def test_gray_with_alpha_and_palette_with_transparency_lie_over_white():
    gray = Image.merge("LA", [Image.new("L", (8, 8), 40), Image.new("L", (8, 8), 0)])
    assert (np.asarray(decode(encode(gray, "PNG"))) == 255).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 2)
    seen = np.asarray(decode(encode(palette, "PNG", transparency=1)))
    assert seen[0, 0].tolist() == [200, 100, 50] and (seen[1:] == 255).all()
    partly = np.asarray(decode(encode(palette, "PNG", transparency=bytes([255, 0, 255]))))
    np.testing.assert_array_equal(partly, seen)
    gif = np.asarray(decode(encode(palette, "GIF", transparency=1)))
    np.testing.assert_array_equal(gif, seen)


def test_png_color_key_lies_over_white():
    image = Image.new("RGB", (4, 4), (9, 9, 9))
    image.putpixel((1, 2), (50, 60, 70))
    seen = np.asarray(decode(encode(image, "PNG", transparency=(9, 9, 9))))
    assert seen[2, 1].tolist() == [50, 60, 70] and (seen[0] == 255).all()


def test_sixteen_bits_are_scaled_from_the_full_range():
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    wanted = np.rint(values / 257.0).astype(np.uint8)[:, :, None].repeat(3, 2)
    np.testing.assert_array_equal(np.asarray(decode(png16(values))), wanted)
    np.testing.assert_array_equal(np.asarray(decode(encode(Image.fromarray(values), "TIFF"))), wanted)
    wide = Image.fromarray(values.astype(np.int32))  # mode I
    np.testing.assert_array_equal(np.asarray(decode(encode(wide, "TIFF"))), wanted)
    dim = np.full((4, 4), 1000, np.uint16)  # a dark image stays dark: no stretching
    assert (np.asarray(decode(png16(dim))) == 4).all()


def test_sixteen_bit_color_key_is_white():
    values = np.full((4, 4), 30000, np.uint16)
    values[0] = 500
    seen = np.asarray(decode(png16(values, transparent=500)))
    assert (seen[0] == 255).all() and (seen[1:] == 117).all()


def test_float_images():
    unit = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for scale, values in [(1, unit), (255, unit * 255)]:
        seen = np.asarray(decode(encode(Image.fromarray(values), "TIFF")))
        np.testing.assert_array_equal(seen[..., 0], np.rint(values * (255 / scale)).astype(np.uint8))
    free = np.asarray(decode(encode(Image.fromarray(unit * 900 - 300), "TIFF")))
    assert free.min() == 0 and free.max() == 255
    with pytest.raises(UnreadableImage, match="finite"):
        decode(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


def test_cmyk_gray_and_one_bit():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red ink
    for kind in ("JPEG", "TIFF"):
        red, green, blue = np.asarray(decode(encode(cmyk, kind))).reshape(-1, 3).mean(0)
        assert red > 240 and green < 15 and blue < 15
    gray = np.asarray(decode(encode(Image.new("L", (5, 4), 77), "PNG")))
    assert gray.shape == (4, 5, 3) and (gray == 77).all()
    bits = np.asarray(decode(encode(Image.new("1", (5, 4), 1), "PNG")))
    assert (bits == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_show_their_first_frame(kind):
    red, blue = Image.new("RGB", (12, 10), (255, 0, 0)), Image.new("RGB", (12, 10), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=[blue], **options)
    assert np.asarray(decode(data))[5, 5].tolist() == [255, 0, 0]


def bomb() -> bytes:
    data = bytearray(encode(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is a text file", "not an image"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (bytes(1000), "not an image"),
        (encode(photo(), "JPEG")[:400], "truncated"),
        (encode(photo(300, 200), "JPEG")[:-2], "truncated"),
        (encode(photo(), "PNG")[:-60], "truncated"),
        (encode(photo(), "PNG")[:30], "truncated"),
        (encode(photo(), "BMP")[:-100], "truncated"),
        (encode(photo(), "GIF")[:-100], "truncated|damaged"),
        (encode(photo(), "WEBP")[:-40], "."),
        (encode(photo(), "TIFF")[:-2000], "."),
        (bomb(), "bomb"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
    ],
)
def test_broken_files_are_refused_with_a_reason(data, reason):
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data)
    assert "\n" not in caught.value.reason and len(caught.value.reason) < 160


def test_a_flipped_pixel_byte_in_a_png_is_never_shown():
    data = bytearray(encode(photo(), "PNG", compress_level=0))
    data[data.index(b"IDAT") + 500] ^= 0x40
    with pytest.raises(UnreadableImage, match="checksum"):
        decode(bytes(data))


def test_unreadable_paths_are_refused_not_raised(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImage, match="directory"):
        decode(tmp_path)


def test_large_images_warn_nobody_and_filters_are_restored(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns above this, and refuses above twice
    before = list(warnings.filters)
    assert decode_canvas(encode(photo(40, 35), "PNG"), 32)[1] == (35, 40)
    with pytest.raises(UnreadableImage, match="bomb"):
        decode(encode(photo(80, 35), "PNG"))
    assert list(warnings.filters) == before


def test_canvas_of_its_own_size_is_untouched():
    image = photo(32, 32)
    pixels, size = decode_canvas(encode(image, "PNG"), 32)
    np.testing.assert_array_equal(pixels, np.asarray(image))
    assert size == (32, 32)


def test_large_jpegs_are_reduced_by_the_decoder_without_changing_the_picture():
    image = photo(48, 32).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = encode(image, "JPEG", quality=95)
    pixels, size = decode_canvas(data, 64)
    assert size == (1200, 1600)
    whole = np.asarray(decode(data).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels - whole).max() <= 4
