"""`python -m pocket.curves [FOLDER]`: the picture of a run's logs, in legs where it was changed on
the way. The shipped weights' are in pocket/record, those of `make pocket` in pocket/runs."""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RECORD = Path(__file__).parent / "record"
SHOWN = {
    "vae": ("l1", "edges", "mse"),
    "denoiser": ("mse", "heads"),
    "small-vae": ("l1", "edges", "mse", "latents"),
    "student": ("l1", "edges", "fool", "judge"),
}


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else RECORD
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for ax, (stage, names) in zip(axes.flat, SHOWN.items(), strict=True):
        logs = sorted(folder.glob(f"{stage}*.csv"))
        for log in logs:
            columns = read(log)
            for k, name in enumerate(names):
                if name in columns:
                    label = name if log == logs[-1] else None
                    ax.plot(columns["step"], columns[name], color=f"C{k}", label=label)
        ax.set(title=stage, xlabel="step", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(folder / "curves.png", dpi=110)


def read(log: Path) -> dict[str, list[float]]:
    """The columns of a stage's log."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


if __name__ == "__main__":
    main()
