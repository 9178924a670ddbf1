// How far a job is: {phase, position, left, step, total, since, eta, preview}, and in words.

import { duration } from "./plan.js";

export const SENDING = { phase: "sending" };

/** The job after `event`, heard at `now` in milliseconds. */
export function advanced(job, event, now) {
  switch (event.type) {
    case "queued":
      return { ...job, phase: "queued", position: event.position };
    case "started":
      return { ...job, phase: "running" };
    case "step":
      return stepped(job, event, now);
    case "full":
    case "loading":
      return { ...job, phase: event.type, left: event.left };
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

/** What screen readers hear of an event: the quarters, not every step. Null for nothing. */
export function milestone({ type, index, total }) {
  if (type !== "step") return null;
  const quarter = Math.floor((4 * index) / total);
  const passed = quarter > Math.floor((4 * (index - 1)) / total) && quarter < 4;
  return passed ? `Step ${index} of ${total}.` : null;
}
