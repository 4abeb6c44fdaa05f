"""Checks what runs clipseek in containers: every file that is named exists, what is patched is there, and Kubernetes' own
schemas accept it. Needs the Python packages kubernetes-validate and pyyaml.

    python3 deploy/check.py
"""

import pathlib
import sys

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
# What users make, see the head of compose.yaml.
MADE = {"prometheus.token"}


def resources(folder):
    """What a kustomization builds, before its patches."""
    settings = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = []
    for name in settings["resources"]:
        path = folder / name
        if path.is_dir():
            found += resources(path.resolve())
        else:
            found += [part for part in yaml.safe_load_all(path.read_text()) if part]
    for generated in settings.get("configMapGenerator", []):
        missing = [name for name in generated["files"] if not (folder / name).is_file()]
        assert not missing, f"{folder}: there is no {missing}"
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}})
    for patch in settings.get("patches", []):
        patch = yaml.safe_load((folder / patch["path"]).read_text())
        names = [(part["kind"], part["metadata"]["name"]) for part in found]
        assert (patch["kind"], patch["metadata"]["name"]) in names, f"{folder}: nothing to patch: {patch['metadata']}"
    return found


def check_cluster(folder):
    found = resources(folder)
    maps = {part["metadata"]["name"] for part in found if part["kind"] == "ConfigMap"}
    for part in found:
        kubernetes_validate.validate(part, kubernetes_validate.latest_version(), strict=True)
        pod = part.get("spec", {}).get("template", {}).get("spec", {})
        used = {volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume}
        assert used <= maps, f"{folder}: no such ConfigMap: {used - maps}"
    print(f"{folder.relative_to(HERE)}: {len(found)} resources")


def check_compose(path):
    compose = yaml.safe_load(path.read_text())
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.rsplit(":/", 1)[0]
            if source.startswith("."):
                assert pathlib.Path(source).name in MADE or (path.parent / source).exists(), f"{name}: no {source}"
            elif not source.startswith("$"):
                assert source in compose["volumes"], f"{name}: no volume {source}"
    print(f"{path.relative_to(HERE)}: {len(compose['services'])} services")


def main():
    for folder in sorted(path.parent for path in HERE.glob("kustomize/*/kustomization.yaml")):
        check_cluster(folder)
    check_compose(HERE / "container/compose.yaml")
    for path in HERE.glob("container/**/*.yaml"):
        yaml.safe_load(path.read_text())


sys.exit(main())
