#!/usr/bin/env python3
"""Puts libtorch where cargo looks for it: .libtorch/torch, with the libraries it needs in .libtorch/nvidia beside it.

In this order:
  1. LIBTORCH_USE_PYTORCH or LIBTORCH is set: what it points to is checked and left alone.
  2. .libtorch is complete already: nothing to do.
  3. This Python can import torch 2.11: .libtorch/torch becomes a link to it.
  4. pip tells the addresses and SHA-256 sums of the wheels; they are downloaded (an interrupted download goes on where
     it stopped), checked, and unpacked as far as they are needed: what a CPU needs, or all of CUDA where there is an
     NVIDIA driver.
Python 3.9 or later, its standard library, and pip. Exit status 0 only if libtorch is ready.
"""

import argparse
import fcntl
import http.client
import importlib.util
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from hashlib import sha256
from pathlib import Path

VERSION = "2.11.0"
RELEASE = "2.11."  # any patch of it has the same interface
# Whose wheels are taken when there are none for the Python at hand: the libraries in them are the same.
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux2014_x86_64")
# Older ones download a whole wheel (0.5 GB) only to tell its address.
RECENT_PIP = (26, 0)
REPORTING_PIP = (22, 2)
BLOCK = 1 << 20
OWN_WAY = "or install torch 2.11 yourself and set LIBTORCH to its folder"


class Problem(Exception):
    """A sentence for the user."""


def say(text):
    print(f"libtorch: {text}", flush=True)


def size_text(count):
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


# --- what is there ------------------------------------------------------------------------------------------------


def version_of(torch):
    """Version in the folder of a torch package or a libtorch archive, or None."""
    for name, pattern in (("version.py", r"__version__\s*(?::\s*\w+\s*)?=\s*['\"]([^'\"]+)"), ("build-version", r"(\S+)")):
        try:
            found = re.search(pattern, (torch / name).read_text())
        except OSError:
            continue
        if found:
            return found.group(1)
    return None


def fault_of(torch):
    """Why this folder cannot be used, or None."""
    version = version_of(torch)
    if version is None:
        return f"{torch} has neither version.py nor build-version, so it is no libtorch"
    if not version.startswith(RELEASE):
        return f"{torch} is torch {version}; Kiln is made for {VERSION}"
    for needed in ("lib/libtorch_cpu.so", "lib/libc10.so", "include/torch/csrc/api/include/torch/torch.h"):
        if not (torch / needed).exists():
            return f"{torch} has no {needed}"
    return None


def has_cuda(torch):
    return (torch / "lib/libtorch_cuda.so").exists()


