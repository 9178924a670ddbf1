"""`python -m pocket.curves`: the logs of a run, in legs where it was changed on the way, and their
picture, kept in pocket/record."""

import csv
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RUNS = Path(__file__).parent / "runs"
RECORD = Path(__file__).parent / "record"
SHOWN = {"vae": ("l1", "edges", "mse"), "denoiser": ("mse", "heads")}


def main() -> None:
    RECORD.mkdir(exist_ok=True)
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(10, 3.6), layout="constrained")
    for ax, (stage, names) in zip(axes, SHOWN.items(), strict=True):
        shutil.copyfile(RUNS / f"{stage}.csv", RECORD / f"{stage}-2.csv")
        for log in sorted(RECORD.glob(f"{stage}-*.csv")):
            columns = read(log)
            for k, name in enumerate(names):
                if name in columns:
                    label = name if log.stem.endswith("-2") else None
                    ax.plot(columns["step"], columns[name], color=f"C{k}", label=label)
        ax.set(title=stage, xlabel="step", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(RECORD / "curves.png", dpi=110)


def read(log: Path) -> dict[str, list[float]]:
    """The columns of a stage's log."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


if __name__ == "__main__":
    main()
