"""Writes the tables of the documents from benchmarks/results: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.record import RESULTS, Figures
from mitosis_core.plurals import count_noun
from train.config import TrainConfig

_ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    _ROOT / "README.md",
    _ROOT / "docs" / "methods.md",
    _ROOT / "docs" / "formats.md",
    _ROOT / "docs" / "scaling.md",
    _ROOT / "docs" / "cluster.md",
)
SHIPPED = "segmitos"  # the method of the default version


def accuracy_table(result: Figures) -> str:
    """The README's table of scores on unseen slides."""
    shipped = result[SHIPPED]
    rows = [
        "| held out | fields | mitoses | precision | recall | F1 | at best threshold | FP/mm² | average precision |"
    ]
    rows.append("|" + "---|" * 9)
    for f in shipped["folds"]:
        rows.append(
            f"| {f['slide']} | {f['fields']} | {f['mitoses']} | {f['precision']:.2f} | {f['recall']:.2f} | "
            f"**{f['f1']:.2f}** | {f['f1_at_best_threshold']:.2f} | {f['fp_per_mm2']:.1f} | {f['ap']:.2f} |"
        )
    mean = f"**Mean F1 {shipped['f1']:.3f}** (95 % interval {shipped['low']:.2f} to {shipped['high']:.2f})"
    return (
        f"{mean} on slides the version has not seen (MITOS12, three slides).\n\n"
        + "\n".join(rows)
        + f"\n\nProtocol: {shipped['protocol']}. Machine: {shipped['machine']}. The recipe and its "
        "post-processing were chosen while looking at these three slides, which flatters the "
        "figure somewhat. The papers' figures on this contest (0.77 to 0.83) are on a split by HPF, "
        "where test fields come from slides that were trained on; they cannot be compared."
    )


def speed_table(result: Figures) -> str:
    """The README's table of times and memory."""
    paper, differing = result["paper_s"], result["detections_differing"]
    return "\n".join(
        [
            "| one field, from the decoded image to the detections | |",
            "|---|---|",
            f"| Concentric, {result['runs_on']} | **{result['field_s']:.2f} s** |",
            f"| the plain way: Pillow, eager fp32 PyTorch, scikit-image | {result['plain_s']:.2f} s |",
            f"| ratio of the two, measured in turns | {result['field_ratio']:.3f} |",
            f"| against fp32 PyTorch, at the threshold | {differing} of {result['detections']} detections differ, "
            f"scores by {result['score_difference_max']:.3f} at most |",
            f"| post-processing alone, and its ratio to scikit-image | {result['postprocess_ms']:.1f} ms, "
            f"{result['postprocess_ratio']:.3f} |",
            f"| memory of the whole process, at most | {result['peak_rss_gb']:.1f} GB |",
            f"| SegMitos in its paper, on a {paper['machine']} | "
            f"{paper['segmentation']:g} + {paper['post-processing']:g} s |",
            "",
            f"Field: {result['field']}. Version: {result['version']}. Machine: {result['machine']}; medians of "
            f"{result['repeats']} repeats.",
        ]
    )


def review_table(result: Figures) -> str:
    """The README's table of a reader at work."""
    drawn, saved = (f"{result[f'{key}_ms']:.0f} and {result[f'{key}_p95_ms']:.0f} ms" for key in ("drawn", "saved"))
    return "\n".join(
        [
            "| a reader at work | |",
            "|---|---|",
            f"| click to drawn, median and 95th percentile | {drawn} |",
            f"| click to stored, median and 95th percentile | {saved} |",
            f"| the same, four readers at once, 95th percentile | {result['saved_p95_ms_4_readers']:.0f} ms |",
            f"| next field with 2,000 events, key to drawn | {result['load_2000_events_ms']:.0f} ms |",
            f"| dragging a field with 500 marks | {result['fps_500']:.0f} frames/s |",
            "",
            f"{result['clicks']} clicks a reader, field of {result['field_px']} px, real server, {result['browser']} "
            "(no graphics card; the server and up to four browsers share this machine). "
            f"Machine: {result['machine']}.",
        ]
    )


