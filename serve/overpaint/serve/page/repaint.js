// Runs, from the button to the picture.

import { Problem } from "./api.js";
import { $ } from "./dom.js";
import { follow, patiently, submit } from "./job.js";
import { createLine } from "./line.js";
import { maskFile, maskOf } from "./mask.js";
import { say, sentence } from "./messages.js";
import { duration } from "./plan.js";
import { ASKED, advanced, milestone } from "./progress.js";
import { referencesOf, requestOf } from "./request.js";
import { paceOf, resultsOf } from "./results.js";
import { HISTORY, newKey, onEasel } from "./state.js";

/** {repaint, resume, cancel}: as many jobs as are asked for; the server queues them. */
export function createRunner(store, api, album) {
  const uploads = new WeakMap(); // ids of what went up, by blob
  const stops = new Map(); // AbortControllers of the jobs under way, by their keys
  const inTurn = createLine(); // so that the server has them in the order they were asked for
  let leaving = false;
  addEventListener("pagehide", () => (leaving = true));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

  function repaint({ newSeed = false } = {}) {
    if (!ready(store)) return;
    const { form, picture: from, jobs, at } = store.state;
    const keep = form.locked && !newSeed && form.seed !== "";
    const seed = keep ? Number(form.seed) : crypto.getRandomValues(new Uint32Array(1))[0];
    const asked = requestOf(store.state, seed);
    const [mask, references] = [maskOf(store.state), referencesOf(store.state)];
    const job = { ...ASKED, key: newKey(), asked, from, mask, references, sent: Date.now() };
    const watching = onEasel(store.state).job;
    if ($("result").contains(document.activeElement)) $("run").focus(); // what was pressed hides now
    store.change({
      form: { ...form, seed: String(seed) },
      jobs: [...jobs, job],
      at: watching ? at : job.key,
      notice: null,
    });
    say(watching ? `Added to the queue, seed ${seed}.` : `Sent, seed ${seed}.`);
    $("stage").scrollIntoView({ block: "nearest" });
    see(job);
  }

  /** A job to its end, whatever that is. */
  async function see(job) {
    const stop = new AbortController();
    stops.set(job.key, stop);
    const tell = (event) => hear(job.key, event);
    try {
      await run(job, tell, stop.signal);
    } catch (problem) {
      if (leaving) return; // a request that a reload broke off is none that failed
      const { jobs, at, server } = store.state;
      const cancelled = problem.name === "AbortError" || problem.code === "cancelled";
      const which = jobs.length > 1 || at !== job.key ? `“${job.asked.prompt}”: ` : "";
      const notice = cancelled
        ? { kind: "note", text: `${which}Cancelled. Nothing was kept of it.` }
        : { kind: "error", text: which + sentence(problem, server?.limits) };
      leave(job.key, { at: at === job.key ? null : at, notice });
    } finally {
      stops.delete(job.key);
    }
  }

  async function run(job, tell, signal) {
    const id = job.id ?? (await inTurn(() => handIn(job, tell, signal), signal));
    try {
      signal.throwIfAborted();
      const ended = await follow(api, id, tell, signal);
      if (ended.status !== "completed") throw new Problem(-1, ended.error ?? {});
      tell({ type: "fetching" });
      await keep(ended, job, tell, signal);
    } catch (problem) {
      if (signal.aborted) api.cancel(id).catch(() => {}); // gone already is fine
      throw problem;
    }
  }

  async function handIn({ key, asked, from, mask, references, unsure }, tell, signal) {
    tell({ type: "sending" });
    const [known] = unsure ? await patiently(() => api.jobsOf(key), tell, signal) : [];
    const files = {};
    if (from) files.image = from.blob;
    if (mask) files.mask = await maskFile(mask, from);
    if (references.length > 0) files.ip_adapter_image = references.map(({ blob }) => blob);
    const id = known?.id ?? (await submit(api, uploads, asked, files, key, tell, signal));
    tell({ type: "taken", id });
    return id;
  }

  function hear(key, event) {
    const { jobs, at } = store.state;
    const now = performance.now();
    store.change({ jobs: jobs.map((job) => (job.key === key ? advanced(job, event, now) : job)) });
    const words = at === key && milestone(event);
    if (words) say(words);
  }

  async function keep(ended, job, tell, signal) {
    const fetched = ended.result.media.map(async (id) =>
      album.open(await patiently(() => api.media(id, signal), tell, signal), id),
    );
    const results = resultsOf(ended, job, await Promise.all(fetched));
    const { pace, results: older, at } = store.state;
    const [first] = results;
    const watched = at === job.key;
    leave(job.key, {
      pace: { ...pace, [ended.model]: paceOf(ended.result, job.asked, results) ?? pace[ended.model] },
      results: [...results, ...older.filter(({ key }) => !ended.result.media.includes(key))]
        .sort((a, b) => b.made - a.made) // whichever was fetched first
        .slice(0, HISTORY),
      ...(watched && { at: results.length > 1 ? at : first.key, split: 0, revealing: true }),
    });
    say(`Done in ${duration(first.seconds)}: ${first.steps} steps, seed ${first.seed}.`);
  }

  /** The job is under way no more. */
  function leave(key, part) {
    if ($("progress").contains(document.activeElement)) $("run").focus(); // its button may hide now
    store.change({ ...part, jobs: store.state.jobs.filter((job) => job.key !== key) });
    album.release(store.state);
  }

  return {
    repaint,
    /** Go on with jobs that were under way before a reload. */
    resume: (jobs) => jobs.forEach(see),
    cancel: (key) => stops.get(key)?.abort(),
  };
}

/** Whether everything is there that a run needs; what is missing is pointed at. */
function ready({ state: { model, form, live }, change }) {
  if (!model || live.on || !$("controls").reportValidity()) return false;
  if (form.prompt.trim()) return true;
  change({ notice: { kind: "error", text: "Say in a few words what it should become." } });
  $("prompt").focus();
  return false;
}
