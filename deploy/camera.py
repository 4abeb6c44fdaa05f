#!/usr/bin/env python3
"""A camera to try clipseek with: sends H.264 clips in a loop over a real RTSP server (GStreamer's), as they are.

    deploy/camera.py [--port 8554] [--user NAME --password WORD] [--cameras N] CLIP...

Then `clipseek serve rtsp://127.0.0.1:8554/camera` watches it. With several they are called /camera1, /camera2 and so on. Needs Debian's packages python3-gi and
gir1.2-gst-rtsp-server-1.0; run it with the system's Python (/usr/bin/python3).
"""

import argparse
import sys

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer
except (ImportError, ValueError) as error:
    sys.exit(f"camera.py: {error}: install python3-gi and gir1.2-gst-rtsp-server-1.0, and use /usr/bin/python3")


def coded_frames(path):
    """The frames of a clip, coded as they are, and how long each is shown (nanoseconds)."""
    graph = Gst.parse_launch(
        "filesrc name=file ! parsebin ! h264parse config-interval=-1 ! "
        "video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=frames sync=false"
    )
    graph.get_by_name("file").set_property("location", path)
    graph.set_state(Gst.State.PLAYING)
    sink, frames, caps = graph.get_by_name("frames"), [], None
    while sample := sink.emit("pull-sample"):
        buffer, caps = sample.get_buffer(), sample.get_caps()
        frames.append((buffer.extract_dup(0, buffer.get_size()), buffer.get_flags() & Gst.BufferFlags.DELTA_UNIT))
    graph.set_state(Gst.State.NULL)
    if not frames:
        sys.exit(f"camera.py: {path}: no H.264 video in it")
    known, numer, denom = caps.get_structure(0).get_fraction("framerate")
    return frames, Gst.SECOND * denom // numer if known and numer else 40 * Gst.MSECOND


class Camera(GstRtspServer.RTSPMediaFactory):
    """Everyone who connects sees the same picture."""

    def __init__(self, frames, step):
        super().__init__()
        self.frames, self.step = frames, step
        self.set_shared(True)
        self.set_launch(
            "( appsrc name=source is-live=true format=time do-timestamp=true "
            "caps=video/x-h264,stream-format=byte-stream,alignment=au "
            "! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
        )

    def do_configure(self, media):
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        source, at = media.get_element().get_by_name("source"), iter(self.forever())

        def push():
            data, delta = next(at)
            buffer = Gst.Buffer.new_wrapped(data)
            buffer.duration = self.step
            if delta:
                buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
            # Refused until the element has started.
            source.emit("push-buffer", buffer)
            return True

        timer = GLib.timeout_add(self.step // Gst.MSECOND, push)
        media.connect("unprepared", lambda _: GLib.source_remove(timer))

    def forever(self):
        while True:
            yield from self.frames


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", default="8554")
    arguments.add_argument("--user")
    arguments.add_argument("--password", default="")
    arguments.add_argument("--cameras", type=int, default=1)
    arguments.add_argument("clips", nargs="+", metavar="CLIP")
    arguments = arguments.parse_args()
    Gst.init(None)
    frames, step = [], 0
    for clip in arguments.clips:
        more, step = coded_frames(clip)
        frames += more
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    permissions = None
    if arguments.user:
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        basic = GstRtspServer.RTSPAuth.make_basic(arguments.user, arguments.password)
        auth.add_basic(basic, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
    several = [f"/camera{number + 1}" for number in range(arguments.cameras)]
    places = ["/camera"] if arguments.cameras == 1 else several
    for place in places:
        camera = Camera(frames, step)
        if permissions:
            camera.set_permissions(permissions)
        server.get_mount_points().add_factory(place, camera)
    if not server.attach(None):
        sys.exit(f"camera.py: port {arguments.port} is taken")
    for place in places:
        print(f"rtsp://127.0.0.1:{server.get_bound_port()}{place}", flush=True)
    GLib.MainLoop().run()


main()