def label_efficiency_table(result: Figures) -> str:
    """The README's table of what retraining brings."""
    rows = [
        "| corrected fields | mean F1 on the other fields | gain on the same fields | 95 % interval |",
        "|" + "---|" * 4,
    ]
    for fields, gain in result["gain"].items():
        rows.append(
            f"| {fields} | {result['curve'][fields]['f1']:.3f} | {gain['mean']:+.3f} | "
            f"{gain['low']:+.3f} to {gain['high']:+.3f} |"
        )
    return (
        f"Three corrected fields of a new slide change the F1 on its other fields by **{result['gain_at_3']:+.3f}** "
        f"(95 % interval {result['gain_at_3_low']:+.3f} to {result['gain_at_3_high']:+.3f}). F1 changes by "
        f"{changes(result['forgetting'])}. A round takes {result['seconds_per_round']:.0f} s for {result['members']} "
        "networks (median).\n\n"
        + "\n".join(rows)
        + f"\n\n{ways_table(result)}"
        + f"\n\nProtocol: {result['protocol']} Machine: {result['machine']}."
    )


def ways_table(result: Figures) -> str:
    """What the new weights bring, and what the new threshold does."""
    rows = ["| taken of the new version | corrected fields | gain | 95 % interval | F1 changes by |", "|" + "---|" * 5]
    for way, sizes in result["ablations"].items():
        for fields, one in sizes.items():
            rows.append(
                f"| {way} | {fields} | {one['mean']:+.3f} | {one['low']:+.3f} to {one['high']:+.3f} | "
                f"{changes(one['forgetting'])} |"
            )
    return "\n".join(rows)


def changes(forgetting: Figures) -> str:
    """What was forgotten where, as a change: a negative number is a loss."""
    return ", ".join(f"{-by:+.3f} on {where}" for where, by in forgetting.items())


PAPERS = {
    "segmitos": "0.80 MITOS12, by HPF (8s, masks)",
    "deepmitosis": "0.83 MITOS12, by HPF",
    "rdlm": "0.69 MITOS14, own split",
    "instance_max": "0.73 TUPAC16",
}


def methods_table(result: Figures) -> str:
    """All systems side by side."""
    rows = ["| system | mean F1 | 95 % | at best thresholds | average precision | F1 in its paper | budget |"]
    rows.append("|" + "---|" * 7)
    for name, one in result.items():
        rows.append(
            f"| {name} | **{one['f1']:.3f}** | {one['low']:.2f} to {one['high']:.2f} | "
            f"{one['f1_at_best_threshold']:.2f} | {one['average_precision']:.2f} | {PAPERS.get(name, '')} | "
            f"{one['budget']} |"
        )
    any_one = next(iter(result.values()))
    return "\n".join(rows) + f"\n\nProtocol: {any_one['protocol']}. Machine: {any_one['machine']}."


def ablations_table(result: Figures) -> str:
    """One table for each paper: what every setting does against the first, here and there."""
    parts: list[str] = []
    for name, table in result.items():
        rows = [
            f"**{name}**",
            "",
            "| setting | mean F1 | average precision | against the first row | F1 in its paper | |",
        ]
        rows.append("|" + "---|" * 6)
        first = table["rows"][0]
        for one in table["rows"]:
            precision = f"{one['average_precision']:.2f}" if "average_precision" in one else ""
            paper = "" if one["paper_f1"] is None else f"{one['paper_f1']:.3f}"
            gain = one["difference"]
            against = "" if one is first else f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
            rows.append(
                f"| {one['setting']} | {one['f1']:.3f} | {precision} | {against} | {paper} | {_as_there(one, first)} |"
            )
        said = f"Protocol: {table['protocol']}. Machine: {table['machine']}."
        parts.append("\n".join([*rows, "", "Protocol: that above." if said in "".join(parts) else said]))
    return "\n\n".join(parts)


def _as_there(one: Figures, first: Figures) -> str:
    """Does a setting do here what it does in its paper?"""
    if one is first or one["paper_f1"] is None:
        return ""
    gain, there = one["difference"], one["paper_f1"] - first["paper_f1"]
    if gain["low"] <= 0 <= gain["high"]:
        return "not told apart here"
    return "as in the paper" if (gain["mean"] > 0) == (there > 0) else "the other way round"


