// How far the job on the easel is: a line of words, and a bar with one field a step.

import { $, set } from "../dom.js";
import { progressText } from "../progress.js";
import { onEasel } from "../state.js";

export function progressBar(store, { cancel }) {
  $("cancel").addEventListener("click", () => cancel(store.state.at));
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") cancel(store.state.at);
  });

  return (state) => {
    const { job } = onEasel(state);
    const { away } = state;
    $("progress").hidden = !job && !away;
    $("bar").hidden = !job;
    $("cancel").hidden = !job;
    const alone = away ? "The server does not answer. Trying again…" : "";
    set($("progress-text"), { textContent: job ? progressText(job) : alone });
    if (job) drawBar($("bar"), job);
    const running = job?.total ? job : state.jobs.find(({ total }) => total);
    document.title = running ? `${running.step}/${running.total} · overpaint` : "overpaint";
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
