"""Makes a picture of a page small: a PNG with 256 colours at most instead of one with 16 million."""
import collections
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(data):
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + length]
        at += 12 + length


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows(data):
    """Width, height, and the lines of a PNG of 8 bits RGB or RGBA, each a list of (red, green, blue)."""
    parts = collections.defaultdict(bytes)
    for kind, body in chunks(data):
        parts[kind] += body
    width, height, depth, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    if depth != 8 or colour not in (2, 6):
        raise ValueError(f"a PNG of {depth} bits, colour type {colour}; wanted is 8 bits RGB or RGBA")
    size = 3 if colour == 2 else 4
    raw, lines, before = zlib.decompress(parts[b"IDAT"]), [], bytes(width * size)
    for y in range(height):
        at = y * (width * size + 1)
        before = unfiltered(raw[at], bytearray(raw[at + 1:at + 1 + width * size]), before, size)
        lines.append(list(zip(before[0::size], before[1::size], before[2::size])))
    return width, height, lines


def unfiltered(kind, line, above, size):
    """Undoes the prediction of one line (PNG specification, 9.2)."""
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = above[i]
        elif kind == 3:
            guess = (left + above[i]) // 2
        elif kind == 4:
            corner = above[i - size] if i >= size else 0
            guess = min((left, above[i], corner), key=lambda one: abs(left + above[i] - corner - one))
        else:
            break
        line[i] = (line[i] + guess) & 255
    return line


def small(data):
    """The same picture with its 256 most frequent colours; others become the nearest of them."""
    width, height, lines = rows(data)
    count = collections.Counter(pixel for line in lines for pixel in line)
    palette = [colour for colour, _ in count.most_common(256)]
    index = {colour: i for i, colour in enumerate(palette)}
    for colour in count:
        if colour not in index:
            index[colour] = min(range(len(palette)), key=lambda i: sum((a - b) ** 2 for a, b in zip(palette[i], colour)))
    body = b"".join(b"\0" + bytes(index[pixel] for pixel in line) for line in lines)
    return (SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
            + chunk(b"PLTE", b"".join(bytes(colour) for colour in palette)) + chunk(b"IDAT", zlib.compress(body, 9))
            + chunk(b"IEND", b""))
