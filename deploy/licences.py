"""Licences of all that is in the package, and a list of it (a software bill of materials, CycloneDX).

    python3 deploy/licences.py FOLDER_FOR_DOWNLOADS FOLDER

Writes `copyright` (Debian's name for it), `third-party-licences.txt.gz` and `sbom.cdx.json.gz` into FOLDER. The texts are those
that lie in the sources of the libraries, and in ONNX Runtime's wheel.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import zipfile

ONNXRUNTIME = next(
    line.split("=")[1].strip()
    for line in pathlib.Path("deploy/install-onnxruntime.sh").read_text().splitlines()
    if line.startswith("version=")
)


def crates():
    """The crates that are linked into the program."""
    target = subprocess.check_output(["rustc", "-vV"], text=True).split("host: ")[1].split()[0]
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    metadata = json.loads(subprocess.check_output(command))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    reached, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        one = waiting.pop()
        if one in reached:
            continue
        reached.add(one)
        for dependency in nodes[one]["deps"]:
            # Neither what only tests nor what only builds use.
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found = [package for package in metadata["packages"] if package["id"] in reached and package["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    names = ("licen", "copying", "notice", "unlicense")
    return [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.lower().startswith(names)]


def onnxruntime(downloads):
    """Licence and notices out of the wheel of which the library is."""
    downloads.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.12", "-d", str(downloads), f"onnxruntime=={ONNXRUNTIME}"]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(downloads.glob("onnxruntime-*.whl"))) as wheel:
        wanted = [name for name in wheel.namelist() if name in ("onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt")]
        assert len(wanted) == 2, wheel.namelist()[:20]
        return [(name, wheel.read(name).decode("utf-8", "replace")) for name in wanted]


def write_gzip(path, text):
    with open(path, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        packed.write(text.encode())


def main():
    downloads, folder = map(pathlib.Path, sys.argv[1:3])
    packages = crates()
    parts, without = [], []
    for package in packages:
        head = f"{'=' * 80}\n{package['name']} {package['version']} ({package['license'] or 'see below'})\n"
        files = texts(package)
        if not files:
            without.append(f"{package['name']} {package['version']}: {package['license']}")
        parts += [head + file.read_text(errors="replace") for file in files]
    parts += [f"{'=' * 80}\nONNX Runtime {ONNXRUNTIME}: {name}\n{text}" for name, text in onnxruntime(downloads)]
    if without:
        parts.append("=" * 80 + "\nWithout a text in their sources; the licence is that of their manifest:\n" + "\n".join(without))
    write_gzip(folder / "third-party-licences.txt.gz", "\n".join(parts) + "\n")

    components = [
        {
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
            "licenses": [{"expression": package["license"].replace("/", " OR ")}] if package["license"] else [],
        }
        for package in packages
    ]
    components.append(
        {
            "type": "library",
            "name": "onnxruntime",
            "version": ONNXRUNTIME,
            "purl": f"pkg:pypi/onnxruntime@{ONNXRUNTIME}",
            "licenses": [{"license": {"id": "MIT"}}],
        }
    )
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
    write_gzip(folder / "sbom.cdx.json.gz", json.dumps(bill, indent=1) + "\n")

    licence = pathlib.Path("LICENSE").read_text()
    (folder / "copyright").write_text(
        "clipseek and the shipped model (/usr/share/clipseek/bundles):\n\n"
        + licence
        + "\nThe program contains other libraries; /usr/lib/clipseek holds ONNX Runtime (MIT). Their licences are in\n"
        "third-party-licences.txt.gz beside this file, and sbom.cdx.json.gz lists them.\n"
    )


main()
