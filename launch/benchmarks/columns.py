"""The columns of the benchmark's own tables: heading, format and meaning, for the tables and for `--help`."""

from launch.benchmarks.markdown import Column

STEPS = {
    "mesh": Column("mesh", "{}", "devices along each axis"),
    "devices": Column("devices", "{}", "their product"),
    "batch": Column("batch", "{}", "windows of a step, over all devices"),
    "step_min_s": Column("step s, min", "{:.4g}", "fastest step, its batch already on the devices"),
    "step_median_s": Column("median", "{:.4g}", "median of the rounds"),
    "windows_per_s": Column("windows/s", "{:,.4g}", "batch / median step"),
    "tflop_per_step": Column("TFLOP/step", "{:.4g}", "matrix products, counted from the sizes: forward x 3"),
    "peak_tflop_per_s": Column("peak TFLOP/s", "{:.4g}", "best square matrix product on the mesh, same dtype"),
    "utilisation": Column("utilisation", "{:.1%}", "TFLOP/step / fastest step / peak"),
    "input_windows_per_s": Column("input windows/s", "{:,.4g}", "what the pipeline reads on its own, median"),
    "waiting_share": Column("waiting", "{:.1%}", "share of steps fed by the pipeline spent in next()"),
    "stft_share": Column("STFT share", "{:.1%}", "the input transformation, forward alone, / step"),
    "memory_mib": Column("MiB/device", "{:,.0f}", "peak of the allocator where it counts, else the compiler's plan"),
    "compile_s": Column("compile s", "{:.1f}", "tracing and compiling the step, or reading it from the cache"),
}  # fmt: skip

SCALING = {
    "processes": Column("processes", "{}", "that read at the same time, each its rows of every global batch"),
    "batch": Column("rows each", "{}", "windows of a process's part of a batch"),
    "batches_per_s": Column("batches/s each", "{:,.4g}", "median over rounds of the mean over processes"),
    "ratio": Column("of one", "{:.2f}", "batches/s / that of one process; 1 is perfect"),
    "slowest": Column("slowest", "{:,.4g}", "batches/s of the slowest process, median over rounds"),
    "windows_per_s": Column("windows/s, all", "{:,.4g}", "of all processes together"),
}

CHECKPOINT = {
    "bytes": Column("bytes", "{:,}", "of a checkpoint on disk, every value random"),
    "call_s": Column("call s", "{:.3f}", "that saving holds the training loop up; this and the next two medians"),
    "saved_s": Column("saved s", "{:.2f}", "until it is on disk, in the background"),
    "restored_s": Column("restored s", "{:.2f}", "reading, verifying and spreading it over the devices"),
}

RESTART = {
    "ended_s": Column(
        "ended s", "{:.2f}", "from the kill of one of two processes until the other has been stopped too"
    ),
    "under_way_s": Column("under way s", "{:.1f}", "from the next start until it trains beyond where it was"),
}

HAND_CRAFTED = {
    "windows": Column("windows", "{}", "of 5 s and two sensors, 161 features each"),
    "ours_per_s": Column("windows/s", "{:,.4g}", "all windows at once; this and the next four from medians"),
    "loop_per_s": Column("loop", "{:,.4g}", "windows/s of a loop over windows and signals with SciPy"),
    "ratio": Column("ratio", "{:.1f}", "of the two"),
    "ours_per_core_s": Column("windows/core s", "{:,.4g}", "the same by the processor's clock"),
    "loop_per_core_s": Column("loop", "{:,.4g}", "windows/core s of the loop"),
    "core_ratio": Column("ratio", "{:.1f}", "of the two by the processor's clock"),
    "difference": Column("difference", "{:.1e}", "largest between the two, of the largest value of a feature"),
}

INGEST = {
    "file": Column("file", "{}", "the raw file"),
    "hours": Column("hours", "{:.4g}", "recorded in it, without gaps"),
    "read_per_core_s": Column(
        "read h/core s", "{:,.4g}", "hours read in a second of a core; this and the next medians"
    ),
    "skdh_per_core_s": Column("skdh", "{:,.4g}", "the same by scikit-digital-health"),
    "ratio": Column("ratio", "{:.1f}", "of the two"),
    "ingest_per_core_s": Column("ingest h/core s", "{:,.4g}", "the whole of it: read twice, processed, written"),
    "before_mib": Column("MiB before", "{:,.0f}", "the most memory that the process holds after its imports"),
    "peak_mib": Column("MiB", "{:,.0f}", "and by the end of ingest"),
    "mb_in_per_h": Column("MB/h in", "{:.3g}", "of the raw file"),
    "mb_out_per_h": Column("MB/h out", "{:.3g}", "of the shard"),
}

PROJECTED = {
    "hours": Column("hours", "{:,}", "of recording"),
    "sensors": Column("sensors", "{}", "of a person"),
    "core_h": Column("core-hours", "{:,.3g}", "of ingest at the measured rate"),
    "node_min": Column("minutes on 64 cores", "{:,.3g}", "if files come as fast"),
    "gb_in": Column("GB read", "{:,.4g}", "of raw files; a file is read three times, from the cache where it fits"),
    "gb_out": Column("GB written", "{:,.4g}", "of shards; the measured file decides how they are compressed"),
}

# By the field of the JSON.
TABLES = {
    "steps": STEPS,
    "scaling": SCALING,
    "hand_crafted": HAND_CRAFTED,
    "checkpoint": CHECKPOINT,
    "restart": RESTART,
    "ingest": INGEST,
    "ingest_projected": PROJECTED,
}
TITLES = (
    "training steps",
    "input by several processes",
    "hand-crafted features",
    "checkpoints",
    "a killed process",
    "ingest",
    "ingest, projected",
)


def meanings() -> str:
    """The columns of all tables, a line each."""
    text = ""
    for title, columns in zip(TITLES, TABLES.values(), strict=True):
        text += f"\ncolumns of the table of {title}:\n"
        text += "".join(f"  {column.heading:<17}{column.meaning}\n" for column in columns.values())
    return text