def driver_present():
    """Whether this machine has an NVIDIA driver."""
    if os.path.exists("/dev/nvidiactl"):
        return True
    # Loading libcuda would start talking to the driver; asking the loader's cache does not.
    folders = ["/usr/lib/wsl/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any(folder and os.path.exists(os.path.join(folder, "libcuda.so.1")) for folder in folders)


def from_environment():
    """True if the user's environment names a libtorch that can be used; False if it names none."""
    if "LIBTORCH_USE_PYTORCH" in os.environ:
        torch = importable()
        version = version_of(torch) if torch else None
        if version is None or version.split("+")[0] != VERSION:
            raise Problem(
                f"LIBTORCH_USE_PYTORCH is set, but {sys.executable} has {'torch ' + version if version else 'no torch'}; "
                f"Kiln needs {VERSION}. Activate another environment, or unset LIBTORCH_USE_PYTORCH to have it fetched."
            )
        say(f"torch {version} of {sys.executable} (LIBTORCH_USE_PYTORCH)")
        return True
    if os.environ.get("LIBTORCH"):
        torch = Path(os.environ["LIBTORCH"])
        # Build scripts run in folders of their own, where a relative path leads elsewhere.
        fault = fault_of(torch) if torch.is_absolute() else f"{torch} is a relative path"
        if fault:
            raise Problem(f"LIBTORCH is set, but {fault}. Correct it, or unset LIBTORCH to have it fetched.")
        say(f"torch {version_of(torch)} in {torch} (LIBTORCH)")
        return True
    return False


def importable():
    """Folder of the torch that this Python would import, without importing it (that takes seconds)."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def link_python(home, want):
    """Links .libtorch to the torch of this Python. False if it has none that fits."""
    torch = importable()
    if torch is None or fault_of(torch) is not None or (want == "cuda" and not has_cuda(torch)):
        return False
    for name in ("torch", "nvidia"):
        discard(home / name)
        if (torch.parent / name).exists():
            (home / name).symlink_to(torch.parent / name)
    write_stamp(home, "python")
    say(f"torch {version_of(torch)} of {sys.executable}, linked from {home / 'torch'}")
    if driver_present() and not has_cuda(torch):
        say("that torch is built without CUDA: the GPU of this machine will not be used")
    return True


def discard(path):
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def write_stamp(home, source):
    torch = home / "torch"
    stamp = {
        "version": version_of(torch),
        "source": source,
        "set": "cuda" if has_cuda(torch) else "cpu",
        "size": (torch / "lib/libtorch_cpu.so").stat().st_size,
    }
    part = home / "stamp.json.part"
    part.write_text(json.dumps(stamp) + "\n")
    part.replace(home / "stamp.json")


def complete(home):
    """What the stamp says, if it is true; a folder unpacked by hand gets its stamp here."""
    torch = home / "torch"
    if fault_of(torch) is not None:
        return None
    if not (home / "stamp.json").exists():
        if loads(torch) is not None:
            return None
        write_stamp(home, "hand")
    try:
        stamp = json.loads((home / "stamp.json").read_text())
        same = stamp["size"] == (torch / "lib/libtorch_cpu.so").stat().st_size and stamp["version"] == version_of(torch)
        return stamp if same and stamp["set"] == ("cuda" if has_cuda(torch) else "cpu") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def loads(torch):
    """None if the dynamic loader takes libtorch_cpu, else what it complains of."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    library = str(torch.resolve() / "lib/libtorch_cpu.so")
    done = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


# --- asking pip ---------------------------------------------------------------------------------------------------


class Pip:
    """pip as the user configured it. What is only asked for is never installed into the user's Python."""

    def __init__(self, home):
        self.home = home
        self.env = dict(
            os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0",
            PIP_ROOT_USER_ACTION="ignore", PYTHONWARNINGS="ignore",
        )  # fmt: skip
        version = self.version()
        if version is None:
            raise Problem(f"{sys.executable} has no pip. Install it (Debian, Ubuntu: apt install python3-pip), {OWN_WAY}.")
        if version < RECENT_PIP:
            self.take_recent_one()
            version = self.version() or version
        if version < REPORTING_PIP:
            raise Problem(
                f"pip {version[0]}.{version[1]} cannot tell addresses of packages and no newer one could be fetched. "
                f"Update it to 22.2 or later, {OWN_WAY}."
            )

    def run(self, *arguments):
        command = [sys.executable, "-m", "pip", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, cwd=self.home)

    def version(self):
        done = self.run("--version")
        found = re.match(r"pip (\d+)\.(\d+)", done.stdout)
        return (int(found.group(1)), int(found.group(2))) if done.returncode == 0 and found else None

    def take_recent_one(self):
        """A recent pip for this script alone. Without one the older still works, only slower."""
        at = self.home / "pip"
        if not at.exists():
            part = self.home / "pip.part"
            discard(part)
            done = self.run("install", "--quiet", "--no-deps", "--target", str(part), "pip")
            if done.returncode != 0:
                return
            part.replace(at)
        self.env["PYTHONPATH"] = str(at)

    def setting(self, name):
        """Value of an option in the user's pip configuration; the environment goes before files."""
        value = None
        for line in self.run("config", "list").stdout.splitlines():
            found = re.match(r"([\w:.-]+)\." + name + r"='?(.*?)'?$", line)
            if found and (value is None or found.group(1) == ":env:"):
                value = found.group(2)
        return value

    def report(self, requirements):
        """What pip would install for these: a list of (file name, address, sha256 or None, requirements of its own)."""
        running = ()  # the Python at hand
        explicit = ("--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:", "--target", "unused")
        explicit += tuple(x for platform in PLATFORMS for x in ("--platform", platform))
        failure = ""
        for target in (running, explicit):
            for feature in (("--use-feature=fast-deps",), ()):
                answer = self.home / "report.json"
                done = self.run(
                    "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", str(answer),
                    *feature, *target, *requirements,
                )  # fmt: skip
                if done.returncode == 0:
                    wheels = [self.wheel(item) for item in json.loads(answer.read_text())["install"]]
                    answer.unlink()
                    if all(wheel["name"].endswith(".whl") for wheel in wheels):
                        return wheels
                failure = done.stderr.strip() or failure
        reason = next((line for line in reversed(failure.splitlines()) if "ERROR" in line), failure or "no wheel")
        raise Problem(f"pip found no wheels of {', '.join(requirements)}: {reason}. Check the network and pip's settings, {OWN_WAY}.")

    @staticmethod
    def wheel(item):
        info = item["download_info"]
        archive = info.get("archive_info", {})
        digest = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").partition("sha256=")[2]
        name = urllib.parse.unquote(urllib.parse.urlsplit(info["url"]).path.rsplit("/", 1)[-1])
        return {
            "name": name,
            "short": "-".join(name.split("-")[:2]),
            "url": info["url"],
            "sha256": digest or None,
            "requires": item.get("metadata", {}).get("requires_dist", []),
        }

    def download(self, name, requirement, folder):
        """pip's own download, for indexes that want a password that only pip knows."""
        done = self.run("download", "--no-deps", "--quiet", "--dest", str(folder), requirement)
        if done.returncode != 0 or not (folder / name).exists():
            raise Problem(f"{name} could not be downloaded, neither directly nor by pip: {done.stderr.strip()}")


def pins(pip, torch_wheel):
    """Exact requirements on NVIDIA's packages in the metadata of the torch wheel, those of cuda-toolkit among them."""
    found = []
    for line in torch_wheel["requires"]:
        line = line.split(";")[0].replace(" ", "")
        toolkit = re.match(r"cuda-toolkit\[([\w,.-]+)\]==([\w.]+)$", line)
        if toolkit:
            (meta,) = pip.report([f"cuda-toolkit=={toolkit.group(2)}"])
            for extra in toolkit.group(1).split(","):
                pattern = rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]"
                of_extra = [r.split(";")[0].strip() for r in meta["requires"] if re.search(pattern, r)]
                if not of_extra:
                    raise Problem(f"cuda-toolkit {toolkit.group(2)} does not say what its part {extra} is; {OWN_WAY}.")
                found += of_extra
        elif re.match(r"nvidia-[\w-]+==[\w.*]+$", line):
            found.append(line)
    return sorted(set(found))


