"""Tests of fetch_libtorch.py against a small web server of their own: `python3 -m unittest discover -s src/torch`."""

import http.server
import importlib.util
import io
import threading
import unittest
import zipfile
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

spec = importlib.util.spec_from_file_location("fetch_libtorch", Path(__file__).with_name("fetch_libtorch.py"))
fetch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch)

CONTENT = bytes(i * i % 251 for i in range(3_000_000))
NAME = "torch-2.11.0-py3-none-any.whl"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, start = self.server, 0
        given = self.headers.get("Range")
        server.ranges.append(given)
        if given:
            start = int(given[len("bytes=") : -1])
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if given else 200)
        if given:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = server.stops.pop(0) if server.stops else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_):
        pass


class NoPip:
    def setting(self, _):
        return None

    def download(self, *_):
        raise AssertionError("pip was asked to download")


class Downloads(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.ranges, self.server.stops = [], []
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.scratch = TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.part = self.folder / (NAME + ".part")

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.scratch.cleanup()

    def obtain(self, digest=sha256(CONTENT).hexdigest()):
        url = f"http://127.0.0.1:{self.server.server_port}/{NAME}"
        wheel = {"name": NAME, "short": "torch-2.11.0", "url": url, "sha256": digest, "requires": []}
        with redirect_stdout(io.StringIO()) as self.said, mock.patch.object(fetch.time, "sleep"):
            return fetch.obtain(NoPip(), fetch.Web(NoPip()), wheel, self.folder)

    def test_whole(self):
        self.assertEqual(self.obtain().read_bytes(), CONTENT)
        self.assertFalse(self.part.exists())

    def test_goes_on_where_an_interrupted_run_stopped(self):
        self.part.write_bytes(CONTENT[:1_000_000])
        self.assertEqual(self.obtain().read_bytes(), CONTENT)
        self.assertEqual(self.server.ranges, ["bytes=1000000-"])

    def test_goes_on_after_a_broken_connection(self):
        self.server.stops = [700_000, 1_900_000]
        self.assertEqual(self.obtain().read_bytes(), CONTENT)
        self.assertEqual(self.server.ranges, [None, "bytes=700000-", "bytes=1900000-"])
        self.assertIn("trying again", self.said.getvalue())

    def test_gives_up_in_the_end_and_keeps_the_part(self):
        self.server.stops = [700_000] + [0] * 20
        with self.assertRaisesRegex(fetch.Problem, "goes on where it stopped"):
            self.obtain()
        self.assertEqual(self.part.stat().st_size, 700_000)

    def test_damage_in_the_part_is_found_and_the_file_fetched_anew(self):
        self.part.write_bytes(b"x" * 1_000_000)
        self.assertEqual(self.obtain().read_bytes(), CONTENT)
        self.assertIn("it was deleted", self.said.getvalue())

    def test_a_part_that_is_too_long(self):
        self.part.write_bytes(CONTENT + b"more")
        self.assertEqual(self.obtain().read_bytes(), CONTENT)

    def test_a_wrong_sum_deletes_the_file_and_says_so(self):
        with self.assertRaisesRegex(fetch.Problem, "has the SHA-256 .*, not 0000; it was deleted"):
            self.obtain("0000")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_no_sum_no_file(self):
        with self.assertRaisesRegex(fetch.Problem, "gives no SHA-256"):
            self.obtain(None)
        self.assertEqual(self.server.ranges, [])

    def test_a_complete_part_is_not_fetched_again(self):
        self.part.write_bytes(CONTENT)
        self.assertEqual(self.obtain().read_bytes(), CONTENT)


class Metadata(unittest.TestCase):
    def test_pins_come_from_the_wheels(self):
        class Pip:
            def report(self, requirements):
                assert requirements == ["cuda-toolkit==13.0.2"]
                linux = "(sys_platform == 'linux' or sys_platform == 'win32') and extra == "
                return [{"requires": [f"nvidia-cuda-cupti==13.0.85.*; {linux}'cupti'", f"nvidia-npp==1.*; {linux}'npp'"]}]

        requires = ["filelock", 'cuda-toolkit[cupti]==13.0.2; platform_system == "Linux"', "nvidia-nccl-cu13==2.28.9; x"]
        self.assertEqual(fetch.pins(Pip(), {"requires": requires}), ["nvidia-cuda-cupti==13.0.85.*", "nvidia-nccl-cu13==2.28.9"])
        self.assertEqual(fetch.pins(Pip(), {"requires": ["filelock"]}), [])

    def test_pip_report(self):
        info = {"url": "https://a/b/x_y-1.0-py3-none-any.whl", "archive_info": {"hash": "sha256=ab"}}
        wheel = fetch.Pip.wheel({"download_info": info, "metadata": {"requires_dist": ["z"]}})
        self.assertEqual([wheel[k] for k in ("short", "sha256", "requires")], ["x_y-1.0", "ab", ["z"]])

    def test_what_is_unpacked(self):
        always = ["torch/lib/libtorch_cpu.so", "torch/lib/libgomp.so.1", "torch/include/c10/a.h", "torch/version.py",
                  "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13"]  # fmt: skip
        cuda = ["torch/lib/libtorch_cuda.so", "nvidia/cudnn/lib/libcudnn.so.9"]
        never = ["torch/lib/libtorch_python.so", "torch/nn/functional.py", "nvidia/cu13/include/cuda.h", "torch/bin/protoc"]
        for kept, names in ((True, always), (False, never)):
            self.assertEqual({fetch.wanted(n, c) for n in names for c in (False, True)}, {kept}, names)
        self.assertEqual([(fetch.wanted(n, False), fetch.wanted(n, True)) for n in cuda], [(False, True)] * 2)


class Folders(unittest.TestCase):
    def setUp(self):
        self.scratch = TemporaryDirectory()
        self.home = Path(self.scratch.name)
        self.addCleanup(self.scratch.cleanup)
        without = {k: v for k, v in fetch.os.environ.items() if k != "LIBTORCH_USE_PYTORCH"}
        environment = mock.patch.dict(fetch.os.environ, without, clear=True)
        environment.start()
        self.addCleanup(environment.stop)

    def torch(self, at, version="2.11.0+cu130"):
        for name in ("lib/libtorch_cpu.so", "lib/libc10.so", "include/torch/csrc/api/include/torch/torch.h"):
            (at / name).parent.mkdir(parents=True, exist_ok=True)
            (at / name).write_bytes(b"library")
        (at / "version.py").write_text(f"__all__ = []\n__version__ = '{version}'\n")
        (at / "__init__.py").touch()
        return at

    def test_faults_are_named(self):
        torch = self.torch(self.home / "torch")
        self.assertIsNone(fetch.fault_of(torch))
        (torch / "lib/libc10.so").unlink()
        self.assertIn("has no lib/libc10.so", fetch.fault_of(torch))
        self.assertIn("is torch 2.10.0; Kiln is made for 2.11.0", fetch.fault_of(self.torch(self.home / "old", "2.10.0")))
        self.assertIn("is no libtorch", fetch.fault_of(self.home / "none"))

    def test_a_stamp_is_believed_only_if_true(self):
        torch = self.torch(self.home / "torch")
        fetch.write_stamp(self.home, "pip")
        self.assertEqual(fetch.complete(self.home)["set"], "cpu")
        (torch / "lib/libtorch_cpu.so").write_bytes(b"torn")
        self.assertIsNone(fetch.complete(self.home))

    def test_torch_of_python_is_linked(self):
        package = self.torch(self.home / "site/torch")
        (self.home / "site/nvidia").mkdir()
        with mock.patch.object(fetch.sys, "path", [str(self.home / "site")]), redirect_stdout(io.StringIO()):
            self.assertTrue(fetch.link_python(self.home, "auto"))
        self.assertEqual((self.home / "torch").resolve(), package.resolve())
        self.assertEqual(fetch.complete(self.home)["source"], "python")

    def test_the_environment_goes_first_and_is_checked(self):
        torch = self.torch(self.home / "mine")
        with redirect_stdout(io.StringIO()):
            with mock.patch.dict(fetch.os.environ, {"LIBTORCH": str(torch)}):
                self.assertTrue(fetch.from_environment())
            for wrong, why in ((self.home / "none", "is no libtorch"), (Path("mine"), "is a relative path")):
                with mock.patch.dict(fetch.os.environ, {"LIBTORCH": str(wrong)}):
                    with self.assertRaisesRegex(fetch.Problem, why):
                        fetch.from_environment()

    def test_unpacking_takes_what_is_wanted_and_stays_inside(self):
        wheel = self.home / "w.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("torch/lib/libc10.so", b"10")
            archive.writestr("torch/nn/module.py", b"code")
        fetch.unpack(wheel, self.home / "to", False)
        self.assertEqual([p.name for p in (self.home / "to").rglob("*") if p.is_file()], ["libc10.so"])
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("torch/include/../../../evil.h", b"")
        with self.assertRaisesRegex(fetch.Problem, "leads out of its folder"):
            fetch.unpack(wheel, self.home / "to", False)


if __name__ == "__main__":
    unittest.main()
