// The strip of pictures: what can be repainted, what is under way, and everything that was made.

import { $, element, list, makeButton, set, show } from "../dom.js";
import { progressText, progressWord } from "../progress.js";
import { describe } from "../results.js";

export function strip(store, { cancel }) {
  $("pick").addEventListener("click", () => $("file").click());
  $("words").addEventListener("click", () => store.change({ picture: null, at: null }));

  return (state) => {
    const { picture, results, jobs, at } = state;
    $("words").setAttribute("aria-current", String(!picture && !at));
    $("hint").hidden = jobs.length > 0 || results.length > 0;
    list($("sources"), sourcesOf(state), makeTile, (item, [source, name]) => {
      const [button, image, label] = item.querySelectorAll("*");
      button.setAttribute("aria-current", String(source === picture && !at));
      const start = () => store.change({ picture: source, at: null });
      set(button, { ariaLabel: `Start from the ${name}`, onclick: start });
      set(label, { className: "name", textContent: name });
      show(image, source.url);
    });
    list($("jobs"), jobs.toReversed(), makeJobTile, (item, job) => {
      const [button, image, label, stop] = item.querySelectorAll("button, img, span");
      item.style.setProperty("--done", job.total ? job.step / job.total : 0);
      button.setAttribute("aria-current", String(job.key === at));
      set(button, {
        title: `${job.asked.prompt}\n${progressText(job)}`,
        ariaLabel: `Watch: ${job.asked.prompt}, ${progressWord(job)}`,
        onclick: () => store.change({ at: job.key }),
      });
      show(image, job.preview ?? job.from?.url);
      set(label, { textContent: progressWord(job) });
      set(stop, {
        ariaLabel: `Cancel: ${job.asked.prompt}`,
        onclick: () => {
          $("run").focus(); // what was pressed goes away
          cancel(job.key);
        },
      });
    });
    list($("results"), results, makeTile, (item, result) => {
      const [button, image] = item.querySelectorAll("*");
      button.setAttribute("aria-current", String(result.key === at));
      set(button, {
        title: `${result.prompt}\n${describe(result)}`,
        ariaLabel: `Show: ${result.asked.prompt}, seed ${result.seed}`,
        onclick: () => store.change({ at: result.key, split: 0, revealing: false }),
      });
      show(image, result.url);
    });
  };
}

/** [picture, name] of what can be repainted: what a person brought, and a result in its place. */
function sourcesOf({ picture, original }) {
  const sources = original ? [[original, original.name ?? "original"]] : [];
  return picture && picture !== original ? [...sources, [picture, "input"]] : sources;
}

function makeTile() {
  const button = makeButton();
  button.append(element("img", { alt: "" }), element("span"));
  return element("li", {}, button);
}

function makeJobTile() {
  const item = makeTile();
  item.querySelector("button").className = "watch";
  item.querySelector("span").className = "name";
  const stop = element("button", { type: "button", className: "stop" });
  stop.append($("dismiss").querySelector("svg").cloneNode(true));
  item.append(stop);
  return item;
}
