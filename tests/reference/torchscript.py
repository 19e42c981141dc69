"""Loads the modules that src/nn/examples/torchscript.rs wrote, and compares them with what Kiln computed. Exit status 1 on a difference."""

import json
import pathlib
import sys

import torch

from compare import read

# Largest difference of logits, as a share of the largest logit (of 1, if all are smaller): the same operations in the same
# order, but for another number of images libtorch takes other kernels.
TOLERANCE = 1e-6


def check(path):
    """What is wrong with a module, as a list of sentences."""
    wrong = []
    texts = {"kiln.json": ""}
    module = torch.jit.load(path, _extra_files=texts).eval()
    tensors = read(path.with_suffix(".safetensors"))
    own = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    if json.loads(texts["kiln.json"]).get("arch") != "reference":
        wrong.append("the extra file kiln.json is not what was written")
    state = module.state_dict()
    if set(state) != set(own):
        wrong.append(f"it holds {sorted(state)}, not {sorted(own)}")
    wrong += [f"{name} differs" for name in own if name in state and not torch.equal(state[name], own[name])]
    statistics = {name for name in own if name.endswith(("running_mean", "running_var"))}
    parameters = {name for name, _ in module.named_parameters()}
    if parameters != set(own) - statistics:
        wrong.append(f"its parameters are {sorted(parameters)}")
    largest = max(1.0, float(tensors["logits"].abs().max()))
    with torch.no_grad():
        all_of_them = (module(tensors["images"]) - tensors["logits"]).abs().max()
        one_alone = (module(tensors["images"][:1]) - tensors["logits"][:1]).abs().max()
    gap = max(float(all_of_them), float(one_alone)) / largest
    if gap > TOLERANCE:
        wrong.append(f"logits differ by {gap:.1e} of the largest")
    # Another program may go on training.
    module(tensors["images"]).square().sum().backward()
    wrong += [f"{name} has no gradient" for name, p in module.named_parameters() if p.grad is None]
    print(f"{path.stem}: {len(own)} tensors, logits differ by at most {gap:.1e} of the largest")
    return wrong


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.pt"))
    assert paths, "no modules were written"
    wrong = [f"{path.stem}: {sentence}" for path in paths for sentence in check(path)]
    print("\n".join(wrong) if wrong else f"torch {torch.__version__}: {len(paths)} modules compute what Kiln computes")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
