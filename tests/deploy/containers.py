"""Images and containers of deploy/ without a container engine, by Linux namespaces.

An image is a folder with what its Dockerfile copies and runs; /usr and /etc of this machine stand
for the base image. A container is a process in a mount namespace: the image is its root, read-only
as compose.yaml says, with its tmpfs folders and volumes. It runs as the given user, without
capabilities. All containers are in one network namespace, where each service's name is 127.0.0.1.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from settings import ROOT

BASE = {"PATH": "/tools:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
"""The environment of the base image, with the folder of the installer."""
_CACHE = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
_BYTECODE = Path(sys.prefix, "lib", "python{}.{}".format(*sys.version_info), "site-packages")
_LINKS = ("bin", "sbin", "lib", "lib64")
_BOUND = ("usr", "etc", "proc", "dev")
# $1: the root; the other arguments are `kind target source` in threes, up to `--`, and the command.
_ENTER = r"""
set -e
root=$1; shift
mount --bind "$root" "$root"
for name in usr etc proc dev; do mount --rbind "/$name" "$root/$name"; done
while [ "$1" != -- ]; do
    kind=$1 target=$root$2 source=$3; shift 3
    case $kind in
        bind) mount --bind "$source" "$target" ;;
        ro) mount --bind "$source" "$target"; mount -o remount,ro,bind "$target" ;;
        tmpfs) mount -t tmpfs -o "$source" tmpfs "$target" ;;
        root) mount -o remount,ro,bind "$root" ;;
    esac
done
shift
exec chroot "$root" "$@"
"""


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, rest in lines]


def context() -> list[Path]:
    """Return the files that .dockerignore lets into the image, relative to the repository."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*", "everything else is a list of what is copied"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    dropped = [rule.removeprefix("**/") for rule in rules[1:] if rule.startswith("**/")]
    assert len(kept) + len(dropped) == len(rules) - 1
    found = []
    for name in sorted(kept):
        assert (ROOT / name).exists(), name
        paths = (ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name]
        found += [path.relative_to(ROOT) for path in paths if path.is_file()]
    return [
        path
        for path in found
        if not any(fnmatch.fnmatch(part, rule) for part in path.parts for rule in dropped)
    ]


class Image:
    """The last stage of the Dockerfile, built in a folder; `faster` replaces variables of it."""

    def __init__(self, folder: Path, faster: Mapping[str, str]) -> None:
        self.folder, self._faster = folder, faster
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        shutil.copy(uv, self.tools / "uv")  # so that it is not downloaded
        self.bases: list[str] = []
        self.stages: dict[str, Path] = {}
        for word, rest in instructions((ROOT / "deploy" / "Dockerfile").read_text()):
            getattr(self, f"_{word.lower()}")(rest)

    def _from(self, rest: str) -> None:
        base, *named = rest.split(" AS ")
        self.bases.append(base)
        self.root = self.folder / f"stage{len(self.bases)}"
        self.stages[named[0] if named else ""] = self.root
        for name in (*_BOUND, "tmp", "tools", "bytecode", str(_CACHE).lstrip("/")):
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        for name in _LINKS:
            (self.root / name).symlink_to(f"usr/{name}")
        self.environment = dict(BASE)
        self.workdir, self.user, self.command = "/", "0:0", [""]

    def _workdir(self, rest: str) -> None:
        self.workdir = rest
        self._inside(rest).mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        expanded = re.sub(r"\$(\w+)", lambda found: self.environment[found[1]], value)
        self.environment[name] = self._faster.get(name, expanded)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            stage = self.stages[sources.pop(0).removeprefix("--from=")]
            self._inside(target).parent.mkdir(exist_ok=True)
            (stage / sources[0].lstrip("/")).rename(self._inside(target))  # it is not needed twice
            return
        known = context()
        for source in sources:
            for path in known if source == "." else [Path(source)]:
                assert path in known, f"{path} is not in the build context"
                name = path if source == "." else Path(path.name)
                to = self._inside(target) / name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, to)

    def _run(self, rest: str) -> None:
        command = ["/bin/sh", "-c", f"cd {self.workdir} && {rest}"]
        known = {name: os.environ[name] for name in os.environ if name.startswith(("UV_", "SSL_"))}
        variables = known | self.environment | {"UV_LINK_MODE": "symlink"}
        variables["UV_CACHE_DIR"] = str(_CACHE)
        subprocess.run(self.entered(command, variables), check=True)

    def _inside(self, path: str) -> Path:
        return self.root / os.path.normpath(os.path.join(self.workdir, path)).lstrip("/")  # noqa: PTH118

    def entered(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        mounts: Sequence[str] = (),
        user: Sequence[str] = (),
    ) -> list[str]:
        """Return the command that runs `command` with this image as its root."""
        own = ["ro", "/tools", str(self.tools), "ro", "/bytecode", str(_BYTECODE)]
        own += ["bind", str(_CACHE), str(_CACHE)]
        named = [f"{name}={value}" for name, value in variables.items()]
        entered = ["unshare", "--mount", "/bin/sh", "-c", _ENTER, "enter", str(self.root)]
        return [*entered, *own, *mounts, "--", *user, "/usr/bin/env", "-i", *named, *command]

    def link_bytecode(self) -> None:
        """Let the packages use the bytecode of the tests' own packages, which are the same files.

        The image's own step compiles all of them, which would take half a minute.
        """
        (packages,) = self.root.glob("opt/triseal/lib/python3*/site-packages")
        if packages.parent.name != _BYTECODE.parent.name:
            return
        for folder in _BYTECODE.rglob("__pycache__"):
            path = folder.relative_to(_BYTECODE)
            if (packages / path.parent).is_dir() and not (packages / path).exists():
                (packages / path).symlink_to(Path("/bytecode") / path)


