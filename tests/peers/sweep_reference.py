"""What FFmpeg's libraries give of a file, as a good player shows it: the time of every frame and its picture, made small.

`sweep.py` runs it in a process of its own, since some files kill it: `python3 sweep_reference.py FILE OUT`. OUT becomes an
archive of NumPy: `times` (seconds; NaN where there is none), `places` (which frames `pictures` shows) and `pictures` (RGB,
each in two ways: how chroma is brought to the size of luma is left to players), `codec` (FFmpeg's name) and `encrypted` (what FFmpeg decodes of it is noise).

Of several video tracks the first default one is shown, as mpv and VLC do it, else the largest; of transport streams those of
the first program that has video. (FFmpeg's own choice is by bit rates and numbers of frames seen while probing.)
"""

import math
import subprocess
import sys

import numpy

# Pictures are compared at this size, so that shapes of pixels do not matter.
SIDE = 128
# More pictures than this are thinned out.
MOST_PICTURES = 200
# swscale's flags: accurate_rnd, full_chroma_int; chroma between its places bilinear, or that of the nearest.
EXACT = 0x40000 | 0x2000
LINEAR, NEAREST = 0x2, 0x10
# Time stamps that go back, or ahead, by more than this have jumped.
BACKWARD, FORWARD = 1.0, 10.0
TIMEOUT = 100


def is_fragmented(path):
    """Whether an MP4 file has fragments, told by its first boxes."""
    with open(path, "rb") as file:
        for _ in range(200):
            head = file.read(16)
            if len(head) < 8:
                return False
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return False
            file.seek(size - len(head), 1)
    return False


class Deinterlacer:
    """ffmpeg's yadif at the frame rate, for the frames that are marked as interlaced; the others pass."""

    def __init__(self):
        self.graph, self.description = None, None

    def push(self, frame):
        """The frames that are ready."""
        description = (frame.width, frame.height, frame.format.name)
        ready = []
        if description != self.description:
            ready = self.rest()
            self.graph = self.build(frame)
            self.description = description
        if self.graph is None:
            return ready + [frame]
        self.graph.push(frame)
        return ready + self.pull()

    def build(self, frame):
        import av

        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        try:
            yadif = graph.add("yadif", "mode=send_frame:deint=interlaced")
            sink = graph.add("buffersink")
            source.link_to(yadif)
            yadif.link_to(sink)
            graph.configure()
        except av.FFmpegError:
            return None
        return graph

    def pull(self):
        import av

        ready = []
        while True:
            try:
                ready.append(self.graph.vpull())
            except (av.BlockingIOError, av.EOFError):
                return ready

    def rest(self):
        if self.graph is None:
            return []
        self.graph.vpush(None)
        return self.pull()


def turned(picture, matrix):
    """As ffmpeg turns it by this display matrix (nine numbers of 32 bits)."""
    if matrix is None:
        return picture
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    across, down = math.hypot(a, c), math.hypot(b, d)
    if across == 0 or down == 0:
        return picture
    theta = math.degrees(math.atan2(b / down, a / across)) % 360
    # Rows of the array are lines of the picture.
    if abs(theta - 90) < 1:
        return numpy.transpose(picture, (1, 0, 2)) if c > 0 else numpy.rot90(picture, -1)
    if abs(theta - 180) < 1:
        picture = picture[:, ::-1] if a < 0 else picture
        return picture[::-1] if d < 0 else picture
    if abs(theta - 270) < 1:
        return numpy.rot90(picture.transpose(1, 0, 2), 2) if c < 0 else numpy.rot90(picture, 1)
    return picture[::-1] if theta < 1 and d < 0 else picture


