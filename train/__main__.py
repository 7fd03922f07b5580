"""`python -m train fit`: a version from annotated fields; `run`: from reviews; `labels`: what a run learnt from."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mitosis_core.errors import ConcentricError
from mitosis_core.logs import start_logging
from mitosis_core.plurals import count_noun
from train.config import TrainConfig
from train.retrain.config import HEADS_ONLY, RetrainConfig

if TYPE_CHECKING:
    from train.data.examples import Example


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 with a sentence for input that cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.command(given))
    except (ConcentricError, ValueError) as error:
        if _speaks(error):
            print(error, file=sys.stderr)
        return 2


def _speaks(error: Exception) -> bool:
    """What all processes of a training run into is said once."""
    return os.environ.get("RANK", "0") == "0" or type(error).__name__ == "RankLost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _run_options(commands.add_parser("run", help="retrain a version from the reviews in a data folder"))
    _labels_options(commands.add_parser("labels", help="write the labels that a run learnt from, as CSV"))
    fit = commands.add_parser("fit", help="train a version and write weights and card")
    fit.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        required=True,
        help="one or more CSV: image,x_px,y_px,label,um_per_px[,slide][,object_width_px,object_height_px]",
    )
    fit.add_argument("--images", type=Path, nargs="+", required=True, help="folder of the images, one for each CSV")
    fit.add_argument("--scanners", nargs="+", default=[], help="scanner of each CSV without a column of that name")
    fit.add_argument("--tissue", type=Path, help="CSV of fields without mitoses: image,um_per_px[,slide][,scanner]")
    fit.add_argument("--tissue-images", type=Path, help="folder of their images (default: images beside their CSV)")
    fit.add_argument("--tissue-masks", type=Path, help="folder of PNGs, not 0 where nothing is to be learned from them")
    fit.add_argument("--masks", type=Path, help="folder of instance masks (PNG), for --labels mask or ellipse")
    fit.add_argument("--segmenter", metavar="VERSION", help="name or file; estimates masks where fields have none")
    fit.add_argument(
        "--patches",
        type=Path,
        nargs="+",
        default=[],
        help="CSV of extra patches, one mitosis at each centre: image,um_per_px",
    )
    fit.add_argument("--patch-images", type=Path, help="folder of the patches (default: images beside their CSV)")
    fit.add_argument("--out", type=Path, required=True, help="weights to write, FILE.safetensors")
    fit.add_argument("--work", type=Path, help="folder of checkpoints (default: FILE.work); resumes what is there")
    fit.add_argument("--jobs", type=int, default=1, help="networks trained at the same time, one thread each")
    fit.add_argument("--data-note", default="", help="provenance of the data, for the card")
    fit.add_argument("--licence", default="", help="licence of the weights, for the card")
    fit.add_argument("--purpose", default="", help="when to choose this version, in a sentence, for the card")
    _add_options(fit, TrainConfig)
    fit.set_defaults(command=_fit)
    return parser


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--data", type=Path, help="the data folder (default: CONCENTRIC_DATA, or data)")
    run.add_argument("--run", type=int, help="a run that is queued, lost or failed already; without it a new one")
    run.add_argument("--by", default="command line", help="who starts it")
    run.add_argument("--source", default="", help="the reader whose verdicts it learns from (default: the consensus)")
    run.add_argument("--base", default="", help="the version it starts from (default: the active one)")
    _add_options(run, RetrainConfig, HEADS_ONLY)
    run.set_defaults(command=_run)


def _labels_options(labels: argparse.ArgumentParser) -> None:
    labels.add_argument("--data", type=Path, help="the data folder (default: CONCENTRIC_DATA, or data)")
    labels.add_argument("--run", type=int, required=True)
    labels.add_argument("--out", type=Path, required=True, help="CSV: image,x_px,y_px,label,um_per_px,case")
    labels.set_defaults(command=_labels)


def _add_options(
    parser: argparse.ArgumentParser, config: type[TrainConfig] | type[RetrainConfig], heads_only: Collection[str] = ()
) -> None:
    """One flag for every option; what is not given is left to the recipe of the method or to the defaults."""
    for option in dataclasses.fields(config):
        flag, note = (
            f"--{option.name.replace('_', '-')}",
            " (where heads are trained)" if option.name in heads_only else "",
        )
        parser.add_argument(
            flag, type=type(option.default), default=argparse.SUPPRESS, help=option.metadata["help"] + note
        )


def _given_options(given: argparse.Namespace, config: type[TrainConfig] | type[RetrainConfig]) -> dict[str, Any]:
    names = [option.name for option in dataclasses.fields(config)]
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def _run(given: argparse.Namespace) -> int:
    from mitosis_core import ranks
    from train import job
    from train.parallel import joined
    from train.retrain.finetune import follow, no_more

    start_logging()
    settings = _given_options(given, RetrainConfig)
    with joined():
        if not ranks.is_first():
            follow()
            return 0
        with ranks.alone():
            run = job.do_run_here(
                given.data, given.run, by=given.by, source=given.source, base=given.base, settings=settings
            )
        print(f"Run {run.id}: {run.state}. {run.version or run.message}")
        if run.state != "done":
            return 2
        no_more()
        return 0


def _labels(given: argparse.Namespace) -> int:
    from train import job

    if gone := job.write_labels(given.data, given.run, given.out):
        print(f"Deleted since, so without labels: {count_noun(gone, 'field')} of this run.", file=sys.stderr)
    return 0


def _fit(given: argparse.Namespace) -> int:
    from mitosis_core import ranks
    from train.fit import Provenance, fit
    from train.loop import Step
    from train.methods import default_config
    from train.parallel import joined

    config = default_config(**{"method": "segmitos", **_given_options(given, TrainConfig)})
    _check_names(config)
    bars: dict[str, tqdm[None]] = {}

    def report(title: str, step: Step) -> None:
        bar = bars.setdefault(title, tqdm(total=step.of, desc=title, unit="step"))
        bar.update(step.step - bar.n)
        bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)

    work = given.work or given.out.with_suffix(".work")
    with joined():
        fields, patches, data = ranks.in_all(lambda: _inputs(given))
        provenance = Provenance(data, given.licence, given.purpose)
        model = fit(
            fields, patches, config, given.out, work=work, jobs=given.jobs, report=report, provenance=provenance
        )
        if ranks.is_first():
            scores, by_slide = model.card.scores["validation"], model.card.scores["validation"]["f1_by_slide"]
            print(f"Wrote {model.weights}: F1 {scores['f1']:.3f} on the slides held out in turn ({by_slide}).")
    return 0


def _inputs(given: argparse.Namespace) -> tuple[list[Example], list[Example], dict[str, str]]:
    """The fields, the patches, and what is known of the data."""
    from mitosis_core.model import load_model
    from train.data.examples import read_patches
    from train.methods.deepmitosis import with_estimated_masks

    segmenter = load_model(given.segmenter) if given.segmenter else None
    fields, data = _fields(given), {"note": given.data_note}
    if segmenter:
        fields = with_estimated_masks(tqdm(fields, desc="masks", unit="field", disable=None), segmenter)
        data["boxes"] = f"estimated by {segmenter.version}"
    patches = [e for csv in given.patches for e in read_patches(csv, given.patch_images or csv.parent / "images")]
    return fields, patches, data


def _fields(given: argparse.Namespace) -> list[Example]:
    """All fields, of every scanner. Raises ValueError unless there is a folder of images for each file."""
    from train.data.examples import read_examples, read_tissue

    tables, scanners = given.annotations, given.scanners or [""] * len(given.annotations)
    if not len(tables) == len(given.images) == len(scanners):
        raise ValueError("Please give one folder of images, and one scanner if any, for each file of annotations.")
    sets = zip(tables, given.images, scanners, strict=True)
    fields = [e for csv, images, scanner in sets for e in read_examples(csv, images, given.masks, scanner)]
    if given.tissue:
        fields += read_tissue(given.tissue, given.tissue_images or given.tissue.parent / "images", given.tissue_masks)
    return fields


def _check_names(config: TrainConfig) -> None:
    """Before the work, not after it. Raises UnusableModel for what there is not."""
    from mitosis_core.encoders import build_encoder
    from mitosis_core.methods import METHODS

    METHODS[config.method].build(config.encoder, False, config.variant)
    if config.verifier:
        build_encoder(config.verifier, pretrained=False)


if __name__ == "__main__":
    sys.exit(main())