def transfer_table(result: Figures) -> str:
    """One row for each ensemble, slide and scanner, then the means of each size of ensemble."""
    rows = [
        "| networks | seeds | held out | scanner | mitoses | precision | recall | F1 | at best threshold | average "
        "precision |"
    ]
    rows.append("|" + "---|" * 10)
    for size in result["by_members"]:
        for row, seeds in _with_seeds(size):
            for scanner, one in row["scanners"].items():
                rows.append(
                    f"| {size['members']} | {seeds} | {row['slide']} | {scanner} | {one['mitoses']} | "
                    f"{one['precision']:.2f} | {one['recall']:.2f} | "
                    f"**{one['f1']:.2f}** | {one['f1_at_best_threshold']:.2f} | {one['ap']:.2f} |"
                )
    means = "\n\n".join(_transfer_means(size) for size in result["by_members"])
    if alone := result.get("alone"):
        means += "\n\n" + _transfer_alone(alone, result["config"])
    return "\n".join(rows) + f"\n\n{means}\n\nProtocol: {result['protocol']}. Machine: {result['machine']}."


def _with_seeds(size: Figures) -> Iterator[tuple[Figures, str]]:
    """Every row of every ensemble, with the seeds of its networks."""
    members = size["members"]
    for number, ensemble in enumerate(size["ensembles"]):
        seeds = " and ".join(str(number * members + i) for i in range(members))
        yield from ((row, seeds) for row in ensemble)


def transfer_methods_table(result: Figures) -> str:
    """Every method that was measured so, one row for each size of ensemble: means over slides and ensembles."""
    found = {SHIPPED: result}
    for file in sorted(RESULTS.glob("transfer_*.json")):
        if not file.stem.endswith("-quick"):
            found[file.stem.removeprefix("transfer_")] = json.loads(file.read_text(encoding="utf-8"))
    sizes = [(name, one, size) for name, one in found.items() for size in one["by_members"]]
    scanners = list(sizes[0][2]["by_scanner"])
    heads = ["system", "averaged", "second stage", "networks", "ensembles"]
    heads += [f"{what}, {scanner}" for what in ("F1", "average precision") for scanner in scanners]
    heads += ["recall of crops", "false detections per mm²", "steps"]
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, one, size in sizes:
        means = [f"{size['by_scanner'][s][key]['mean']:.3f}" for key in ("f1", "ap") for s in scanners]
        crops = ", ".join(f"{at['mean']:.2f}" for at in size["recall_of_crops"].values())
        alarms = ", ".join(f"{at['mean']:.1f}" for at in size["false_alarms_per_mm2"].values())
        config, ensembles = one["config"], len(size["ensembles"])
        recipe = [config.get("averaged", 1), "yes" if config.get("verifier") else "no"]
        steps = " + ".join(str(steps) for steps in TrainConfig(**config).rounds)
        cells = [name.partition("-")[0], *recipe, size["members"], ensembles, *means, crops, alarms, steps]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    groups = ", ".join(sizes[0][2]["recall_of_crops"])
    others = [one for one in found.values() if one is not result and one.get("alone")]
    alone = [_transfer_alone(one["alone"], one["config"]) for one in others]
    protocol = (
        f"Protocol: that above. Recall of crops: {groups}, at two false detections per mm². False detections at "
        "the version's own threshold: painted fields, other laboratories. Averaged: how many networks into each. "
        "Steps: of the first round, and of the second where there is one."
    )
    return "\n\n".join(["\n".join(rows), *alone, protocol])


def _transfer_means(size: Figures) -> str:
    """The figures of ensembles of one size, in sentences."""
    several = len(size["ensembles"]) > 1
    means = ", ".join(
        f"{scanner} {one['f1']['mean']:.3f}" + several * f" ({one['f1']['low']:.3f} to {one['f1']['high']:.3f})"
        for scanner, one in size["by_scanner"].items()
    )
    crops = ", ".join(f"{group} {one['mean']:.2f}" for group, one in size["recall_of_crops"].items())
    alarms = ", ".join(f"{group} {one['mean']:.1f}" for group, one in size["false_alarms_per_mm2"].items())
    return (
        f"**{count_noun(size['members'], 'network').capitalize()}**: mean F1{several * ' (lowest and highest seed)'} "
        f"{means}. Recall of crops: {crops}. False detections per mm² at the version's own threshold: {alarms}."
    )


