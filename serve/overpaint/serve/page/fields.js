// The settings that the page has no place of its own for, as the server's schema describes them.

import { OWN } from "./request.js";

/**
 * [{name, help, choices | number | toggle, fits}] of a schema's properties; `fits` tells whether a value
 * may be asked for. What is neither a choice, a number nor a yes or no is left to other clients.
 */
export function fieldsOf(properties) {
  return Object.entries(properties)
    .filter(([name]) => !OWN.has(name))
    .map(([name, property]) => field(name, property, kindOf(property)))
    .filter(Boolean);
}

/** "guidance_rescale" -> "guidance rescale" */
export const inWords = (name) => name.replaceAll("_", " ");

/** A property that may be null has its type in the other half. */
const kindOf = (property) => property.anyOf?.find(({ type }) => type !== "null") ?? property;

function field(name, { description: help, default: fallback = null }, { type, enum: choices, minimum, maximum }) {
  const common = { name, help, fallback };
  if (choices) return { ...common, choices, fits: (value) => choices.includes(value) };
  if (type === "boolean") return { ...common, toggle: true, fits: (value) => typeof value === "boolean" };
  if (type !== "number" && type !== "integer") return null;
  const step = type === "integer" ? 1 : 0.05;
  const fits = (value) => typeof value === "number" && !(value < minimum || value > maximum);
  return { ...common, number: { min: minimum, max: maximum, step }, fits };
}
