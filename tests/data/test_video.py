"""One video file: its time stamps, and its frames by seeking."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craik.data import video
from craik.data.video import UnreadableVideo, read_frames, survey
from tests.data.films import CODECS, av, numbers_in, write_film, write_sound


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_gives_the_frames_that_are_asked_for(suffix: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / f"a{suffix}")
    track = survey(path)
    assert len(track) == 40 and (track.height, track.width) == (48, 64) and track.steady
    assert track.seconds == pytest.approx(2.0, abs=0.02) and track.fps == pytest.approx(20, abs=0.2)
    rows = np.array([3, 3, 17, 18, 39])
    frames = read_frames(path, track.stamps[rows], 32)
    assert frames.shape == (5, 32, 32, 3) and frames.dtype == np.uint8
    assert np.abs(np.array(numbers_in(frames)) - rows).max() <= 1  # codecs and palettes blur brightness a little
    assert (frames[:, 4, 4] > 220).all()
    np.testing.assert_array_equal(frames, read_frames(path.read_bytes(), track.stamps[rows], 32))


def test_seeking_decodes_from_the_key_frame_on_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "long.mp4", 300, gop=12)
    track, decoded = survey(path), []
    real = video._frames

    def counting(*arguments: Any) -> Iterator[Any]:
        for frame in real(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "_frames", counting)
    read_frames(path, track.stamps[[250, 253]], 16)
    assert 4 <= len(decoded) <= 12 + 4 and min(decoded) >= track.stamps[240]
    decoded.clear()
    read_frames(path, track.stamps[[5, 290]], 16)  # 14 s apart: what lies between is leapt over
    assert len(decoded) < 30


def test_phone_videos_stand_upright(tmp_path: Path) -> None:
    """The white corner, upper left in the file, is where a counterclockwise turn of the picture takes it."""
    corners = {0: (0, 0), 90: (-1, 0), 180: (-1, -1), -90: (0, -1)}
    for turned, corner in corners.items():
        path = write_film(tmp_path / f"{turned}.mp4", 5, turned=turned or None)
        track = survey(path)
        assert (track.height, track.width) == ((64, 48) if turned in (90, -90) else (48, 64))
        frame = read_frames(path, track.stamps[:1], 32)[0].astype(int)
        white = {at for at in corners.values() if frame[4 if at[0] == 0 else -5, 4 if at[1] == 0 else -5].min() > 200}
        assert white == {corner}


def test_pixels_that_are_no_squares_count_as_wide_as_they_are_shown(tmp_path: Path) -> None:
    track = survey(write_film(tmp_path / "a.mp4", 5, aspect=Fraction(4, 3)))
    assert (track.height, track.width) == (48, 85)


def test_time_stamps_of_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 1000, 1010, 1020, 2000]
    path = write_film(tmp_path / "a.mkv", len(times), times_ms=times)
    track = survey(path)
    assert (track.stamps * track.tick * 1000).round().astype(int).tolist() == times and not track.steady
    assert numbers_in(read_frames(path, track.stamps[[1, 3, 6]], 16)) == [1, 3, 6]


def test_a_single_image_stands_still(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "a.png")
    track = survey(tmp_path / "a.png")
    assert track.still and (track.height, track.width) == (20, 30) and track.fps == 0
    frames = read_frames(tmp_path / "a.png", track.stamps[[0, 0, 0]], 8)
    assert frames.shape == (3, 8, 8, 3) and (frames == (10, 200, 30)).all()


def damaged_files(folder: Path) -> dict[str, str]:
    """Files that are no videos, by what has to be said of them."""
    good = write_film(folder / "good.mp4").read_bytes()
    (folder / "good.mp4").unlink()
    contents = {
        "empty": (b"", "empty file"),
        "text": (b"no video at all, but a line of text" * 20, "damaged"),
        "cut": (good[: len(good) // 2], "damaged"),  # the index of an mp4 stands at its end
        "head": (b"\0" * 200 + good[200:], ""),
        "still": (b"\xff\xd8\xff\xe0 no JPEG", ""),
    }
    for name, (content, _) in contents.items():
        (folder / f"{name}.mp4").write_bytes(content)
    write_sound(folder / "sound.mp4")
    return {**{f"{name}.mp4": reason for name, (_, reason) in contents.items()}, "sound.mp4": "only sound"}


def test_what_is_no_video_says_why(tmp_path: Path) -> None:
    for name, reason in damaged_files(tmp_path).items():
        for raw in (tmp_path / name, (tmp_path / name).read_bytes()):
            with pytest.raises(UnreadableVideo) as caught:
                survey(raw)
            assert reason in caught.value.reason and len(caught.value.reason) > 5, name
    with pytest.raises(UnreadableVideo, match=r"[Nn]o such file"):
        survey(tmp_path / "gone.mp4")


def wipe(path: Path, stamps: np.ndarray) -> bytes:
    """The file with zeros in place of the frames of these time stamps."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and packet.pts in stamps:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    return bytes(content)


def test_damage_in_the_middle_shows_the_frame_before_it_or_is_told(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", 60, gop=10)
    track = survey(path)
    whole = read_frames(path, track.stamps[[2, 18, 55]], 16)
    broken = wipe(path, track.stamps[20:40])
    assert len(survey(broken)) == 60
    np.testing.assert_array_equal(read_frames(broken, track.stamps[[2, 18, 55]], 16), whole)
    shown = read_frames(broken, track.stamps[[18, 19, 20]], 16)
    np.testing.assert_array_equal(shown[2], shown[1])
    with pytest.raises(UnreadableVideo, match="of 8 frames cannot be decoded"):
        read_frames(broken, track.stamps[26:34], 16)
