// The button that starts and cancels, its keys, and what there is to say about it.

import { $, set } from "../dom.js";

export function go(store, { repaint, cancel }) {
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    if (store.state.job) cancel();
    else repaint();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !store.state.job) {
      event.preventDefault();
      repaint();
    }
    if (event.key === "Escape") cancel();
  });
  // Unfold what is wrong, so that the browser can point at it. The event does not bubble.
  $("controls").addEventListener("invalid", ({ target }) => unfold(target.closest("details")), true);
  $("dismiss").addEventListener("click", () => store.change({ notice: null }));

  return ({ job, model, picture, notice }) => {
    set($("run"), { disabled: !model });
    $("run").classList.toggle("stop", Boolean(job));
    const start = picture ? "Repaint" : "Paint";
    set($("run-text"), { textContent: job ? "Cancel" : start });
    set($("run-key"), { textContent: job ? "Esc" : startKey() });
    $("notice").hidden = !notice;
    if (notice) $("notice").dataset.kind = notice.kind;
    set($("notice-text"), { textContent: notice?.text ?? "" });
    document.title = job?.total ? `${job.step}/${job.total} · overpaint` : "overpaint";
  };
}

const startKey = () => (/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵");

function unfold(details) {
  if (details) details.open = true;
}