def _transfer_alone(alone: Figures, config: Figures) -> str:
    """What networks do on a scanner that they have never seen, in a sentence."""
    slides = ", ".join(
        f"{slide} {one['f1']:.2f}" for slide, scanners in alone["slides"].items() for one in scanners.values()
    )
    averaged = config.get("averaged", 1)
    networks = count_noun(alone["members"], "network") + (f", the mean of {averaged}" if averaged > 1 else "")
    return (
        f"Trained on {alone['scanner']} and {alone['patches']} patches of its maker alone "
        f"({networks}), tested on the other scanner's fields of the slide held out: "
        f"mean F1 {alone['f1']:.3f} ({slides}), average precision {alone['ap']:.3f}."
    )


def other_laboratories_table(result: Figures) -> str:
    """What the shipped versions find where none of them has learned, and how often they are wrong."""
    rates = list(next(iter(result["versions"].values()))["recall_at_false_per_mm2"])
    heads = " | ".join(f"recall at {rate} false per mm²" for rate in rates)
    rows = [f"| version | recall | false detections per mm² | {heads} |", "|" + "---|" * (3 + len(rates))]
    for name, one in result["versions"].items():
        at = " | ".join(f"{recall:.2f}" for recall in one["recall_at_false_per_mm2"].values())
        rows.append(f"| {name} | **{one['recall']:.2f}** | {one['false_per_mm2']:.1f} | {at} |")
    return (
        "\n".join(rows)
        + f"\n\nRecall: {result['crops']} mitoses of TUPAC16, each on an image of its own of 128 px, found within "
        f"{result['radius_um']:g} µm. False detections: every detection on {result['fields']} fields of seven organs "
        "(MoNuSeg), in which mitoses are rare. At the version's own threshold, then at equal numbers of false "
        "detections, counted on these fields. "
        f"Machine: {result['machine']}."
    )


def hard_fields_table(result: Figures) -> str:
    """What is found on difficult fields, beside what was found before."""
    rows = ["| | counted on | mitoses | recall before | recall | false before | false |", "|" + "---|" * 7]
    for one in result["rows"]:
        rows.append(
            f"| {one['change']} | {one['counted']} | {one['mitoses']} | {one['recall_before']:.2f} | "
            f"**{one['recall']:.2f}** | {one['extra_before']} | {one['extra']} |"
        )
    return "\n".join(rows) + (
        f"\n\n{result['version']} on {', '.join(result['fields'])}, from which it has learned: what counts is the "
        "difference. Mitoses that are set in: three fields without any, the same mitoses few and many. Machine: "
        f"{result['machine']}."
    )


PAPER_SECONDS = {"segmitos": "2.9 + 0.13 (TITAN X)", "deepmitosis": "0.72 (TITAN X)"}  # for a field of this size


def cost_table(result: Figures) -> str:
    """What the shipped version of every method costs; measured in turns, so that their ratios hold."""
    default = result["methods"][SHIPPED]["seconds"]
    rows = ["| version | networks | µm/px | parameters | file | s per field | to the default | s in its paper |"]
    rows.append("|" + "---|" * 8)
    for method, one in result["methods"].items():
        rows.append(
            f"| {one['version']} | {one['networks']} | {one['um_per_px']:g} | {one['parameters'] / 1e6:.1f} M | "
            f"{one['megabytes']:.1f} MB | {one['seconds']:.2f} | {one['seconds'] / default:.1f} | "
            f"{PAPER_SECONDS.get(method, '')} |"
        )
    return (
        "\n".join(rows) + f"\n\nOne 2084 x 2084 field, from the decoded image to the detections. {result['machine']}."
    )


