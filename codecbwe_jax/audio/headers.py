"""How long an audio file says it is. libsndfile lowers that to what is there, or guesses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Sizes from here on are what writers of streams leave who cannot come back to fill them in.
UNKNOWN_SIZE = 0x7FFFF000
# Formats of which a chunk of data holds whole samples: PCM, float, A-law, mu-law, extensible.
PLAIN_FORMATS = (1, 3, 6, 7, 0xFFFE)
PLAIN_AIFC = (b"NONE", b"twos", b"sowt", b"fl32", b"FL32", b"fl64", b"FL64", b"alaw", b"ulaw")
# bytes of a sample of Sun's formats: mu-law, 8 to 32 bits, float, double, A-law
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
MPEG_1_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG_2_KBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# Samples that an MP3's encoder put before and after the sound, which are cut off, and the frame of
# the tag: 576 to 2257 before, up to 2304 after.
MP3_DELAY = 5 * 1152
PAGE_LIMIT = 1 << 16
# of Ogg: 255 packets of at most 60 ms
LONGEST_PAGE_S = 16
# in Hz: what positions in Opus count, whatever it decodes to
OPUS_RATE = 48000


def promised(file: BinaryIO, frames: int, rate: int) -> int | None:
    """Samples that a file should hold.

    Args:
      file: to read from any place.
      frames: what libsndfile says.
      rate: in Hz, of what it decodes to.

    Returns:
      The header's word; `frames` if the format has none of its own, None if it is not known
      without decoding.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return _wav(file, frames, ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"FORM":
        return _aiff(file, frames)
    if head[:4] == b"riff":
        return _w64(file, frames)
    if head[:4] == b".snd":
        return _au(file, frames)
    if head[:4] == b"fLaC":
        return (struct.unpack(">Q", file.read(14)[6:14])[0] & (1 << 36) - 1) or None
    if head[:4] == b"caff":
        return _caf(file, frames)
    if head[:4] == b"OggS":
        return _ogg(file, frames, rate)
    if is_mp3(head):
        held = _mp3(file, head).samples
        # what the tag counts and libsndfile trusts, or guesses where there is no tag
        return frames if abs(held - frames) <= MP3_DELAY else max(held, frames)
    return frames


def unfilled(file: BinaryIO) -> int | None:
    """Where a WAV says that its data has no bytes though more follow, as writers leave it who were
    stopped, or who cannot go back.

    Args:
      file: anywhere.

    Returns:
      The place of the size, 4 bytes; None if there is no such thing.
    """
    file.seek(0)
    if file.read(12)[:4] != b"RIFF":
        return None
    for name, size in _chunks(file, "<"):
        if name == b"data":
            place = file.tell()
            return place - 4 if size == 0 and file.seek(0, 2) > place else None
    return None


def lacking(file: BinaryIO) -> str | None:
    """What a file lacks that libsndfile does not miss: the last page of an Ogg file, which is
    marked, or frames of an MP3 that counts them.

    Args:
      file: anywhere.

    Returns:
      Words, or None.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        page = _last_page(file)
        return None if len(page) >= 6 and page[5] & 4 else "its last page is missing"
    if is_mp3(head):
        mp3 = _mp3(file, head)
        # the frame that holds the count is one more, and some encoders count it
        missing = mp3.counted - (mp3.frames - 1)
        if missing > 1 or (missing == 1 and mp3.has_gaps):
            return f"{missing} of {mp3.counted} frames are missing"
    return None


def is_mp3(head: bytes) -> bool:
    """Whether a file may be an MP3, by its first bytes."""
    return head[:3] == b"ID3" or head[:1] == b"\xff"


def _last_page(file: BinaryIO) -> bytes:
    end = file.seek(0, 2)
    file.seek(max(0, end - 2 * PAGE_LIMIT))
    tail = file.read()
    return tail[max(tail.rfind(b"OggS"), 0) :]


def _ogg(file: BinaryIO, frames: int, rate: int) -> int | None:
    """By the position that the last page states, of Vorbis and Opus: a page whose checksum is wrong
    is left out without a word."""
    file.seek(28)
    head = file.read(14)
    last, first = _position(_last_page(file)), next(_positions(file), 0)
    if head[:7] == b"\x01vorbis":
        held = last
    elif head[:8] == b"OpusHead":
        skipped = struct.unpack("<H", head[10:12])[0]
        held, first = round((last - skipped) * rate / OPUS_RATE), first * rate // OPUS_RATE
    else:
        return frames
    # taken from the middle of a stream: positions count from where that began
    return None if first > LONGEST_PAGE_S * rate else max(frames, held)


def _position(page: bytes) -> int:
    return struct.unpack("<q", page[6:14])[0] if len(page) >= 14 else 0


def _positions(file: BinaryIO) -> Iterator[int]:
    """Of the pages at which a packet of sound ends."""
    place = 0
    while file.seek(place) >= 0 and (page := file.read(27 + 255))[:4] == b"OggS" and len(page) > 27:
        if _position(page) > 0:
            yield _position(page)
        place += 27 + page[26] + sum(page[27 : 27 + page[26]])


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """(name, size) of the chunks of RIFF and AIFF, the file standing at each one's content."""
    while len(head := file.read(8)) == 8:
        size = struct.unpack(f"{order}I", head[4:])[0]
        begin = file.tell()
        yield head[:4], size
        file.seek(begin + size + size % 2)


def _wav(file: BinaryIO, frames: int, order: str) -> int:
    width, long_size = 0, None
    for name, size in _chunks(file, order):
        if name == b"ds64":
            content = file.read(16)
            long_size = struct.unpack("<Q", content[8:16])[0] if len(content) == 16 else None
        elif name == b"fmt ":
            width = _width(file.read(16), order)
        elif name == b"data":
            size = long_size if size == 0xFFFFFFFF and long_size else size
            known = width and size > 0 and (size == long_size or size < UNKNOWN_SIZE)
            return max(frames, size // width) if known else frames
    return frames


def _width(content: bytes, order: str) -> int:
    """Bytes of a sample of all channels, by the first 16 of "fmt "; 0 if they are packed, or if the
    header does not agree with itself."""
    if len(content) < 16:
        return 0
    kind, channels, _, _, width, bits = struct.unpack(f"{order}HHIIHH", content)
    return width if kind in PLAIN_FORMATS and width == channels * -(-bits // 8) else 0


def _caf(file: BinaryIO, frames: int) -> int:
    """Apple's: names of 4 bytes and sizes of 8."""
    place, width = 8, 0
    while file.seek(place) and len(head := file.read(12)) == 12:
        size = struct.unpack(">q", head[4:])[0]
        if head[:4] == b"desc":
            content = file.read(20)
            plain = content[8:12] == b"lpcm" and len(content) == 20
            width = struct.unpack(">I", content[16:])[0] if plain else 0
        elif head[:4] == b"data":
            # the count of edits takes 4 bytes; -1: up to the end
            return (size - 4) // width if width and size > 4 else frames
        place += 12 + max(size, 0)
    return frames


def _w64(file: BinaryIO, frames: int) -> int:
    """Sony's: RIFF with names of 16 bytes and sizes of 8, which count both, in steps of 8."""
    place, width = 40, 0
    while file.seek(place) and len(head := file.read(24)) == 24:
        size = struct.unpack("<Q", head[16:])[0]
        if head[:4] == b"fmt ":
            width = _width(file.read(16), "<")
        elif head[:4] == b"data":
            return (size - 24) // width if width and size > 24 else frames
        place += max(24, size + -size % 8)
    return frames


def _au(file: BinaryIO, frames: int) -> int:
    file.seek(8)
    size, kind, _, channels = struct.unpack(">4I", file.read(16).ljust(16, b"\0"))
    width = AU_BYTES.get(kind, 0) * channels
    return size // width if width and 0 < size < UNKNOWN_SIZE else frames


def _aiff(file: BinaryIO, frames: int) -> int:
    for name, size in _chunks(file, ">"):
        if name == b"COMM":
            content = file.read(min(size, 22))
            plain = size == 18 or content[18:22] in PLAIN_AIFC
            claimed = struct.unpack(">I", content[2:6])[0] if len(content) >= 6 else 0
            known = plain and claimed < UNKNOWN_SIZE
            return max(frames, claimed) if known else frames
    return frames


class _Mp3(NamedTuple):
    """Samples in the frames of an MP3, how many frames, how many a count in the first one says (0:
    none), and whether something else lies between two of them."""

    samples: int = 0
    frames: int = 0
    counted: int = 0
    has_gaps: bool = False


def _mp3(file: BinaryIO, head: bytes) -> _Mp3:
    """Frames of layer III, of the kind of the first one."""
    skip = 0
    if head[:3] == b"ID3":
        skip = 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    file.seek(skip)
    data, place, end, kind, mp3 = file.read(), 0, 0, None, _Mp3()
    while 0 <= place <= len(data) - 4:
        size, samples = _mp3_frame(data[place : place + 4])
        # version, layer and rate stay the same: what differs only looks like a frame
        its_kind = (data[place + 1] & 0xFE, data[place + 2] & 0x0C)
        if size and its_kind == (kind or its_kind):
            counted = mp3.counted if kind else _mp3_count(data[place : place + size])
            has_gaps = mp3.has_gaps or (kind is not None and place > end)
            mp3 = _Mp3(mp3.samples + samples, mp3.frames + 1, counted, has_gaps)
            kind, place = its_kind, place + size
            end = place
        else:
            place = data.find(b"\xff", place + 1)
    return mp3


def _mp3_count(frame: bytes) -> int:
    """Frames of sound, if a first frame holds that in place of sound."""
    place = max(frame.find(b"Xing", 4, 44), frame.find(b"Info", 4, 44))
    has_count = place > 0 and len(frame) >= place + 12 and frame[place + 7] & 1
    return struct.unpack(">I", frame[place + 8 : place + 12])[0] if has_count else 0


def _mp3_frame(header: bytes) -> tuple[int, int]:
    """(bytes, samples) of a frame of layer III, (0, 0) if this begins none."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    is_frame = header[0] == 0xFF and header[1] >> 5 == 7 and version != 1 and layer == 1
    if not is_frame or bitrate in (0, 15) or rate == 3:
        return 0, 0
    is_first = version == 3
    hz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    kbits = (MPEG_1_KBITS if is_first else MPEG_2_KBITS)[bitrate - 1]
    padding = header[2] >> 1 & 1
    return (144 if is_first else 72) * 1000 * kbits // hz + padding, 1152 if is_first else 576
