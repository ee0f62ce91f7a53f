"""Rollout logs, as trainers write them, to one tidy frame: which prompt, at which step, got which reward.

Files are streamed and prompts factorized on the fly: memory holds every distinct prompt once, and 20 bytes a row.
"""

import sys
from collections.abc import Hashable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard, cast

import pandas as pd
from tqdm import tqdm

from pessimism.messages import names, one_line, show
from pessimism.rollouts.formats import READERS, read_dataset, read_frame, read_records
from pessimism.rollouts.log_probs import FACTS, Touched
from pessimism.rollouts.options import LogOptions, split_options, used
from pessimism.rollouts.repeats import Repeats
from pessimism.rollouts.rows import ForeignError, Rows
from pessimism.rollouts.sources import File, find

_PathLike = str | PathLike[str]
LogLike = pd.DataFrame | _PathLike | Sequence[_PathLike] | Sequence[Mapping[str, Any]]


def read_rollouts(
    source: LogLike,
    *,
    log_options: LogOptions | None = None,
    touched: Touched | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Read a rollout log into one frame, a row for each completion: its step, its prompt, its reward.

    Every trainer logs its completions in its own layout, and a study of the rewards needs the same columns of all of
    them. Logs of TRL, verl, ms-swift, NeMo-RL, open-instruct, prime-rl, SkyRL, AReaL, slime, tinker-cookbook,
    verifiers, ROLL and Atropos are recognized (docs/rollout_logs.md says what is taken for what); any others need a
    column for the prompt and one for the reward.

    Parameters
    ----------
    source : pandas.DataFrame, datasets.Dataset, path or list
        A frame, a `Dataset` or a list of mappings that is already loaded, a file, a folder, a pattern such as
        `runs/*/completions`, or a list of these. Files are `.parquet`, `.jsonl`, `.ndjson`, `.csv`, `.json`, `.pt` or
        `.arrow`; text also with `.gz` or `.zst`. Of a folder every log below it is read in natural order (`2.jsonl`
        before `10.jsonl`), without hidden files; files that are no logs are passed over.
    log_options : LogOptions, optional
        Columns and how they are read, as one object in place of keywords.
    touched : callable, optional
        Function that finds the tokens that a clip touches, see ``pessimism.diagnosis.clip.Clip.of_tokens``.
    **options : Any
        The same as `log_options` one by one: `prompt_column`, `reward_column`, `step_column`, `group_column`,
        `advantage_column`, `baseline_column`, `length_column`, `log_prob_columns`, `drop_equal`, `singleton` and
        `skip_bad`, see :class:`~pessimism.LogOptions`.

    Returns
    -------
    pandas.DataFrame
        Columns step (int64), prompt (categorical, in order of first appearance) and reward (float64, in the log's
        units); length (float64, in tokens) where it is asked for and every file has it; rounding (float64) where
        rewards are sums: a bound of what sums that are equal differ by, with float32 parts too; group (int64) where a
        column says which rows of a step are a group, else those of one prompt are; advantage and baseline (float64)
        where the log has them; where log-probabilities or versions are read, what
        ``pessimism.rollouts.log_probs.facts_of`` says of each completion. A frame that was read before comes back as
        it is. ``attrs`` hold what was read:

        - skipped: the malformed lines left out; unscored: the completions of a TRL log that no reward function
          applies to, left out too; files: those read; layouts: in which layout each was; passed_over: the others, with
          the reason; repeated: those that hold the completions of another file once more and are counted once;
        - columns: what each was read from; step_note: None or that there was no step column, and which one looks like
          it; notes: a sentence for each thing that looks as if it were read wrongly, with the option that changes it;
        - drop_equal, singleton, and used: "advantage" or "baseline" where that column replaces the objective's own,
          else None.

        Blank lines are no rows; an open quote in a CSV file counts as many lines as it swallows.

    Raises
    ------
    ValueError
        If there is no such file, no usable row, or no such column; if a suffix is unknown or a folder is empty. Without
        `skip_bad` also for a malformed row (bad JSON, missing key, wrong number of fields, a reward that is not a
        finite number, a length that is not a number >= 1, a null prompt, a step that is not an integer), as
        `path:line: what is wrong` with the line on which the row starts; parquet files and frames have `row N` there,
        counted from 0; so have values of a `.json` file.

    Examples
    --------
    >>> log = read_rollouts("examples/trl_completions")
    >>> len(log), log["prompt"].nunique(), log.attrs["skipped"]
    (3072, 192, 0)
    >>> log.groupby("step")["reward"].mean().round(3).to_dict()
    {16: 0.46, 32: 0.421, 48: 0.433}
    """
    chosen, others = split_options(log_options, options)
    if others:
        raise TypeError(f"read_rollouts() has no option {next(iter(others))!r}")
    files: list[str] = []
    passed: dict[str, str] = {}
    repeats = Repeats()
    with tqdm(desc="reading rollouts", unit=" rows", unit_scale=True, delay=2, disable=None, leave=False) as bar:
        rows = Rows(chosen.skip_bad, bar.update, touched)
        if isinstance(source, pd.DataFrame):
            place = "the frame"
            read_frame(source, chosen, rows)
        elif _is_dataset(source):
            place = "the data set"
            read_dataset(source, chosen, rows)
        elif _is_records(source):
            place = "the list"
            read_records(list(source), chosen, rows)
        else:
            place = str(source) if isinstance(source, str | PathLike) else "the files"
            found = find(cast("_PathLike | Sequence[_PathLike]", source))
            passed |= found.passed_over
            files += _read(found.files, chosen, rows, passed, repeats)
    frame = rows.frame(place, files)
    frame.attrs["repeated"] = repeats.found
    frame.attrs["notes"] += [note] if (note := repeats.note) else []
    frame.attrs |= {"drop_equal": chosen.drop_equal, "singleton": chosen.singleton, "used": used(chosen)}
    frame.attrs.update(layouts=dict(zip(files or [place], rows.layouts, strict=True)), passed_over=passed)
    read_before = isinstance(source, pd.DataFrame) and "skipped" in source.attrs and len(frame) == len(source)
    if chosen.log_prob_columns is not None and isinstance(source, pd.DataFrame) and read_before:
        # Of a frame that was read already; what a clip touches is that of the objective then.
        kept = [name for name in FACTS if name in source and not name.startswith("touched")]
        frame = frame.assign(**{name: source[name].to_numpy() for name in kept if name not in frame})
    return with_what_was_known(frame, source.attrs) if isinstance(source, pd.DataFrame) else frame


def with_what_was_known(frame: pd.DataFrame, before: Mapping[Hashable, Any]) -> pd.DataFrame:
    """Return a frame with what a first reading of its rows has said of them, where it has no more to say itself."""
    if "columns" not in before:
        return frame
    now = frame.attrs
    now["skipped"] += before["skipped"]
    now["unscored"] += before["unscored"]
    now["notes"] = list(dict.fromkeys([*before["notes"], *now["notes"]]))
    for name in ("step_note", "files", "repeated", "drop_equal", "singleton", "used", "passed_over"):
        now[name] = now[name] or before[name]
    now["layouts"] = before.get("layouts", now["layouts"])
    now["columns"] = {what: before["columns"].get(what, name) for what, name in now["columns"].items()}
    return frame


def _read(files: list[File], options: LogOptions, rows: Rows, passed: dict[str, str], repeats: Repeats) -> list[str]:
    """Read files, and return which they were; in a folder those that are no logs are passed over, unless all are."""
    read: list[str] = []
    foreign: dict[Path, ForeignError] = {}
    for file in files:
        mark = rows.mark()
        try:
            READERS[file.kind](file.path, options, rows)
            repeats.after(file, rows, mark)
        except ForeignError as error:
            if file.named:
                raise
            foreign[file.path] = error
            passed[str(file.path)] = error.reason or str(error).removeprefix(f"{file.path}: ")
        except OSError as error:
            raise ValueError(f"{file.path}: cannot be read ({one_line(error)})") from None
        else:
            read.append(str(file.path))
    if not read:
        raise foreign[max(foreign, key=lambda path: path.stat().st_size)]
    return read


def _is_dataset(source: object) -> bool:
    """Whether a source is a data set of Hugging Face's datasets, which is not imported for that."""
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(source, datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset):
        return False
    if isinstance(source, datasets.DatasetDict):
        raise ValueError(f"the data set has the splits {names(source)}: give one of them")
    if isinstance(source, datasets.IterableDataset):
        raise ValueError("the data set is an IterableDataset: give list(data_set), or save it to files")
    return True


def _is_records(source: object) -> TypeGuard[Sequence[Any]]:
    """Whether a source is a list of records, and no path or list of paths."""
    if isinstance(source, str | PathLike):
        return False
    if not isinstance(source, Sequence):
        raise ValueError(f"the log is {show(source)}: give a frame, a data set, a list of records, or paths of files")
    return not all(isinstance(one, str | PathLike) for one in source)