# --- downloading --------------------------------------------------------------------------------------------------


class Progress:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, name, total, start):
        self.name, self.total, self.start, self.begun = name, total, start, time.monotonic()
        self.tenth, self.drawn, self.terminal = start * 10 // max(total, 1), 0.0, sys.stdout.isatty()

    def show(self, done):
        now = time.monotonic()
        rate = (done - self.start) / max(now - self.begun, 1e-3)
        if self.terminal:
            if now - self.drawn < 0.1 and done < self.total:
                return
            self.drawn = now
            filled = 24 * done // max(self.total, 1)
            left = (self.total - done) / rate if rate > 0 else 0
            bar = f"[{'#' * filled}{'.' * (24 - filled)}] {size_text(done)} of {size_text(self.total)}"
            line = f"{bar}  {size_text(rate)}/s  {left:.0f} s left  {self.name}"
            print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        elif self.total > 50e6 and done * 10 // self.total > self.tenth:
            self.tenth = done * 10 // max(self.total, 1)
            say(f"{self.name}: {self.tenth * 10} % of {size_text(self.total)}, {size_text(rate)}/s")

    def end(self):
        if self.terminal:
            print("\r\x1b[K", end="", flush=True)


class Web:
    """HTTP with the certificates and the proxy that pip is told to use."""

    def __init__(self, pip):
        certificates, proxy = pip.setting("cert"), pip.setting("proxy")
        context = ssl.create_default_context(cafile=certificates if certificates and os.path.isfile(certificates) else None)
        handlers = [urllib.request.HTTPSHandler(context=context)]
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        self.opener = urllib.request.build_opener(*handlers)

    def open(self, url, start):
        headers = {"User-Agent": "kiln", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        return self.opener.open(urllib.request.Request(url.partition("#")[0], headers=headers), timeout=60)

    def fetch(self, wheel, part):
        """Appends what is missing to `part`. Connections that break are opened again where they stopped."""
        failures, name = 0, wheel["short"]
        while True:
            start = part.stat().st_size if part.exists() else 0
            progress = None
            try:
                with self.open(wheel["url"], start) as answer:
                    if start and answer.status == 206:
                        total = int(answer.headers["Content-Range"].rpartition("/")[2])
                    else:
                        start, total = 0, int(answer.headers.get("Content-Length") or 0)
                    check_room(part, total - start)
                    progress = Progress(name, total, start)
                    done = start
                    with open(part, "ab" if start else "wb") as out:
                        while True:
                            block = answer.read(BLOCK)
                            if not block:
                                break
                            out.write(block)
                            done += len(block)
                            failures = 0
                            progress.show(done)
                if total and done < total:
                    raise ConnectionError(f"the connection ended after {size_text(done)} of {size_text(total)}")
                return
            except urllib.error.HTTPError as e:
                if e.code == 416 and start:  # nothing is missing, or the part is longer than the file: the sum will tell
                    return
                if e.code < 500:
                    raise
                reason = e
            except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException, OSError) as e:
                if isinstance(e, OSError) and e.errno in (28, 122):  # disk full, quota
                    raise Problem(f"no room for {part}: {e.strerror}. Make some and run this again; it goes on from here.")
                if isinstance(getattr(e, "reason", None), ssl.SSLCertVerificationError):
                    raise
                reason = getattr(e, "reason", e)
            finally:
                if progress:
                    progress.end()
            failures += 1
            if failures > 5:
                raise Problem(f"{name} could not be downloaded: {reason}. Run this again; it goes on where it stopped.")
            say(f"{name}: {reason}; trying again in {2**failures} s")
            time.sleep(2**failures)


