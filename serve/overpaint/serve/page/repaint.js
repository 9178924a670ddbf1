// A run, from the button to the picture.

import { Problem } from "./api.js";
import { $ } from "./dom.js";
import { follow, patiently, submit } from "./job.js";
import { say, sentence } from "./messages.js";
import { duration } from "./plan.js";
import { SENDING, advanced, milestone } from "./progress.js";
import { requestOf } from "./request.js";
import { paceOf, resultsOf } from "./results.js";

const HISTORY = 24;

/** {repaint, cancel}: one job at a time. */
export function createRunner(store, api, album) {
  const uploads = new WeakMap(); // ids of what went up, by blob
  let stopping = null; // AbortController of the job under way

  async function repaint({ newSeed = false } = {}) {
    if (!ready(store)) return;
    const { form, picture: from } = store.state;
    const keep = form.locked && !newSeed && form.seed !== "";
    const seed = keep ? Number(form.seed) : crypto.getRandomValues(new Uint32Array(1))[0];
    const asked = requestOf(store.state, seed);
    stopping = new AbortController();
    if ($("result").contains(document.activeElement)) $("run").focus(); // what was pressed hides now
    store.change({ form: { ...form, seed: String(seed) }, job: SENDING, notice: null, shown: null });
    say(`Sent, seed ${seed}.`);
    $("stage").scrollIntoView({ block: "nearest" });
    try {
      await run(asked, from, stopping.signal);
    } catch (problem) {
      const cancelled = problem.name === "AbortError" || problem.code === "cancelled";
      const notice = cancelled
        ? { kind: "note", text: "Cancelled. Nothing was kept of it." }
        : { kind: "error", text: sentence(problem, store.state.server?.limits) };
      store.change({ job: null, notice });
    } finally {
      stopping = null;
    }
  }

  async function run(asked, from, signal) {
    const id = await submit(api, uploads, asked, from?.blob, tell, signal);
    try {
      signal.throwIfAborted();
      const job = await follow(api, id, tell, signal);
      if (job.status !== "completed") throw new Problem(-1, job.error ?? {});
      tell({ type: "fetching" });
      await keep(job, asked, from, signal);
    } catch (problem) {
      if (signal.aborted) api.cancel(id).catch(() => {}); // gone already is fine
      throw problem;
    }
  }

  function tell(event) {
    const { job } = store.state;
    if (!job) return;
    store.change({ job: advanced(job, event, performance.now()) });
    const words = milestone(event);
    if (words) say(words);
  }

  async function keep(job, asked, from, signal) {
    const fetched = job.result.media.map(async (id) =>
      album.open(await patiently(() => api.media(id, signal), tell, signal)),
    );
    const results = resultsOf(job, asked, from, await Promise.all(fetched));
    const { pace, results: older } = store.state;
    store.change({
      job: null,
      pace: { ...pace, [job.model]: paceOf(job.result, asked, results) ?? pace[job.model] },
      results: [...results, ...older].slice(0, HISTORY),
      shown: results[0],
      split: 0,
      revealing: true,
    });
    album.release(store.state);
    const { seed, steps, seconds } = results[0];
    say(`Done in ${duration(seconds)}: ${steps} steps, seed ${seed}.`);
  }

  return { repaint, cancel: () => stopping?.abort() };
}

/** Whether everything is there that a run needs; what is missing is pointed at. */
function ready({ state: { job, model, form }, change }) {
  if (job || !model || !$("controls").reportValidity()) return false;
  if (form.prompt.trim()) return true;
  change({ notice: { kind: "error", text: "Say in a few words what it should become." } });
  $("prompt").focus();
  return false;
}
