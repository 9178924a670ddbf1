// A job on the server: handed in, followed to its end, its pictures fetched, whatever the connection
// does meanwhile. `tell` hears what progress.js understands; `signal` ends it.

import { Problem } from "./api.js";

const LOST = new Problem(-1, {
  message: "The server was restarted, and this job was lost with it. Repaint starts it again",
});

/**
 * Hand the job in; returns its id. Waits where the server is loading or full, and brings the picture
 * again if its upload is gone. `files` are blobs, or lists of them, by the request's names for them,
 * `uploads` has the upload's id of every blob that went up; `name` is one that no other job has.
 */
export async function submit(api, uploads, request, files, name, tell, signal) {
  for (;;) {
    try {
      for (const blob of Object.values(files).flat()) {
        if (!uploads.has(blob)) uploads.set(blob, (await api.upload(blob, signal)).id);
      }
      const idOf = (file) => (Array.isArray(file) ? file.map(idOf) : uploads.get(file));
      const ids = Object.fromEntries(Object.entries(files).map(([part, file]) => [part, idOf(file)]));
      const { id } = await api.submit({ ...request, ...ids }, name);
      return id;
    } catch (problem) {
      const gone = problem.code === "upload_gone" || problem.code === "upload_not_found";
      if (gone)
        for (const blob of Object.values(files).flat()) uploads.delete(blob); // still here, in memory
      else if (problem.status === 429 || problem.code === "loading") await holdOn(problem, tell, signal);
      else throw problem;
    }
  }
}

async function holdOn(problem, tell, signal) {
  const type = problem.status === 429 ? "full" : "loading";
  for (let left = problem.retryAfter || 2; left > 0; left -= 1) {
    tell({ type, left });
    await pause(1000, signal);
  }
}

/**
 * Follow a job to its end; returns it as it ended. The events are for the eye; what counts is asked
 * for, so a lost connection costs nothing.
 */
export async function follow(api, id, tell, signal) {
  let after = 0;
  for (let unheard = 1; ; unheard += 1) {
    const job = await patiently(() => api.job(id, signal), tell, signal).catch((problem) => {
      throw problem.status === 404 ? LOST : problem;
    });
    if (!["queued", "running"].includes(job.status)) return job;
    tell(standing(job));
    const hear = (event) => {
      unheard = 0;
      after = Math.max(after, event.seq);
      tell(event);
    };
    await api.events(id, after, hear, signal);
    if (unheard) await pause(backOff(unheard), signal);
  }
}

/** Where a job stands, as the event that would have told so. */
function standing({ status, queue_position: position, progress }) {
  if (status === "queued") return { type: "queued", position };
  return progress ? { type: "step", index: progress.step, total: progress.total } : { type: "started" };
}

/** Do it, again and again while the server is away. */
export async function patiently(act, tell, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (problem) {
      if (problem.status !== 0 && problem.status !== 503) throw problem;
    }
    tell({ type: "lost" });
    await pause(backOff(tries), signal);
  }
}

const backOff = (tries) => Math.min(4000, 300 * 2 ** tries);

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
