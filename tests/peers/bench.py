"""Runs the parts asked for and prints one table. Everything compared is measured in the same run."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import footage
import measure

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CORES = len(os.sched_getaffinity(0))
SAMPLE = ROOT / "tests/fixtures/footage"

DECODE_S = 120
FILES, FILE_S = 2 * CORES, 45
SHORT_S, LONG_S = 600, 7200
# Which batches meet in memory hangs on chance, most of all in a short run: the highest of so many runs counts.
MEMORY_RUNS = 5
CAPTIONS = 10
# Windows of 8 frames in 16 s: a frame every 2 s, which the key frames of the footage serve.
SPARSE_S = 16.0
SPARSE = {"CLIPSEEK__INDEX__WINDOW_SECS": "16", "CLIPSEEK__INDEX__FRAMES": "8"}


@dataclass(frozen=True)
class Row:
    what: str
    figure: str
    target: str = ""
    met: bool = True


class Bench:
    def __init__(self, clipseek: Path, work: Path, shared: Path) -> None:
        self.clipseek, self.shared = clipseek.resolve(), shared
        self.footage, self.scratch = work / "footage", work / "scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.shapes = ROOT / "models/bundles/shapes"
        self.photos = self._photos() if (shared / "bundles/photos-mini").is_dir() else None

    def _photos(self) -> Path:
        self.run("model", "import", self.shared / "bundles/photos-mini", "--name", "photos", data="imported")
        return self.scratch / "imported/models/photos"

    def bundles(self) -> list[Path]:
        return [bundle for bundle in (self.shapes, self.photos) if bundle]

    def run(self, *words: object, data: str, env: dict[str, str] | None = None) -> measure.Cost:
        return measure.run([self.clipseek, "--data", self.scratch / data, "--quiet", "--json", *words], env)

    def peer(self, bundle: Path, data: str, *words: object) -> measure.Cost:
        return measure.run([sys.executable, HERE / "clip4clip_style.py", "--bundle", bundle, "--data", self.scratch / data, *words])

    def decode(self) -> list[Row]:
        """Key frames alone, through the decoding process, against every frame by the same decoder, and by FFmpeg itself."""
        file = footage.looped(self.footage, DECODE_S)

        def core_seconds(sampling: str) -> float:
            words = ["bench", "--decode-only", "--model", self.bundles()[-1], "--sampling", sampling, file]
            return json.loads(self.run(*words, data="decode", env=SPARSE).output)["stages"][0]["core_s_per_s"]

        gstreamer = f"gst-launch-1.0 -q filesrc location={file} ! qtdemux ! h264parse ! avdec_h264 ! fakesink sync=false"
        ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(file), "-map", "0:v", "-f", "null", "-"]
        everything, by_ffmpeg = (min(measure.run(words).cpu_s for _ in range(2)) / DECODE_S for words in (gstreamer.split(), ffmpeg))
        keys = min(core_seconds("keyframes") for _ in range(3))
        exact = core_seconds("all")
        ratio = everything / keys
        what = (
            f"Decoding 1080p H.264 for a frame every 2 s: every frame, by GStreamer's avdec_h264 ({everything:.4f} core-s per s; by FFmpeg "
            f"itself {by_ffmpeg:.4f}), over key frames ({keys:.4f}); what exact times need ({exact:.4f})"
        )
        return [Row(what, f"{ratio:.1f} ×", "≥ 12 ×", ratio >= 12)]

    def whole(self) -> list[Row]:
        """A whole run against what the stages would allow."""
        files, rows = footage.several(self.footage, FILES, FILE_S), []
        for bundle in self.bundles():
            bench = json.loads(self.run("bench", "--model", bundle, *files, data="whole").output)
            share = bench["whole_over_bound"]
            stages = ", ".join(f"{stage['name']} {stage['core_s_per_s']:.4f}" for stage in bench["stages"])
            rate = f"{bench['whole_h_per_h']:.1f} hours of video per hour; core-s per s alone: {stages}"
            what = f"Whole `index` run over cores ÷ summed stages, model {bench['model']} ({rate})"
            rows.append(Row(what, f"{share:.2f}", "≥ 0.85", share >= 0.85))
        return rows

    def peers(self) -> list[Row]:
        """The same files, model, sampling and windows through the Python script."""
        files = footage.several(self.footage, FILES, FILE_S)
        rows = self._against(files, "key frames serve (a frame every 2 s)", SPARSE, SPARSE_S)
        rows += self._against(files, "the model's own sampling (a frame every 0.25 s)", {}, None)
        return rows + self._same_moments()

    def _against(self, files: list[Path], case: str, env: dict[str, str], window_s: float | None) -> list[Row]:
        length = ["--window", window_s] if window_s else []
        name = "sparse" if window_s else "dense"
        costs = {"clipseek": self.run("index", "--model", self.shapes, *files, data=name, env=env)}
        report = json.loads(costs["clipseek"].output)
        for mode in ("plain", "best"):
            costs[mode] = self.peer(self.shapes, f"{name}-{mode}", "index", "--mode", mode, *length, *files)
            windows = sum(json.loads(costs[mode].output)["windows"].values())
            if abs(windows - report["windows"]) > len(files):
                raise measure.Failed(f"{mode} stored {windows} windows, clipseek {report['windows']}")
        ours, rows = costs["clipseek"], []
        for mode, who in (("plain", "a CLIP4Clip-style script"), ("best", "the same script made as good as Python gets")):
            ratio, target = costs[mode].wall_s / ours.wall_s, "≥ 3 ×" if mode == "plain" else ""
            cpu = costs[mode].cpu_s / ours.cpu_s
            what = f"`index` against {who}, {case}: {costs[mode].wall_s:.1f} s over {ours.wall_s:.1f} s"
            rows.append(Row(what, f"{ratio:.1f} × (processor time {cpu:.1f} ×)", target, mode != "plain" or ratio >= 3))
        return rows

    def _same_moments(self) -> list[Row]:
        """Both sides search the sample footage."""
        timeline = json.loads((SAMPLE / "timeline.json").read_text())
        captions = [scene["caption"] for scene in timeline["tape.mp4"]][:CAPTIONS]
        files = sorted(path for path in SAMPLE.iterdir() if path.suffix != ".json")
        self.run("index", "--model", self.shapes, "--exact", SAMPLE, data="sample")
        self.peer(self.shapes, "sample-plain", "index", "--mode", "plain", *files)
        theirs = json.loads(self.peer(self.shapes, "sample-plain", "search", *captions).output)["found"]
        same = 0
        for caption, found in zip(captions, theirs):
            moments = json.loads(self.run("search", caption, "--limit", 1, data="sample").output)["moments"]
            same += Path(moments[0]["path"]).name == Path(found[0]["path"]).name and (
                found[0]["start_s"] - 0.5 <= moments[0]["peak_s"] <= found[0]["end_s"] + 0.5
            )
        return [Row("Captions of the sample footage for which both find the same best moment", f"{same} of {len(captions)}")]

    def memory(self) -> list[Row]:
        """A long file against a short one, a frame every 2 s: the program itself, and its decoding processes together."""
        peaks: dict[int, list[tuple[int, int]]] = {}
        for seconds in (SHORT_S, LONG_S):
            file = footage.looped(self.footage, seconds, footage.SMALL_CRF)
            for run in range(MEMORY_RUNS):
                cost = self.run("index", "--model", self.bundles()[-1], file, data=f"memory-{seconds}-{run}", env=SPARSE)
                peaks.setdefault(seconds, []).append((cost.peak_bytes, cost.children_peak_bytes))
            file.unlink()
        rows = []
        for part, who in enumerate(("the program", "its decoding processes")):
            short, long = (max(run[part] for run in peaks[seconds]) for seconds in (SHORT_S, LONG_S))
            ratio = long / short
            what = f"Peak memory of {who}, indexing a 2-hour 1080p file ({long / 2**20:.0f} MiB) over a 10-minute one ({short / 2**20:.0f} MiB), the highest of {MEMORY_RUNS} runs each"
            rows.append(Row(what, f"{ratio:.2f} ×", "≤ 1.1 ×", ratio <= 1.1))
        return rows

    def clips(self) -> list[Row]:
        """Real clips with captions, where they are there."""
        if not self.photos:
            print("skipped: clips (no real footage here)", file=sys.stderr)
            return []
        words = ["--clipseek", self.clipseek, "--bundle", self.photos, "--media", self.shared / "media", "--data", self.scratch / "clips"]
        figures = json.loads(measure.run([sys.executable, HERE / "eval_clips.py", *words]).output)

        def recalls(name: str) -> str:
            return f"{figures[name]['r1']:.1f} / {figures[name]['r5']:.1f}"

        one = 100 / len(figures["plain"]["ranks"]) + 0.01
        met = all(abs(figures["whole"][k] - figures["plain"][k]) <= one for k in ("r1", "r5"))
        what = "Real clips, text→video R@1 / R@5, mean of 8 frames"
        rows = [Row(f"{what} (plain Python: {recalls('plain')})", recalls("whole"), "within one caption", met)]
        return [*rows, Row("The same with the model's default windows", recalls("windows"))]


PARTS = {"decode": Bench.decode, "whole": Bench.whole, "peers": Bench.peers, "memory": Bench.memory, "clips": Bench.clips}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clipseek", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is given")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    bench, rows = Bench(args.clipseek, args.work, args.shared), []
    busy = os.getloadavg()[0]
    for part in args.parts or PARTS:
        print(f"measuring: {part} …", file=sys.stderr, flush=True)
        rows += PARTS[part](bench)
    shutil.rmtree(bench.scratch)
    print("\n| Measured side by side | Figure | Target |\n|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.figure} | {row.target}{'' if row.met else ' (missed)'} |")
    print(f"\n{CORES} cores; load before the run {busy:.1f}")


if __name__ == "__main__":
    try:
        main()
    except measure.Failed as failed:
        sys.exit(f"error: {failed}")