class Containers:
    """The services of compose.yaml as processes, with `variables` for its interpolation."""

    def __init__(
        self, folder: Path, image: Image, document: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        self.folder, self.image, self.variables = folder, image, variables
        self.services = document["services"]
        self.env_files: dict[str, dict[str, str]] = {}
        """Contents of the services' env files."""
        (folder / "volumes").mkdir(parents=True)
        names = " ".join(("localhost", *self.services))
        (folder / "hosts").write_text(f"127.0.0.1 {names}\n::1 localhost\n")
        network = "ip link set lo up && echo up && exec sleep infinity"
        self._network = subprocess.Popen(
            ["unshare", "--net", "/bin/sh", "-c", network], stdout=subprocess.PIPE
        )
        assert self._network.stdout is not None and self._network.stdout.readline() == b"up\n"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """Return the command that runs `words` in a new container of a service."""
        service = self.services[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        mounts: list[str] = ["ro", "/etc/hosts", str(self.folder / "hosts")]
        for volume in service.get("volumes", []):
            target = volume.split(":")[1]
            mounts += ["bind", target, str(self.volume(volume))]
        for target in service["tmpfs"]:
            mounts += ["tmpfs", target, "mode=1777"]
        mounts += ["root", "", ""]
        user, group = service["user"].split(":")
        limits = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        limits += ["--inh-caps=-all", "--bounding-set=-all"]
        given = self.env_files.get(name, {}) | {
            key: self._filled(value) for key, value in service.get("environment", {}).items()
        }
        started = f"cd {shlex.quote(self.image.workdir)} && exec {shlex.join(words)}"
        entered = self.image.entered(
            ["/bin/sh", "-c", started],
            self.image.environment | given,
            mounts,
            ["/usr/bin/setpriv", *limits],
        )
        return ["nsenter", f"--net=/proc/{self._network.pid}/ns/net", *entered]

    def run(self, name: str, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run words in a new container of a service until they end."""
        return subprocess.run(
            self.command(name, words), capture_output=True, text=True, timeout=seconds
        )

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a container of a service with its own command, or with others."""
        command = words or self.services[name].get("command", self.image.command)
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                self.command(name, command), stdout=log, stderr=log, start_new_session=True
            )
        return self._running[name]

    def healthy(self, name: str) -> bool:
        """Return the result of the service's health check; fails if the service has ended."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        assert self._running[name].poll() is None, self.log(name)
        return self.run(name, *words).returncode == 0

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self, name: str) -> int:
        """Stop a service as `docker compose stop` does; return its exit code."""
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)

    def stop_all(self) -> None:
        for name in list(self._running):
            self.stop(name)
        self._network.kill()
        self._network.wait()

    def volume(self, mounted: str) -> Path:
        """Return the folder of `NAME:TARGET`; a new one has the image's owner and mode for it."""
        name, target = mounted.split(":")
        folder, own = self.folder / "volumes" / name, self.image.root / target.lstrip("/")
        if not folder.exists():
            folder.mkdir()
            found = own.stat()
            os.chown(folder, found.st_uid, found.st_gid)
            folder.chmod(found.st_mode & 0o7777)
        return folder

    def _filled(self, value: str) -> str:
        """Return a value with its `${NAME:?hint}` and `${NAME:-default}` replaced."""

        def known(found: re.Match[str]) -> str:
            name, rule, text = found.groups()
            given = self.variables.get(name)
            assert given or rule == ":-", f"{name}: {text}"
            return given or text

        return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", known, value)
