"""`python -m train fit ...`: train a version from annotated fields."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mitosis_core.errors import ConcentricError
from train.config import TrainConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 with a sentence for input that cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except (ConcentricError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    fit = parser.add_subparsers(required=True).add_parser("fit", help="train a version and write weights and card")
    fit.add_argument("--annotations", type=Path, required=True, help="CSV: image,x_px,y_px,label,um_per_px[,slide]")
    fit.add_argument("--images", type=Path, required=True, help="folder of the images")
    fit.add_argument("--masks", type=Path, help="folder of instance masks (PNG), for --labels mask")
    fit.add_argument("--patches", type=Path, help="CSV of extra patches, one mitosis at each centre: image,um_per_px")
    fit.add_argument("--patch-images", type=Path, help="folder of the patches (default: images beside their CSV)")
    fit.add_argument("--out", type=Path, required=True, help="weights to write, FILE.safetensors")
    fit.add_argument("--work", type=Path, help="folder of checkpoints (default: FILE.work); resumes what is there")
    fit.add_argument("--jobs", type=int, default=1, help="networks trained at the same time, one thread each")
    fit.add_argument("--data-note", default="", help="provenance of the data, for the card")
    fit.add_argument("--licence", default="", help="licence of the weights, for the card")
    for option in dataclasses.fields(TrainConfig):
        flag = f"--{option.name.replace('_', '-')}"
        fit.add_argument(flag, type=type(option.default), default=option.default, help=option.metadata["help"])
    fit.set_defaults(run=_fit)
    return parser


def _fit(given: argparse.Namespace) -> int:
    from train.examples import read_examples, read_patches
    from train.fit import fit
    from train.loop import Step

    config = TrainConfig(**{option.name: getattr(given, option.name) for option in dataclasses.fields(TrainConfig)})
    fields = read_examples(given.annotations, given.images, given.masks)
    patches = []
    if given.patches:
        patches = read_patches(given.patches, given.patch_images or given.patches.parent / "images")
    bars: dict[str, tqdm[None]] = {}

    def report(title: str, step: Step) -> None:
        bar = bars.setdefault(title, tqdm(total=config.steps, desc=title, unit="step"))
        bar.update(step.step - bar.n)
        bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)

    facts = {"data": {"note": given.data_note}, "licence": given.licence}
    work = given.work or given.out.with_suffix(".work")
    model = fit(fields, patches, config, given.out, work=work, jobs=given.jobs, report=report, facts=facts)
    scores = model.card.scores["validation"]
    print(f"Wrote {model.weights}: F1 {scores['f1']:.3f} on the slides held out in turn ({scores['f1_by_slide']}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