def check_room(part, more):
    free = shutil.disk_usage(part.parent).free
    if more > free:
        raise Problem(f"{part.parent} has {size_text(free)} free, and {part.name} needs {size_text(more)} more.")


def digest_of(path):
    digest = sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def obtain(pip, web, wheel, folder):
    """The wheel on this disk, with the right SHA-256."""
    at, part = folder / wheel["name"], folder / (wheel["name"] + ".part")
    url = urllib.parse.urlsplit(wheel["url"])
    if url.scheme == "file":
        at = Path(urllib.request.url2pathname(url.path))
        if wheel["sha256"] is None or digest_of(at) == wheel["sha256"]:
            return at
        raise Problem(f"{at} has not the SHA-256 that pip expects of it. Replace it.")
    if wheel["sha256"] is None:
        raise Problem(f"the package index gives no SHA-256 for {wheel['name']}, so it is not used. Use another index, {OWN_WAY}.")
    resumed = part.exists()
    while not at.exists():
        try:
            web.fetch(wheel, part)
        except (urllib.error.HTTPError, urllib.error.URLError) as e:
            say(f"{wheel['name']}: {getattr(e, 'reason', e)}; leaving it to pip")
            pip.download(wheel["name"], wheel["short"].replace("-", "=="), folder)
            part = at
        found = digest_of(part)
        if found == wheel["sha256"]:
            part.replace(at)
            break
        part.unlink()
        wrong = f"{wheel['name']} has the SHA-256 {found}, not {wheel['sha256']}; it was deleted"
        if not resumed:
            raise Problem(f"{wrong}. Run this again; if it happens twice, do not trust the network or the index.")
        say(f"{wrong}, and is downloaded anew")
        resumed, part = False, folder / (wheel["name"] + ".part")
    return at


# --- unpacking ----------------------------------------------------------------------------------------------------


def wanted(member, cuda):
    """Whether a file of a wheel is needed. Left out: Python code, static libraries, what only Python's torch uses."""
    folder, _, name = member.rpartition("/")
    library = re.search(r"\.so(\.\d+)*$", name) is not None
    if member == "torch/version.py" or member.startswith("torch/include/"):
        return True
    if folder == "torch/lib":
        if name.startswith(("libtorch_python", "libshm")):
            return False
        kept = ("libtorch_cpu.so", "libc10.so", "libtorch.so", "libtorch_global_deps.so")
        return library and (cuda or name in kept or name.startswith("libgomp"))
    if member.startswith("nvidia/"):
        return library and folder.endswith("/lib") and (cuda or name.startswith(("libcupti.so", "libcudart.so")))
    # Libraries that the wheel brought along for all, such as a repaired wheel's torch.libs.
    return library and folder == "torch.libs"