def exchange_table(result: Figures) -> str:
    """Seconds and memory of every format."""
    rows = ["| format | s to export | s to import | MB at most | with four times the images |", "|" + "---|" * 5]
    four_times = result["peak_rss_gb_with_4_times_the_images"]
    for name, seconds in result["export_s"].items():
        peak, more = result["peak_rss_gb_of_format"][name] * 1e3, four_times[name] * 1e3
        rows.append(f"| `{name}` | {seconds:.1f} | {result['import_s'][name]:.1f} | {peak:.0f} | {more:.0f} |")
    return "\n".join(rows) + (
        f"\n\n{result['marks']:,} marks on {result['images']} images, from a store and into another one, medians of "
        f"{result['repeats']}; memory of a whole process, of which Python and the libraries take about 80 MB. "
        f"Machine: {result['machine']}."
    )


def scaling_readers_table(result: Figures) -> str:
    """Readers at work, simulated: waits, and how busy servers and database are, for the fewest servers that do."""
    head = (
        "| readers | servers needed | change, 95th percentile | page, 95th percentile | servers busy | database busy |"
    )
    rows = [head, "|" + "---|" * 6]
    most_tried = max(run["servers"] for run in result["readers"])
    for run in result["readers"]:
        needed = result["servers_needed"][str(run["readers"])]
        if run["servers"] == (needed or most_tried):
            waits = f"{run['change_p95_ms']:.0f} ms | {run['page_p95_ms']:.0f} ms"
            busy = f"{100 * run['server_busy']:.0f} % | {100 * run['database_busy']:.1f} %"
            servers = f"{needed}" if needed else f"more than {most_tried}"
            rows.append(f"| {run['readers']:,} | {servers} | {waits} | {busy} |")
    most, check, assumed = result["most_ms"], result["check"], result["assumptions"]
    ms = {name: f"{1000 * result['costs'][f'{name}_s']:.1f} ms" for name in ("change", "page", "commit")}
    return "\n".join(rows) + (
        "\n\nNeeded: the fewest of 1, 2, 4, 8, 16 or 32 with which 95 of 100 changes take "
        f"{most['change']:.0f} ms at most and pages {most['page']:.0f} ms. Measured: {ms['change']} of a server's "
        f"processor for a change, {ms['page']} for a field opened on Review, {ms['commit']} of the "
        f"database for a change. Assumed: a field in {assumed['seconds_per_field']:.0f} s, "
        f"with {assumed['changes_per_field']:.0f} changes and "
        f"{assumed['pages_per_field']:.0f} pages, on one core "
        f"of a server one after the other. Check: of the changes of twenty readers in benchmarks/load.py, 95 of "
        f"100 took {check['measured_p95_ms']:.0f} ms at most; the simulation says {check['simulated_p95_ms']:.0f} ms. "
        f"Machine: {result['machine']}."
    )


def scaling_fields_table(result: Figures) -> str:
    """What so many fields take: bytes, hours, prices."""
    fields, costs, assumed = result["fields"], result["costs"], result["assumptions"]
    core_hour, terabyte = assumed["core_hour_price"], assumed["terabyte_month_price"]
    rows = {
        "images and thumbnails": f"{fields['images_tb']:.2f} TB",
        f"{fields['changes']:,} changes in the database": f"{1000 * fields['database_tb']:.0f} GB",
        "detection, once": f"{fields['detection_core_hours']:,.0f} core hours",
        "reading": f"{fields['reader_hours']:,} hours of readers",
        f"price of detection, at {core_hour} a core hour": f"{fields['detection_price']:,.0f}",
        f"price of storage, at {terabyte:.0f} a TB and month": f"{fields['storage_price_a_month']:,.0f} a month",
    }
    head = f"| {fields['fields']:,} fields, each read by {assumed['readers_per_field']:.0f} readers | |\n|---|---|\n"
    return (
        head
        + "\n".join(f"| {what} | {value} |" for what, value in rows.items())
        + f"\n\nMeasured: {costs['field_bytes'] / 1e6:.1f} MB for a drawn field of 2084 px (scanned ones are larger: "
        f"up to 9 MB as PNG), {costs['change_bytes']:.0f} bytes for a change, {costs['detection_s']:.2f} s on all "
        f"cores for a field. Prices are assumed, in any currency. Machine: {result['machine']}."
    )


