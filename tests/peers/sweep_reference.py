"""What FFmpeg's libraries give of a file, as a good player shows it: the time of every frame and its picture, made small.

`sweep.py` runs it in a process of its own, since some files kill it: `python3 sweep_reference.py FILE OUT`. OUT becomes an
archive of NumPy: `times` (seconds; NaN where there is none), `places` (which frames `pictures` shows) and `pictures` (RGB).
"""

import math
import subprocess
import sys

import numpy

# Pictures are compared at this size, so that shapes of pixels do not matter.
SIDE = 128
# More pictures than this are thinned out.
MOST_PICTURES = 200
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

    picture = numpy.ascontiguousarray(turned(frame.to_ndarray(format="rgb24"), matrix))
    return numpy.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


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


def read(path):
    """Times of all frames, and their pictures."""
    import av

    av.logging.set_level(av.logging.PANIC)
    times, pictures, deinterlacer = [], Pictures(), Deinterlacer()
    with av.open(path) as container:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            return times, pictures, None
        # With slices decoded side by side, FFmpeg does not conceal what is damaged, as players and GStreamer do.
        stream.codec_context.thread_count = 1
        start = (container.start_time or 0) / 1_000_000
        if "mp4" in container.format.name and not is_fragmented(path):
            start = 0.0
        matrices = []

        def take(frames):
            for frame in frames:
                times.append(float(frame.pts * frame.time_base) - start if frame.pts is not None else math.nan)
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
        return times, pictures, stream.index


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
    times, pictures, index = read(path)
    if ffmpeg and jump(times):
        told = shown(path, index, ffmpeg)
        times = told if len(told) == len(times) else times
    places = sorted(pictures.kept)
    numpy.savez(
        out,
        times=numpy.asarray(times, dtype=numpy.float64),
        places=numpy.asarray(places, dtype=numpy.int64),
        pictures=numpy.asarray([pictures.kept[place] for place in places], dtype=numpy.uint8),
    )


if __name__ == "__main__":
    main()
