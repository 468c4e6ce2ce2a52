"""One image file, as a person would see it: RGB, upright, first frame, or `UnreadableImage` with the reason.

Nothing else ever leaves this module: no other exception, no warning, no image that was only half read.
"""

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

# Formats with a signature that junk does not carry by accident, and that run no other program (EPS would).
FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM"),
    *("JPEG2000", "AVIF", "ICO", "SGI", "QOI"),
)
MAX_PIXELS = 178_956_970  # where Pillow itself calls an image a decompression bomb
HEIC_HINT = "HEIC photo; convert it to JPEG first (magick mogrify -format jpg FILE)"

# What Pillow and its plugins raise on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError),
    *(ArithmeticError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning, ImageCms.PyCMSError),
)
_T = TypeVar("_T")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(Exception):
    """The file holds no image that can be shown whole; `reason` says why in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(raw: bytes | Path | Image.Image) -> Image.Image:
    """Reads an image as RGB of its full size; raises `UnreadableImage` and nothing else."""
    return _guarded(lambda: _decode(raw, None)[0])


def decode_canvas(raw: bytes | Path | Image.Image, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads an image and squashes the whole of it to a square canvas.

    Args:
        raw: the bytes of a file, its path, or an opened image.
        side: S, the side of the canvas [px].

    Returns:
        The pixels, uint8 [S, S, 3], and the (height, width) of the upright original [px].

    Raises:
        UnreadableImage: as `decode`.
    """
    return _guarded(lambda: _canvas(raw, side))


def _canvas(raw: bytes | Path | Image.Image, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    # A JPEG may be read at 1/2, 1/4 or 1/8 of its size; twice the canvas keeps the resampling honest.
    image, size = _decode(raw, 2 * side)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image), size


def _guarded(read: Callable[[], _T]) -> _T:
    with quiet_pillow():
        try:
            return read()
        except UnreadableImage:
            raise
        except _DAMAGE as error:
            raise UnreadableImage(_reason(error)) from None


def _decode(raw: bytes | Path | Image.Image, draft: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """The RGB image, perhaps reduced by the decoder to no less than `draft`, and its full (height, width)."""
    if isinstance(raw, Image.Image):
        return _rgb(raw), (raw.height, raw.width)
    data = raw.read_bytes() if isinstance(raw, Path) else raw
    if not data:
        raise UnreadableImage("empty file")
    _refuse_known_junk(data)
    with Image.open(BytesIO(data), formats=_formats()) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImage(f"decompression bomb: {width} x {height} pixels")
        if draft is not None and image.format in ("JPEG", "MPO") and min(width, height) >= 2 * draft:
            image.draft(None, (draft, draft))
        image.load()
        orientation = _orientation(image)
        rgb = _rgb(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        if orientation >= 5:
            width, height = height, width
    elif image.format == "TIFF":  # Pillow turns TIFF files while it loads them
        width, height = rgb.size
    return rgb, (height, width)


def _formats() -> list[str]:
    Image.preinit()
    if "AVIF" not in Image.OPEN:
        Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _refuse_known_junk(data: bytes) -> None:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_png(data)
    elif data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        if b"avif" not in data[8:64]:
            raise UnreadableImage(HEIC_HINT)
    elif data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UnreadableImage("a web page, not an image")


def _check_png(data: bytes) -> None:
    """Compares the checksums of the chunks that make the picture; Pillow skips those of the pixels."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            raise UnreadableImage("truncated file")
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise UnreadableImage("damaged PNG: checksum mismatch")
        if kind == b"IEND":
            return
        at = end + 4
    raise UnreadableImage("truncated file")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or where it cannot be read (viewers ignore it then)."""
    if image.format in ("JPEG", "MPO", "WEBP", "AVIF") and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> Image.Image:
    """Turns any mode into RGB, with what is transparent over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_integers(image)
    if image.mode == "F":
        return _from_floats(np.asarray(image))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert turned is not None
        return turned
    if image.has_transparency_data or image.mode in ("La", "RGBa", "PA"):
        # A gray with alpha cannot go to RGBA in one step when its alpha is premultiplied.
        clear = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """Scales 16-bit gray from its full range; 32-bit gray that is wider than that, from its own range."""
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        gray = (values - low) * (255.0 / max(high - low, 1))
    else:
        gray = values / 257.0
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray = np.where(values == transparent, 255.0, gray)
    return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")


def _from_floats(values: np.ndarray) -> Image.Image:
    """Takes floats as [0, 1] or [0, 255] when they lie there, else scales them from their own range."""
    finite = np.isfinite(values)
    if not finite.any():
        raise UnreadableImage("float image without a finite value")
    low, high = float(values[finite].min()), float(values[finite].max())
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    elif low >= 0.0 and high <= 255.0:
        low, high = 0.0, 255.0
    scaled = (np.where(finite, values, low).astype(np.float64) - low) * (255.0 / (high - low or 1.0))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "decompression bomb"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:120]
    if "truncated" in text.lower():
        return "truncated file"
    return f"damaged file ({text})" if text else "damaged file"


class _Silence:
    """Pillow's warnings off while at least one thread decodes; the filters return when the last one leaves.

    `warnings.catch_warnings` alone restores the filters of another thread when threads leave out of order.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.filters = warnings.catch_warnings()

    def enter(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            self.depth += 1

    def leave(self) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.filters.__exit__(None, None, None)


_silence = _Silence()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keeps Pillow's warnings from leaking while files are read; may be nested, and from many threads."""
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