def postgres_table(result: Figures) -> str:
    """SQLite and PostgreSQL side by side."""
    readers, events = result["readers"], result["events"]
    head = (
        f"| | change of {readers['number']} readers, median and 95th percentile | lost | field opened | "
        f"queue of {events['fields']:,} fields |"
    )
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "postgresql, two servers": "PostgreSQL, two servers"}
    rows = []
    for name, said in names.items():
        one, many = readers[name], events.get(name, {})
        opened, queue = (f"{many[key]:.0f} ms" if many else "" for key in ("open_p50_ms", "queue_p50_ms"))
        rows.append(f"| {said} | {one['p50_ms']:.0f} and {one['p95_ms']:.0f} ms | {one['lost']} | {opened} | {queue} |")
    return (
        f"{head}\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{readers['seconds'] / 60:.0f} minutes each, in turns; "
        f"{events['events']:,} changes in the store for the last two columns (medians). Moving "
        f"{events['move']['rows']:,} rows from SQLite to PostgreSQL took {events['move']['seconds']} s. "
        f"Machine: {result['machine']}."
    )


def dask_scaling_table(result: Figures) -> str:
    """What a second worker brings, what the cluster costs, what a killed worker costs."""
    seconds, used, killed = result["field_s"], result["field_processor_s"], result["killed"]
    names = {
        "plain": "the plain loop, two cores",
        "one_worker_two_cores": "one worker, two cores",
        "one_worker": "one worker, one core",
        "two_workers": "two workers, one core each",
    }
    rows = ["| | seconds a field | of the processor |", "|---|---|---|"]
    rows += [f"| {text} | {seconds[name]:.2f} | {used[name]:.2f} |" for name, text in names.items()]
    more_s = killed["seconds"] - killed["seconds_without"]
    same = "the same rows" if result["same_rows"] and killed["same_rows"] else "**other rows**"
    return "\n".join(rows) + (
        f"\n\nTwo workers do {result['throughput_two_to_one_worker']:.2f} times as much as one, and "
        f"{result['throughput_two_workers_to_plain']:.2f} times as much as the plain loop. One worker takes "
        f"{100 * result['overhead']:+.0f} % of time and {100 * result['overhead_processor']:+.0f} % of processor time "
        f"against the plain loop, both with two cores. All give {same}, also when one of two workers is killed midway, "
        f"which took {more_s:+.0f} s in {killed['seconds_without']:.0f} s. Memory of the command: "
        f"{result['rss_mb']['after_first_part']:.0f} MB after the first part, "
        f"{result['rss_mb']['after_last_part']:.0f} MB after the last one; "
        f"of a worker {result['worker_rss_mb']:.0f} MB. "
        f"{result['fields']} drawn fields of {result['field_px']} px, in {result['parts']} parts in turns, medians of "
        f"the ratios. Machine: {result['machine']}."
    )


TABLES = {
    "dask_scaling": dask_scaling_table,
    "postgres": postgres_table,
    "scaling_readers": scaling_readers_table,
    "scaling_fields": scaling_fields_table,
    "cost": cost_table,
    "methods": methods_table,
    "ablations": ablations_table,
    "accuracy": accuracy_table,
    "speed": speed_table,
    "review": review_table,
    "label_efficiency": label_efficiency_table,
    "transfer": transfer_table,
    "transfer_methods": transfer_methods_table,
    "other_laboratories": other_laboratories_table,
    "hard_fields": hard_fields_table,
    "exchange": exchange_table,
}

SOURCES = {
    "methods": "accuracy",
    "cost": "speed",
    "transfer_methods": "transfer",
    "scaling_readers": "scaling",
    "scaling_fields": "scaling",
}  # where a table is not called as its result


def write_tables(text: str) -> str:
    """A document with every table whose result exists written anew."""
    for name, table in TABLES.items():
        result = RESULTS / f"{SOURCES.get(name, name)}.json"
        if result.exists():
            body = table(json.loads(result.read_text(encoding="utf-8")))
            marks = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
            text = marks.sub(lambda found, body=body: f"{found[1]}{body}\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(write_tables(document.read_text(encoding="utf-8")), encoding="utf-8")
