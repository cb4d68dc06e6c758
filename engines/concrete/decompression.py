"""Decompression of evaluation keys, several times as fast as Concrete's own.

A compressed key has a 16-byte seed and the bodies of its ciphertexts; the masks follow from the
seed. Concrete computes them byte by byte when a key is first used, which takes most of the first
evaluation. Here they are computed in blocks, and Concrete gets the message of an uncompressed key.

Sources: concrete-csprng (AES-128 of a 128-bit little-endian counter, of which the first byte is
skipped), tfhe-rs (masks in the order of the ciphertexts), https://capnproto.org/encoding.html, and
Concrete's schema `concrete-protocol.capnp`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

SEED_BYTES = 16
MOST_BYTES = 1 << 30
"""Bytes of the largest message that is returned; larger keys are left to Concrete."""
_WORD = 8
_BLOCK = 16
_SKIPPED = 1
"""Bytes at the start of a generator's stream that it does not return."""
_CHUNK = 1 << 18
"""Bytes of masks computed at a time, so that they stay in the processor's cache."""
_MOST_LIST = (1 << 29) - 1
"""Cap'n Proto's limit on the elements of one list."""
_MOST_SEGMENTS = 512
_STRUCT, _LIST, _FAR = range(3)
_BYTES, _POINTERS, _COMPOSITE = 2, 6, 7
_COMPRESSION = 12
"""Offset of the field `compression` in the information on a key."""
_NONE, _SEED = 0, 1


class _OtherLayout(Exception):
    """The message is not a set of seeded keys as Concrete writes it."""


class _Place(NamedTuple):
    """A position in a message: a segment's number, and an offset in bytes."""

    segment: int
    offset: int

    def after(self, words: int) -> _Place:
        return _Place(self.segment, self.offset + words * _WORD)


@dataclass(frozen=True)
class _SeededKey:
    """One key: the places of its information, of the pointer to its payload and of that; its shape.

    It has `ciphertexts` of `mask` words, which follow from the seed, and `body` words.
    """

    information: _Place
    pointer: _Place
    payload: _Place
    ciphertexts: int
    mask: int
    body: int

    @property
    def compressed(self) -> int:
        """Bytes of the payload."""
        return SEED_BYTES + self.ciphertexts * self.body * _WORD

    @property
    def expanded(self) -> int:
        """Bytes of the payload without compression."""
        return self.ciphertexts * (self.mask + self.body) * _WORD


def decompressed(message: bytes | memoryview) -> bytes | None:
    """Return serialised evaluation keys without compression.

    Returns None if the message has another layout: Concrete then reads or refuses it as it is.
    """
    try:
        keys = _SeededKeys(memoryview(message))
        return keys.without_compression()
    except (_OtherLayout, struct.error):
        return None