def small(frame, matrix):
    from PIL import Image

    pictures = []
    for chroma in (LINEAR, NEAREST):
        # As exactly as it can: by default swscale rounds down several times, which makes pictures darker by more than one.
        exact = frame.reformat(format="rgb24", interpolation=EXACT | chroma)
        picture = numpy.ascontiguousarray(turned(exact.to_ndarray(), matrix))
        pictures.append(numpy.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    return numpy.stack(pictures)


def display_matrix(frame):
    import av

    data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
    return numpy.frombuffer(bytes(data), dtype="<i4")[:9].tolist() if data is not None else None


class Pictures:
    """Those of all frames, or of every second, fourth and so on."""

    def __init__(self):
        self.kept, self.step, self.seen = {}, 1, 0

    def add(self, frame, matrix):
        if self.seen % self.step == 0:
            self.kept[self.seen] = small(frame, matrix)
        self.seen += 1
        if len(self.kept) > MOST_PICTURES:
            self.step *= 2
            self.kept = {place: picture for place, picture in self.kept.items() if place % self.step == 0}


class TransportStream:
    """What the packets at the beginning of a transport stream say."""

    VIDEO = {0x01, 0x02, 0x10, 0x1B, 0x21, 0x24, 0x33, 0x42, 0xD1, 0xEA}
    LOOKED_AT = 4 << 20

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read(self.LOOKED_AT)
        kinds = [(first, size) for first, size in ((0, 188), (4, 192), (0, 204)) if self.fits(data, first, size)]
        first, size = kinds[0] if kinds else (0, 188)
        places = range(first, len(data) - 187, size)
        self.packets = [data[place : place + 188] for place in places if data[place] == 0x47] if kinds else []

    @staticmethod
    def fits(data, first, size):
        return len(data) > first + 2 * size and all(data[first + size * number] == 0x47 for number in range(3))

    @staticmethod
    def pid(packet):
        return (packet[1] & 0x1F) << 8 | packet[2]

    def section(self, pid, table):
        """The first section of this table, as far as one packet holds it."""
        for packet in self.packets:
            if self.pid(packet) == pid and packet[1] & 0x40 and packet[3] & 0x10:
                start = 5 + packet[4] if packet[3] & 0x20 else 4
                section = packet[start + 1 + packet[start] :] if start < 188 else b""
                if len(section) > 12 and section[0] == table:
                    return section[: 3 + ((section[1] & 0x0F) << 8 | section[2]) - 4]
        return b""

    def program(self):
        """PIDs of the first program that has video, in its order."""
        table = self.section(0, 0)
        for place in range(8, len(table) - 3, 4):
            number, map_pid = table[place] << 8 | table[place + 1], (table[place + 2] & 0x1F) << 8 | table[place + 3]
            streams = self.streams(self.section(map_pid, 2)) if number else []
            if any(kind in self.VIDEO for kind, _ in streams):
                return [pid for _, pid in streams]
        return []

    @staticmethod
    def streams(table):
        found = []
        at = 12 + ((table[10] & 0x0F) << 8 | table[11]) if len(table) > 12 else 0
        while 0 < at < len(table) - 4:
            found.append((table[at], (table[at + 1] & 0x1F) << 8 | table[at + 2]))
            at += 5 + ((table[at + 3] & 0x0F) << 8 | table[at + 4])
        return found

    def is_scrambled(self, pid):
        marks = [packet[3] & 0xC0 != 0 for packet in self.packets if self.pid(packet) == pid]
        return 2 * sum(marks) > len(marks)


def choose(container, transport):
    """The video track to be shown."""
    import av

    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    if transport and (pids := transport.program()):
        of_program = [stream for stream in videos if stream.id in pids]
        videos = sorted(of_program, key=lambda stream: pids.index(stream.id)) or videos
        return videos[0] if videos else None
    defaults = [stream for stream in videos if stream.disposition & av.stream.Disposition.default]
    if len(container.streams.video) > 1 and not defaults:
        return max(videos, key=lambda stream: stream.width * stream.height, default=None)
    return (defaults or videos or [None])[0]


def is_encrypted(path, name, stream, transport):
    """Whether a key is needed, as the container says."""
    if transport:
        return transport.is_scrambled(stream.id)
    with open(path, "rb") as file:
        start = file.read(1 << 20)
    # ASF: the objects for content encryption and for its extended kind.
    asf = ("fbb31122 23bdd211 b4b700a0 c955fc6e", "14e68a29 2226174c b935dae0 7ee9289c")
    marks = [b"encv"] if "mp4" in name else [bytes.fromhex(mark) for mark in asf] if name == "asf" else []
    return any(mark in start for mark in marks)


def read(path):
    """Times of all frames, their pictures, and what is known of the track."""
    import av

    av.logging.set_level(av.logging.PANIC)
    times, pictures, deinterlacer = [], Pictures(), Deinterlacer()
    with av.open(path) as container:
        transport = TransportStream(path) if container.format.name == "mpegts" else None
        stream = choose(container, transport)
        if stream is None:
            return times, pictures, None
        known = {
            "index": stream.index,
            "codec": stream.codec_context.name,
            "encrypted": is_encrypted(path, container.format.name, stream, transport),
        }
        # With slices decoded side by side, FFmpeg does not conceal what is damaged, as players and GStreamer do.
        stream.codec_context.thread_count = 1
        # A stream without a container has no start; then the decoder's delay counts as time, and the first picture is later.
        start = None if container.start_time is None else container.start_time / 1_000_000
        if "mp4" in container.format.name and not is_fragmented(path):
            start = 0.0
        matrices = []

        def take(frames):
            for frame in frames:
                times.append(float(frame.pts * frame.time_base) - (start or 0) if frame.pts is not None else math.nan)
                matrices.append(display_matrix(frame))
                for ready in deinterlacer.push(frame):
                    pictures.add(ready, matrices[pictures.seen])

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            try:
                take(packet.decode())
            except av.FFmpegError:
                continue
        try:
            take(stream.codec_context.decode(None))
        except av.FFmpegError:
            pass
        for ready in deinterlacer.rest():
            pictures.add(ready, matrices[pictures.seen])
        if start is None and times and not numpy.isnan(times).all():
            times = (numpy.asarray(times) - numpy.nanmin(times)).tolist()
        return times, pictures, known


def jump(times):
    steps = numpy.diff(numpy.asarray(times))
    return bool((steps < -BACKWARD).any() or (steps > FORWARD).any())


def shown(path, index, ffmpeg):
    """The times that ffmpeg's showinfo prints: time stamps that jump are continued."""
    command = [ffmpeg, "-hide_banner", "-nostdin", "-i", path, "-map", f"0:{index}", "-vf", "showinfo", "-f", "null", "-"]
    ran = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    lines = [line for line in ran.stderr.decode(errors="replace").splitlines() if "pts_time:" in line]
    return [float(line.split("pts_time:")[1].split()[0].replace("NOPTS", "nan")) for line in lines]


def main():
    path, out, ffmpeg = sys.argv[1:4]
    times, pictures, known = read(path)
    known = known or {"index": None, "codec": "", "encrypted": False}
    if ffmpeg and jump(times):
        told = shown(path, known["index"], ffmpeg)
        times = told if len(told) == len(times) else times
    places = sorted(pictures.kept)
    numpy.savez(
        out,
        times=numpy.asarray(times, dtype=numpy.float64),
        places=numpy.asarray(places, dtype=numpy.int64),
        pictures=numpy.asarray([pictures.kept[place] for place in places], dtype=numpy.uint8),
        codec=known["codec"],
        encrypted=known["encrypted"],
    )


if __name__ == "__main__":
    main()
