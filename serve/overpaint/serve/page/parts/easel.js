// The picture, and over it what was made of it: a slider compares the two.

import { $, set, show } from "../dom.js";
import { sizeOf } from "../plan.js";

export function easel(store) {
  const stage = $("stage");
  $("frame").addEventListener("animationend", () => store.change({ revealing: false }));
  $("compare").addEventListener("input", ({ target }) => {
    store.change({ split: Number(target.value), revealing: false });
  });
  $("compare").addEventListener("pointerdown", () => {
    stage.dataset.sliding = "";
  });
  window.addEventListener("pointerup", () => {
    delete stage.dataset.sliding;
  });

  return (state) => {
    const { picture, shown, job, split, revealing } = state;
    const view = viewOf(state);
    const compare = view === "result" && Boolean(shown.from);
    stage.dataset.view = view;
    stage.toggleAttribute("data-compare", compare);
    stage.toggleAttribute("data-both", compare && split > 0 && split < 100);
    stage.toggleAttribute("data-before", compare && split > 0);
    stage.toggleAttribute("data-reveal", compare && revealing);
    drawFrame(frameOf(state), compare ? split : 0);
    show($("before"), (shown ? shown.from : picture)?.url, shown ? "The picture before" : "Your picture");
    show($("after"), shown?.url, shown ? `Repainted: ${shown.asked.prompt}` : "");
    show($("preview"), job?.preview);
    $("preview").classList.toggle("here", Boolean(job?.preview));
    set($("compare"), { value: String(split), ariaValueText: `${split} % of the picture before` });
  };
}

function viewOf({ server, picture, shown, job }) {
  if (job) return "running";
  if (shown) return "result";
  if (picture) return "picture";
  return server ? "empty" : "loading";
}

/** Words alone have no picture to dim while they are painted: the frame takes the asked size. */
function frameOf({ picture, shown, job, form }) {
  return shown ?? picture ?? (job ? sizeOf(form) : { width: 1, height: 1 });
}

function drawFrame({ width, height }, split) {
  const { style } = $("frame");
  style.setProperty("--ratio", width / height);
  style.setProperty("--natural", `${width}px`);
  style.setProperty("--split", `${split}%`);
}
