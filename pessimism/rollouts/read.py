"""Rollout logs, as trainers write them, to one tidy frame: which prompt, at which step, got which reward.

Files are streamed and prompts factorized on the fly: memory holds every distinct prompt once, and 20 bytes a row.
"""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pessimism.files import require_regular
from pessimism.messages import one_line
from pessimism.rollouts.formats import READERS, read_frame
from pessimism.rollouts.log_probs import FACTS, LogProbs, Touched
from pessimism.rollouts.rows import Options, Rows

_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


def read_rollouts(
    source: pd.DataFrame | str | PathLike[str],
    *,
    prompt_column: str | None = None,
    reward_column: str | None = None,
    step_column: str | None = None,
    length_column: str | Sequence[str] | None = None,
    log_prob_columns: str | Sequence[LogProbs] | None = None,
    skip_bad: bool = False,
    touched: Touched | None = None,
) -> pd.DataFrame:
    """Read a rollout log into one frame, a row for each completion: its step, its prompt, its reward.

    Every trainer logs its completions in its own layout, and a study of the rewards needs the same columns of all of
    them. TRL's completions parquet, verl's rollout JSONL and plain CSV, JSONL or parquet are read alike.

    Parameters
    ----------
    source : pandas.DataFrame, str or path
        A frame that is already loaded, a file (`.parquet`, `.jsonl`, `.ndjson`, `.csv`), or a folder, of which every
        file with one of these suffixes is read in natural order (`2.jsonl` before `10.jsonl`), without hidden files.
    prompt_column : str, optional
        Column of the prompt; defaults to `prompt`, else `input`. Conversations (lists of messages) become canonical
        JSON.
    reward_column : str, optional
        Column of the reward; defaults to `reward`, else `score`, else the only reward-function column of a TRL log.
        Several names joined by commas are summed with TRL's default weights of 1; there a null means, as in TRL, that
        the function does not apply to this row, and a row is malformed where none applies.
    step_column : str, optional
        Column of the training step; defaults to `step`. Without such a column every row is step 0.
    length_column : str or sequence of str, optional
        Column of the number of tokens of a completion, or several names of which the first that is there is read, if
        one is. Without it lengths are not read.
    log_prob_columns : str, optional
        Column with the log-probabilities of a completion under the policy that sampled it, and after a comma one with
        those under the policy that was trained: a number for a completion, or a list with one for each token. A column
        `token_loss_mask`, `loss_mask`, `response_mask` or `completion_mask` says which tokens count. Also a sequence of
        ``pessimism.rollouts.log_probs.LogProbs``, of which the first that is there is read, if one is. Without it
        neither log-probabilities nor versions are read.
    skip_bad : bool, default False
        Count malformed rows instead of stopping at the first one.
    touched : callable, optional
        Function that finds the tokens that a clip touches, see ``pessimism.diagnosis.clip.touched_by``.

    Returns
    -------
    pandas.DataFrame
        Columns step (int64), prompt (categorical, in order of first appearance) and reward (float64, in the log's
        units); length (float64, in tokens) where it is asked for and every file has it; rounding (float64) where
        rewards are sums: a bound of what sums that are equal differ by, with float32 parts too; group (int64) where a
        column says which rows of a step are a group, else those of one prompt are; where log-probabilities or versions
        are read, what ``pessimism.rollouts.log_probs.facts_of`` says of each completion. `attrs["skipped"]` counts the
        malformed lines left out, `attrs["files"]` lists the files read, `attrs["step_note"]` is None or says
        that there was no step column, and which column looks like one. Blank lines are no rows; an open quote in a CSV
        file counts as many lines as it swallows.

    Raises
    ------
    ValueError
        If there is no such file, no usable row, or no such column; if a suffix is unknown or a folder is empty. Without
        `skip_bad` also for a malformed row (bad JSON, missing key, wrong number of fields, a reward that is not a
        finite number, a length that is not a number >= 1, a null prompt, a step that is not an integer), as
        `path:line: what is wrong` with the line on which the row starts; parquet files and frames have `row N` there,
        counted from 0.

    Examples
    --------
    >>> log = read_rollouts("examples/trl_completions")
    >>> len(log), log["prompt"].nunique(), log.attrs["skipped"]
    (3072, 192, 0)
    >>> log.groupby("step")["reward"].mean().round(3).to_dict()
    {16: 0.46, 32: 0.421, 48: 0.433}
    """
    options = Options(prompt_column, reward_column, step_column, length_column, log_prob_columns)
    files: list[str] = []
    with tqdm(desc="reading rollouts", unit=" rows", unit_scale=True, delay=2, disable=None, leave=False) as bar:
        rows = Rows(skip_bad, bar.update, touched)
        if isinstance(source, pd.DataFrame):
            read_frame(source, options, rows)
        else:
            for path in _files(Path(source)):
                files.append(str(path))
                try:
                    READERS[path.suffix.lower()](path, options, rows)
                except OSError as error:
                    raise ValueError(f"{path}: cannot be read ({one_line(error)})") from None
    frame = rows.frame("the frame" if isinstance(source, pd.DataFrame) else str(source), files)
    read_before = isinstance(source, pd.DataFrame) and "skipped" in source.attrs and len(frame) == len(source)
    if log_prob_columns is not None and isinstance(source, pd.DataFrame) and read_before:
        # Of a frame that was read already; what a clip touches is that of the objective then.
        kept = [name for name in FACTS if name in source and not name.startswith("touched")]
        frame = frame.assign(**{name: source[name].to_numpy() for name in kept if name not in frame})
    return frame


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        shown = [path for path in source.iterdir() if not path.name.startswith(".")]
        found = [path for path in shown if path.suffix.lower() in READERS and not path.is_dir()]
        packed = [p for p in shown if p.suffix.lower() in _PACKED and Path(p.stem).suffix.lower() in READERS]
        if packed:
            raise ValueError(f"{min(packed)}: is compressed: unpack it, or move it elsewhere")
        for path in found:  # what cannot be read is said before the rest is
            require_regular(path)
        if not found:
            raise ValueError(f"{source}: no file with a known suffix in this folder ({', '.join(READERS)})")
        return sorted(found, key=_natural)
    if not source.exists() and not source.is_symlink():
        raise ValueError(f"{source}: no such file or folder")
    if source.suffix.lower() not in READERS:
        raise ValueError(f"{source}: unknown suffix {source.suffix!r}; known are {', '.join(READERS)}")
    require_regular(source)
    return [source]


def _natural(path: Path) -> list[Any]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]
