// How far a job is, and in words: {key, id, asked, from, mask, phase, position, left, step, total, since, eta,
// preview}. `id` is the server's, once it has the job; `from` is the picture that is repainted, or null.

import { duration } from "./plan.js";

export const ASKED = { id: null, phase: "asked" };

/** The job after `event`, heard at `now` in milliseconds. */
export function advanced(job, event, now) {
  switch (event.type) {
    case "taken":
      return { ...job, id: event.id };
    case "queued":
      return { ...job, phase: "queued", position: event.position };
    case "started":
      return { ...job, phase: "running" };
    case "step":
      return stepped(job, event, now);
    case "full":
    case "loading":
      return { ...job, phase: event.type, left: event.left };
    case "sending":
    case "lost":
    case "fetching":
      return { ...job, phase: event.type };
    default:
      return job; // its end is asked for
  }
}

function stepped(job, { index, total, preview = job.preview }, now) {
  const { since = { now, index } } = job; // the first step that was heard of
  const done = index - since.index;
  const eta = done > 0 ? (((now - since.now) / done) * (total - index)) / 1000 : null;
  return { ...job, phase: "running", step: index, total, since, eta, preview };
}

export function progressText(job) {
  switch (job.phase) {
    case "asked":
      return "Sent after the one before it.";
    case "sending":
      return "Sending it…";
    case "loading":
      return "The model is still loading. Yours starts as soon as it is ready.";
    case "full":
      return `The queue is full. Trying again in ${job.left} s.`;
    case "queued":
      return job.position > 0
        ? `In the queue: ${job.position} ${job.position === 1 ? "is" : "are"} before yours.`
        : "In the queue: yours is next.";
    case "lost":
      return "The connection was lost. Reconnecting…";
    case "fetching":
      return "Done. Fetching the picture…";
    default:
      if (!job.total) return "Reading the picture and the prompt…";
      if (job.step >= job.total) return "The last touch…";
      return `Step ${job.step} of ${job.total}${job.eta ? ` · about ${duration(job.eta)} left` : ""}`;
  }
}

/** The same in two words, where there is little room. */
export function progressWord({ phase, step, total, position }) {
  if (phase === "running" && total) return `${step} of ${total}`;
  if (phase === "queued" && position > 0) return `${position} before`;
  return { queued: "next", running: "reading", fetching: "done", lost: "lost" }[phase] ?? "waiting";
}

/** What screen readers hear of an event: the quarters, not every step. Null for nothing. */
export function milestone({ type, index, total }) {
  if (type !== "step") return null;
  const quarter = Math.floor((4 * index) / total);
  const passed = quarter > Math.floor((4 * (index - 1)) / total) && quarter < 4;
  return passed ? `Step ${index} of ${total}.` : null;
}