class _SeededKeys:
    """A serialised set of seeded keys; raises _OtherLayout, struct.error."""

    def __init__(self, message: memoryview) -> None:
        self._message = message
        (last,) = struct.unpack_from("<I", message)
        _require(last < _MOST_SEGMENTS)
        words = struct.unpack_from(f"<{last + 1}I", message, 4)
        self._sizes = [count * _WORD for count in words]
        self._starts = _starts(self._sizes)
        _require(self._starts[-1] == len(message))
        self._keys = list(self._read())

    def without_compression(self) -> bytes:
        # A segment that holds one payload and a pointer to it is replaced; another payload gets a
        # segment of its own.
        sizes, targets = list(self._sizes), []
        for key in self._keys:
            number = key.payload.segment
            alone = key.payload.offset == _WORD and sizes[number] == _segment(key.compressed)
            if not alone or key.pointer.segment == number or number in targets:
                number = len(sizes)
                sizes.append(0)
            targets.append(number)
        for key, number in zip(self._keys, targets, strict=True):
            sizes[number] = _segment(key.expanded)
        _require(bool(targets) and len(sizes) <= _MOST_SEGMENTS)
        starts = _starts(sizes)
        _require(starts[-1] <= MOST_BYTES)
        result = np.empty(starts[-1], np.uint8)  # zeros would take as long as the copy
        result[: starts[0]] = 0
        view = result.data
        struct.pack_into(
            f"<{1 + len(sizes)}I", view, 0, len(sizes) - 1, *(size // _WORD for size in sizes)
        )
        for number, (start, size) in enumerate(zip(self._starts, self._sizes, strict=False)):
            if number not in targets:
                view[starts[number] :][:size] = self._message[start : start + size]
        for key, number in zip(self._keys, targets, strict=True):
            place = key.information
            struct.pack_into("<H", view, starts[place.segment] + place.offset + _COMPRESSION, _NONE)
            place = key.pointer
            to_segment = _FAR | number << 32
            struct.pack_into("<Q", view, starts[place.segment] + place.offset, to_segment)
            to_next_word = _LIST | _BYTES << 32 | key.expanded << 35
            struct.pack_into("<Q", view, starts[number], to_next_word)
            start = starts[number] + _WORD
            result[start + key.expanded : starts[number] + sizes[number]] = 0
            self._expand(key, result[start : start + key.expanded])
        return result.tobytes()

    def _expand(self, key: _SeededKey, into: NDArray[np.uint8]) -> None:
        """Write the key's ciphertexts, each a mask and a body."""
        offset = self._starts[key.payload.segment] + key.payload.offset
        payload = np.frombuffer(self._message, np.uint8, key.compressed, offset)
        mask, body = key.mask * _WORD, key.body * _WORD
        rows = into.reshape(key.ciphertexts, mask + body)
        rows[:, mask:] = payload[SEED_BYTES:].reshape(key.ciphertexts, body)
        # ECB of counters is the generator: in OpenSSL's CTR mode the counter is big-endian.
        mode = modes.ECB()  # noqa: S305
        aes = Cipher(algorithms.AES128(payload[:SEED_BYTES].tobytes()), mode).encryptor()
        step = max(1, _CHUNK // mask)
        blocks = step * mask // _BLOCK + 2
        counts = np.arange(blocks, dtype="<u8")
        counters = np.zeros((blocks, 2), "<u8")
        stream = np.empty((blocks + 1) * _BLOCK, np.uint8)
        for first in range(0, key.ciphertexts, step):
            own = rows[first : first + step, :mask]
            block, skipped = divmod(_SKIPPED + first * mask, _BLOCK)
            np.add(counts, block, out=counters[:, 0], casting="unsafe")
            aes.update_into(counters.data.cast("B"), stream.data)
            own[:] = stream[skipped : skipped + own.size].reshape(own.shape)

    def _read(self) -> Iterator[_SeededKey]:
        _, root, pointers = self._struct(_Place(0, 0))
        _require(pointers == 3)
        for pointer in self._elements(root):
            # Level, base, GLWE dimension, polynomial size, variance, precision, LWE dimension.
            level, _, glwe, size, _, _, _, lwe = self._facts(pointer, "<4IdIII")
            yield self._key(pointer, lwe * level * (glwe + 1), glwe * size, size)
        for pointer in self._elements(root.after(1)):
            # Level, base, variance, precision, dimensions of the input and of the output.
            level, _, _, _, _, lwe, output = self._facts(pointer, "<2IdII2I")
            yield self._key(pointer, lwe * level, output, 1)
        _require(not list(self._elements(root.after(2))))  # packing keys, which no circuit uses

    def _facts(self, pointer: _Place, layout: str) -> tuple[int, ...]:
        """Return the parameters of the key whose information `pointer` leads to."""
        data, information, pointers = self._struct(pointer)
        _require(data == 2 and pointers == 1)
        (compression,) = struct.unpack_from("<H", self._bytes(information, 2), _COMPRESSION)
        _require(compression == _SEED)
        data, parameters, _ = self._struct(information.after(data))
        _require(data * _WORD >= struct.calcsize(layout))
        return struct.unpack_from(layout, self._bytes(parameters, data))

    def _key(self, pointer: _Place, ciphertexts: int, mask: int, body: int) -> _SeededKey:
        """Return the key with its payload: one list of bytes, in a list of one pointer."""
        _, information, _ = self._struct(pointer)
        data, payload, pointers = self._struct(pointer.after(1))
        _require(data == 0 and pointers == 1)
        outer, kind, count = self._list(payload)
        _require(kind == _POINTERS and count == 1)
        start, kind, count = self._list(outer)
        key = _SeededKey(information, outer, start, ciphertexts, mask, body)
        _require(kind == _BYTES and count == key.compressed and 0 < key.expanded <= _MOST_LIST)
        self._bytes(start, (count + _WORD - 1) // _WORD)
        return key

    def _elements(self, pointer: _Place) -> Iterator[_Place]:
        """Yield the places of the two pointers of each structure in a list."""
        if self._word(pointer) == 0:
            return
        start, kind, _ = self._list(pointer)
        _require(kind == _COMPOSITE)
        tag = self._word(start)
        count, data, pointers = tag >> 2 & 0x3FFFFFFF, tag >> 32 & 0xFFFF, tag >> 48
        _require(data == 0 and pointers == 2 and count < _MOST_SEGMENTS)
        for element in range(count):
            yield start.after(1 + 2 * element)

    def _struct(self, pointer: _Place) -> tuple[int, _Place, int]:
        """Return a structure's number of data words, their place, and its number of pointers.

        The pointers follow the data.
        """
        start, word = self._followed(pointer, _STRUCT)
        data, pointers = word >> 32 & 0xFFFF, word >> 48
        self._bytes(start, data + pointers)
        return data, start, pointers

    def _list(self, pointer: _Place) -> tuple[_Place, int, int]:
        """Return the place of a list, its kind and its length."""
        start, word = self._followed(pointer, _LIST)
        return start, word >> 32 & 7, word >> 35

    def _followed(self, pointer: _Place, kind: int) -> tuple[_Place, int]:
        """Return the place of an object, and the pointer that describes it."""
        word = self._word(pointer)
        if word & 3 == _FAR:
            _require(word >> 2 & 1 == 0)
            pointer = _Place(word >> 32, (word >> 3 & 0x1FFFFFFF) * _WORD)
            word = self._word(pointer)
        _require(word != 0 and word & 3 == kind)
        offset = word >> 2 & 0x3FFFFFFF
        return pointer.after(1 + offset - (offset >> 29 << 30)), word

    def _word(self, place: _Place) -> int:
        (word,) = struct.unpack("<Q", self._bytes(place, 1))
        return int(word)

    def _bytes(self, place: _Place, words: int) -> memoryview:
        """Return words of a segment; raises _OtherLayout if they are not all in it."""
        _require(place.segment < len(self._sizes))
        _require(0 <= place.offset <= self._sizes[place.segment] - words * _WORD)
        start = self._starts[place.segment] + place.offset
        return self._message[start : start + words * _WORD]


def _require(holds: bool) -> None:
    if not holds:
        raise _OtherLayout


def _starts(sizes: list[int]) -> list[int]:
    """Return the offsets of segments of these sizes, and their end."""
    starts = [(4 + 4 * len(sizes) + _WORD - 1) // _WORD * _WORD]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts


def _segment(count: int) -> int:
    """Return the bytes of a segment with a pointer and a list of `count` bytes."""
    return _WORD + (count + _WORD - 1) // _WORD * _WORD