def unpack(wheel, staging, cuda):
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and wanted(m.filename, cuda)]
        for member in members:
            if ".." in Path(member.filename).parts:
                raise Problem(f"{wheel} holds the path {member.filename}, which leads out of its folder.")
            to = staging / member.filename
            to.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(to, "wb") as out:
                shutil.copyfileobj(source, out, BLOCK)


def fetch(home, cuda):
    """Downloads and unpacks into `home`. Whatever was done before an interruption is not done again."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        kind = f"{platform.system()} on {platform.machine()}"
        raise Problem(f"wheels are fetched for Linux with glibc on x86-64; this is {kind}. Install torch 2.11 yourself and set LIBTORCH.")
    folder, staging = home / "download", home / ("cuda.part" if cuda else "cpu.part")
    folder.mkdir(exist_ok=True)
    staging.mkdir(exist_ok=True)
    say(f"fetching {VERSION} {'with CUDA (about 2.5 GB)' if cuda else 'for the CPU (about 0.54 GB)'} into {home}")
    pip = Pip(home)
    (torch_wheel,) = pip.report([f"torch=={VERSION}"])
    needed = [p for p in pins(pip, torch_wheel) if cuda or re.match(r"nvidia-cuda-(cupti|runtime)", p)]
    wheels = [torch_wheel] + (pip.report(needed) if needed else [])
    web = Web(pip)
    for number, wheel in enumerate(wheels, 1):
        done = staging / (wheel["name"] + ".done")
        if done.exists():
            continue
        at = obtain(pip, web, wheel, folder)
        say(f"{wheel['short']}: SHA-256 is right; unpacking ({number} of {len(wheels)})")
        try:
            unpack(at, staging, cuda)
        except zipfile.BadZipFile as e:
            raise Problem(f"{at} is no whole wheel ({e}). Delete it and run this again.")
        done.touch()
        if at.parent == folder:
            at.unlink()
    fault = fault_of(staging / "torch")
    complaint = None if fault else loads(staging / "torch")
    if fault or complaint:
        discard(staging)
        raise Problem(f"what was unpacked cannot be used: {fault or complaint}. Run this again.")
    (home / "stamp.json").unlink(missing_ok=True)
    for name in ("torch", "nvidia", "torch.libs"):
        discard(home / name)
        if (staging / name).exists():
            (staging / name).replace(home / name)
    write_stamp(home, "pip")
    discard(staging)
    discard(folder)
    discard(home / "pip")


# --- the whole ----------------------------------------------------------------------------------------------------


def ready(home, choice):
    if from_environment():
        return
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another run is at it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        cuda = choice == "cuda" or (choice == "auto" and driver_present())
        stamp = complete(home)
        # A torch of the user's own choice stays, with or without CUDA.
        if stamp and (stamp["set"] == "cuda" or not cuda or stamp["source"] == "python"):
            return
        if link_python(home, choice):
            return
        try:
            fetch(home, cuda)
        except Problem as problem:
            if not stamp or choice == "cuda":
                raise
            say(f"{problem} Going on without CUDA.")
            return
        say(f"torch {version_of(home / 'torch')} is ready in {home / 'torch'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / ".libtorch"
    parser.add_argument("--into", type=Path, default=default, metavar="FOLDER", help="default: .libtorch of this checkout")
    parser.add_argument("--where", action="store_true", help="only print the folder that cargo will use")
    parser.add_argument("--set", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA where there is a driver")
    arguments = parser.parse_args()
    if arguments.where:
        of_python = importable() if "LIBTORCH_USE_PYTORCH" in os.environ else None
        print(of_python or Path(os.environ.get("LIBTORCH") or arguments.into.absolute() / "torch").resolve())
        return 0
    try:
        ready(arguments.into.absolute(), arguments.set)
    except Problem as problem:
        print(f"libtorch: {problem}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"libtorch: {e.strerror or e}{': ' + e.filename if e.filename else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlibtorch: interrupted. Run this again; it goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
