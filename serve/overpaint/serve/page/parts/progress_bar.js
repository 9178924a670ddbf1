// How far it is, over the picture: a line of words, and a bar with one field a step.

import { $, set } from "../dom.js";
import { progressText } from "../progress.js";

export function progressBar() {
  return ({ job, away }) => {
    $("progress").hidden = !job && !away;
    $("bar").hidden = !job;
    const alone = away ? "The server does not answer. Trying again…" : "";
    set($("progress-text"), { textContent: job ? progressText(job) : alone });
    if (job) drawBar($("bar"), job);
  };
}

function drawBar(bar, job) {
  const counted = job.phase === "running" && job.total;
  bar.classList.toggle("waiting", !counted);
  bar.style.setProperty("--done", counted ? job.step : 0);
  bar.style.setProperty("--steps", counted ? job.total : 1);
  set(bar, {
    ariaValueNow: counted ? String(job.step) : null,
    ariaValueMax: counted ? String(job.total) : null,
    ariaValueText: progressText(job),
  });
}
